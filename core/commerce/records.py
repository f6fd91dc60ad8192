"""What the shop holds about a person: a copy of it, and what stays of their orders when they leave."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from core.commerce.archives import Archives
from core.commerce.gifts import Gifts
from core.commerce.models import Actor, Item, Order, OrderState
from core.commerce.orders import Orders
from core.commerce.store import CommerceStore
from core.commerce.vouchers import Vouchers
from core.errors import ConflictError, NotFoundError, UnavailableError
from core.ids import inverted
from core.storage.tables import Table

_PSEUDONYM = "pseudonym"
_PAGE = 100


class Pseudonym(BaseModel):
    """Row `pseudonym` of `users`: what somebody who leaves is called from now on; it goes with the rest."""

    model_config = ConfigDict(frozen=True)

    value: str


class SaleEvent(BaseModel):
    """A line of an order's history, without the words that somebody has written."""

    model_config = ConfigDict(frozen=True)

    state: OrderState
    at: datetime
    actor: Actor


class Sale(BaseModel):
    """Row of `sales`, a partition a pseudonym: what a shop has to keep of an order of somebody who has left.

    No account, no address, no id that holds one. The provider's records have the number, too.
    """

    model_config = ConfigDict(frozen=True)

    number: str
    state: OrderState
    items: tuple[Item, ...]
    currency: str
    country: str | None
    method: str
    history: tuple[SaleEvent, ...]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, order: Order) -> "Sale":
        """Return what stays of an order."""
        return cls(
            number=order.number,
            state=order.state,
            items=order.items,
            currency=order.currency,
            country=order.country,
            method=order.payment.method,
            history=tuple(SaleEvent(**event.model_dump(exclude={"cause"})) for event in order.history),
            created_at=order.created_at,
            updated_at=order.updated_at,
        )


class Records:
    def __init__(
        self,
        users: Table,
        sales: Table,
        orders: Orders,
        vouchers: Vouchers,
        gifts: Gifts,
        archives: Archives,
    ) -> None:
        self._users = users
        self._sales = sales
        self._store = CommerceStore(users)
        self._orders = orders
        self._vouchers = vouchers
        self._gifts = gifts
        self._archives = archives

    async def held(self, user_id: str) -> AsyncIterator[tuple[str, Sequence[BaseModel]]]:
        """Yield all that the shop holds about a person, by what it is."""
        cart = await self._store.find_cart(user_id)
        yield "cart", [] if cart is None else list(cart.value.entries)
        yield "orders", [order async for order in self._orders_of(user_id)]
        yield (
            "owned",
            [
                owned if owned.is_bought_by(user_id) else owned.model_copy(update={"order_id": ""})
                async for owned in self._store.owned(user_id)
            ],
        )
        yield "downloads", await self._archives.of(user_id)

    async def leave(self, user_id: str) -> None:
        """Bring all orders to their end, their letters too; keep what was sold under a pseudonym.

        Can be repeated: an order's row goes once what stays of it is written. The other rows go with the
        person's own, the files go now. Raises UnavailableError while a payment or a refund has no end.
        """
        async for found in self._orders_of(user_id):
            try:
                order = await self._orders.settle(found.id, give_up=True)
            except NotFoundError:  # a duplicate of this work was faster
                continue
            if order.is_open:
                raise UnavailableError(f"Order {order.number} has not come to its end.", retry_after=60)
            if order.state in ("paid", "refunded"):
                key = f"{inverted(order.created_at)}_{order.number}"
                await self._sales.put(Sale.of(order), await self._pseudonym(user_id), key)
            if order.voucher is not None:
                await self._vouchers.forget_buyer(order.voucher, user_id, order.id)
            if order.gift is not None:
                await self._gifts.forget_giver(order.id)
            await self._users.delete(user_id, order.key)
        async for owned in self._store.owned(user_id):
            if not owned.is_bought_by(user_id):
                await self._gifts.forget_redeemer(owned.order_id, user_id)
        await self._archives.erase(user_id)

    async def _pseudonym(self, user_id: str) -> str:
        """Return what somebody is called from now on, at random, so that nothing leads back."""
        with suppress(ConflictError):
            await self._users.insert(Pseudonym(value=secrets.token_hex(13)), user_id, _PSEUDONYM)
        return (await self._users.get(Pseudonym, user_id, _PSEUDONYM)).value.value

    async def _orders_of(self, user_id: str) -> AsyncIterator[Order]:
        after: str | None = None
        while True:
            orders, after = await self._store.orders(user_id, _PAGE, after)
            for order in orders:
                yield order
            if after is None:
                return
