"""How much of a price is tax: one small table of rates, which a setting fills."""

from collections.abc import Mapping


class TaxRates:
    """Rates in basis points (1900 is 19 %), by country (`AT`) or by currency (`EUR`); prices contain them."""

    def __init__(self, rates: Mapping[str, int]) -> None:
        self._rates = rates

    @classmethod
    def read(cls, text: str) -> "TaxRates":
        """Read a setting like `AT=2000 EUR=1900`."""
        pairs = (part.split("=") for part in text.split())
        return cls({name: int(rate) for name, rate in pairs})

    def rate(self, country: str | None, currency: str) -> int:
        """Return the rate of a country, else that of a currency, else 0."""
        return self._rates.get(country or "", self._rates.get(currency, 0))


def contained(amount: int, basis_points: int) -> int:
    """Return the tax that an amount contains, rounded half up."""
    whole = 10_000 + basis_points
    return (2 * amount * basis_points + whole) // (2 * whole)
