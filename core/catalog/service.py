"""The catalog: books, who may see and hear them, and the read model that lists them."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from core.caller import Caller
from core.catalog.access import check_manages, check_visible, is_visible, manages, may_hear
from core.catalog.covers import read_cover, write_cover
from core.catalog.index import CatalogPublisher, CatalogReader, Filters, Page, Sort, query
from core.catalog.index.counts import Counts
from core.catalog.index.suggest import Suggestion, suggest
from core.catalog.listing import Addresses, list_addresses
from core.catalog.models import (
    Book,
    BookDetail,
    BookSummary,
    Chapter,
    MediaFile,
    detail,
    summarise,
)
from core.catalog.names import Names, apply_names
from core.catalog.picks import Picks
from core.catalog.shelves import Shelves
from core.catalog.stats import StatsStore
from core.catalog.store import BeforeWrite, BookStore
from core.errors import (
    ConflictError,
    NotFoundError,
    NotOwnedError,
    UnauthenticatedError,
    UnavailableError,
)
from core.storage.blobs import Container, Link
from core.storage.queues import Queues
from core.storage.tables import Stored

_log = logging.getLogger("aloud.catalog")

TranscriptForm = Literal["json", "txt", "srt", "vtt"]
TermKind = Literal["author", "narrator", "genre", "series"]
QUEUE = "catalog"
STREAM_LIFE = timedelta(minutes=30)


class CatalogNews(BaseModel):
    """Message on `catalog`: this book has changed (None: look for what has); publish it."""

    book_id: str | None = None


class Owners(Protocol):
    """Who has bought what."""

    async def owns(self, user_id: str, book_id: str) -> bool:
        """Tell whether a book is a person's own, at the cost of one read."""


class Catalog:
    def __init__(
        self,
        store: BookStore,
        stats: StatsStore,
        owners: Owners,
        shelves: Shelves,
        names: Names,
        reader: CatalogReader,
        publisher: CatalogPublisher,
        queues: Queues,
        media: Container,
    ) -> None:
        self._store = store
        self._stats = stats
        self._owners = owners
        self._shelves = shelves
        self._names = names
        self._reader = reader
        self._publisher = publisher
        self._queues = queues
        self._media = media
        self.picks = Picks(reader)
        self._counts = Counts()

    async def close(self) -> None:
        """Give back what the index holds on this instance."""
        await self._reader.close()

    # What shoppers ask: answered by the index, with no storage call between two of its refreshes

    async def browse(
        self,
        limit: int,
        after: Any = None,
        *,
        filters: Filters | None = None,
        sort: Sort = "newest",
        with_facets: bool = False,
    ) -> Page:
        """Return published books in an order, after a place that an earlier page gave."""
        wanted = filters or Filters()
        return await self._reader.ask(
            lambda database: query.browse(
                database, wanted, sort, limit, after, with_facets=with_facets, counts=self._counts
            ),
            Page(facets={} if with_facets else None),
        )

    async def search(
        self,
        text: str,
        limit: int,
        after: Any = None,
        *,
        filters: Filters | None = None,
        sort: Sort | None = None,
        with_facets: bool = False,
    ) -> Page:
        """Return published books that fit a text, the best first (or in an order), with highlights."""
        wanted = filters or Filters()
        return await self._reader.ask(
            lambda database: query.search(
                database, text, wanted, limit, after, sort=sort, with_facets=with_facets, counts=self._counts
            ),
            Page(facets={} if with_facets else None),
        )

    async def suggest(self, text: str, limit: int) -> list[Suggestion]:
        """Return names and titles that a text may be the beginning of."""
        return await self._reader.ask(lambda database: suggest(database, text, limit), [])

    async def addresses(self, part: int) -> Addresses:
        """Return a part of the paths of all public books, people and series."""
        return await self._reader.ask(lambda database: list_addresses(database, part), Addresses())

    async def similar(self, book_id: str, limit: int) -> list[str]:
        """Return related books, as JSON. Raises NotFoundError for a book that is not public."""
        found = await self._reader.ask(lambda database: query.find_similar(database, book_id, limit), None)
        if found is None:
            check_visible(await self._store.book(book_id), None)  # it may be too new for the index
        return found or []

    async def terms(self, kind: TermKind, limit: int, after: Any = None) -> query.TermPage:
        """Return the authors, narrators, genres or series that published books have, by name."""
        return await self._reader.ask(
            lambda database: query.list_terms(database, kind, limit, after), query.TermPage()
        )

    async def term(self, kind: TermKind, term_id: str, limit: int) -> tuple[query.TermEntry, list[str]]:
        """Return a person with the newest books, or a series with its books in order, as JSON.

        Raises NotFoundError where no published book has it.
        """
        found = await self._reader.ask(lambda database: query.find_term(database, kind, term_id, limit), None)
        if found is None:
            raise NotFoundError(f"There is no such {kind}.")
        return found

    async def show(self, book_id: str, caller: Caller | None) -> BookDetail:
        """Return a book as the caller may see it. Raises NotFoundError for another's draft.

        Who has not signed in gets what the index has; a book that it does not have yet is read. Who has
        bought a book sees it after its withdrawal, too.
        """
        if caller is None:
            shown = await self._shown(book_id)
            if shown is not None:
                return BookDetail.model_validate_json(shown)
        (book, chapters), owns = await asyncio.gather(
            self._store.book_with_chapters(book_id), self._owns(caller, book_id)
        )
        check_visible(book, caller, owns)
        if book.processing_status != "ready" and not manages(book, caller):
            book = book.model_copy(update={"processing_reason": None})
        owned = None if caller is None else owns or may_hear(book, caller)
        return detail(book, chapters, owned, manages=manages(book, caller))

    async def _shown(self, book_id: str) -> bytes | None:
        try:
            return await self._reader.ask(lambda database: query.find_detail(database, book_id), None)
        except UnavailableError:
            return None

    async def chapters(self, book_id: str, caller: Caller | None) -> list[Chapter]:
        """Raises NotFoundError."""
        return (await self.show(book_id, caller)).chapters

    async def cover(
        self, book_id: str, caller: Caller | None, size: int = 1024, *, webp: bool = False
    ) -> tuple[bytes, str]:
        """Return the cover's bytes, of about `size` pixels, and content type. Raises NotFoundError."""
        book = await self._known(book_id, caller)
        if book.cover is None:
            raise NotFoundError("This book has no cover.")
        return await read_cover(self._media, book.cover, size, webp)

    async def stream(self, book_id: str, caller: Caller | None, part: int = 1) -> Link:
        """Return a link to a file of the audio that serves ranges, for those who may hear the book.

        Raises UnauthenticatedError, NotFoundError (also for a part that is not there), NotOwnedError;
        ConflictError while there is no audio yet.
        """
        book = await self.heard_by(book_id, caller)
        if not book.parts:
            raise ConflictError("This book has no audio yet.")
        if not 1 <= part <= len(book.parts):
            raise NotFoundError(f"This book has the parts 1 to {len(book.parts)}.")
        file = book.parts[part - 1]
        return await self._media.link(file.blob, STREAM_LIFE, file.content_type)

    async def sample(self, book_id: str, caller: Caller | None) -> Link:
        """Return a link to a short excerpt for everybody who may know of the book.

        Raises NotFoundError, also where there is no sample.
        """
        book = await self._known(book_id, caller)
        if book.sample is None:
            raise NotFoundError("This book has no sample. It gets one when its recording is next processed.")
        return await self._media.link(book.sample.blob, STREAM_LIFE, book.sample.content_type)

    async def _known(self, book_id: str, caller: Caller | None) -> Book:
        """Return a book that the caller may know of; of most, nobody asks who has bought them."""
        book = await self._store.book(book_id)
        if not is_visible(book, caller):
            check_visible(book, caller, await self._owns(caller, book_id))
        return book

    async def transcript(
        self, book_id: str, form: TranscriptForm, caller: Caller | None
    ) -> tuple[bytes, str]:
        """Return the transcript in one of its forms, and the book's slug to name a file after.

        Raises as `stream` does; ConflictError while there is no transcript yet.
        """
        book = await self.heard_by(book_id, caller)
        if book.transcript_prefix is None:
            raise ConflictError(
                "This book has no transcript yet"
                + (f": {book.processing_reason}" if book.processing_reason else ".")
            )
        return await self._media.read(f"{book.transcript_prefix}.{form}"), book.slug

    async def heard_by(self, book_id: str, caller: Caller | None) -> Book:
        """Return a book that the caller may hear.

        Raises UnauthenticatedError, NotFoundError, NotOwnedError.
        """
        if caller is None:
            raise UnauthenticatedError("Sign in to listen.")
        book, owns = await asyncio.gather(self._store.book(book_id), self._owns(caller, book_id))
        check_visible(book, caller, owns)
        if not (owns or may_hear(book, caller)):
            raise NotOwnedError("Buy this book to hear and read it.")
        return book

    async def _owns(self, caller: Caller | None, book_id: str) -> bool:
        return caller is not None and await self._owners.owns(caller.user_id, book_id)

    async def seen_by(self, book_id: str, caller: Caller) -> Book:
        """Return a book that the caller may know of. Raises NotFoundError."""
        book, owns = await asyncio.gather(self._store.book(book_id), self._owns(caller, book_id))
        check_visible(book, caller, owns)
        return book

    async def summaries(self, book_ids: Sequence[str], caller: Caller) -> dict[str, BookSummary]:
        """Return those of the given books that the caller may know of, by id."""
        ids = list(dict.fromkeys(book_ids))
        found = await asyncio.gather(*(self._store.stored(book_id) for book_id in ids))
        books = [stored.book for stored in found if stored is not None]
        hidden = [book.id for book in books if not is_visible(book, caller)]
        owned = await asyncio.gather(*(self._owns(caller, book_id) for book_id in hidden))
        unknown = {book_id for book_id, owns in zip(hidden, owned, strict=True) if not owns}
        return {book.id: summarise(book) for book in books if book.id not in unknown}

    # What the shop asks: read from the tables, since money depends on it

    async def read(self, book_ids: Iterable[str]) -> dict[str, Stored[Book]]:
        """Return those of the books that there are as they are now, whoever asks, in one round."""
        return await self._store.read(book_ids)

    async def mark_sold(self, books: Iterable[Stored[Book]]) -> None:
        """Note that books, as they were read, are being bought, so that they are never deleted."""
        await asyncio.gather(*(self._store.mark_sold(stored) for stored in books if not stored.value.sold))

    # What publishers and the pipeline do

    async def create(self, book: Book, chapters: tuple[Chapter, ...] = ()) -> None:
        """Add a book. Raises ConflictError if its id is taken."""
        await self._shelves.add(book)
        await self._store.create(book, chapters)
        if book.visibility == "published":
            await self._tell(book.id)

    async def book(self, book_id: str) -> Book:
        """Return a book as it is stored, whoever asks. Raises NotFoundError."""
        return await self._store.book(book_id)

    async def stored_chapters(self, book_id: str) -> tuple[Chapter, ...]:
        """Return a book's chapters, whoever asks."""
        return (await self._store.chapters(book_id)).items

    async def write_cover(self, folder: str, content: bytes) -> MediaFile:
        """Store a picture as covers are. Raises InvalidError if it is no usable picture."""
        return await write_cover(self._media, folder, content)

    async def managed(self, book_id: str, caller: Caller) -> Book:
        """Return a book that the caller may change. Raises as `check_manages` does."""
        book = await self._store.book(book_id)
        check_manages(book, caller)
        return book

    async def own(
        self, caller: Caller, limit: int, after: tuple[str, str] | None = None
    ) -> tuple[list[BookSummary], tuple[str, str] | None]:
        """Return a publisher's books, drafts too, the newest first (an administrator's are all books)."""
        owner_id = None if caller.is_admin else caller.user_id
        book_ids, following = await self._shelves.list(owner_id, limit, after)
        found = await asyncio.gather(*(self._store.stored(book_id) for book_id in book_ids))
        return [summarise(stored.book) for stored in found if stored is not None], following

    async def drafts(self, book_ids: Sequence[str]) -> list[BookSummary]:
        """Return those of the given books that are drafts, each once, in the same order."""
        books = await asyncio.gather(*(self._store.book(book_id) for book_id in dict.fromkeys(book_ids)))
        return [summarise(book) for book in books if book.visibility == "draft"]

    async def update(
        self,
        book_id: str,
        change: Callable[[Book], Book | None],
        chapters: tuple[Chapter, ...] | None = None,
        before: BeforeWrite | None = None,
    ) -> Book:
        """Apply a pure change to a book, in one write with new chapters if there are any.

        Nothing is written where `change` returns None. `before` is awaited ahead of each try to write.
        Raises NotFoundError.
        """
        read: list[Book] = []

        def remember(book: Book) -> Book | None:
            read[:] = [book]
            return change(book)

        after = await self._store.update(book_id, remember, chapters, before)
        is_changed = after.revision != read[0].revision
        if is_changed and "published" in (read[0].visibility, after.visibility):
            await self._tell(book_id)
        return after

    async def with_known_names(self, book: Book) -> Book:
        """Return a book whose people, series and genres are named as they are called now."""
        return apply_names(book, await self._names.mapping(book))

    async def settle_names(self, book: Book) -> Book:
        """Have a stored book, whose file named people as they once were called, call them as now."""
        becomes = await self._names.mapping(book)
        if not becomes:
            return book
        return await self.update(book.id, lambda stored: apply_names(stored, becomes))

    async def announce(self) -> None:
        """Ask for the index to follow what has been marked."""
        await self._tell(None)

    async def _tell(self, book_id: str | None) -> None:
        """Ask for the index to follow; if that gets lost, the timer finds the mark."""
        try:
            await self._queues.send(QUEUE, CatalogNews(book_id=book_id))
        except UnavailableError as error:
            _log.warning("the index follows later, nobody could be told: %s", error.detail)

    async def add_play(self, book_id: str, play_id: str) -> None:
        """Count a play of a book that is there, once: the same `play_id` again changes nothing.

        The book's revision stays; the index shows it within some minutes. Again after an UnavailableError.
        """
        await self._stats.add_play(book_id, play_id)

    async def publish(self) -> int:
        """Bring the index up to date with what has changed; return its revision."""
        return await self._publisher.publish()

    async def publish_counts(self) -> int:
        """Bring the index up to date with plays and ratings; return its revision."""
        return await self._publisher.publish_counts()

    async def keep(self) -> None:
        """Publish what no message told of, repair the index, and give it a new base when that is due."""
        await self._publisher.keep()

    async def rebuild(self) -> int:
        """Build the index anew from the tables; return its revision."""
        return await self._publisher.rebuild()
