"""Stretches of listening: what was heard is counted once, however often and late a device tells of it."""

import logging
from collections import defaultdict
from datetime import date, datetime, timedelta

from core.caller import Caller
from core.catalog.service import Catalog
from core.errors import ConflictError, NotFoundError, StaleError, UnavailableError
from core.ids import fingerprint, new_id, now
from core.listening.days import spread
from core.listening.models import (
    HeardStretch,
    Month,
    Play,
    Session,
    SessionStart,
    SessionUpdate,
    SessionView,
    show_session,
)
from core.listening.stats import ListeningStats, add_heard, month_of, sum_up
from core.listening.store import ListeningStore, write_month, write_play, write_session
from core.storage.tables import Operation

_log = logging.getLogger("aloud.listening")

_LONGEST = timedelta(hours=24)
_TRIES = 20


class ListeningSessions:
    def __init__(self, store: ListeningStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def start(self, caller: Caller, entry: SessionStart) -> SessionView:
        """Begin a stretch of listening; one that is begun twice is empty and shown nowhere.

        Raises NotFoundError, NotOwnedError.
        """
        book = await self._catalog.heard_by(entry.audiobook_id, caller)
        at = entry.done_at(now())
        session = Session(
            id=new_id(at),
            audiobook_id=book.id,
            device_id=entry.device_id,
            started_at=at,
            start_position_seconds=entry.start_position_seconds,
            position_seconds=entry.start_position_seconds,
            speed=entry.speed,
            utc_offset_minutes=entry.utc_offset_minutes,
            heard_at=at,
            genres=book.genres,
        )
        await self._store.commit(caller.user_id, [write_session(None, session)])
        return show_session(session)

    async def note(self, caller: Caller, session_id: str, entry: SessionUpdate) -> SessionView:
        """Count what was heard since the last update, with the month's sums, in one transaction.

        Never more than the time that has passed since then, times speed; what is repeated or comes late
        changes nothing. Raises NotFoundError.
        """
        received = now()
        for _ in range(_TRIES):
            stored = await self._store.session(caller.user_id, session_id)
            if stored is None:
                raise NotFoundError("There is no such stretch of listening.")
            session, heard = advance(stored.value, entry, received)
            if session == stored.value:
                return show_session(session)
            rows: list[Operation] = []
            if heard > 0:
                session, rows = await self._count(caller.user_id, session, heard, received)
            try:
                await self._store.commit(caller.user_id, [write_session(stored, session), *rows])
            except (ConflictError, StaleError):
                continue
            return show_session(session)
        raise UnavailableError("This stretch of listening changes too often.", retry_after=1)

    async def _count(
        self, user_id: str, session: Session, heard: float, received: datetime
    ) -> tuple[Session, list[Operation]]:
        """Return the session as counted, and the rows that change with it."""
        offset = session.utc_offset_minutes
        by_month: dict[str, dict[date, float]] = defaultdict(dict)
        for day, seconds in spread(heard, session.speed, session.heard_at, offset).items():
            by_month[month_of(day)][day] = seconds
        months = await self._store.months(user_id, by_month)
        rows: list[Operation] = []
        for name, by_day in by_month.items():
            month = months[name].value if name in months else Month(month=name)
            rows.append(write_month(months.get(name), add_heard(month, by_day, session.genres, offset)))
        day_now = received.date().isoformat()
        if session.played_on == day_now:
            return session, rows
        play = await self._store.play(user_id, session.audiobook_id)
        if play is None or play.value.day != day_now:
            if not await self._add_play(user_id, session.audiobook_id, day_now):
                return session, rows
            rows.append(write_play(play, session.audiobook_id, Play(day=day_now)))
        return session.model_copy(update={"played_on": day_now}), rows

    async def _add_play(self, user_id: str, book_id: str, day: str) -> bool:
        """Count a play before the commit: after a crash in between, the same play is told again, and known.

        Where it cannot be counted now, the next update tries again; what was heard is not held up.
        """
        try:
            await self._catalog.add_play(book_id, fingerprint("play", user_id, book_id, day)[:32])
        except UnavailableError as error:
            _log.warning("a play of %s is counted later: %s", book_id, error.detail)
            return False
        return True

    async def history(
        self, caller: Caller, limit: int, after: str | None
    ) -> tuple[list[HeardStretch], str | None]:
        """Return a page of the stretches in which something was heard, the newest first."""
        found: list[Session] = []
        async for session in self._store.sessions(caller.user_id, after, limit + 1):
            if session.seconds_listened > 0:
                found.append(session)
            if len(found) > limit:
                break
        shown = found[:limit]
        books = await self._catalog.summaries([session.audiobook_id for session in shown], caller)
        items = [
            HeardStretch(audiobook=books.get(session.audiobook_id), session=show_session(session))
            for session in shown
        ]
        return items, shown[-1].id if len(found) > limit else None

    async def stats(self, user_id: str) -> ListeningStats:
        """Return all that somebody has heard, from one read."""
        return sum_up(await self._store.all_months(user_id), now())


def advance(session: Session, entry: SessionUpdate, received: datetime) -> tuple[Session, float]:
    """Return how a session goes on, and how many seconds more were heard; what comes late changes nothing."""
    at = min(entry.done_at(received), session.started_at + _LONGEST)
    if at <= session.heard_at:
        return session, 0.0
    speed = entry.speed or session.speed
    possible = (at - session.heard_at).total_seconds() * speed
    heard = round(max(0.0, min(entry.seconds_listened - session.seconds_listened, possible)), 3)
    offset = entry.utc_offset_minutes
    changed = session.model_copy(
        update={
            "speed": speed,
            "position_seconds": entry.position_seconds
            if entry.position_seconds is not None
            else session.position_seconds,
            "utc_offset_minutes": session.utc_offset_minutes if offset is None else offset,
            "seconds_listened": round(session.seconds_listened + heard, 3),
        }
    )
    if changed == session:
        return session, 0.0
    return changed.model_copy(update={"heard_at": at}), heard
