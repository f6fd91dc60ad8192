"""Alerts: what a person has to know of, kept as rows and told by mail and webhook, the many in one message.

The first alert of a kind is told at once. What follows within `ALERT_MAIL_MINUTES` waits and is told
together, so that a bad night makes a few mails and not one for every book.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal

from core.errors import ConflictError, NotFoundError
from core.ids import derived_id, is_id, now, time_of
from core.operations.models import Alert, Notice, Telling
from core.settings import Settings
from core.storage.queues import Queues
from core.storage.tables import Table, month_keys

_log = logging.getLogger("aloud.operations")

QUEUE = "notify"
_LIST = "alert"
_TELLINGS = "telling"
_LOST = timedelta(minutes=10)  # a message that is this late will not come any more
_TOLD_TOGETHER = 50

Way = Literal["now", "together", "overdue", "waits"]

Tell = Callable[[str, str, str, datetime, str], Awaitable[None]]
"""Tell people: id of the message, title, detail, time, what it is about."""


class Alerts:
    def __init__(self, settings: Settings, table: Table, queues: Queues) -> None:
        self._window = timedelta(minutes=settings.alert_mail_minutes)
        self._table = table
        self._queues = queues

    async def raise_(
        self, kind: str, title: str, detail: str, target: str, at: datetime, *, mail: bool = True
    ) -> Alert:
        """Record an alert, log it, and see that it is told. The same kind, target and time make one only."""
        alert = Alert(
            id=derived_id(at, kind, target),
            kind=kind,
            title=title,
            detail=detail,
            target=target,
            created_at=at,
            raised_at=now(),
        )
        partition, key = month_keys(_LIST, at, alert.id)
        try:
            await self._table.insert(alert, partition, key)
            _log.error("alert %s for %s: %s %s", kind, target, title, detail, extra={"aloud_event": "alert"})
        except ConflictError:
            _log.info("alert %s for %s was raised before", kind, target)
        if mail:
            await self._have_told(alert, (partition, key))
        return alert

    async def is_known(self, kind: str, target: str, at: datetime) -> bool:
        """Tell whether such an alert was raised before."""
        keys = month_keys(_LIST, at, derived_id(at, kind, target))
        return await self._table.find(Alert, *keys) is not None

    async def newest(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[Alert], tuple[str, str] | None]:
        """Return alerts, newest first, and where the next page begins."""
        return await self._table.newest(Alert, _LIST, limit, after)

    async def resolve(self, alert_id: str, actor: str) -> Alert:
        """Note that somebody has dealt with it; again changes nothing. Raises NotFoundError."""
        if not is_id(alert_id):
            raise NotFoundError("There is no such alert.")
        keys = month_keys(_LIST, time_of(alert_id), alert_id)
        if await self._table.find(Alert, *keys) is None:
            raise NotFoundError("There is no such alert.")

        def resolve(alert: Alert) -> Alert | None:
            if alert.resolved_at is not None:
                return None
            return alert.model_copy(update={"resolved_at": now(), "resolved_by": actor})

        return await self._table.update(Alert, *keys, resolve)

    # How people are told

    async def _have_told(self, alert: Alert, keys: tuple[str, str]) -> None:
        match await self._decide(alert.kind):
            case "now":
                await self._queues.send(QUEUE, Notice(alert=keys))
            case "together":
                wait = self._window.total_seconds()
                await self._queues.send(QUEUE, Notice(alerts_of=alert.kind), wait)
            case "overdue":
                await self._queues.send(QUEUE, Notice(alerts_of=alert.kind))
            case "waits":
                _log.info("alert %s is told together with others", alert.id)

    async def _decide(self, kind: str) -> Way:
        """Decide how the next alert of a kind is told, and note it."""
        if not self._window:
            return "now"
        at = now()
        decided: Way = "waits"

        def decide(telling: Telling) -> Telling | None:
            nonlocal decided
            if telling.together_at is not None and at < telling.together_at + _LOST:
                decided = "waits"
                return None
            if telling.together_at is not None:
                decided = "overdue"
                return telling.model_copy(update={"together_at": at})
            if telling.told_at < at - self._window:
                decided = "now"
                return Telling(told_at=at)
            decided = "together"
            return telling.model_copy(update={"together_at": at + self._window})

        if await self._table.find(Telling, _TELLINGS, kind) is None:
            with suppress(ConflictError):
                await self._table.insert(Telling(told_at=at), _TELLINGS, kind)
                return "now"
        await self._table.update(Telling, _TELLINGS, kind, decide)
        return decided

    async def tell(self, notice: Notice, tell: Tell) -> None:
        """Tell what a message on `notify` asks for: one alert, or all of a kind that have waited."""
        if notice.alert is not None:
            alert = (await self._table.get(Alert, *notice.alert)).value
            await tell(alert.id, alert.title, alert.detail, alert.created_at, alert.target)
        if notice.alerts_of is not None:
            await self._tell_together(notice.alerts_of, tell)

    async def _tell_together(self, kind: str, tell: Tell) -> None:
        found = await self._table.find(Telling, _TELLINGS, kind)
        if found is None or found.value.together_at is None:
            return
        at = now()
        waiting = await self._since(kind, found.value.told_at)
        if waiting:
            detail = "\n".join(f"- {alert.title} ({alert.target})" for alert in waiting[:_TOLD_TOGETHER])
            if len(waiting) > _TOLD_TOGETHER:
                detail += f"\nand {len(waiting) - _TOLD_TOGETHER} more"
            title = f"{len(waiting)} more alerts: {waiting[0].title}"
            await tell(derived_id(found.value.together_at, kind), title, detail, at, kind)
        told = Telling(told_at=at)
        await self._table.update(Telling, _TELLINGS, kind, lambda now_: told if now_ == found.value else None)

    async def _since(self, kind: str, at: datetime) -> Sequence[Alert]:
        """Return alerts of a kind that were raised since then, the newest first, of the last month or so."""
        found: list[Alert] = []
        after: tuple[str, str] | None = None
        while True:
            alerts, after = await self.newest(100, after)
            found += [a for a in alerts if a.kind == kind and a.raised_at is not None and a.raised_at > at]
            if after is None or alerts[-1].created_at < at - timedelta(days=31):
                return found
