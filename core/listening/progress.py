"""Where listeners are in their books, whichever device tells of it, and in whatever order."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.caller import Caller
from core.catalog.models import Book
from core.catalog.service import Catalog
from core.errors import AloudError, ConflictError, OutdatedError, StaleError, UnavailableError
from core.ids import now
from core.listening.models import (
    BookInProgress,
    BookProgressEntry,
    Month,
    Progress,
    ProgressEntry,
    ProgressView,
    show_progress,
)
from core.listening.stats import add_completed, month_of
from core.listening.store import ListeningStore, write_month, write_progress
from core.storage.tables import Operation, Stored

MAX_ENTRIES = 45  # so that they, their months and the owner's row fit into one transaction
_TRIES = 20


@dataclass(frozen=True)
class Outcome:
    """What has become of an entry: what is stored now, or why nothing was."""

    audiobook_id: str
    progress: Progress | None = None
    error: AloudError | None = None


class ProgressKeeper:
    def __init__(self, store: ListeningStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def show(self, caller: Caller, book_id: str) -> ProgressView:
        """Return where the caller is in a book; zero where nothing was saved.

        Raises NotFoundError for a book that is not theirs to know of.
        """
        found = await self.find(caller.user_id, book_id)
        if found.recorded_at is None:
            await self._catalog.seen_by(book_id, caller)
        return found

    async def find(self, user_id: str, book_id: str) -> ProgressView:
        """Return where somebody is in a book that they may hear, at the cost of one read."""
        found = await self._store.progress(user_id, [book_id])
        if book_id in found:
            return show_progress(found[book_id].value)
        return ProgressView(audiobook_id=book_id, position_seconds=0)

    async def among(self, user_id: str, book_ids: Sequence[str]) -> dict[str, ProgressView]:
        """Return where somebody is in those of the books that were begun."""
        found = await self._store.progress(user_id, book_ids)
        return {book_id: show_progress(stored.value) for book_id, stored in found.items()}

    async def everywhere(self, user_id: str) -> list[Progress]:
        """Return where somebody is in all books that were begun, at one read."""
        return await self._store.all_progress(user_id)

    async def save(self, caller: Caller, book_id: str, entry: ProgressEntry) -> ProgressView:
        """Save where the caller is in a book.

        An identical repeat changes nothing. Raises OutdatedError where something newer is stored,
        NotFoundError, NotOwnedError.
        """
        whole = BookProgressEntry.model_construct(**dict(entry), audiobook_id=book_id)
        (outcome,) = await self.save_all(caller, [whole])
        if outcome.progress is None or outcome.error is not None:
            raise outcome.error or UnavailableError
        return show_progress(outcome.progress)

    async def save_all(self, caller: Caller, entries: Sequence[BookProgressEntry]) -> list[Outcome]:
        """Save what fits, in the order in which it was done and in one transaction; tell of each entry."""
        received = now()
        book_ids = list(dict.fromkeys(entry.audiobook_id for entry in entries))
        heard, stored = await asyncio.gather(
            asyncio.gather(*(self._heard(book_id, caller) for book_id in book_ids)),
            self._store.progress(caller.user_id, book_ids),
        )
        books = dict(zip(book_ids, heard, strict=True))
        for _ in range(_TRIES):
            before = {book_id: row.value for book_id, row in stored.items()}
            after = dict(before)
            outcomes: dict[int, Outcome] = {}
            for index, entry in sorted(enumerate(entries), key=lambda pair: pair[1].done_at(received)):
                outcomes[index] = _apply(entry, books[entry.audiobook_id], after, received)
            changed = {key: value for key, value in after.items() if value != before.get(key)}
            try:
                await self._write(caller.user_id, stored, changed)
            except (ConflictError, StaleError):
                stored = await self._store.progress(caller.user_id, book_ids)
                continue
            return [outcomes[index] for index in range(len(entries))]
        raise UnavailableError("This listener's progress changes too often.", retry_after=1)

    async def _heard(self, book_id: str, caller: Caller) -> Book | AloudError:
        try:
            return await self._catalog.heard_by(book_id, caller)
        except UnavailableError:
            raise
        except AloudError as error:
            return error

    async def _write(
        self, user_id: str, stored: dict[str, Stored[Progress]], changed: dict[str, Progress]
    ) -> None:
        if not changed:
            return
        completed: Counter[str] = Counter()
        for book_id, progress in changed.items():
            earlier = stored[book_id].value.completed_at if book_id in stored else None
            for at, number in ((earlier, -1), (progress.completed_at, 1)):
                if at is not None and earlier != progress.completed_at:
                    completed[month_of(at)] += number
        touched = [month for month, number in completed.items() if number]
        months = await self._store.months(user_id, touched)
        rows: list[Operation] = [write_progress(stored.get(key), value) for key, value in changed.items()]
        for name in touched:
            month = months[name].value if name in months else Month(month=name)
            rows.append(write_month(months.get(name), add_completed(month, completed[name])))
        await self._store.commit(user_id, rows)

    async def begun(
        self, caller: Caller, limit: int, after: tuple[str, str] | None, *, completed: bool
    ) -> tuple[list[BookInProgress], tuple[str, str] | None]:
        """Return a page of the books that are completed, or only begun, the last first."""
        found = [
            (_place(progress), progress)
            for progress in await self._store.all_progress(caller.user_id)
            if progress.completed == completed and (completed or progress.position_seconds > 0)
        ]
        found.sort(key=lambda pair: pair[0], reverse=True)
        page = [pair for pair in found if after is None or pair[0] < after]
        shown = page[:limit]
        books = await self._catalog.summaries([progress.audiobook_id for _, progress in shown], caller)
        items = [
            BookInProgress(audiobook=books.get(progress.audiobook_id), progress=show_progress(progress))
            for _, progress in shown
        ]
        return items, shown[-1][0] if len(page) > limit else None


def _place(progress: Progress) -> tuple[str, str]:
    at = progress.completed_at or progress.recorded_at
    return f"{int(at.timestamp() * 1000):015d}", progress.audiobook_id


def _apply(
    entry: BookProgressEntry, book: Book | AloudError, known: dict[str, Progress], received: datetime
) -> Outcome:
    """Note in `known` what an entry tells, and return what has become of it."""
    book_id = entry.audiobook_id
    if isinstance(book, AloudError):
        return Outcome(book_id, error=book)
    stored = known.get(book_id)
    progress = _advance(book, stored, entry, entry.done_at(received))
    if stored is not None and _is_repeat(stored, progress):
        return Outcome(book_id, stored)
    if stored is not None and progress.recorded_at < stored.recorded_at:
        both = [show_progress(one).model_dump(mode="json") for one in (stored, progress)]
        detail = "Something newer is stored; go on from there."
        return Outcome(book_id, stored, OutdatedError(detail, *both))
    known[book_id] = progress
    return Outcome(book_id, progress)


def _advance(book: Book, stored: Progress | None, entry: ProgressEntry, at: datetime) -> Progress:
    """Return where the listener is according to an entry; nobody is beyond the end of a book."""
    is_completed = stored is not None and stored.completed if entry.completed is None else entry.completed
    completed_at = (stored and stored.completed_at) or at
    return Progress(
        audiobook_id=book.id,
        position_seconds=min(entry.position_seconds, book.duration_seconds or entry.position_seconds),
        completed=is_completed,
        completed_at=completed_at if is_completed else None,
        speed=entry.speed or (stored and stored.speed),
        device_id=entry.device_id,
        recorded_at=at,
        told=entry.recorded_at.isoformat() if entry.recorded_at else None,
    )


def _is_repeat(stored: Progress, progress: Progress) -> bool:
    """Tell whether a device tells the same act again: the time that it took to arrive does not count."""
    ours = {"recorded_at": stored.recorded_at, "completed_at": stored.completed_at}
    return progress.told is not None and progress.model_copy(update=ours) == stored
