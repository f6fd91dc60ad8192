"""Prices: a book has one, and others in other currencies."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.caller import Caller, Origin
from core.catalog.editing import BookContent, BookPatch
from core.catalog.models import Book, Money
from core.commerce.discounts import Voucher, split_discount
from core.commerce.pricing import write_money
from core.errors import InvalidError
from core.ids import new_id, now
from functions.vouchers import NewVoucher
from tests.core.commerce.conftest import Shop

ORIGIN = Origin(address="192.0.2.1", request_id="test")


def usd(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "USD"}


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def book_at(price: Money | None, *others: Money) -> Book:
    at = now()
    return Book(id=new_id(), title="A", price=price, other_prices=others, created_at=at, updated_at=at)


def test_a_book_costs_what_it_says_in_each_currency_and_is_free_in_all_or_none() -> None:
    book = book_at(Money(amount=1299), Money(amount=1199, currency="EUR"))
    assert book.price_in("USD") == Money(amount=1299)
    assert book.price_in("EUR") == Money(amount=1199, currency="EUR")
    assert book.price_in("JPY") is None
    assert book_at(Money(amount=0)).price_in("JPY") == Money(amount=0, currency="JPY")
    assert book_at(None).price_in("USD") is None


def test_an_amount_is_written_in_the_units_in_which_it_is_charged() -> None:
    """Stripe counts these in whole units, Madagascar's too; https://docs.stripe.com/currencies."""
    whole = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF"
    assert {write_money(1500, code) for code in whole.split()} == {f"1500 {code}" for code in whole.split()}
    assert write_money(1505, "USD") == "15.05 USD"
    assert write_money(1505, "KWD") == "1.505 KWD"


@pytest.mark.parametrize("amount", [-1, 0, 10_000_001, "12.99", 12.5])
def test_a_price_elsewhere_is_a_whole_number_over_zero(amount: Any) -> None:
    with pytest.raises(ValidationError):
        BookPatch.model_validate({"other_prices": [eur(amount)]})


@pytest.mark.parametrize("currency", ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])
def test_a_third_decimal_that_no_card_pays_is_refused_where_prices_are_set(currency: str) -> None:
    for shape, field in ((BookPatch, "price"), (BookPatch, "other_prices"), (NewVoucher, "amount")):
        for amount, is_good in ((1230, True), (1234, False)):
            given = {"amount": amount, "currency": currency}
            content = {field: [given] if field == "other_prices" else given}
            if is_good:
                shape.model_validate(content)
                continue
            with pytest.raises(ValidationError, match=f"in {currency} ends with a 0"):
                shape.model_validate(content)


def test_a_share_leaves_what_can_be_paid() -> None:
    voucher = Voucher(code="V", percent=15, created_at=now())
    assert split_discount(voucher, [("a", 1230), ("b", 10)], "KWD") == [180, 0]
    assert split_discount(voucher, [("a", 1230)], "USD") == [185]
    whole = voucher.model_copy(update={"percent": 100})
    assert split_discount(whole, [("a", 1235)], "KWD") == [1235], "a price from before is not made negative"


async def test_a_publisher_sets_prices_in_several_currencies(shop: Shop) -> None:
    publisher = Caller(user_id=new_id(), session_id="", roles=frozenset({"publisher"}))
    content = {"title": "A", "price": usd(1299), "other_prices": [eur(1199)]}
    made = await shop.services.editing.create(BookContent.model_validate(content), publisher, ORIGIN)
    assert [price.model_dump() for price in made.other_prices] == [eur(1199)]

    async def patch(**fields: Any) -> Book:
        change = BookPatch.model_validate(fields)
        await shop.services.editing.change(made.id, change, publisher, ORIGIN)
        return await shop.catalog.book(made.id)

    changed = await patch(price=usd(0), other_prices=[])
    assert changed.price_in("EUR") == Money(amount=0, currency="EUR")
    changed = await patch(price=eur(500), other_prices=[usd(600)])
    assert changed.price_in("USD") == Money(amount=600)
    for wrong in (
        {"price": usd(400)},
        {"price": None},
        {"price": eur(0)},
        {"other_prices": [usd(1), usd(2)]},
    ):
        with pytest.raises(InvalidError) as refused:
            await patch(**wrong)
        assert refused.value.fields[0][0] == "other_prices"
    kept = await shop.catalog.book(made.id)
    assert (kept.price, kept.other_prices) == (changed.price, changed.other_prices)
