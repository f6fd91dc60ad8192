"""Where books are kept: `books`, one partition a book; `changes`: those that the index has to follow."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from core.catalog.models import Book, Chapter, Chapters, Stats
from core.errors import NotFoundError, StaleError
from core.ids import now
from core.storage.tables import Insert, Put, Stored, Table

BeforeWrite = Callable[[Book, Book], Awaitable[None]]

PENDING = "pending"
COUNTED = "counted"
_WITHDRAWN = "withdrawn"


class Change(BaseModel):
    """Row of `changes`, under the book's id: the index has to show that revision or a later one.

    In the partition `pending` the revision is the book's, in `counted` that of its row `stats`.
    """

    model_config = ConfigDict(frozen=True)

    revision: int
    marked_at: datetime


class Withdrawal(BaseModel):
    """Row of `changes`, partition `withdrawn`, under the book's id: since when it is not on sale any more.

    `doomed` are the files that are to be deleted, once that time has come.
    """

    model_config = ConfigDict(frozen=True)

    since: datetime
    doomed: tuple[str, ...] = ()


class ChangeStore:
    """A row is written before its book is, and removed after a swap that contains it: a crash loses none."""

    def __init__(self, changes: Table, partition: str = PENDING) -> None:
        self._changes = changes
        self._partition = partition

    async def mark(self, book_id: str, revision: int) -> None:
        """Say that a book is about to get that revision."""
        await self._changes.put(Change(revision=revision, marked_at=now()), self._partition, book_id)

    async def pending(self) -> AsyncIterator[Stored[Change]]:
        """Yield the rows of books that the index does not show yet as they are."""
        async for stored in self._changes.each(Change, self._partition):
            yield stored

    async def settle(self, stored: Stored[Change]) -> None:
        """Remove a row, unless its book was marked again."""
        await self._changes.delete_unchanged(stored)

    # Withdrawals: noted before the book is written, so a row may be of one that is on sale

    async def mark_withdrawn(self, book_id: str) -> None:
        """Say that a book is about to be withdrawn."""
        await self._changes.put(Withdrawal(since=now()), _WITHDRAWN, book_id)

    async def withdrawn(self) -> AsyncIterator[Stored[Withdrawal]]:
        """Yield the rows of books that may have been withdrawn."""
        async for stored in self._changes.each(Withdrawal, _WITHDRAWN):
            yield stored

    async def doom(self, stored: Stored[Withdrawal], names: tuple[str, ...]) -> Stored[Withdrawal]:
        """Note which files are to be deleted. Raises StaleError where the book was withdrawn again."""
        return await self._changes.replace(stored, stored.value.model_copy(update={"doomed": names}))

    async def forget_withdrawal(self, stored: Stored[Withdrawal]) -> None:
        """Remove a row, unless its book was withdrawn again."""
        await self._changes.delete_unchanged(stored)


@dataclass(frozen=True)
class StoredBook:
    """A book, with what is counted of it, and its chapters."""

    book: Book
    chapters: Chapters
    stats: Stats = field(default_factory=Stats)


class BookStore:
    def __init__(self, books: Table, changes: ChangeStore) -> None:
        self._books = books
        self._changes = changes

    async def create(self, book: Book, chapters: tuple[Chapter, ...] = ()) -> None:
        """Raises ConflictError if the id is taken."""
        book = _date_publication(book)
        if book.visibility == "published":
            await self._changes.mark(book.id, book.revision)
        rows = [Insert("book", book), Insert("chapters", Chapters(items=chapters))]
        counted = _counts_of(book)
        if counted != Stats():
            rows.append(Insert("stats", counted))
        await self._books.transact(book.id, rows)

    async def book(self, book_id: str) -> Book:
        """Raises NotFoundError."""
        found = await self._books.find(Book, book_id, "book")
        if found is None:
            raise NotFoundError("There is no such book.")
        return found.value

    async def chapters(self, book_id: str) -> Chapters:
        found = await self._books.find(Chapters, book_id, "chapters")
        return Chapters() if found is None else found.value

    async def stored(self, book_id: str) -> StoredBook | None:
        """Return a book with its chapters, in one call; None where there is no such book."""
        async for stored in self.all_with_chapters(book_id):
            return stored
        return None

    async def book_with_chapters(self, book_id: str) -> tuple[Book, Chapters]:
        """Raises NotFoundError."""
        stored = await self.stored(book_id)
        if stored is None:
            raise NotFoundError("There is no such book.")
        return stored.book, stored.chapters

    async def read(self, book_ids: Iterable[str]) -> dict[str, Stored[Book]]:
        """Return those of the books that there are, read at the same time."""
        found = await asyncio.gather(*(self._books.find(Book, book_id, "book") for book_id in book_ids))
        return {stored.value.id: stored for stored in found if stored is not None}

    async def mark_sold(self, stored: Stored[Book]) -> None:
        """Note on a book as it was read that it is sold; nobody sees it, so its revision stays."""
        try:
            await self._books.replace(stored, _sell(stored.value))
        except StaleError:
            await self._books.update(Book, stored.partition, "book", _sell)

    async def update(
        self,
        book_id: str,
        change: Callable[[Book], Book | None],
        chapters: tuple[Chapter, ...] | None = None,
        before: BeforeWrite | None = None,
    ) -> Book:
        """Apply a change and count the revision up, in one write with new chapters if there are any.

        Nothing is written where `change` returns None. `before` is awaited with the old and the new book
        ahead of each try. Raises NotFoundError.
        """

        def revise(book: Book) -> Book | None:
            changed = change(book)
            if changed is None or (changed == book and chapters is None):
                return None
            revised = changed.model_copy(update={"revision": book.revision + 1, "updated_at": now()})
            return _date_publication(revised)

        async def prepare(old: Book, new: Book) -> None:
            if before is not None:
                await before(old, new)
            if "published" in (old.visibility, new.visibility):
                await self._changes.mark(book_id, new.revision)
            if new.visibility == "withdrawn" != old.visibility:
                await self._changes.mark_withdrawn(book_id)

        also = [] if chapters is None else [Put("chapters", Chapters(items=chapters))]
        return await self._books.update(Book, book_id, "book", revise, also, prepare)

    async def all_with_chapters(
        self, book_id: str | None = None, after: str | None = None
    ) -> AsyncIterator[StoredBook]:
        """Yield every book (or that one, or those after one), in the order of ids."""
        shapes: dict[str, type[BaseModel]] = {"book": Book, "chapters": Chapters, "stats": Stats}
        async for rows in self._books.groups(shapes, book_id, after):
            book, chapters, stats = rows.get("book"), rows.get("chapters"), rows.get("stats")
            if isinstance(book, Book):
                stats = stats if isinstance(stats, Stats) else Stats()
                chapters = chapters if isinstance(chapters, Chapters) else Chapters()
                yield StoredBook(_with_counts(book, stats), chapters, stats)


def _sell(book: Book) -> Book:
    return book.model_copy(update={"sold": True})


def _date_publication(book: Book) -> Book:
    """Note when a book was first published."""
    if book.visibility != "published" or book.published_at is not None:
        return book
    return book.model_copy(update={"published_at": now()})


def _with_counts(book: Book, stats: Stats) -> Book:
    counts = {
        "plays": stats.plays,
        "rating_count": stats.rating_count,
        "rating_average": stats.rating_average,
    }
    return book.model_copy(update=counts)


def _counts_of(book: Book) -> Stats:
    """Return what a book that comes from elsewhere brings along."""
    total = round((book.rating_average or 0) * book.rating_count)
    return Stats(plays=book.plays, rating_sum=total, rating_count=book.rating_count)
