"""Alerts, the audit, mails, and whether the parts that we stand on answer."""

import logging
from datetime import datetime

from pydantic import ValidationError

from core.backoff import Backoff
from core.caller import Origin
from core.errors import ConflictError, InvalidError
from core.ids import derived_id, new_id, now
from core.mail import Letter, Sender, Template, compose
from core.operations.models import Alert, AuditEntry, Notice
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.queues import Queues
from core.storage.tables import Table, month_keys

_log = logging.getLogger("aloud.operations")

_ALERTS = "alert"
_AUDIT = "audit"
_QUEUE = "notify"


class Operations:
    def __init__(
        self,
        settings: Settings,
        account: StorageAccount,
        alerts: Table,
        audit: Table,
        queues: Queues,
        sender: Sender,
    ) -> None:
        self._recipients = settings.alert_recipients
        self._site = settings.public_base_url
        self._account = account
        self._alerts = alerts
        self._audit = audit
        self._backoff = Backoff(settings)
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
        partition, key = month_keys(_ALERTS, at, alert.id)
        try:
            await self._alerts.insert(alert, partition, key)
            _log.error("alert %s for %s: %s %s", kind, target, title, detail, extra={"aloud_event": "alert"})
        except ConflictError:
            _log.info("alert %s for %s was raised before", kind, target)
        if mail:
            await self._queues.send(_QUEUE, Notice(alert=(partition, key)))
        return alert

    async def alerts(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[Alert], tuple[str, str] | None]:
        """Return alerts, newest first, and where the next page begins."""
        return await self._alerts.newest(Alert, _ALERTS, limit, after)

    # Mails

    async def send_letter(self, template: Template, to: str, locale: str, **values: str | datetime) -> None:
        """Queue a mail to one person; it waits in plain text, so no value may be a secret."""
        texts = {
            name: value if isinstance(value, str) else f"{value:%d %B %Y, %H:%M} UTC"
            for name, value in values.items()
        }
        letter = Letter(id=new_id(), to=to, template=template, locale=locale, values=texts)
        await self._queues.send(_QUEUE, Notice(letter=letter))

    async def deliver(self, letter: Letter) -> None:
        """Mail a letter now. Raises UnavailableError where it has to be tried again.

        An address that takes no mail is logged, and that is the end of it.
        """
        try:
            await self._sender.send(compose(letter, self._site))
        except InvalidError as error:
            _log.error("mail %s (%s) cannot be sent: %s", letter.id, letter.template, error.detail)

    async def send_notice(self, body: str) -> None:
        """Mail what a message on `notify` asks for; where that fails for now, again later."""
        try:
            notice = Notice.model_validate_json(body)
        except ValidationError:
            _log.error("a message on %s cannot be read and is set aside", _QUEUE)
            await self.alert_lost_mail()
            return
        await self._backoff.run(self._queues, _QUEUE, notice, self._send)

    async def alert_lost_mail(self) -> None:
        """Tell a person, not by mail, of one that could not be sent; never of its content."""
        await self.raise_alert(
            "poison-message", "A mail could not be sent", "The log tells why.", "notify", now(), mail=False
        )

    async def _send(self, notice: Notice) -> None:
        if notice.letter is not None:
            await self.deliver(notice.letter)
        if notice.alert is not None:
            alert = (await self._alerts.get(Alert, *notice.alert)).value
            for recipient in self._recipients:
                values = {
                    "title": alert.title,
                    "detail": alert.detail,
                    "when": f"{alert.created_at:%d %B %Y, %H:%M} UTC",
                    "target": alert.target,
                    "link": f"{self._site}/",
                }
                await self.deliver(
                    Letter(
                        id=f"{alert.id}-{recipient}",
                        to=recipient,
                        template="alert",
                        locale="en",
                        values=values,
                    )
                )

    # The audit

    async def record(
        self, action: str, actor: str | None, target: str, origin: Origin, detail: str = ""
    ) -> None:
        """Add a row to the audit; do so before the act itself."""
        at = now()
        entry = AuditEntry(
            id=new_id(at),
            at=at,
            action=action,
            actor=actor,
            target=target,
            address=origin.address,
            request_id=origin.request_id,
            detail=detail,
        )
        await self._audit.insert(entry, *month_keys(_AUDIT, at, entry.id))

    async def audit(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[AuditEntry], tuple[str, str] | None]:
        """Return the audit, newest first, and where the next page begins."""
        return await self._audit.newest(AuditEntry, _AUDIT, limit, after)

    async def readiness(self) -> dict[str, str]:
        """Return each part of the storage with `ok` or what is wrong with it."""
        return await self._account.check()
