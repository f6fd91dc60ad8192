"""The checkout: what it costs, what it answers, and what a key that comes again is told."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from core.catalog.models import Money
from core.commerce.checkout import ROUTE
from core.commerce.models import Answer, Idempotency
from core.commerce.store import REQUEST_LIFE, idempotency_key
from core.errors import InvalidError, ThrottledError
from core.ids import new_id
from core.storage.account import count_calls
from tests.core.catalog.conftest import make_book
from tests.core.commerce.conftest import Shop, Start

EUR = Money(amount=1099, currency="EUR")


def failed(answer: Answer) -> tuple[int, str]:
    assert answer.failure is not None, answer
    return answer.failure.status, answer.failure.slug


async def test_a_cart_becomes_an_order_and_its_books_the_buyers_own(shop: Shop) -> None:
    buyer = await shop.join()
    books = [await shop.stock(f"Book {number}", price=Money(amount=1000 + number)) for number in range(3)]
    order = await shop.bought(buyer, *books)
    assert order.state == "paid"
    assert [item.title for item in order.items] == ["Book 0", "Book 1", "Book 2"]
    assert order.total == Money(amount=3003)
    assert await shop.owned(buyer) == {book.id: "owned" for book in books}
    assert await shop.in_cart(buyer) == []
    (charge,) = await shop.charges(buyer)
    assert (charge.state, charge.amount, charge.currency) == ("paid", 3003, "USD")
    trail = [(event.state, event.actor) for event in order.history]
    assert trail == [("pending", "buyer"), ("paid", "provider")]
    assert (await shop.catalog.book(books[0].id)).sold
    await shop.catalog.stream(books[0].id, buyer)


@pytest.mark.parametrize("size", [1, 50])
async def test_a_checkout_of_any_size_takes_four_rounds_beside_the_session_and_the_provider(
    shop: Shop, size: int
) -> None:
    buyer = await shop.join()
    await shop.bought(await shop.join(), await shop.stock())  # so that tables and queues are there
    books = [await shop.stock(f"Book {number}", sold=True) for number in range(size)]
    await shop.put_in_cart(buyer, *books)
    calls = count_calls()
    answer, _ = await shop.buy(buyer)
    assert answer.order is not None
    assert answer.order.state == "paid"
    of_provider = 2
    assert calls.rounds - of_provider == 4


async def test_what_is_added_while_a_checkout_is_under_way_stays_in_the_cart(shop: Shop) -> None:
    buyer, first, second = await shop.join(), await shop.stock(), await shop.stock()
    await shop.put_in_cart(buyer, first)
    order = (await shop.buy(buyer, method="simulated-late"))[0].order
    assert order is not None
    await shop.put_in_cart(buyer, second)
    await shop.provider.pay(buyer.user_id, order.id)
    await shop.orders.settle(order.id)
    assert await shop.in_cart(buyer) == [second.id]
    assert await shop.owned(buyer) == {first.id: "owned"}


async def test_free_books_are_bought_without_a_provider(shop: Shop) -> None:
    buyer, book = await shop.join(), await shop.stock(price=Money(amount=0))
    order = await shop.bought(buyer, book, method="none")
    assert (order.state, order.total.amount) == ("paid", 0)
    assert await shop.owned(buyer) == {book.id: "owned"}
    assert await shop.charges(buyer) == []


async def test_a_declined_payment_leaves_nothing_but_its_order(shop: Shop) -> None:
    buyer, book = await shop.join(), await shop.stock()
    await shop.put_in_cart(buyer, book)
    answer, _ = await shop.buy(buyer, method="simulated-decline")
    assert failed(answer) == (402, "payment-declined")
    (order,) = await shop.orders_of(buyer)
    assert order.state == "failed"
    assert await shop.owned(buyer) == {}
    assert await shop.in_cart(buyer) == [book.id]
    assert (await shop.buy(buyer))[0].order is not None


async def test_prices_are_those_of_the_moment(shop: Shop) -> None:
    buyer, book = await shop.join(), await shop.stock(price=Money(amount=1000))
    await shop.put_in_cart(buyer, book)
    dearer = {"price": Money(amount=1500)}
    await shop.catalog.update(book.id, lambda now: now.model_copy(update=dearer))
    answer, _ = await shop.buy(buyer, expected_total={"amount": 1000, "currency": "USD"})
    assert failed(answer) == (409, "price-changed")
    assert await shop.owned(buyer) == {}
    answer, _ = await shop.buy(buyer, expected_total={"amount": 1500, "currency": "USD"})
    assert answer.order is not None
    assert answer.order.total == Money(amount=1500)


async def test_a_price_is_that_of_the_table_while_the_index_still_shows_another(start: Start) -> None:
    shop = start(CATALOG_REFRESH_SECONDS="0")
    buyer, book = await shop.join(), make_book(price=Money(amount=1000))
    await shop.catalog.create(book)
    await shop.catalog.publish()
    await shop.put_in_cart(buyer, book)
    await shop.catalog.update(book.id, lambda now: now.model_copy(update={"price": Money(amount=1500)}))
    indexed = await shop.catalog.show(book.id, None)
    assert indexed.price == Money(amount=1000)
    answer, _ = await shop.buy(buyer)
    assert answer.order is not None
    assert answer.order.total == Money(amount=1500)
    assert (await shop.charges(buyer))[0].amount == 1500


async def test_an_order_is_in_one_currency_in_which_every_book_has_a_price(shop: Shop) -> None:
    buyer = await shop.join()
    both = await shop.stock(price=Money(amount=1299), other_prices=(EUR,))
    only_euro = await shop.stock(price=Money(amount=500, currency="EUR"))
    free = await shop.stock(price=Money(amount=0))
    await shop.put_in_cart(buyer, both, only_euro, free)
    assert (await shop.cart.show(buyer)).currency == "EUR"
    assert failed((await shop.buy(buyer, currency="USD"))[0]) == (409, "conflict")
    answer, _ = await shop.buy(buyer, currency="EUR")
    assert answer.order is not None
    assert answer.order.total == Money(amount=1599, currency="EUR")


async def test_prices_contain_the_tax_of_the_country_or_the_currency(start: Start) -> None:
    shop = start(TAX_RATES="AT=1000 EUR=1900")
    for country, tax in (("AT", 100), (None, 176), ("DE", 176)):
        buyer, book = await shop.join(), await shop.stock(price=Money(amount=1100, currency="EUR"))
        await shop.put_in_cart(buyer, book)
        order = (await shop.buy(buyer, **({"country": country} if country else {})))[0].order
        assert order is not None
        assert (order.tax.amount, order.total.amount) == (tax, 1100)
    order = await shop.bought(await shop.join(), await shop.stock())
    assert order.tax.amount == 0


async def test_what_cannot_be_bought_is_said_and_nothing_is_taken(shop: Shop) -> None:
    buyer, good, gone = await shop.join(), await shop.stock(), await shop.stock("Gone")
    assert failed((await shop.buy(buyer))[0]) == (409, "conflict")
    await shop.put_in_cart(buyer, good, gone)
    await shop.withdraw(gone)
    answer, _ = await shop.buy(buyer)
    assert failed(answer) == (409, "conflict")
    assert answer.failure is not None
    assert "Gone" in answer.failure.detail
    assert failed((await shop.buy(buyer, method="cowries"))[0])[0] == 409
    await shop.cart.remove(buyer, gone.id)
    answer, _ = await shop.buy(buyer, method="cowries")
    assert answer.failure is not None
    assert (answer.failure.status, answer.failure.fields[0][0]) == (422, "payment_method")
    assert await shop.orders_of(buyer) == []
    assert await shop.owned(buyer) == {}
    assert await shop.charges(buyer) == []


# The same key again


@pytest.mark.parametrize(
    ("wish", "status"),
    [({}, 201), ({"method": "simulated-decline"}, 402), ({"method": "simulated-late"}, 201)],
)
async def test_a_repeat_is_told_what_was_answered_then(shop: Shop, wish: dict[str, Any], status: int) -> None:
    buyer, key = await shop.join(), new_id()
    await shop.put_in_cart(buyer, await shop.stock())
    first, was_repeat = await shop.buy(buyer, key, **wish)
    assert not was_repeat
    assert (201 if first.failure is None else first.failure.status) == status
    if first.order is not None and first.order.state == "pending":
        await shop.provider.pay(buyer.user_id, first.order.id)
        await shop.orders.settle(first.order.id)
    for _ in range(2):
        assert await shop.buy(buyer, key, **wish) == (first, True)
    assert len(await shop.charges(buyer)) == 1


async def test_an_error_before_the_order_is_repeated_too(shop: Shop) -> None:
    buyer, key = await shop.join(), new_id()
    first, _ = await shop.buy(buyer, key)
    assert failed(first) == (409, "conflict")
    await shop.put_in_cart(buyer, await shop.stock())
    assert await shop.buy(buyer, key) == (first, True)
    assert (await shop.buy(buyer))[0].order is not None


async def test_who_has_to_wait_may_ask_again_with_the_same_key(shop: Shop) -> None:
    ada = await shop.join()
    await shop.put_in_cart(ada, await shop.stock())
    for _ in range(20):
        await shop.buy(ada, voucher_code="NO-SUCH-CODE")
    for _ in range(2):
        with pytest.raises(ThrottledError):
            await shop.buy(ada, "mine", voucher_code="NO-SUCH-CODE")


async def test_a_key_with_another_body_is_refused_and_is_the_users_own(shop: Shop) -> None:
    buyer, other, book, key = await shop.join(), await shop.join(), await shop.stock(), new_id()
    await shop.put_in_cart(buyer, book)
    await shop.buy(buyer, key)
    with pytest.raises(InvalidError, match="header"):
        await shop.buy(buyer, key, currency="USD")
    await shop.put_in_cart(other, book)
    answer, was_repeat = await shop.buy(other, key, currency="USD")
    assert answer.order is not None
    assert not was_repeat


async def test_a_key_counts_for_thirty_days(shop: Shop) -> None:
    buyer, key = await shop.join(), new_id()
    await shop.buy(buyer, key)
    row_key = idempotency_key(ROUTE, key)
    stored = await shop.users.get(Idempotency, buyer.user_id, row_key)
    old = stored.value.at - REQUEST_LIFE - timedelta(seconds=1)
    await shop.users.replace(stored, stored.value.model_copy(update={"at": old}))
    await shop.put_in_cart(buyer, await shop.stock())
    answer, was_repeat = await shop.buy(buyer, key)
    assert answer.order is not None
    assert not was_repeat


async def test_a_hundred_checkouts_with_one_key_are_one_order_and_ninety_nine_repeats(shop: Shop) -> None:
    buyer, key, book = await shop.join(), new_id(), await shop.stock()
    await shop.put_in_cart(buyer, book)
    answers = await asyncio.gather(*(shop.buy(buyer, key) for _ in range(100)))
    assert sorted(is_repeat for _, is_repeat in answers) == [False] + [True] * 99
    assert len({answer.model_dump_json() for answer, _ in answers}) == 1
    (order,) = await shop.orders_of(buyer)
    assert order.state == "paid"
    assert len(await shop.charges(buyer)) == 1


async def test_a_hundred_checkouts_of_one_book_with_keys_of_their_own_are_one_ownership(shop: Shop) -> None:
    buyer, book = await shop.join(), await shop.stock()
    await shop.put_in_cart(buyer, book)
    answers = await asyncio.gather(*(shop.buy(buyer) for _ in range(100)))
    sold = [answer.order for answer, _ in answers if answer.order is not None]
    refused = [answer.failure.status for answer, _ in answers if answer.failure is not None]
    assert len(sold) == 1
    assert refused == [409] * 99
    assert await shop.owned(buyer) == {book.id: "owned"}
    assert len(await shop.charges(buyer)) == 1
    assert [order.id for order in await shop.orders_of(buyer)] == [sold[0].id]


async def test_too_many_new_keys_have_to_wait_and_those_that_were_answered_do_not(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.commerce.checkout._MAX_TRIES", 3)
    buyer, book = await shop.join(), await shop.stock()
    refused, _ = await shop.buy(buyer, "empty")
    await shop.put_in_cart(buyer, book)
    bought, _ = await shop.buy(buyer, "mine")
    await shop.buy(buyer)
    for _ in range(2):
        with pytest.raises(ThrottledError) as wait:
            await shop.buy(buyer, "more")
        assert 800 < wait.value.retry_after <= 900
    assert await shop.store.find_request(buyer.user_id, idempotency_key(ROUTE, "more")) is None
    assert await shop.buy(buyer, "empty") == (refused, True)
    assert await shop.buy(buyer, "mine") == (bought, True)
    assert failed((await shop.buy(await shop.join()))[0]) == (409, "conflict"), "others need not wait"


async def test_requests_with_one_key_at_once_are_all_answered_where_only_one_may_try(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.commerce.checkout._MAX_TRIES", 1)
    buyer = await shop.join()
    await shop.put_in_cart(buyer, await shop.stock())
    answers = await asyncio.gather(*(shop.buy(buyer, "mine") for _ in range(4)), return_exceptions=True)
    orders = {answer[0].order.id for answer in answers if isinstance(answer, tuple) and answer[0].order}
    assert len(orders) == 1
    assert all(isinstance(answer, (tuple, ThrottledError)) for answer in answers)
    assert (await shop.buy(buyer, "mine"))[1]
