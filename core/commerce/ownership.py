"""Who owns what: what the catalog asks before it lets somebody hear a book."""

from core.commerce.store import CommerceStore


class Ownership:
    def __init__(self, store: CommerceStore) -> None:
        self._store = store

    async def owns(self, user_id: str, book_id: str) -> bool:
        """Tell whether a book is a person's own, at the cost of one read."""
        owned = await self._store.find_owned(user_id, book_id)
        return owned is not None and owned.state == "owned"
