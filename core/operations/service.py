"""Alerts, the audit, mails, the pipeline's switch and budgets, and whether what we stand on answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from core.backoff import Backoff
from core.caller import Origin
from core.errors import InvalidError
from core.ids import new_id, now
from core.mail import Letter, Sender, Template, compose
from core.operations.alerts import QUEUE, Alerts
from core.operations.audit import Audit
from core.operations.budgets import Budgets
from core.operations.dead_letters import DeadLetters
from core.operations.models import Alert, AuditEntry, Notice
from core.operations.switch import PipelineSwitch
from core.operations.webhook import Webhook
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.queues import Queues
from core.storage.tables import Table

_log = logging.getLogger("aloud.operations")


@dataclass(frozen=True)
class OperationTables:
    """Where the operations keep their rows."""

    alerts: Table
    audit: Table
    controls: Table
    budgets: Table
    poison: Table


class Operations:
    def __init__(
        self,
        settings: Settings,
        account: StorageAccount,
        tables: OperationTables,
        queues: Queues,
        sender: Sender,
    ) -> None:
        self._recipients = settings.alert_recipients
        self._site = settings.public_base_url
        self._account = account
        self._alerts = Alerts(settings, tables.alerts, queues)
        self._webhook = Webhook.of(settings)
        self._audit = Audit(tables.audit)
        self.switch = PipelineSwitch(tables.controls, self._alerts, self._audit)
        self.budgets = Budgets(settings, tables.budgets, self._alerts)
        self.dead_letters = DeadLetters(tables.poison, queues)
        self._backoff = Backoff(settings)
        self._queues = queues
        self._sender = sender

    async def raise_alert(
        self, kind: str, title: str, detail: str, target: str, at: datetime, *, mail: bool = True
    ) -> Alert:
        """Record an alert and see that people are told; see `Alerts.raise_`."""
        return await self._alerts.raise_(kind, title, detail, target, at, mail=mail)

    async def is_alerted(self, kind: str, target: str, at: datetime) -> bool:
        """Tell whether such an alert was raised before."""
        return await self._alerts.is_known(kind, target, at)

    async def alerts(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[Alert], tuple[str, str] | None]:
        """Return alerts, newest first, and where the next page begins."""
        return await self._alerts.newest(limit, after)

    async def resolve_alert(self, alert_id: str, actor: str, origin: Origin) -> Alert:
        """Note that somebody has dealt with an alert. Raises NotFoundError."""
        await self.record("alert.resolved", actor, alert_id, origin)
        return await self._alerts.resolve(alert_id, actor)

    # Mails

    async def post(self, letter: Letter) -> None:
        """Queue a letter; one that is queued again, under the same id, is mailed once."""
        await self._queues.send(QUEUE, Notice(letter=letter))

    def write_letter(self, template: Template, to: str, locale: str, **values: str | datetime) -> Letter:
        """Return a letter to one person; it waits in plain text, so no value may be a secret."""
        texts = {
            name: value if isinstance(value, str) else f"{value:%d %B %Y, %H:%M} UTC"
            for name, value in values.items()
        }
        return Letter(id=new_id(), to=to, template=template, locale=locale, values=texts)

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
            _log.error("a message on %s cannot be read and is set aside", QUEUE)
            await self.alert_lost_mail()
            return
        await self._backoff.run(self._queues, QUEUE, notice, self._send)

    async def alert_lost_mail(self) -> None:
        """Tell a person, not by mail, of one that could not be sent; never of its content."""
        await self.raise_alert(
            "poison-message", "A mail could not be sent", "The log tells why.", QUEUE, now(), mail=False
        )

    async def _send(self, notice: Notice) -> None:
        if notice.letter is not None:
            await self.deliver(notice.letter)
        await self._alerts.tell(notice, self._tell)

    async def _tell(self, message_id: str, title: str, detail: str, at: datetime, target: str) -> None:
        when = f"{at:%d %B %Y, %H:%M} UTC"
        for recipient in self._recipients:
            values = {
                "title": title,
                "detail": detail,
                "when": when,
                "target": target,
                "link": f"{self._site}/",
            }
            letter_id = f"{message_id}-{recipient}"
            await self.deliver(
                Letter(id=letter_id, to=recipient, template="alert", locale="en", values=values)
            )
        if self._webhook is not None:  # the last: a chat that is away keeps no mail back
            await self._webhook.post(title, detail, f"{self._site}/")

    # The audit

    async def record(
        self, action: str, actor: str | None, target: str, origin: Origin, detail: str = ""
    ) -> None:
        """Add a row to the audit; do so before the act itself."""
        await self._audit.record(action, actor, target, origin, detail)

    async def audit(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[AuditEntry], tuple[str, str] | None]:
        """Return the audit, newest first, and where the next page begins."""
        return await self._audit.newest(limit, after)

    async def entries_of(self, action: str, begin: datetime, end: datetime) -> AsyncIterator[AuditEntry]:
        """Yield what the audit has of an action, from a time until another, at most a day later."""
        async for entry in self._audit.entries_of(action, begin, end):
            yield entry

    async def count_messages(self, queues: Sequence[str]) -> list[tuple[str, int, int]]:
        """Return for each queue about how many messages it has, and how many of it were set aside."""

        async def count(queue: str) -> tuple[str, int, int]:
            return queue, await self._queues.length(queue), await self.dead_letters.count(queue)

        return list(await asyncio.gather(*(count(queue) for queue in queues)))

    async def readiness(self) -> dict[str, str]:
        """Return each part of the storage with `ok` or what is wrong with it."""
        return await self._account.check()
