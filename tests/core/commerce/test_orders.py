"""Orders after the checkout: late payments, refunds, the cart beside them, and who may see what."""

import asyncio
from datetime import timedelta

import pytest

from core.catalog.models import Book, Money
from core.commerce.models import MAX_BOOKS, Cart, CartEntry
from core.errors import ConflictError, NotFoundError, ThrottledError
from core.ids import new_id, now
from tests.core.commerce.conftest import Shop, Start
from tests.core.commerce.test_crashes import ADMIN, ORIGIN


async def test_orders_are_listed_the_newest_first_in_pages_and_only_to_their_buyer(shop: Shop) -> None:
    buyer, other = await shop.join(), await shop.join()
    made = [(await shop.bought(buyer, await shop.stock(f"Book {number}"))).id for number in range(3)]
    first, after = await shop.orders.history(buyer, 2, None)
    rest, end = await shop.orders.history(buyer, 2, after)
    assert [order.id for order in (*first, *rest)] == made[::-1]
    assert end is None
    assert (await shop.orders.history(other, 2, None))[0] == []
    for ask in (shop.orders.get, shop.orders.confirm, shop.orders.cancel):
        for order_id in (made[0], new_id(), new_id() + buyer.user_id):
            with pytest.raises(NotFoundError):
                await ask(other, order_id)


@pytest.mark.parametrize("made_id", ["", "i" * 26, "z" * 26])
async def test_what_cannot_be_an_orders_id_is_none(shop: Shop, made_id: str) -> None:
    ada = await shop.join()
    for ask in (shop.orders.get, shop.orders.confirm, shop.orders.cancel):
        with pytest.raises(NotFoundError):
            await ask(ada, made_id + ada.user_id)
    with pytest.raises(NotFoundError):
        await shop.refund(made_id)


async def test_a_late_payment_is_found_by_whoever_looks_first(shop: Shop) -> None:
    buyer, book = await shop.join(), await shop.stock()
    order = await shop.bought(buyer, book, method="simulated-late")
    assert (await shop.orders.confirm(buyer, order.id)).state == "pending"
    await shop.provider.pay(buyer.user_id, order.id)
    settled = await asyncio.gather(*(shop.orders.settle(order.id) for _ in range(20)))
    assert {one.state for one in settled} == {"paid"}
    assert [event.state for event in (await shop.orders.get(buyer, order.id)).history] == ["pending", "paid"]
    await shop.check_books(buyer)


@pytest.mark.parametrize(("method", "state"), [("simulated-timeout", "paid"), ("simulated-lost", "failed")])
@pytest.mark.usefixtures("at_once")
async def test_a_provider_that_fell_silent_leads_to_one_end(shop: Shop, method: str, state: str) -> None:
    buyer, book = await shop.join(), await shop.stock()
    order = await shop.bought(buyer, book, method=method)
    assert order.state == "pending"
    await shop.settle_all()
    assert (await shop.orders.get(buyer, order.id)).state == state
    await shop.check_books(buyer)


async def test_the_time_to_pay_ends(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    buyer, book = await shop.join(), await shop.stock()
    order = await shop.bought(buyer, book, method="simulated-late")
    monkeypatch.setattr("core.commerce.orders._TIME_TO_PAY", now() - now())
    assert (await shop.orders.settle(order.id)).state == "failed"
    with pytest.raises(ConflictError):
        await shop.provider.pay(buyer.user_id, order.id)
    await shop.check_books(buyer)
    await shop.bought(buyer, book)


async def test_who_cancels_in_the_moment_of_paying_has_bought_or_not_but_never_half(shop: Shop) -> None:
    for _ in range(4):
        buyer, book = await shop.join(), await shop.stock()
        order = await shop.bought(buyer, book, method="simulated-late")
        await asyncio.gather(
            shop.provider.pay(buyer.user_id, order.id),
            shop.orders.cancel(buyer, order.id),
            shop.orders.settle(order.id),
            return_exceptions=True,
        )
        await shop.orders.settle(order.id)
        await shop.check_books(buyer)


async def test_a_refund_takes_the_books_back_and_they_can_be_bought_again(shop: Shop) -> None:
    buyer, book = await shop.join(), await shop.stock()
    order = await shop.bought(buyer, book)
    done = await asyncio.gather(
        *(shop.orders.refund(ADMIN, order.id, "Asked", ORIGIN) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(one, ConflictError) or one.state == "refunded" for one in done)  # type: ignore[union-attr]
    assert (await shop.orders.refund(ADMIN, order.id, "", ORIGIN)).state == "refunded"
    assert await shop.owned(buyer) == {}
    assert not (await shop.catalog.show(book.id, buyer)).owned
    assert [charge.refunded for charge in await shop.charges(buyer)] == [999]
    causes = [event.cause for event in (await shop.orders.get(buyer, order.id)).history]
    assert causes == ["checkout", "paid", "refund begun: Asked", "refunded"]
    await shop.bought(buyer, book)
    await shop.orders.refund(ADMIN, order.id, "", ORIGIN)
    assert await shop.owned(buyer) == {book.id: "owned"}


async def test_only_what_was_paid_is_refunded(shop: Shop) -> None:
    buyer = await shop.join()
    order = await shop.bought(buyer, await shop.stock(), method="simulated-late")
    with pytest.raises(ConflictError, match="pending"):
        await shop.orders.refund(ADMIN, order.id, "", ORIGIN)
    await shop.orders.cancel(buyer, order.id)
    with pytest.raises(ConflictError, match="failed"):
        await shop.orders.refund(ADMIN, order.id, "", ORIGIN)
    with pytest.raises(NotFoundError):
        await shop.orders.refund(ADMIN, new_id() + buyer.user_id, "", ORIGIN)
    free = await shop.bought(await shop.join(), await shop.stock(price=Money(amount=0)))
    assert (await shop.orders.refund(ADMIN, free.id, "", ORIGIN)).state == "refunded"


async def test_a_provider_that_refuses_a_refund_leaves_the_books(shop: Shop) -> None:
    buyer, book = await shop.join(), await shop.stock()
    order = await shop.bought(buyer, book)
    charge = (await shop.charges(buyer))[0]
    table = shop.account.table("charges")
    await table.put(charge.model_copy(update={"amount": 1}), buyer.user_id, order.id)
    with pytest.raises(ConflictError, match="Less was paid"):
        await shop.orders.refund(ADMIN, order.id, "", ORIGIN)
    assert await shop.owned(buyer) == {book.id: "owned"}
    stored = await shop.store.find_order(order.id)
    assert stored is not None
    assert not stored.value.is_open


async def test_the_receipt_goes_to_the_address_of_the_moment_and_the_books_are_named(start: Start) -> None:
    shop = start(TAX_RATES="USD=1000")
    buyer, book = await shop.join(display_name="Ada"), await shop.stock("Emma")
    order = await shop.bought(buyer, book)
    stored = await shop.store.find_order(order.id)
    assert stored is not None
    letters = [letter.value.kind async for letter in shop.store.letters(stored.value)]
    assert letters == ["receipt"]
    await shop.orders.settle(order.id)
    assert [letter async for letter in shop.store.letters(stored.value)] == []


# The cart


async def test_the_cart_holds_books_at_todays_prices_and_says_what_hinders(shop: Shop) -> None:
    buyer = await shop.join()
    good, gone, mine = await shop.stock("Good"), await shop.stock("Gone"), await shop.stock("Mine")
    for book in (good, good, gone, mine):
        await shop.cart.add(buyer, book.id)
    await shop.catalog.update(good.id, lambda book: book.model_copy(update={"price": Money(amount=1500)}))
    await shop.withdraw(gone)
    await shop.give(buyer, mine)
    shown = await shop.cart.show(buyer)
    assert [(item.title, item.problem) for item in shown.items] == [
        ("Good", None),
        ("Gone", "unavailable"),
        ("Mine", "owned"),
    ]
    assert shown.total == Money(amount=1500)
    assert (await shop.cart.show(buyer, "EUR")).items[0].problem == "no-price"
    assert len((await shop.cart.remove(buyer, gone.id)).items) == 2
    await shop.cart.empty(buyer)
    assert (await shop.cart.show(buyer)).items == []


async def test_what_is_owned_or_not_on_sale_does_not_go_into_the_cart(shop: Shop) -> None:
    buyer, mine, draft = await shop.join(), await shop.stock(), await shop.stock(visibility="draft")
    await shop.give(buyer, mine)
    for book in (mine, draft):
        with pytest.raises(ConflictError):
            await shop.cart.add(buyer, book.id)
    with pytest.raises(NotFoundError):
        await shop.cart.add(buyer, new_id())
    _, skipped = await shop.cart.merge(buyer, [mine.id, draft.id, new_id()])
    assert [one.reason for one in skipped] == ["owned", "unavailable", "unavailable"]


async def test_a_cart_holds_fifty_books(shop: Shop) -> None:
    buyer, last, more = await shop.join(), await shop.stock(), await shop.stock()
    full = Cart(entries=tuple(CartEntry(book_id=new_id(), added_at=now()) for _ in range(MAX_BOOKS - 1)))
    await shop.users.insert(full, buyer.user_id, "cart")
    _, skipped = await shop.cart.merge(buyer, [last.id, more.id])
    assert [(one.audiobook_id, one.reason) for one in skipped] == [(more.id, "full")]
    with pytest.raises(ConflictError, match="50"):
        await shop.cart.add(buyer, more.id)


async def test_additions_at_the_same_time_are_all_kept(shop: Shop) -> None:
    buyer = await shop.join()
    books: list[Book] = [await shop.stock() for _ in range(8)]
    await asyncio.gather(*(shop.cart.add(buyer, book.id) for book in books))
    assert sorted(await shop.in_cart(buyer)) == sorted(book.id for book in books)


async def test_who_asks_too_often_after_what_is_not_paid_has_to_wait(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.commerce.orders._MAX_LOOKS", 2)
    buyer, book = await shop.join(), await shop.stock()
    paid = await shop.bought(buyer, await shop.stock())
    order = await shop.bought(buyer, book, method="simulated-late")
    for ask in (shop.orders.confirm, shop.orders.confirm):
        await ask(buyer, order.id)
    for ask in (shop.orders.confirm, shop.orders.cancel):
        with pytest.raises(ThrottledError):
            await ask(buyer, order.id)
    assert (await shop.orders.confirm(buyer, paid.id)).state == "paid", "nobody is asked about that one"


async def alerts_of(shop: Shop, order_id: str) -> list[str]:
    found, _ = await shop.services.operations.alerts(100, None)
    return [alert.kind for alert in found if alert.target == order_id]


async def test_an_order_whose_way_to_pay_was_taken_away_ends_and_people_are_told(
    start: Start, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, later = start(), start(SIMULATED_PAYMENTS="false")
    buyer, book = await shop.join(), await shop.stock()
    order = await shop.bought(buyer, book, method="simulated-late")
    assert (await later.orders.settle(order.id)).state == "pending", "it may be back in a moment"
    assert await shop.owned(buyer) == {book.id: "pending"}
    monkeypatch.setattr("core.commerce.orders._TIME_TO_PAY", timedelta(0))
    await shop.queue.clear_messages()
    await later.orders.announce(order.id)
    await later.settle_all()
    ended = await later.orders.get(buyer, order.id)
    assert ended.state == "failed"
    assert ended.history[-1].cause == "This way to pay is not offered any more."
    assert await shop.owned(buyer) == {}
    assert await alerts_of(later, order.id) == ["payment-method-gone"]
    assert (await shop.bought(buyer, book)).state == "paid"


async def test_a_refund_whose_provider_was_taken_away_is_not_begun_for_ever(start: Start) -> None:
    shop, later = start(), start(SIMULATED_PAYMENTS="false")
    buyer, book = await shop.join(), await shop.stock()
    order = await shop.bought(buyer, book)
    with pytest.raises(ConflictError, match="not set up any more"):
        await later.refund(order.id)
    assert await alerts_of(later, order.id) == ["payment-method-gone"]
    stored = await shop.store.find_order(order.id)
    assert stored is not None and (stored.value.state, stored.value.is_open) == ("paid", False)
    assert (await shop.refund(order.id)).state == "refunded", "once it is back"
