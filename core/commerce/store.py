"""Where the shop keeps what is a person's: rows of `users`, in the person's partition.

An order's row guards all that belongs to it: what is owned, its request's answer and its letters change only
in a transaction that replaces the order as it was read.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import timedelta

from core.commerce.models import Cart, Idempotency, Order, Outbox, Owned, order_key
from core.errors import ConflictError, NotFoundError, StaleError, UnavailableError
from core.ids import fingerprint, is_id, is_key, now, owner_of
from core.storage.tables import Insert, Operation, Put, Remove, Replace, Stored, Table

_OWNED = "owned_"
_CART = "cart"
_ORDER = "order_"
_IDEMPOTENCY = "idem_"
_OUTBOX = "outbox_"
_TRIES = 20
REQUEST_LIFE = timedelta(days=30)


def idempotency_key(route: str, key: str) -> str:
    """Return the row key of a request."""
    return f"{_IDEMPOTENCY}{fingerprint(route, key)}"


def put_owned(owned: Owned) -> Put:
    return Put(f"{_OWNED}{owned.book_id}", owned)


def remove_owned(book_id: str) -> Remove:
    return Remove(f"{_OWNED}{book_id}")


def put_letter(letter: Outbox) -> Put:
    return Put(f"{_OUTBOX}{letter.order_id}_{letter.kind}", letter)


class CommerceStore:
    def __init__(self, users: Table) -> None:
        self._users = users

    # What people own

    async def find_owned(self, user_id: str, book_id: str) -> Owned | None:
        """Return what a person has of a book, be it only that it is being bought."""
        found = await self._users.find(Owned, user_id, f"{_OWNED}{book_id}")
        return None if found is None else found.value

    async def owned_among(self, user_id: str, book_ids: Iterable[str]) -> dict[str, Owned]:
        """Return what a person has of these books, read at the same time."""
        found = await asyncio.gather(*(self.find_owned(user_id, book_id) for book_id in book_ids))
        return {owned.book_id: owned for owned in found if owned is not None}

    async def owned(self, user_id: str) -> AsyncIterator[Owned]:
        """Yield all that a person has, and what is being bought, by the id of the book."""
        async for stored in self._users.each(Owned, user_id, _OWNED):
            yield stored.value

    async def give(self, user_id: str, owned: Owned) -> bool:
        """Let a person own a book; tells whether it is theirs by this order, now or already."""
        try:
            await self._users.insert(owned, user_id, f"{_OWNED}{owned.book_id}")
        except ConflictError:
            found = await self.find_owned(user_id, owned.book_id)
            return found is not None and found.order_id == owned.order_id
        return True

    async def take_away(self, user_id: str, book_id: str, order_id: str) -> None:
        """Let a person not own a book any more, if it is by this order that they do."""
        found = await self._users.find(Owned, user_id, f"{_OWNED}{book_id}")
        if found is not None and found.value.order_id == order_id:
            await self._users.delete_unchanged(found)

    # Carts

    async def find_cart(self, user_id: str) -> Stored[Cart] | None:
        return await self._users.find(Cart, user_id, _CART)

    async def change_cart(self, user_id: str, change: Callable[[Cart], Cart]) -> Cart:
        """Change a cart by a pure function; who never had one begins with an empty one."""
        for _ in range(_TRIES):
            stored = await self.find_cart(user_id)
            before = Cart() if stored is None else stored.value
            after = change(before)
            if after == before:
                return before
            try:
                if stored is None:
                    await self._users.insert(after, user_id, _CART)
                else:
                    await self._users.replace(stored, after)
            except (ConflictError, StaleError, NotFoundError):
                continue
            return after
        raise UnavailableError("This cart changes too often.", retry_after=1)

    # Requests

    async def find_request(self, user_id: str, key: str) -> Stored[Idempotency] | None:
        """Return an earlier request with this key; after its days it counts no more."""
        found = await self._users.find(Idempotency, user_id, key)
        if found is None or found.value.at > now() - REQUEST_LIFE:
            return found
        await self.forget_request(found)
        return None

    async def add_request(self, user_id: str, key: str, request: Idempotency) -> None:
        """Keep the answer of a request that made no order. Raises ConflictError if it was made before."""
        await self._users.insert(request, user_id, key)

    async def forget_request(self, stored: Stored[Idempotency]) -> None:
        await self._users.delete_unchanged(stored)

    # Orders

    async def begin(self, order: Order, request: Idempotency, owned: Sequence[Owned]) -> Stored[Order]:
        """Add an order, the request that wants it and what it takes: all or nothing.

        Raises ConflictError where the request was made before, or something of it is taken.
        """
        operations: list[Operation] = [
            Insert(order.request.key, request),
            Insert(order.key, order),
            *(Insert(f"{_OWNED}{one.book_id}", one) for one in owned),
        ]
        etags = await self._users.transact(order.user_id, operations)
        return Stored(order, order.user_id, order.key, etags[1])

    async def find_order(self, order_id: str) -> Stored[Order] | None:
        """Return an order by its id alone."""
        user_id = owner_of(order_id)
        is_one = is_id(order_id.removesuffix(user_id)) and is_key(user_id)
        return await self._users.find(Order, user_id, order_key(order_id)) if is_one else None

    async def change_order(
        self, stored: Stored[Order], order: Order, operations: Sequence[Operation] = ()
    ) -> Stored[Order]:
        """Replace an order as it was read, together with what belongs to it.

        Raises StaleError, ConflictError or NotFoundError where something has changed meanwhile.
        """
        etags = await self._users.transact(order.user_id, [Replace(stored, order), *operations])
        return Stored(order, order.user_id, stored.key, etags[0])

    async def orders(self, user_id: str, limit: int, after: str | None) -> tuple[list[Order], str | None]:
        """Return orders, the newest first, and where the next page begins."""
        found: list[Stored[Order]] = []
        async for stored in self._users.each(Order, user_id, _ORDER, after, limit + 1):
            if len(found) == limit:
                return [one.value for one in found], found[-1].key
            found.append(stored)
        return [one.value for one in found], None

    # Letters

    async def letters(self, order: Order) -> AsyncIterator[Stored[Outbox]]:
        """Yield the letters of an order that were not handed over yet."""
        async for stored in self._users.each(Outbox, order.user_id, f"{_OUTBOX}{order.id}_"):
            yield stored

    async def has_letters(self, order: Order) -> bool:
        """Tell whether there are letters of an order that were not handed over yet."""
        return [letter async for letter in self.letters(order)] != []

    async def remove_letter(self, stored: Stored[Outbox]) -> None:
        await self._users.delete(stored.partition, stored.key)
