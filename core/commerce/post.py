"""What an order's outbox holds: letters and chores, each done until it is done."""

from core.accounts.service import Accounts
from core.commerce.gifts import Gifts
from core.commerce.models import SHELVES, ChoreKind, LetterKind, Order, ShelfChanged
from core.commerce.pricing import write_money
from core.commerce.store import CommerceStore
from core.commerce.vouchers import Vouchers
from core.errors import NotFoundError, UnavailableError
from core.ids import derived_id
from core.mail import Letter
from core.operations.service import Operations
from core.storage.queues import Queues


class Post:
    def __init__(
        self,
        store: CommerceStore,
        accounts: Accounts,
        operations: Operations,
        vouchers: Vouchers,
        gifts: Gifts,
        queues: Queues,
        site: str,
    ) -> None:
        self._store = store
        self._vouchers = vouchers
        self._gifts = gifts
        self._queues = queues
        self._accounts = accounts
        self._operations = operations
        self._site = site.rstrip("/")

    async def send(self, order: Order) -> None:
        """Do what waits in an order's outbox; letters go to the address that its buyer has now.

        What is cut off in between is done again; the mail service takes an id once. What cannot be done now
        does not keep the rest from being done: UnavailableError is raised after that.
        """
        failure: UnavailableError | None = None
        async for stored in self._store.letters(order):
            try:
                await self._do(order, stored.value.kind)
                await self._store.remove_letter(stored)
            except UnavailableError as error:
                failure = error
        if failure is not None:
            raise failure

    async def _do(self, order: Order, kind: LetterKind | ChoreKind) -> None:
        match kind:
            case "voucher":
                await self._follow(order)
            case "gift":
                await self._gifts.send(order)
            case "gift-refunded":
                await self._gifts.take_back(order)
            case _:
                if order.grants and order.state != "failed":
                    await self._queues.send(SHELVES, ShelfChanged(user_id=order.user_id))
                await self._send(order, kind)

    async def _follow(self, order: Order) -> None:
        """Use up the voucher of an order that was paid; give back that of one that failed."""
        if order.voucher is not None and order.state == "failed":
            await self._vouchers.release(order.voucher, order.id)
        elif order.voucher is not None:
            await self._vouchers.settle(order.voucher, order.id)

    async def _send(self, order: Order, kind: LetterKind) -> None:
        try:
            buyer = await self._accounts.profiles.show(order.user_id)
        except NotFoundError:
            return  # the account was deleted; there is nobody to tell
        letter = Letter(
            id=derived_id(order.created_at, "letter", order.id, kind),
            to=buyer.email,
            template=kind,
            locale=buyer.locale,
            values={
                "name": buyer.display_name,
                "number": order.number,
                "when": f"{order.created_at:%d %B %Y, %H:%M} UTC",
                "lines": "\n".join(
                    f"{item.title}: {write_money(item.total, order.currency)}" for item in order.items
                ),
                "total": write_money(order.total, order.currency),
                "tax": write_money(sum(item.tax for item in order.items), order.currency)
                if any(item.tax for item in order.items)
                else "",
                "reason": order.history[-1].cause,
                "link": f"{self._site}/{'cart' if kind == 'order-failed' else 'library'}",
            },
        )
        await self._operations.post(letter)
