"""Alerts on a real storage: one is told at once, many are told together, by mail and by webhook."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient

from core.caller import Origin
from core.errors import NotFoundError, UnavailableError
from core.ids import new_id, now
from core.operations.alerts import Alerts
from core.operations.models import Notice, Telling
from core.operations.webhook import Webhook, compose_message
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.tables import month_keys
from core.wiring import build
from localhost.azurite import Azurite

NOBODY = Origin(address="", request_id="")


@dataclass
class Desk:
    """Alerts on a table of their own, and what was told."""

    alerts: Alerts
    account: StorageAccount
    connection: str
    told: list[tuple[str, str]] = field(default_factory=list)
    raised: set[str] = field(default_factory=set)

    async def raise_one(self, kind: str, title: str, target: str, at: datetime) -> None:
        alert = await self.alerts.raise_(kind, title, "The AI was away.", target, at)
        self.raised.add(alert.id)

    async def raise_some(self, count: int, kind: str) -> None:
        for number in range(count):
            await self.raise_one(kind, f"Book {number} has failed", new_id(), now() - timedelta(hours=1))

    async def tell(self, _: str, title: str, detail: str, __: datetime, ___: str) -> None:
        self.told.append((title, detail))

    async def queued(self) -> list[Notice]:
        """Take the messages about these alerts that can be seen, which those that wait cannot."""
        queue = QueueClient.from_connection_string(
            self.connection, "notify", message_decode_policy=TextBase64DecodePolicy()
        )
        async with queue:
            found = []
            async for message in queue.receive_messages(visibility_timeout=600):
                notice = Notice.model_validate_json(message.content)
                if notice.alert is None or notice.alert[1].rpartition("_")[2] in self.raised:
                    found.append(notice)
                await queue.delete_message(message)
            return found


@pytest_asyncio.fixture
async def desk(azurite: Azurite) -> AsyncIterator[Desk]:
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    settings = Settings.read(environment)
    account = StorageAccount(settings)
    alerts = Alerts(settings, account.table(f"t{new_id()}"), account.queues())
    yield Desk(alerts, account, azurite.connection_string)
    await account.close()


async def test_the_first_is_told_at_once_and_the_rest_together(desk: Desk) -> None:
    kind = f"failed-{new_id()}"
    await desk.raise_some(1, kind)
    first = [notice for notice in await desk.queued() if notice.alert]
    await desk.raise_some(60, kind)
    assert not any(notice.alert or notice.alerts_of == kind for notice in await desk.queued())
    for notice in (*first, Notice(alerts_of=kind), Notice(alerts_of=kind)):
        await desk.alerts.tell(notice, desk.tell)
    (one, _), (many, detail) = desk.told
    assert (one, many) == ("Book 0 has failed", "60 more alerts: Book 59 has failed")
    assert detail.count("\n- ") == 49
    assert detail.endswith("and 10 more")


async def test_kinds_do_not_wait_for_each_other_and_the_same_alert_is_one(desk: Desk) -> None:
    at = now()
    for kind in ("a", "b", "b"):
        await desk.raise_one(kind, "Poison", "here", at)
    assert len([notice for notice in await desk.queued() if notice.alert]) == 2
    listed, _ = await desk.alerts.newest(10, None)
    assert sorted(alert.kind for alert in listed) == ["a", "b"]


async def test_an_alert_is_resolved_once(azurite: Azurite) -> None:
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    services = build(Settings.read(environment))
    try:
        operations = services.operations
        alert = await operations.raise_alert("poison", "Poison", "Look.", new_id(), now(), mail=False)
        first = await operations.resolve_alert(alert.id, "ann", NOBODY)
        again = await operations.resolve_alert(alert.id, "ben", NOBODY)
        assert first == again
        assert (first.resolved_by, first.resolved_at is not None) == ("ann", True)
        for unknown in (new_id(), "z" * 26, "no id"):
            with pytest.raises(NotFoundError):
                await operations.resolve_alert(unknown, "ann", NOBODY)
    finally:
        await services.close()


def test_slack_and_teams_get_what_they_want() -> None:
    slack = compose_message(
        "https://hooks.slack.com/services/T0/B0/x", "A <b>", "R&D", "https://aloud.example/"
    )
    assert slack == {"text": "*A &lt;b&gt;*\nR&amp;D\n<https://aloud.example/>"}
    teams = compose_message("https://prod-1.logic.azure.com/x", "A <b>", "R&D", "https://aloud.example/")
    card = teams["attachments"][0]["content"]
    assert [block["text"] for block in card["body"]] == ["A <b>", "R&D"]
    assert card["actions"][0]["url"] == "https://aloud.example/"


@pytest.mark.parametrize(
    ("status", "again"), [(200, False), (400, False), (404, False), (429, True), (500, True)]
)
async def test_a_webhook_that_is_away_is_tried_again_and_one_that_refuses_is_not(
    status: int, again: bool
) -> None:
    got: list[dict[str, Any]] = []

    async def receive(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        webhook = Webhook(f"{site.name}/hook")
        if again:
            with pytest.raises(UnavailableError, match=str(status)):
                await webhook.post("Poison", "Look.", "http://localhost/")
        else:
            await webhook.post("Poison", "Look.", "http://localhost/")
    finally:
        await runner.cleanup()
    assert got[0]["text"] == "Poison\nLook."
    with pytest.raises(UnavailableError):
        await webhook.post("Poison", "Look.", "http://localhost/")


async def test_a_chat_that_is_away_keeps_no_mail_back(azurite: Azurite) -> None:
    address = f"{new_id()}@example.com"
    services = build(
        Settings.read(
            {
                "AzureWebJobsStorage": azurite.connection_string,
                "JWT_SIGNING_KEY": "k" * 32,
                "ALERT_WEBHOOK": "http://127.0.0.1:9/chat",
                "ALERT_EMAIL": address,
            }
        )
    )
    try:
        alert = await services.operations.raise_alert(f"k-{new_id()}", "Look", "Here.", new_id(), now())
        keys = month_keys("alert", alert.created_at, alert.id)
        for _ in range(2):
            await services.operations.send_notice(Notice(alert=keys).model_dump_json())
        mails = [name async for name in services._account.container("mail").names(address)]
        assert len(mails) == 1
    finally:
        await services.close()


async def test_what_a_lost_message_would_have_told_is_told_with_the_next_alert(desk: Desk) -> None:
    kind = f"failed-{new_id()}"
    await desk.raise_some(2, kind)
    await desk.queued()
    late = Telling(told_at=now() - timedelta(days=1), together_at=now() - timedelta(hours=1))
    await desk.alerts._table.put(late, "telling", kind)
    await desk.raise_some(1, kind)
    for notice in await desk.queued():
        await desk.alerts.tell(notice, desk.tell)
    assert [title for title, _ in desk.told] == ["3 more alerts: Book 0 has failed"]
