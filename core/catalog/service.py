"""The catalog: books, who may see and hear them, and the read model that lists them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from core.caller import Caller
from core.catalog.models import (
    Book,
    BookDetail,
    BookSummary,
    Chapter,
    detail,
    summarise,
)
from core.catalog.search import CatalogIndex
from core.catalog.store import BookStore
from core.errors import ConflictError, NotFoundError, NotOwnedError, UnauthenticatedError
from core.storage.blobs import Container, Link

TranscriptForm = Literal["json", "txt", "srt", "vtt"]
_STREAM_LIFE = timedelta(hours=4)


@dataclass(frozen=True)
class Shelf:
    """A page of books: `after` is the keyset of the next page, None at the end."""

    items: list[BookSummary]
    total: int
    after: tuple[str, str] | None


class Catalog:
    def __init__(self, store: BookStore, index: CatalogIndex, media: Container) -> None:
        self._store = store
        self._index = index
        self._media = media

    # What shoppers ask

    async def browse(self, limit: int, after: tuple[str, str] | None = None) -> Shelf:
        """Return published books, newest first; costs no storage call between two refreshes of the index."""
        items, total = await self._index.newest(limit + 1, after)
        more = len(items) > limit
        items = items[:limit]
        key = (items[-1].created_at.isoformat(), items[-1].id) if more else None
        return Shelf(items, total, key)

    async def show(self, book_id: str, caller: Caller | None) -> BookDetail:
        """Return a book as the caller may see it. Raises NotFoundError for another's draft."""
        book, chapters = await self._store.book_with_chapters(book_id)
        _check_visible(book, caller)
        if book.processing_status != "ready" and not _manages(book, caller):
            book = book.model_copy(update={"processing_reason": None})
        return detail(book, chapters, None if caller is None else _may_hear(book, caller))

    async def chapters(self, book_id: str, caller: Caller | None) -> list[Chapter]:
        """Raises NotFoundError."""
        return (await self.show(book_id, caller)).chapters

    async def cover(self, book_id: str, caller: Caller | None) -> tuple[bytes, str]:
        """Return the cover's bytes and content type. Raises NotFoundError."""
        book = await self._store.book(book_id)
        _check_visible(book, caller)
        if book.cover is None:
            raise NotFoundError("This book has no cover.")
        return await self._media.read(book.cover.blob), book.cover.content_type

    async def stream(self, book_id: str, caller: Caller | None) -> Link:
        """Return a link to the audio that serves ranges, for those who may hear the book.

        Raises UnauthenticatedError, NotFoundError, NotOwnedError; ConflictError while there is no audio yet.
        """
        book = await self._heard_by(book_id, caller)
        if book.audio is None:
            raise ConflictError("This book has no audio yet.")
        return await self._media.link(book.audio.blob, _STREAM_LIFE, book.audio.content_type)

    async def transcript(
        self, book_id: str, form: TranscriptForm, caller: Caller | None
    ) -> tuple[bytes, str]:
        """Return the transcript in one of its forms, and the book's slug to name a file after.

        Raises as `stream` does; ConflictError while there is no transcript yet.
        """
        book = await self._heard_by(book_id, caller)
        if book.transcript_prefix is None:
            raise ConflictError(
                "This book has no transcript yet"
                + (f": {book.processing_reason}" if book.processing_reason else ".")
            )
        return await self._media.read(f"{book.transcript_prefix}.{form}"), book.slug

    async def _heard_by(self, book_id: str, caller: Caller | None) -> Book:
        if caller is None:
            raise UnauthenticatedError("Sign in to listen.")
        book = await self._store.book(book_id)
        _check_visible(book, caller)
        if not _may_hear(book, caller):
            raise NotOwnedError("Buy this book to hear and read it.")
        return book

    # What the pipeline does

    async def create(self, book: Book) -> None:
        """Add a book. Raises ConflictError if its id is taken."""
        await self._store.create(book)

    async def book(self, book_id: str) -> Book:
        """Return a book as it is stored, whoever asks. Raises NotFoundError."""
        return await self._store.book(book_id)

    async def stored_chapters(self, book_id: str) -> tuple[Chapter, ...]:
        """Return a book's chapters, whoever asks."""
        return (await self._store.chapters(book_id)).items

    async def drafts(self, book_ids: Sequence[str]) -> list[BookSummary]:
        """Return those of the given books that are drafts, each once, in the same order."""
        books = await asyncio.gather(*(self._store.book(book_id) for book_id in dict.fromkeys(book_ids)))
        return [summarise(book) for book in books if book.visibility == "draft"]

    async def update(
        self, book_id: str, change: Callable[[Book], Book | None], chapters: tuple[Chapter, ...] | None = None
    ) -> Book:
        """Apply a pure change to a book, in one write with new chapters if there are any.

        Nothing is written where `change` returns None. Raises NotFoundError.
        """
        return await self._store.update(book_id, change, chapters)

    async def rebuild_index(self) -> int:
        """Compile and publish the read model; return its revision."""
        return await self._index.build(self._store.all)


def _manages(book: Book, caller: Caller | None) -> bool:
    if caller is None:
        return False
    return caller.is_admin or (book.owner_id is not None and book.owner_id == caller.user_id)


def _check_visible(book: Book, caller: Caller | None) -> None:
    if book.visibility != "published" and not _manages(book, caller):
        raise NotFoundError("There is no such book.")


def _may_hear(book: Book, caller: Caller) -> bool:
    free = book.visibility == "published" and book.price is not None and book.price.amount == 0
    return free or _manages(book, caller)
