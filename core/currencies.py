"""Currencies: how many decimals their amounts have, and in which steps they are paid."""

_WITHOUT_DECIMALS = frozenset(
    (
        *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "MGA", "PYG"),
        *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
    )
)
_WITH_THREE = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))


def decimals_of(currency: str) -> int:
    """Return how many decimals amounts of a currency have."""
    if currency in _WITHOUT_DECIMALS:
        return 0
    return 3 if currency in _WITH_THREE else 2


def step_of(currency: str) -> int:
    """Return what amounts are multiples of, in minor units: of three decimals, cards take no last one."""
    return 10 if currency in _WITH_THREE else 1


def check_step(amount: int, currency: str) -> None:
    """Raises ValueError, as a sentence about a field, for an amount that cannot be paid exactly."""
    if amount % step_of(currency):
        raise ValueError(f"in {currency} ends with a 0: its third decimal cannot be paid by card")
