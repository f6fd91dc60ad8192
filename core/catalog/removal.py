"""What becomes of withdrawn books that nobody has bought: after a month their recordings are deleted."""

import logging
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from core.caller import Origin
from core.catalog.models import FINAL_STATUSES, Book
from core.catalog.store import BookStore, ChangeStore, Withdrawal
from core.errors import NotFoundError, StaleError
from core.ids import now
from core.operations.service import Operations
from core.storage.blobs import Container
from core.storage.tables import Stored

_log = logging.getLogger("aloud.catalog")

KEPT_DAYS = 30
_REASON = f"The recording was deleted, {KEPT_DAYS} days after the book was withdrawn."


class Recordings(Protocol):
    """Who has made books of recordings."""

    async def forget(self, job_id: str) -> None:
        """Delete what a job keeps outside of its book; again, and for one that is not known, does nothing."""


class Removal:
    """In three steps, so that a crash between any two is made up for by the next night's run.

    The files are noted, then the book lets go of them, in one write that a purchase or a publication defeats,
    then they are deleted. What the book gets meanwhile is not among them.
    """

    def __init__(
        self,
        books: BookStore,
        changes: ChangeStore,
        media: Container,
        recordings: Recordings,
        operations: Operations,
    ) -> None:
        self._books = books
        self._changes = changes
        self._media = media
        self._recordings = recordings
        self._operations = operations

    async def run(self) -> None:
        """See to all books that were withdrawn over a month ago."""
        async for stored in self._changes.withdrawn():
            if stored.value.since < now() - timedelta(days=KEPT_DAYS):
                try:
                    await self._see_to(stored)
                except StaleError:
                    _log.info("book %s has just been withdrawn again", stored.key)

    async def _see_to(self, stored: Stored[Withdrawal]) -> None:
        if not stored.value.doomed:
            stored = await self._changes.doom(stored, await self._find_files(stored.key))
        doomed = stored.value.doomed
        try:
            book = await self._books.update(stored.key, lambda book: _let_go(book, doomed))
        except NotFoundError:
            await self._changes.forget_withdrawal(stored)  # the write that it was noted for never came
            return
        if book.visibility == "withdrawn" and not book.sold and _is_being_made(book):
            return  # the next night will tell
        if doomed and not _holds(book, doomed):
            nobody = Origin(address="", request_id="")
            await self._operations.record("book.removed", None, book.id, nobody, f"{len(doomed)} files")
            for job_id in sorted({name.split("/")[1] for name in doomed}):
                await self._recordings.forget(job_id)
            for name in doomed:
                with suppress(NotFoundError):
                    await self._media.delete(name)
        await self._changes.forget_withdrawal(stored)

    async def _find_files(self, book_id: str) -> tuple[str, ...]:
        """Return the names of a book's files, and the folder of its last job, which may have made none."""
        names = [name async for name in self._media.names(f"{book_id}/")]
        for found in (await self._books.read([book_id])).values():
            if found.value.job_id is not None:
                names.append(f"{book_id}/{found.value.job_id}/")
        return tuple(names)


def _is_being_made(book: Book) -> bool:
    return book.processing_status not in {*FINAL_STATUSES, "waiting"}


def _let_go(book: Book, doomed: tuple[str, ...]) -> Book | None:
    """Return a book that nobody wants without its files; None where it keeps them."""
    if book.visibility != "withdrawn" or book.sold or _is_being_made(book) or not _holds(book, doomed):
        return None
    gone = {"parts": (), "sample": None, "cover": None, "transcript_prefix": None, "coverage": None}
    return book.model_copy(
        update={**gone, "job_id": None, "processing_status": "waiting", "processing_reason": _REASON},
    )


def _holds(book: Book, names: tuple[str, ...]) -> bool:
    """Tell whether a book needs any of these files."""
    held = {file.blob for file in (*book.parts, book.sample, book.cover) if file is not None}
    prefix = book.transcript_prefix
    return any(name in held or (prefix is not None and name.startswith(prefix)) for name in names)
