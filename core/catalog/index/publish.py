"""Publishes the catalog: changed books as a segment, all as a base, always by one swap of the pointer.

A builder reads the pointer before any book. Its swap fails if somebody swapped since, so whoever wins has
seen all that the one before it saw; the loser begins again from the winner's revision.
"""

import asyncio
import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from core.catalog.index import documents, schema
from core.catalog.index.documents import Document
from core.catalog.index.files import Packed, pack_base, pack_segment
from core.catalog.index.pointer import BASES, POINTER, SEGMENTS, Base, Pointer, Segment, revision_of
from core.catalog.index.refresh import CatalogReader
from core.catalog.models import detail
from core.catalog.store import BookStore, Change, ChangeStore, StoredBook
from core.errors import ConflictError, NotFoundError, StaleError, UnavailableError
from core.ids import new_id, now
from core.storage.blobs import Container
from core.storage.tables import Stored

_log = logging.getLogger("aloud.catalog")

Reached = Callable[[StoredBook], int]
"""Which of a book's revisions a mark is about."""

_TRIES = 20
_READS = 16
_SCAN_BATCH = 200
_SEGMENT_BOOKS = 1000
_SEGMENT_BYTES = 2_500_000  # before compression, which makes a third of it or less
_FRESH_BOOKS = 1000
_FRESH_SHARE = 0.1
_FRESH_SEGMENTS = 200
_KEPT_BASES = 5
_KEPT_SEGMENTS = 64
_KEPT_BYTES = 256 * 1024
_ABANDONED = timedelta(minutes=10)
_COLLECTED_AFTER = 256


class CatalogPublisher:
    def __init__(
        self,
        container: Container,
        books: BookStore,
        changes: ChangeStore,
        counts: ChangeStore,
        reader: CatalogReader,
    ) -> None:
        self._container = container
        self._books = books
        self._changes = changes
        self._counts = counts
        self._reader = reader
        self._turn = asyncio.Lock()
        self._begun = 0
        self._revision = 0

    async def publish(self) -> int:
        """Publish what has changed, however much it is; return the catalog's revision.

        Of many calls at once one works for all that came before it began.
        """
        asked = self._begun
        async with self._turn:
            if self._begun > asked:
                return self._revision
            self._begun += 1
            self._revision = await self._publish_all(self._changes, lambda stored: stored.book.revision)
            return self._revision

    async def publish_counts(self) -> int:
        """Publish what was counted of books, plays and ratings; return the catalog's revision."""
        async with self._turn:
            return await self._publish_all(self._counts, lambda stored: stored.stats.revision)

    async def keep(self) -> None:
        """Do what no message asks for: what a lost one left behind, repairs, a new base when it is due."""
        try:
            await self._reader.refresh()
        except UnavailableError as error:
            _log.warning("this instance has no catalog: %s", error.detail)
        if self._reader.is_damaged:
            _log.error("the catalog is damaged and is built anew")
            await self.rebuild()
            return
        await self.publish()
        pointer, _ = await self._read_pointer()
        if pointer is not None and is_due(pointer):
            await self.compact()

    async def rebuild(self) -> int:
        """Publish a base made of every public book in the tables; return its revision."""
        for _ in range(_TRIES):
            pointer, etag = await self._read_pointer()
            revision = 1 + (await self._last_revision() if pointer is None else pointer.revision)
            pending = [stored async for stored in self._changes.pending()]
            with tempfile.TemporaryDirectory(prefix="aloud-build-") as folder:
                file = Path(folder, "base.sqlite")
                books, seen = await self._compile(file, revision)
                base = await self._write_base(file, revision, books)
            if await self._swap(Pointer(revision=revision, content=revision, base=base), etag):
                done = [s for s in pending if seen.get(s.key, 0) >= s.value.revision]
                await self._settle(done)
                await self._collect()
                return revision
        raise UnavailableError("Too many builders of the catalog at once.", retry_after=5)

    async def compact(self) -> int:
        """Publish a base of what base and segments make together, without a look at the tables."""
        with tempfile.TemporaryDirectory(prefix="aloud-build-") as folder:
            file = Path(folder, "base.sqlite")
            content = await self._reader.copy_to(file)
            books = await asyncio.to_thread(make_dense, file)
            base = await self._write_base(file, content, books)
        for _ in range(_TRIES):
            pointer, etag = await self._read_pointer()
            if pointer is None or pointer.base.revision >= content:
                break  # somebody else's is newer
            segments = keep_recent(pointer.segments, content)
            new = pointer.model_copy(
                update={"revision": pointer.revision + 1, "base": base, "segments": segments}
            )
            if await self._swap(new, etag):
                await self._collect()
                return new.revision
        return 0 if pointer is None else pointer.revision

    # One segment

    async def _publish_all(self, marks: ChangeStore, reached: Reached) -> int:
        more = True
        while more:
            pointer, more = await self._publish_some(marks, reached)
        return pointer.revision

    async def _publish_some(self, marks: ChangeStore, reached: Reached) -> tuple[Pointer, bool]:
        """Publish up to a segment's worth of changes; tell whether there may be more."""
        for _ in range(_TRIES):
            pointer, etag = await self._read_pointer()
            if pointer is None:
                await self.rebuild()
                continue
            found, done, more = await self._read_changes(marks, reached)
            if not found:
                await self._settle(done)
                return pointer, False
            new = await self._write_segment(pointer, found)
            if await self._swap(new, etag):
                await self._settle(done)
                return new, more
        raise UnavailableError("Too many builders of the catalog at once.", retry_after=5)

    async def _read_changes(
        self, marks: ChangeStore, reached: Reached
    ) -> tuple[list[Document], list[Stored[Change]], bool]:
        """Return the changed books as they are now, the rows that this settles, and whether there are more.

        A row whose book has not reached its revision, or is not there, belongs to a write that is under
        way; when it is old, to one that never came, or to a book that is gone.
        """
        found: list[Document] = []
        done: list[Stored[Change]] = []
        size = 0
        batch: list[Stored[Change]] = []

        async def read() -> None:
            nonlocal size
            books = await asyncio.gather(*(self._books.stored(stored.key) for stored in batch))
            for stored, book in zip(batch, books, strict=True):
                is_there = book is not None and reached(book) >= stored.value.revision
                if not is_there and stored.value.marked_at > now() - _ABANDONED:
                    continue
                done.append(stored)
                if is_there or book is None:
                    found.append(to_document(stored.key, book))
                    size += len(found[-1].model_dump_json())
            batch.clear()

        async for stored in marks.pending():
            batch.append(stored)
            if len(batch) == _READS:
                await read()
                if len(found) + _READS > _SEGMENT_BOOKS or size > _SEGMENT_BYTES:
                    return found, done, True
        await read()
        return found, done, False

    async def _write_segment(self, pointer: Pointer, found: list[Document]) -> Pointer:
        revision = pointer.revision + 1
        content = await asyncio.to_thread(pack_segment, found)
        name = f"{SEGMENTS}{revision:012d}-{new_id()}.jsonl.gz"
        await self._container.write(name, content, "application/gzip")
        segment = Segment(
            file=name,
            after=pointer.content,
            revision=revision,
            books=len(found),
            size=len(content),
            digest=hashlib.sha256(content).hexdigest(),
        )
        return pointer.model_copy(
            update={"revision": revision, "content": revision, "segments": (*pointer.segments, segment)}
        )

    # A base

    async def _compile(self, file: Path, revision: int) -> tuple[int, dict[str, int]]:
        """Write all public books into a new file; return their number and each book's revision."""
        seen: dict[str, int] = {}
        batch: list[Document] = []
        with closing(await asyncio.to_thread(schema.create, file)) as database:
            writing = documents.Change(database)

            async def write() -> None:
                await asyncio.to_thread(writing.put_all, batch)
                batch.clear()

            async for stored in self._books.all_with_chapters():
                seen[stored.book.id] = stored.book.revision
                document = to_document(stored.book.id, stored)
                if document.book is not None:
                    batch.append(document)
                if len(batch) == _SCAN_BATCH:
                    await write()
            await write()
            await asyncio.to_thread(writing.finish, revision)
        return await asyncio.to_thread(make_dense, file), seen

    async def _write_base(self, file: Path, revision: int, books: int) -> Base:
        packed: Packed = await asyncio.to_thread(pack_base, file, file.with_suffix(".gz"))
        name = f"{BASES}{revision:012d}-{new_id()}.sqlite.gz"
        await self._container.write(name, packed.path, "application/gzip")
        return Base(file=name, revision=revision, books=books, size=packed.size, digest=packed.digest)

    # The pointer

    async def _read_pointer(self) -> tuple[Pointer | None, str | None]:
        """Return the pointer and its ETag; no pointer where there is none, or one that cannot be read."""
        try:
            content, etag = await self._container.read_with_etag(POINTER)
        except NotFoundError:
            return None, None
        try:
            return Pointer.model_validate_json(content), etag
        except ValidationError:
            _log.error("the catalog's pointer cannot be read")
            return None, etag

    async def _swap(self, new: Pointer, etag: str | None) -> bool:
        """Put the pointer where nobody has swapped it since `etag`; tell whether it is ours."""
        content = new.model_dump_json().encode()
        try:
            await self._container.write(
                POINTER, content, "application/json", if_etag=etag, if_absent=etag is None
            )
        except (StaleError, ConflictError):
            # after a lost answer the SDK repeats a swap that was done
            with contextlib.suppress(NotFoundError):
                return await self._container.read(POINTER) == content
            return False
        return True

    async def _last_revision(self) -> int:
        """Return the greatest revision that any file is named by, for a pointer that is gone."""
        revisions = [0]
        for prefix in (BASES, SEGMENTS):
            revisions += [revision_of(name) async for name in self._container.names(prefix)]
        return max(revisions)

    async def _settle(self, done: list[Stored[Change]]) -> None:
        gate = asyncio.Semaphore(_READS)

        async def settle(stored: Stored[Change]) -> None:
            async with gate:
                await self._changes.settle(stored)

        await asyncio.gather(*(settle(stored) for stored in done))

    async def _collect(self) -> None:
        """Remove files that no pointer names any more, but for the newest few."""
        pointer, _ = await self._read_pointer()
        if pointer is None:
            return
        named = {pointer.base.file, *(segment.file for segment in pointer.segments)}
        for prefix, count in ((BASES, _KEPT_BASES), (SEGMENTS, _COLLECTED_AFTER)):
            names = sorted([name async for name in self._container.names(prefix)])
            for name in set(names[:-count]) - named:
                with contextlib.suppress(NotFoundError):
                    await self._container.delete(name)


def to_document(book_id: str, stored: StoredBook | None) -> Document:
    """Return what the index shows of a book: nothing, unless it is published."""
    if stored is None or stored.book.visibility != "published":
        return Document(id=book_id, book=None)
    book = stored.book
    if book.processing_status != "ready":
        book = book.model_copy(update={"processing_reason": None})
    return Document(id=book_id, book=detail(book, stored.chapters, None))


def is_due(pointer: Pointer) -> bool:
    """Tell whether new instances have so much to fold in that a new base pays."""
    books = max(_FRESH_BOOKS, _FRESH_SHARE * pointer.base.books)
    return pointer.fresh_books > books or pointer.fresh_segments > _FRESH_SEGMENTS


def keep_recent(segments: tuple[Segment, ...], content: int) -> tuple[Segment, ...]:
    """Return the segments that come after a base's content, and before them some for instances behind."""
    kept: list[Segment] = []
    size = 0
    for segment in reversed(segments):
        if segment.revision <= content:
            size += segment.size
            if size > _KEPT_BYTES or len(kept) >= _KEPT_SEGMENTS:
                break
        kept.append(segment)
    return tuple(reversed(kept))


def make_dense(file: Path) -> int:
    """Merge what the full texts were written in pieces of, and give back the room; return the books."""
    with closing(schema.connect_writer(file)) as database:
        for table in ("texts", "heads", "names"):
            database.execute(f"INSERT INTO {table}({table}) VALUES ('optimize')")
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("ANALYZE")
        database.execute("VACUUM")
        return schema.read_fact(database, "books")
