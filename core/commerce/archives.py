"""ZIPs of several books, made by short steps of a queue; each step goes on where the last one came to.

A step copies for a minute, block by block, and writes down how far it is after every few. The blocks are seen
by nobody until all are there; then they become a file at once. Whoever does a piece of the work again writes
the same bytes under the same name, so that a duplicate, or a worker that was thought dead, does no harm.
"""

import asyncio
import logging
import zlib
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice

from pydantic import ValidationError

from core.backoff import Backoff, Tried
from core.caller import Caller
from core.catalog.service import Catalog
from core.commerce.archive_store import Allowance, Archive, ArchiveStore, ArchiveView, Claim, Contents, show
from core.commerce.library import Library
from core.commerce.packing import (
    Entry,
    Packed,
    Piece,
    block_id,
    block_ids,
    deflate,
    directory,
    header,
    pieces,
)
from core.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    NotOwnedError,
    StaleError,
    ThrottledError,
    UnavailableError,
)
from core.ids import new_id, now, time_of
from core.operations.service import Operations
from core.settings import Settings
from core.storage.blobs import Container
from core.storage.queues import Queues

_log = logging.getLogger("aloud.commerce")

QUEUE = "archives"
MAX_BOOKS = 50
LIFE = timedelta(days=2)
_LINK_LIFE = timedelta(minutes=15)
_MAX_FILES = 5000  # what is known of each stands in one row
_PER_DAY = 20
_GIGABYTE = 10**9
_STEP_SECONDS = 60.0
_COMMIT_SECONDS = 60  # by then, a request that was cut off has either committed or never will
_SILENCE = timedelta(minutes=3)
_NEXT_SECONDS = 1
_BUSY_SECONDS = 2
_STEPS_AT_ONCE = 2
_PIECES_AT_ONCE = 4


class PackBooks(Tried):
    """Message on `archives`: do the next step of a ZIP."""

    user_id: str
    id: str
    step: int = 0


class GoneError(Exception):
    """What goes into a ZIP is not there any more; the text tells its owner."""


class Archives:
    def __init__(
        self,
        settings: Settings,
        store: ArchiveStore,
        catalog: Catalog,
        library: Library,
        media: Container,
        archives: Container,
        queues: Queues,
        operations: Operations,
    ) -> None:
        self._daily = int(settings.archive_gb_per_day * _GIGABYTE)
        self._backoff = Backoff(settings)
        self._store = store
        self._catalog = catalog
        self._library = library
        self._media = media
        self._archives = archives
        self._queues = queues
        self._operations = operations
        self._running = 0

    # What listeners ask

    async def begin(self, book_ids: list[str], caller: Caller) -> ArchiveView:
        """Have a ZIP made of these books; the same books again, while it is under way, are the same ZIP.

        A message goes out before the row, too, and waits: whatever is cut off, a row is worked on. Raises
        NotFoundError, NotOwnedError, ConflictError for a book without audio, InvalidError for too much at
        once, ThrottledError after too much in a day.
        """
        wanted = tuple(dict.fromkeys(book_ids))
        books = await asyncio.gather(*(self._catalog.heard_by(book_id, caller) for book_id in wanted))
        silent = [book.title for book in books if not book.parts]
        if silent:
            raise ConflictError(f"There is no audio yet of: {', '.join(silent)}. Leave it out for now.")
        at = now()
        for archive in await self._store.all(caller.user_id):
            if archive.expires_at < at:
                await self._store.forget(archive.user_id, archive.id)
            elif archive.is_under_way and set(archive.book_ids) == set(wanted):
                if archive.updated_at < at - _SILENCE:
                    await self._send(archive)
                return show(archive)
        archive = Archive(
            id=new_id(at),
            user_id=caller.user_id,
            book_ids=wanted,
            created_at=at,
            updated_at=at,
            expires_at=at + LIFE,
        )
        size = sum(part.size for book in books for part in book.parts)
        await self._send(archive, delay_seconds=_COMMIT_SECONDS)
        await self._store.add(archive, lambda row: self._allow(row, size, at))
        await self._send(archive)
        return show(archive)

    def _allow(self, row: Allowance, size: int, at: datetime) -> Allowance:
        """Count a ZIP before it is made, so that no number of requests side by side gets past the limit."""
        limit = f"{self._daily / _GIGABYTE:g} GB"
        if size > self._daily:
            message = f"A ZIP may have {limit}; choose fewer books."
            raise InvalidError("Check the fields of the body.", (("audiobook_ids", message),))
        day = f"{at:%Y-%m-%d}"
        today = row if row.day == day else Allowance(day=day)
        if today.begun >= _PER_DAY or today.bytes + size > self._daily:
            midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            raise ThrottledError(
                f"You can have {_PER_DAY} ZIPs of {limit} in all a day; go on tomorrow, or one by one.",
                (midnight - at).total_seconds(),
            )
        return Allowance(day=day, begun=today.begun + 1, bytes=today.bytes + size)

    async def _send(self, archive: Archive, *, further: int = 0, delay_seconds: float = 0) -> None:
        work = PackBooks(user_id=archive.user_id, id=archive.id, step=archive.step + further)
        await self._queues.send(QUEUE, work, delay_seconds)

    async def show(self, archive_id: str, caller: Caller) -> ArchiveView:
        """Return a ZIP, with a link while there is one and all of its books are the caller's to hear.

        Raises NotFoundError.
        """
        found = await self._store.find(caller.user_id, archive_id)
        if found is None:
            raise NotFoundError("You have no such download.")
        archive = found.value
        view = show(archive)
        if view.status != "ready":
            return view
        try:
            await asyncio.gather(*(self._catalog.heard_by(book_id, caller) for book_id in archive.book_ids))
        except (NotFoundError, NotOwnedError):
            await self._archives.delete_prefix(_blob(archive))
            reason = "A book in it is no longer yours; begin another without it."
            return show(await self._store.change(archive, lambda row: row.failed(reason)))
        name = f"aloud-{archive.created_at:%Y-%m-%d}.zip"
        link = await self._archives.link(_blob(archive), _LINK_LIFE, file_name=name)
        return view.model_copy(update={"url": link.url, "url_expires_at": link.expires_at})

    # What the queue asks

    async def run(self, body: str) -> None:
        """Do a step of a ZIP. Raises only what nobody foresaw; the host then counts the tries."""
        try:
            work = PackBooks.model_validate_json(body)
        except ValidationError:
            _log.error("a message on %s cannot be read and is set aside", QUEUE)
            await self.settle_poison(body)
            return
        if self._running >= _STEPS_AT_ONCE:  # what each of them holds in memory adds up
            await self._queues.send(QUEUE, work, _BUSY_SECONDS)
            return
        self._running += 1
        try:
            await self._backoff.run(self._queues, QUEUE, work, self._step)
        finally:
            self._running -= 1

    async def _step(self, work: PackBooks) -> None:
        """Do a step, unless it was done; while another worker has the ZIP, the message goes back."""
        found = await self._store.find(work.user_id, work.id)
        if found is None:
            await self._store.delete_files(work.user_id, work.id)  # its owner has left
            return
        if not found.value.is_under_way or work.step < found.value.step:
            return
        try:
            if found.value.is_claimed:
                raise StaleError
            await self._work_on(Claim(self._store, found))
        except StaleError:
            await self._queues.send(QUEUE, work, _BUSY_SECONDS)
        except NotFoundError:
            await self._store.delete_files(work.user_id, work.id)

    async def _work_on(self, claim: Claim) -> None:
        """Go on for a while. Raises StaleError where another has written, NotFoundError for a row that went.

        The next message goes out before the row says that this step is over.
        """
        await claim.write(status="running")
        try:
            contents = await self._contents(claim.row)
            await claim.write(bytes_total=sum(entry.size for entry in contents.entries))
            await self._pack(claim, contents.entries)
            if len(claim.row.packed) < len(contents.entries):
                await self._send(claim.row, further=1, delay_seconds=_NEXT_SECONDS)
                await claim.leave(step=claim.row.step + 1)
            else:
                size = await self._finish(claim.row, contents)
                await claim.leave(status="ready", size=size)
                _log.info("archive %s is ready: %s bytes", claim.row.id, size)
        except GoneError as error:
            await claim.leave(status="failed", reason=error.args[0])
        except UnavailableError:
            with suppress(UnavailableError, StaleError):
                await claim.leave()
            raise

    async def _contents(self, archive: Archive) -> Contents:
        """Return what goes in: what was decided, or else what the books have now."""
        found = await self._store.contents(archive)
        if found is not None:
            return found
        try:
            entries = await self._library.entries(archive.book_ids)
        except NotFoundError:
            raise GoneError("A book has lost its audio meanwhile; begin another without it.") from None
        if len(entries) > _MAX_FILES:
            raise GoneError(f"A ZIP may have {_MAX_FILES} files; begin another with fewer books.")
        return await self._store.decide(archive, Contents(entries=entries, made_at=archive.created_at))

    async def _pack(self, claim: Claim, entries: tuple[Entry, ...]) -> None:
        """Copy pieces, a few at a time, until the time is over or none is left."""
        end = now() + timedelta(seconds=_STEP_SECONDS)
        left = pieces(entries, len(claim.row.packed), claim.row.offset)
        while some := list(islice(left, _PIECES_AT_ONCE)):
            await claim.write(**await self._copy(claim.row, entries, some))
            if now() >= end:
                return

    async def _copy(
        self, archive: Archive, entries: tuple[Entry, ...], some: list[Piece]
    ) -> dict[str, object]:
        """Copy pieces and, where one ends its entry, write the entry's header; return the progress."""
        contents = await asyncio.gather(*(self._read(entries[piece.index], piece) for piece in some))
        packed, crc = list(archive.packed), archive.crc
        blocks: list[tuple[str, bytes]] = []
        for piece, content in zip(some, contents, strict=True):
            entry = entries[piece.index]
            crc = await asyncio.to_thread(zlib.crc32, content, crc if piece.offset else 0)
            stored = await asyncio.to_thread(deflate, content) if entry.is_deflated else content
            if stored:
                blocks.append((block_id(piece.index, piece.number), stored))
            if piece.is_last:
                packed.append(Packed(crc=crc, size=len(stored) if entry.is_deflated else entry.size))
                blocks.append((block_id(piece.index, 0), header(entry, packed[-1], archive.created_at)))
        await asyncio.gather(*(self._archives.stage(_blob(archive), name, block) for name, block in blocks))
        last = some[-1]
        return {
            "packed": tuple(packed),
            "offset": 0 if last.is_last else last.offset + last.length,
            "crc": 0 if last.is_last else crc,
            "bytes_done": archive.bytes_done + sum(piece.length for piece in some),
        }

    async def _read(self, entry: Entry, piece: Piece) -> bytes:
        if piece.length == 0:
            return b""
        try:
            return await self._media.read_range(entry.blob, piece.offset, piece.length, entry.etag)
        except (NotFoundError, StaleError):
            raise GoneError(f"{entry.name} has been replaced meanwhile; begin another.") from None

    async def _finish(self, archive: Archive, contents: Contents) -> int:
        """Join the blocks to a file, unless that was done before, and return its size."""
        name, entries = _blob(archive), contents.entries
        with suppress(NotFoundError):
            return (await self._archives.facts(name)).size
        end = directory(entries, archive.packed, contents.made_at)
        await self._archives.stage(name, block_id(len(entries), 0), end)
        try:
            await self._archives.commit(name, block_ids(entries), "application/zip", if_absent=True)
        except ConflictError:
            _log.info("archive %s was joined by another worker", archive.id)
        except StaleError:
            raise GoneError("It was interrupted for too long; begin another.") from None
        return (await self._archives.facts(name)).size

    # Failures, and the end

    async def settle_poison(self, body: str) -> None:
        """Say of a ZIP whose step failed too often that it has failed, and tell a person."""
        with suppress(ValidationError, NotFoundError):
            work = PackBooks.model_validate_json(body)
            found = await self._store.find(work.user_id, work.id)
            if found is not None:
                reason = "It failed too often; begin another later."
                await self._store.change(
                    found.value, lambda row: row.failed(reason) if row.is_under_way else None
                )
        await self._operations.raise_alert(
            "poison-message", "A ZIP of books could not be made", body[:2000], QUEUE, now()
        )

    async def sweep(self) -> None:
        """Delete the files whose days are over, and their rows."""
        oldest = now() - LIFE
        async for name in self._archives.names():
            user_id, _, file_name = name.partition("/")
            archive_id = file_name.partition(".")[0]
            if time_of(archive_id) < oldest:
                await self._store.forget(user_id, archive_id)

    async def of(self, user_id: str) -> list[ArchiveView]:
        """Return all ZIPs of a person, the newest first."""
        return [show(archive) for archive in reversed(await self._store.all(user_id))]

    async def erase(self, user_id: str) -> None:
        """Delete a person's files; their rows go with the person's own."""
        await self._archives.delete_prefix(f"{user_id}/")


def _blob(archive: Archive) -> str:
    return f"{archive.user_id}/{archive.id}.zip"
