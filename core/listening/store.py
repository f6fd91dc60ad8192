"""Where listening is kept: rows in the listener's own partition of `users`."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from pydantic import BaseModel

from core.ids import ID_PATTERN, inverted, time_of
from core.listening.models import Month, Play, Progress, Session
from core.storage.tables import Insert, Operation, Replace, Stored, Table

M = TypeVar("M", bound=BaseModel)

_PROGRESS = "progress_"
_SESSION = "listening_"
_MONTH = "month_"
_PLAY = "play_"
_OURS = (_PROGRESS, _SESSION, _MONTH, _PLAY)


class AddRows(Protocol):
    """Writes rows next to a person's own, but none for who is gone or going."""

    async def __call__(self, user_id: str, *rows: Operation) -> None:
        """Raises NotFoundError for who is gone, ConflictError or StaleError."""


class ListeningStore:
    def __init__(self, users: Table, add: AddRows) -> None:
        self._users = users
        self._add = add

    async def progress(self, user_id: str, book_ids: Iterable[str]) -> dict[str, Stored[Progress]]:
        """Return how far somebody is in these books, as far as anything is known."""
        return await self._find(Progress, user_id, {book_id: _PROGRESS + book_id for book_id in book_ids})

    async def months(self, user_id: str, months: Iterable[str]) -> dict[str, Stored[Month]]:
        """Return the rows of these months, as far as they are there."""
        return await self._find(Month, user_id, {month: _MONTH + month for month in months})

    async def _find(self, shape: type[M], user_id: str, keys: Mapping[str, str]) -> dict[str, Stored[M]]:
        rows = await asyncio.gather(*(self._users.find(shape, user_id, key) for key in keys.values()))
        return {name: row for name, row in zip(keys, rows, strict=True) if row is not None}

    async def session(self, user_id: str, session_id: str) -> Stored[Session] | None:
        if not re.fullmatch(ID_PATTERN, session_id):
            return None
        try:
            key = _session_key(session_id)
        except (ValueError, OverflowError):  # a time that no clock will show
            return None
        return await self._users.find(Session, user_id, key)

    async def play(self, user_id: str, book_id: str) -> Stored[Play] | None:
        return await self._users.find(Play, user_id, _PLAY + book_id)

    async def all_progress(self, user_id: str) -> list[Progress]:
        """Return how far somebody is in all books that were begun."""
        return [stored.value async for stored in self._users.each(Progress, user_id, _PROGRESS)]

    async def all_months(self, user_id: str) -> list[Month]:
        """Return all months of somebody, the oldest first: one read for a thousand."""
        return [stored.value async for stored in self._users.each(Month, user_id, _MONTH)]

    async def sessions(
        self, user_id: str, after: str | None = None, rows: int = 1000
    ) -> AsyncIterator[Session]:
        """Yield stretches of listening (or those after one), the newest first, so many `rows` a call."""
        place = None if after is None else _session_key(after)
        async for stored in self._users.each(Session, user_id, _SESSION, after=place, rows=rows):
            yield stored.value

    async def commit(self, user_id: str, rows: Sequence[Operation]) -> None:
        """Write all of the rows or none.

        Where none is replaced, nothing shows that their owner is still here, so that is looked at.
        Raises ConflictError or StaleError where others were first, NotFoundError for who is gone.
        """
        if any(isinstance(row, Replace) for row in rows):
            await self._users.transact(user_id, rows)
        else:
            await self._add(user_id, *rows)

    async def erase(self, user_id: str) -> None:
        """Delete all of it."""
        await self._users.erase(user_id, keep=lambda key: not key.startswith(_OURS))


def write_progress(stored: Stored[Progress] | None, progress: Progress) -> Operation:
    return _write(stored, _PROGRESS + progress.audiobook_id, progress)


def write_month(stored: Stored[Month] | None, month: Month) -> Operation:
    return _write(stored, _MONTH + month.month, month)


def write_session(stored: Stored[Session] | None, session: Session) -> Operation:
    return _write(stored, _session_key(session.id), session)


def write_play(stored: Stored[Play] | None, book_id: str, play: Play) -> Operation:
    return _write(stored, _PLAY + book_id, play)


def _write(stored: Stored[M] | None, key: str, value: M) -> Operation:
    return Insert(key, value) if stored is None else Replace(stored, value)


def _session_key(session_id: str) -> str:
    return f"{_SESSION}{inverted(time_of(session_id))}_{session_id}"
