"""What books cost together, in one currency, with what of it is tax."""

from collections.abc import Sequence

from core.catalog.models import Book, Money
from core.commerce.models import Item
from core.commerce.taxes import TaxRates, contained
from core.currencies import decimals_of
from core.errors import ConflictError

_DEFAULT_CURRENCY = Money(amount=0).currency


def shared_currencies(books: Sequence[Book]) -> list[str]:
    """Return the currencies in which all of the books have a price, the first book's own at the front."""
    priced = _priced(books)
    return [
        code for code in _currencies(priced) if all(book.price_in(code) is not None for book in priced)
    ] or _currencies(priced)[:1]


def choose_currency(books: Sequence[Book], preferred: str | None = None) -> str:
    """Return the preferred currency, or else the first book's own, if all of the books have a price in it.

    Else another in which all of them have one; where there is none, the first book's own as well.
    """
    shared = shared_currencies(books)
    return preferred if preferred in shared else shared[0]


def _priced(books: Sequence[Book]) -> list[Book]:
    return [book for book in books if book.price is not None and book.price.amount > 0]


def _currencies(priced: Sequence[Book]) -> list[str]:
    if not priced:
        return [_DEFAULT_CURRENCY]
    return [price.currency for price in (priced[0].price, *priced[0].other_prices) if price is not None]


def price_items(books: Sequence[Book], currency: str, rates: TaxRates, country: str | None) -> list[Item]:
    """Return what is to be paid for each book. Raises ConflictError that names one without a price."""
    items = []
    rate = rates.rate(country, currency)
    for book in books:
        price = book.price_in(currency)
        if price is None:
            raise ConflictError(f"“{book.title}” has no price in {currency}. Take it out, or choose another.")
        items.append(
            Item(
                book_id=book.id,
                title=book.title,
                price=price.amount,
                tax=contained(price.amount, rate),
                tax_basis_points=rate,
            )
        )
    return items


def take_off(items: Sequence[Item], discounts: Sequence[int]) -> list[Item]:
    """Return the items at these discounts, with the tax that is contained in what is left."""
    return [
        item.model_copy(
            update={
                "discount": discount,
                "tax": contained(item.price - discount, item.tax_basis_points),
            }
        )
        for item, discount in zip(items, discounts, strict=True)
    ]


def write_money(amount: int, currency: str) -> str:
    """Return an amount as people write it: `12.99 USD`, `1500 JPY`."""
    digits = decimals_of(currency)
    if digits == 0:
        return f"{amount} {currency}"
    return f"{amount // 10**digits}.{amount % 10**digits:0{digits}d} {currency}"
