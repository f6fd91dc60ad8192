"""A copy of what the shop knows of somebody, and what it keeps when they leave: sales, of nobody."""

import io
import json
import zipfile
from datetime import datetime, timedelta
from typing import Any

import pytest
from azure.data.tables.aio import TableServiceClient

from core.accounts.models import Erase, MakeExport
from core.accounts.store import AccountStore
from core.caller import Caller, Origin
from core.commerce.models import Order, OrderEvent, OrderRequest, Payment, order_key
from core.commerce.records import Sale
from core.errors import NotFoundError
from core.ids import derived_id, new_id, now, scoped_id
from localhost.azurite import Azurite
from tests.core.commerce.conftest import Shop, Start
from tests.core.commerce.depot import settings_of
from tests.core.commerce.test_gifts import give
from tests.faults import crash_everywhere


async def _wish_to_leave(shop: Shop, person: Caller) -> datetime:
    at = now()
    store = AccountStore(shop.account.table("accounts"), shop.users)
    await store.change_user(person.user_id, lambda user: user.model_copy(update={"erasing_at": at}))
    return at


async def _erase(shop: Shop, person: Caller, at: datetime) -> None:
    """Do what the message asks that follows on the wish."""
    work = Erase(id=derived_id(at, "erasure", person.user_id), at=at, user_id=person.user_id)
    await shop.services.accounts.holdings.erase(work)


async def _sales(shop: Shop, number: str) -> list[tuple[str, Sale]]:
    sales = shop.account.table("sales")
    return [(one.partition, one.value) async for one in sales.each(Sale, None) if one.value.number == number]


async def _rows(azurite: Azurite, user_id: str) -> list[str]:
    """Return the keys of all rows of a person."""
    async with TableServiceClient.from_connection_string(azurite.connection_string) as tables:
        found = tables.get_table_client("users").query_entities(f"PartitionKey eq '{user_id}'")
        return [row["RowKey"] async for row in found]


def _order(user_id: str, **fields: Any) -> Order:
    """Return an order that is paid."""
    at = now()
    facts: dict[str, Any] = {
        "id": scoped_id(new_id(at), user_id),
        "user_id": user_id,
        "state": "paid",
        "is_open": False,
        "items": [{"book_id": new_id(), "title": "Emma", "price": 999}],
        "currency": "USD",
        "payment": Payment(method="simulated", email=f"{user_id}@example.com"),
        "request": OrderRequest(key="idem_1", hash="", id="test"),
        "history": (OrderEvent(state="paid", at=at, actor="provider", cause="paid"),),
        "created_at": at,
        "updated_at": at,
    }
    return Order.model_validate(facts | fields)


async def _add(shop: Shop, order: Order) -> None:
    await shop.users.insert(order, order.user_id, order_key(order.id))


async def test_a_copy_has_what_the_shop_knows(shop: Shop) -> None:
    ada = await shop.join()
    book, other = await shop.stock("Emma"), await shop.stock("Persuasion")
    order = await shop.bought(ada, book)
    await shop.put_in_cart(ada, other)
    archive = await shop.services.commerce.archives.begin([book.id], ada)
    holdings = shop.services.accounts.holdings
    export = await holdings.request_export(ada, Origin(address="", request_id=new_id()))
    await holdings.make_export(MakeExport(id=export.id, at=export.created_at, user_id=ada.user_id))
    content = await shop.account.container("exports").read(f"{ada.user_id}/{export.id}.zip")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        copy = {name: json.loads(file.read(name)) for name in file.namelist()}
    assert [entry["book_id"] for entry in copy["cart.json"]] == [other.id]
    assert [(one["id"], one["items"][0]["title"]) for one in copy["orders.json"]] == [(order.id, "Emma")]
    assert [owned["book_id"] for owned in copy["owned.json"]] == [book.id]
    assert [one["id"] for one in copy["downloads.json"]] == [archive.id]
    assert [one["order_id"] for one in copy["charges.json"]] == [order.id]


async def test_what_was_sold_stays_and_nobody_is_named(shop: Shop, azurite: Azurite) -> None:
    ada = await shop.join()
    books = [await shop.stock(title) for title in ("Emma", "Persuasion", "Sanditon", "Lady Susan")]
    sold = [await shop.bought(ada, book) for book in books[:2]]
    administrator = Caller(user_id=new_id(), session_id="", roles=frozenset({"admin"}))
    await shop.orders.refund(
        administrator, sold[1].id, "Ada of Bath has asked", Origin(address="", request_id="")
    )
    late = await shop.bought(ada, books[2], method="simulated-late")
    await shop.put_in_cart(ada, books[3])
    declined, _ = await shop.buy(ada, method="simulated-decline")
    assert late.state == "pending" and declined.failure is not None
    files = shop.account.container("archives")
    await files.write(f"{ada.user_id}/{new_id()}.zip", b"a ZIP", "application/zip")
    await _erase(shop, ada, await _wish_to_leave(shop, ada))
    assert await _rows(azurite, ada.user_id) == []
    assert [name async for name in files.names(ada.user_id)] == []
    kept = [found for order in sold for found in await _sales(shop, order.number)]
    assert [(sale.state, sale.items[0].title) for _, sale in kept] == [
        ("paid", "Emma"),
        ("refunded", "Persuasion"),
    ]
    assert len({pseudonym for pseudonym, _ in kept}) == 1
    for pseudonym, sale in kept:
        said = pseudonym + sale.model_dump_json()
        assert ada.user_id not in said and "@" not in said and "Bath" not in said
    assert await _sales(shop, late.number) == []
    assert await shop.charges(ada) == []
    with pytest.raises(NotFoundError):
        await shop.provider.pay(ada.user_id, late.id)


async def test_a_crash_while_somebody_leaves_loses_and_doubles_no_sale(azurite: Azurite) -> None:
    async def prepare(shop: Shop) -> list[Order]:
        user_id = new_id()
        orders = [_order(user_id), _order(user_id, state="failed")]
        for order in orders:
            await _add(shop, order)
        return orders

    async def leave(shop: Shop, orders: list[Order]) -> None:
        await shop.services.commerce.records.leave(orders[0].user_id)

    async def check(shop: Shop, orders: list[Order]) -> None:
        kept = len(await _sales(shop, orders[0].number))
        assert kept == 1 or await shop.store.find_order(orders[0].id) is not None
        assert kept <= 1

    async def check_done(shop: Shop, orders: list[Order]) -> None:
        assert len(await _sales(shop, orders[0].number)) == 1
        assert await _sales(shop, orders[1].number) == []
        assert await shop.store.orders(orders[0].user_id, 10, None) == ([], None)

    await crash_everywhere(
        lambda watch: Shop(settings_of(azurite), watch),
        prepare,
        leave,
        check,
        leave,
        check_done,
        in_sequence=True,
    )


async def test_an_order_that_comes_while_its_buyer_is_erased_is_kept(start: Start, azurite: Azurite) -> None:
    """A checkout that was under way when the account ended; the message that waits finds its order."""
    shop = start()
    ada = await shop.join()
    at = await _wish_to_leave(shop, ada)
    await _erase(shop, ada, at)
    order = _order(ada.user_id, created_at=at + timedelta(seconds=1))
    await _add(shop, order)
    await _erase(shop, ada, at)
    assert await _rows(azurite, ada.user_id) == []
    assert len(await _sales(shop, order.number)) == 1


async def test_who_leaves_with_two_orders_of_one_voucher_gives_the_open_one_back(
    shop: Shop, azurite: Azurite
) -> None:
    ada, code = await shop.join(), await shop.make_voucher()
    await shop.put_in_cart(ada, await shop.stock())
    open_one, _ = await shop.buy(ada, method="simulated-late", voucher_code=code)
    await shop.cart.empty(ada)
    await shop.put_in_cart(ada, await shop.stock())
    paid, _ = await shop.buy(ada, voucher_code=code)
    assert open_one.order and open_one.order.state == "pending" and paid.order and paid.order.state == "paid"
    await _erase(shop, ada, await _wish_to_leave(shop, ada))
    assert await shop.uses_of(code) == 1
    assert await _rows(azurite, ada.user_id) == []


async def test_what_a_crash_reserved_for_somebody_who_has_left_is_given_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nightly sweep goes on to its end, too."""
    monkeypatch.setattr("core.commerce.orders._DUE_AFTER", timedelta(0))
    ada, code = await shop.join(), await shop.make_voucher()
    order_id = scoped_id(new_id(), ada.user_id)
    await shop.orders.announce(order_id, code, "idem_none")
    await shop.services.commerce.vouchers.reserve(code, ada.user_id, order_id)
    await shop.put_in_cart(ada, await shop.stock())
    await shop.buy(ada, voucher_code=code)
    await _erase(shop, ada, await _wish_to_leave(shop, ada))
    await shop.orders.sweep()
    assert await shop.uses_of(code) == 1


async def test_a_gift_gives_nothing_to_who_has_redeemed_it_and_left(shop: Shop, azurite: Azurite) -> None:
    _, books, order, code = await give(shop, 2)
    ada, bob = await shop.join(), await shop.join()
    await shop.give(ada, books[1])
    await shop.gifts.redeem(ada, code)
    await _erase(shop, ada, await _wish_to_leave(shop, ada))
    await shop.gifts.redeem(bob, code)
    assert await shop.owned(bob) == {books[1].id: "owned"}
    assert ada.user_id not in (await shop.gifts.find(code)).model_dump_json()
    await shop.refund(order.id)
    assert await shop.owned(bob) == {}
    assert await _rows(azurite, ada.user_id) == []
