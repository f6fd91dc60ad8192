"""The letters of orders: handed over from the outbox, each once."""

from core.accounts.service import Accounts
from core.commerce.models import LetterKind, Order
from core.commerce.pricing import write_money
from core.commerce.store import CommerceStore
from core.errors import NotFoundError
from core.ids import derived_id
from core.mail import Letter
from core.operations.service import Operations


class Post:
    def __init__(self, store: CommerceStore, accounts: Accounts, operations: Operations, site: str) -> None:
        self._store = store
        self._accounts = accounts
        self._operations = operations
        self._site = site.rstrip("/")

    async def send(self, order: Order) -> None:
        """Hand over what waits in an order's outbox, to the address that its buyer has now.

        What is cut off in between is handed over again; the mail service takes an id once.
        """
        async for stored in self._store.letters(order):
            await self._send(order, stored.value.kind)
            await self._store.remove_letter(stored)

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
