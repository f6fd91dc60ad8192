"""Webhooks: of simulated payments and of Stripe's, replayed, out of order, forged, stale, and sent again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from core.caller import Caller
from core.catalog.models import Book
from core.commerce.models import Order
from core.commerce.webhooks import KEPT, DoneEvent
from core.errors import UnauthenticatedError, UnavailableError
from core.ids import fingerprint, new_id, now
from core.payments import PaymentEvent
from core.storage.tables import Stored
from tests.core.commerce.conftest import Shop, Start
from tests.stripe_server import StripeServer, sign


async def pending(shop: Shop, method: str = "simulated-late") -> tuple[Caller, Book, Order]:
    """Return a buyer whose order waits for its payment, and its book."""
    buyer, book = await shop.join(), await shop.stock()
    await shop.put_in_cart(buyer, book)
    answer, _ = await shop.buy(buyer, method=method)
    assert answer.order is not None, answer
    assert answer.order.state == "pending"
    return buyer, book, await order_of(shop, answer.order.id)


async def order_of(shop: Shop, order_id: str) -> Order:
    stored = await shop.store.find_order(order_id)
    assert stored is not None
    return stored.value


async def done(shop: Shop, event_id: str, provider: str = "simulated") -> bool:
    found = await shop.account.table("events").find(DoneEvent, provider, fingerprint(event_id))
    return found is not None


async def receive(shop: Shop, event: PaymentEvent) -> None:
    await shop.webhooks.receive(*shop.provider.write_webhook(event))


async def test_a_late_payment_is_fulfilled_by_its_webhook_however_often_it_comes(shop: Shop) -> None:
    buyer, book, order = await pending(shop)
    event = await shop.provider.pay(buyer.user_id, order.id)
    await asyncio.gather(*(receive(shop, event) for _ in range(3)))
    await receive(shop, event)
    assert await shop.owned(buyer) == {book.id: "owned"}
    paid = await order_of(shop, order.id)
    assert (paid.state, len(paid.history)) == ("paid", 2)
    assert len(await shop.charges(buyer)) == 1


async def test_an_event_that_comes_before_the_payment_changes_nothing(shop: Shop) -> None:
    buyer, book, order = await pending(shop)
    await receive(shop, PaymentEvent(id=new_id(), user_id=buyer.user_id, order_id=order.id))
    assert (await order_of(shop, order.id)).state == "pending"
    await receive(shop, await shop.provider.pay(buyer.user_id, order.id))
    await receive(shop, PaymentEvent(id=new_id(), user_id=buyer.user_id, order_id=order.id))
    assert await shop.owned(buyer) == {book.id: "owned"}


async def test_what_is_forged_or_stale_settles_nothing(shop: Shop) -> None:
    buyer, _, order = await pending(shop)
    event = await shop.provider.pay(buyer.user_id, order.id)
    body, headers = shop.provider.write_webhook(event)
    stale = shop.provider.write_webhook(event, now() - timedelta(seconds=302))
    attacks = [(body, {}), (body + b" ", headers), (body, {**headers, "aloud-signature": "t=1,v1=0"}), stale]
    for content, given in attacks:
        with pytest.raises(UnauthenticatedError):
            await shop.webhooks.receive(content, given)
    assert (await order_of(shop, order.id)).state == "pending"
    assert not await done(shop, event.id)


async def test_an_event_that_could_not_be_settled_is_not_done(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider does not answer when it is asked what happened; it sends its event again."""
    shop = start()
    buyer, book, order = await pending(shop)
    event = await shop.provider.pay(buyer.user_id, order.id)

    async def silent(*_: object) -> None:
        raise UnavailableError("The provider does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(shop.provider, "look", silent)
        with pytest.raises(UnavailableError):
            await receive(shop, event)
    assert not await done(shop, event.id)
    await receive(shop, event)
    assert await done(shop, event.id)
    assert await shop.owned(buyer) == {book.id: "owned"}


async def test_an_event_about_an_order_that_is_not_here_is_not_asked_for_again(shop: Shop) -> None:
    event = PaymentEvent(id=new_id(), user_id=new_id(), order_id=new_id() + new_id())
    await receive(shop, event)
    assert await done(shop, event.id)


async def test_events_are_forgotten_after_a_month(shop: Shop) -> None:
    table = shop.account.table("events")
    ids = {"old": now() - KEPT - timedelta(minutes=1), "new": now() - KEPT + timedelta(minutes=1)}
    for event_id, at in ids.items():
        row = DoneEvent(at=at)
        await table.put(row, "simulated", fingerprint(event_id))
    await shop.webhooks.sweep()
    assert [await done(shop, event_id) for event_id in ids] == [False, True]


# Stripe


@pytest_asyncio.fixture
async def stripe() -> AsyncIterator[StripeServer]:
    async with StripeServer.start() as running:
        yield running


async def test_a_book_is_paid_on_stripes_page_and_told_of_by_webhook(
    start: Start, stripe: StripeServer
) -> None:
    shop = start(**stripe.settings)
    buyer, book, order = await pending(shop, "stripe")
    (session_id,) = stripe.sessions
    assert order.payment.reference == session_id
    assert order.payment.pay_url == stripe.sessions[session_id]["url"]
    early = stripe.webhook("checkout.session.expired", session_id)
    await shop.webhooks.receive(*early)
    assert (await order_of(shop, order.id)).state == "pending", "what happened is asked of Stripe"
    stripe.pay(session_id)
    webhook = stripe.webhook("checkout.session.completed", session_id, "evt_paid")
    stripe.fail_with(500, type="api_error", message="down")
    with pytest.raises(UnavailableError):
        await shop.webhooks.receive(*webhook)
    assert not await done(shop, "evt_paid", "stripe")
    stripe.heal()
    for _ in range(2):
        await shop.webhooks.receive(*webhook)
    assert await done(shop, "evt_paid", "stripe")
    assert await shop.owned(buyer) == {book.id: "owned"}
    asked = len(stripe.requests)
    await shop.webhooks.receive(*webhook)
    assert len(stripe.requests) == asked, "a replay asks nobody"
    with pytest.raises(UnauthenticatedError):
        await shop.webhooks.receive(webhook[0], sign(webhook[0], "whsec_another"))


async def test_who_was_told_where_to_pay_can_pay_though_another_try_was_refused(
    start: Start, stripe: StripeServer
) -> None:
    """Somebody goes on with a slow checkout whose first process opens the session after all."""
    shop = start(**stripe.settings)
    buyer, book, told = await pending(shop, "stripe")
    reference = told.payment.reference
    assert reference is not None
    untold = told.payment.model_copy(update={"reference": None, "pay_url": None})
    as_read = told.model_copy(update={"payment": untold, "answered": False})
    stripe.fail_with(401)
    order = await shop.orders.charge(Stored(as_read, buyer.user_id, told.key, 'W/"old"'), None)
    stripe.heal()
    assert (order.state, order.payment.reference) == ("pending", reference)
    stripe.pay(reference)
    await shop.webhooks.receive(*stripe.webhook("checkout.session.completed", reference))
    assert await shop.owned(buyer) == {book.id: "owned"}


async def test_a_session_that_expired_gives_the_book_free_again(start: Start, stripe: StripeServer) -> None:
    shop = start(**stripe.settings)
    buyer, _, order = await pending(shop, "stripe")
    (session_id,) = stripe.sessions
    stripe.expire(session_id)
    await shop.webhooks.receive(*stripe.webhook("checkout.session.expired", session_id))
    assert (await order_of(shop, order.id)).state == "failed"
    assert await shop.owned(buyer) == {}


async def test_money_goes_back_by_stripe_with_the_book(start: Start, stripe: StripeServer) -> None:
    shop = start(**stripe.settings)
    buyer, _, order = await pending(shop, "stripe")
    (session_id,) = stripe.sessions
    stripe.pay(session_id)
    await shop.orders.settle(order.id)
    refunded = await shop.refund(order.id)
    assert refunded.state == "refunded"
    assert stripe.refunded == {stripe.sessions[session_id]["payment_intent"]: order.total}
    assert await shop.owned(buyer) == {}
