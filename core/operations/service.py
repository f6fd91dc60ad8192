"""Alerts and the mail that carries them, and whether the parts that we stand on answer."""

import logging
from datetime import datetime

from core.errors import ConflictError
from core.ids import derived_id
from core.mail import Mail, Sender
from core.operations.models import Alert, Notice
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.queues import Queues
from core.storage.tables import Table, month_keys

_log = logging.getLogger("aloud.operations")

_LIST = "alert"


class Operations:
    def __init__(
        self, settings: Settings, account: StorageAccount, alerts: Table, queues: Queues, sender: Sender
    ) -> None:
        self._recipients = settings.alert_recipients
        self._site = settings.public_base_url
        self._account = account
        self._alerts = alerts
        self._queues = queues
        self._sender = sender

    async def raise_alert(
        self, kind: str, title: str, detail: str, target: str, at: datetime, *, mail: bool = True
    ) -> Alert:
        """Record an alert, log it and queue its mail. The same kind, target and time make one alert only."""
        alert = Alert(
            id=derived_id(at, kind, target),
            kind=kind,
            title=title,
            detail=detail,
            target=target,
            created_at=at,
        )
        partition, key = month_keys(_LIST, at, alert.id)
        try:
            await self._alerts.insert(alert, partition, key)
            _log.error("alert %s for %s: %s %s", kind, target, title, detail, extra={"aloud_event": "alert"})
        except ConflictError:
            _log.info("alert %s for %s was raised before", kind, target)
        if mail:
            await self._queues.send("notify", Notice(partition=partition, key=key))
        return alert

    async def alerts(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[Alert], tuple[str, str] | None]:
        """Return alerts, newest first, and where the next page begins."""
        return await self._alerts.newest(Alert, _LIST, limit, after)

    async def send_notice(self, notice: Notice) -> None:
        """Mail an alert to everyone who is to be told. Raises NotFoundError, UnavailableError."""
        alert = (await self._alerts.get(Alert, notice.partition, notice.key)).value
        for recipient in self._recipients:
            await self._sender.send(
                Mail(
                    id=f"{alert.id}-{recipient}",
                    to=recipient,
                    subject=f"Aloud: {alert.title}",
                    text=f"{alert.title}\n\n{alert.detail}\n\nTime: {alert.created_at.isoformat()}\n"
                    f"About: {alert.target}\n\nSee {self._site}/\n",
                )
            )

    async def readiness(self) -> dict[str, str]:
        """Return each part of the storage with `ok` or what is wrong with it."""
        return await self._account.check()
