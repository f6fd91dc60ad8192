"""What becomes of the books of a publisher who leaves: they are the administrators' from then on."""

from collections.abc import AsyncIterator
from contextlib import suppress

from core.catalog.models import Book
from core.catalog.service import Catalog
from core.catalog.shelves import Shelves
from core.errors import NotFoundError

_PAGE = 100


class Succession:
    def __init__(self, catalog: Catalog, shelves: Shelves) -> None:
        self._catalog = catalog
        self._shelves = shelves

    async def books(self, user_id: str) -> AsyncIterator[Book]:
        """Yield the books of a publisher, drafts too."""
        after: tuple[str, str] | None = None
        while True:
            ids, after = await self._shelves.list(user_id, _PAGE, after)
            for book_id in ids:
                with suppress(NotFoundError):  # it never came to be
                    book = await self._catalog.book(book_id)
                    if book.owner_id == user_id:
                        yield book
            if after is None:
                return

    async def leave(self, user_id: str) -> None:
        """Give the books away; drafts are withdrawn, so that their recordings go after a month.

        Can be repeated: the list of the books goes last.
        """

        def give_away(book: Book) -> Book | None:
            if book.owner_id != user_id:
                return None
            seen = "withdrawn" if book.visibility == "draft" else book.visibility
            return book.model_copy(update={"owner_id": None, "visibility": seen})

        async for book in self.books(user_id):
            await self._catalog.update(book.id, give_away)
        await self._shelves.clear(user_id)
