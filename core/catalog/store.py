"""Where books are kept: `books`, one partition a book."""

import asyncio
from collections.abc import AsyncIterator, Callable

from core.catalog.models import Book, Chapter, Chapters
from core.errors import NotFoundError
from core.ids import now
from core.storage.tables import Insert, Put, Table


class BookStore:
    def __init__(self, books: Table) -> None:
        self._books = books

    async def create(self, book: Book) -> None:
        """Raises ConflictError if the id is taken."""
        await self._books.transact(book.id, [Insert("book", book), Insert("chapters", Chapters())])

    async def book(self, book_id: str) -> Book:
        """Raises NotFoundError."""
        found = await self._books.find(Book, book_id, "book")
        if found is None:
            raise NotFoundError("There is no such book.")
        return found.value

    async def chapters(self, book_id: str) -> Chapters:
        found = await self._books.find(Chapters, book_id, "chapters")
        return Chapters() if found is None else found.value

    async def book_with_chapters(self, book_id: str) -> tuple[Book, Chapters]:
        """Raises NotFoundError."""
        return await asyncio.gather(self.book(book_id), self.chapters(book_id))

    async def update(
        self, book_id: str, change: Callable[[Book], Book | None], chapters: tuple[Chapter, ...] | None = None
    ) -> Book:
        """Apply a change and count the revision up, in one write with new chapters if there are any.

        Nothing is written where `change` returns None. Raises NotFoundError.
        """

        def revise(book: Book) -> Book | None:
            changed = change(book)
            if changed is None or (changed == book and chapters is None):
                return None
            return changed.model_copy(update={"revision": book.revision + 1, "updated_at": now()})

        also = [] if chapters is None else [Put("chapters", Chapters(items=chapters))]
        return await self._books.update(Book, book_id, "book", revise, also)

    async def all(self) -> AsyncIterator[Book]:
        """Yield every book, in the order of ids."""
        async for stored in self._books.each(Book, None, "book"):
            yield stored.value
