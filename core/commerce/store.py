"""Where the shop keeps what is a person's: rows of `users`, in the person's partition."""

from collections.abc import AsyncIterator

from core.commerce.models import Owned
from core.storage.tables import Table

_OWNED = "owned_"


class CommerceStore:
    def __init__(self, users: Table) -> None:
        self._users = users

    async def find_owned(self, user_id: str, book_id: str) -> Owned | None:
        """Return what a person has of a book, be it only that it is being bought."""
        found = await self._users.find(Owned, user_id, f"{_OWNED}{book_id}")
        return None if found is None else found.value

    async def owned(self, user_id: str) -> AsyncIterator[Owned]:
        """Yield all that a person has, and what is being bought, by the id of the book."""
        async for stored in self._users.each(Owned, user_id, _OWNED):
            yield stored.value
