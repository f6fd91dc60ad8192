"""What the nightly sweep of the shop sees to: what is due, and nothing else."""

import asyncio
from datetime import datetime, timedelta

import pytest

from core.commerce.checkout import ROUTE
from core.commerce.models import DueOrder
from core.commerce.store import idempotency_key
from core.ids import new_id, now, owner_of
from core.storage.account import count_calls
from core.storage.tables import Stored
from tests.core.commerce.conftest import Shop

_ORDERS = "PartitionKey ge 'orders_' and PartitionKey lt 'orders`'"


async def due_of(shop: Shop, user_id: str) -> list[Stored[DueOrder]]:
    due = shop.account.table("due").each(DueOrder, None, condition=_ORDERS)
    return [stored async for stored in due if owner_of(stored.value.order_id) == user_id]


async def calls_of_a_sweep(shop: Shop) -> int:
    async def sweep() -> int:
        calls = count_calls()
        await shop.orders.sweep()
        return calls.count

    return await asyncio.create_task(sweep())


def let_it_be(monkeypatch: pytest.MonkeyPatch, at: datetime) -> None:
    for module in ("orders", "store"):
        monkeypatch.setattr(f"core.commerce.{module}.now", lambda: at)


async def test_a_night_costs_nothing_for_what_is_not_due(shop: Shop) -> None:
    await shop.orders.sweep()  # of what other tests have left
    before = await calls_of_a_sweep(shop)
    for _ in range(3):
        await shop.bought(await shop.join(), await shop.stock())
    assert await calls_of_a_sweep(shop) == before


async def test_a_request_is_forgotten_after_its_days_and_an_order_is_not(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = await shop.join()
    await shop.buy(buyer, "refused")
    await shop.put_in_cart(buyer, await shop.stock())
    order = (await shop.buy(buyer, "bought"))[0].order
    assert order is not None
    await shop.orders.settle(order.id)

    async def known() -> list[bool]:
        keys = [idempotency_key(ROUTE, key) for key in ("refused", "bought")]
        return [await shop.store.find_request(buyer.user_id, key) is not None for key in keys]

    day, today = timedelta(days=1), now()
    for later, wanted in ((day, [True] * 2), (29 * day, [True] * 2), (32 * day, [False] * 2)):
        with monkeypatch.context() as then:
            let_it_be(then, today + later)
            await shop.orders.sweep()
            await shop.orders.sweep()
        assert await known() == wanted
        assert len(await due_of(shop, buyer.user_id)) == sum(wanted)
    assert [found.id for found in await shop.orders_of(buyer)] == [order.id]


async def test_what_is_open_is_due_each_night_until_it_is_not(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = await shop.join()
    order = await shop.bought(buyer, await shop.stock(), method="simulated-late")
    let_it_be(monkeypatch, tomorrow := now() + timedelta(days=1))
    for _ in range(2):
        await shop.queue.clear_messages()
        await shop.orders.sweep()
        sent = [message.content async for message in shop.queue.receive_messages()]
        assert any(order.id in content for content in sent)
    (due,) = await due_of(shop, buyer.user_id)
    assert due.partition == f"orders_{tomorrow:%Y-%m-%d}"
    monkeypatch.undo()
    await shop.orders.cancel(buyer, order.id)
    let_it_be(monkeypatch, tomorrow)
    await shop.orders.sweep()
    (due,) = await due_of(shop, buyer.user_id)
    assert due.partition > f"orders_{tomorrow:%Y-%m-%d}", "its request is kept for longer"


async def test_a_voucher_of_a_checkout_that_wrote_no_order_is_free_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, buyer = await shop.make_voucher(), await shop.join()
    order_id = new_id() + buyer.user_id
    await shop.orders.announce(order_id, code, "idem_none")
    await shop.services.commerce.vouchers.reserve(code, buyer.user_id, order_id)
    await shop.orders.sweep()
    assert await shop.uses_of(code) == 1, "not before the next day"
    let_it_be(monkeypatch, now() + timedelta(days=1))
    await shop.orders.sweep()
    assert await shop.uses_of(code) == 0
    assert await due_of(shop, buyer.user_id) == []
