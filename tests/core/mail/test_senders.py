"""What leaves for a mail service, what its answers mean, and what a filed mail looks like."""

import asyncio
import email
import email.policy
import logging
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential

from core.errors import InvalidError, UnavailableError
from core.ids import fingerprint, new_id
from core.mail import AcsSender, ContainerSender, Mail, Sender, acs, connect
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.blobs import Container
from localhost.azurite import Azurite
from tests.core.mail.conftest import TOKEN, MailService, Reply, refuse

MAIL = Mail("letter-1", "ann@example.com", "Grüße", "Zum Lesen: ü\n", "<p>Zum Lesen: ü</p>")


class Credential(AsyncTokenCredential):
    """Gives one token, for the scope of the mail service alone."""

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == ("https://communication.azure.com//.default",)
        return AccessToken(TOKEN, int(time.time()) + 3600)

    async def close(self) -> None:
        raise AssertionError("whoever made the credential closes it")

    async def __aexit__(self, *_: object) -> None:
        pass


def no_credential() -> AsyncTokenCredential:
    raise AssertionError("no credential is needed here")


@pytest_asyncio.fixture
async def container(azurite: Azurite) -> AsyncIterator[Container]:
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    account = StorageAccount(Settings.read(environment))
    yield account.container(f"c{new_id()}")
    await account.close()


Connect = Callable[..., Sender]


@pytest_asyncio.fixture
async def connected(container: Container, service: MailService) -> AsyncIterator[Connect]:
    """`connected(MAIL_CONNECTION=...)`: the sender as the app makes it, for any settings."""
    made: list[Sender] = []

    def make(credential: Callable[[], AsyncTokenCredential] = no_credential, **settings: str) -> Sender:
        environment = {
            "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            "JWT_SIGNING_KEY": "k" * 32,
            "MAIL_FROM": "aloud@aloud.example",
            **settings,
        }
        made.append(
            connect(
                Settings.read(environment),
                container,
                credential,
                connection_verify=str(service.certificate),
            )
        )
        return made[-1]

    yield make
    for sender in made:
        await sender.close()


@pytest.fixture
def sender(connected: Connect, service: MailService) -> Sender:
    return connected(MAIL_CONNECTION=service.connection)


async def test_a_mail_goes_out_as_the_service_reads_it(sender: Sender, service: MailService) -> None:
    await sender.send(MAIL)
    ((request, message),) = service.requests
    assert (request.method, request.path) == ("POST", "/emails:send")
    assert dict(request.query) == {"api-version": "2025-09-01"}
    assert request.content_type == "application/json"
    assert message == {
        "senderAddress": "aloud@aloud.example",
        "recipients": {"to": [{"address": "ann@example.com"}]},
        "content": {"subject": "Grüße", "plainText": "Zum Lesen: ü\n", "html": "<p>Zum Lesen: ü</p>"},
        "userEngagementTrackingDisabled": True,
    }
    assert list(service.taken.values()) == [message], "its signature is accepted"
    assert uuid.UUID(request.headers["Operation-Id"])


async def test_a_mail_without_html_and_with_a_broken_subject(sender: Sender, service: MailService) -> None:
    await sender.send(Mail("letter-2", "ann@example.com", "Hello\r\nBcc: all@example.com", "Text"))
    assert service.requests[0][1]["content"] == {"subject": "Hello Bcc: all@example.com", "plainText": "Text"}


async def test_an_identity_serves_as_well_as_a_key(connected: Connect, service: MailService) -> None:
    sender = connected(Credential, MAIL_ENDPOINT=service.endpoint)
    await sender.send(MAIL)
    await sender.send(Mail("letter-2", "ann@example.com", "Two", "Text"))
    assert [request.headers["Authorization"] for request, _ in service.requests] == [f"Bearer {TOKEN}"] * 2
    assert len(service.taken) == 2


async def test_one_id_is_one_mail(connected: Connect, service: MailService) -> None:
    """Also where another instance repeats it, because the first one never heard the answer."""
    for _ in range(2):
        await connected(MAIL_CONNECTION=service.connection).send(MAIL)
    assert len(service.requests) == 2
    assert len(service.taken) == 1
    await connected(MAIL_CONNECTION=service.connection).send(replace(MAIL, id="letter-2"))
    assert len(service.taken) == 2


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


def reply(status: int, code: str, **headers: str) -> Reply:
    async def answer(_: web.Request) -> web.StreamResponse:
        return refuse(status, code, **headers)

    return answer


@pytest.mark.parametrize(
    ("answer", "retry_after"),
    [
        (reply(429, "TooManyRequests", **{"Retry-After": "7"}), 7.0),
        (reply(503, "Busy", **{"Retry-After": "2"}), 2.0),
        (reply(429, "TooManyRequests"), None),
        (reply(500, "InternalServerError"), None),
        (reply(401, "Denied"), None),
        (reply(403, "Forbidden"), None),
        (reply(404, "DomainNotLinked"), None),
        (cut, None),
    ],
)
async def test_what_time_can_heal_is_asked_again_by_the_queue_alone(
    sender: Sender, service: MailService, answer: Reply, retry_after: float | None
) -> None:
    service.script.append(answer)
    with pytest.raises(UnavailableError) as raised:
        await sender.send(MAIL)
    assert raised.value.retry_after == retry_after
    assert len(service.requests) == 1, "the SDK does not repeat it"
    await sender.send(MAIL)
    assert len(service.taken) == 1


async def test_a_service_that_never_answers_is_left(
    sender: Sender, service: MailService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sender.send(MAIL)
    monkeypatch.setattr(acs, "TIMEOUT_SECONDS", 0.1)
    service.script.append(hang)
    with pytest.raises(UnavailableError):
        await sender.send(MAIL)


async def test_a_service_that_is_away(connected: Connect, unused_tcp_port: int) -> None:
    connection = f"endpoint=https://127.0.0.1:{unused_tcp_port}/;accesskey=a2V5"
    with pytest.raises(UnavailableError):
        await connected(MAIL_CONNECTION=connection).send(MAIL)


async def test_a_refused_mail_is_not_asked_again(
    sender: Sender, service: MailService, caplog: pytest.LogCaptureFixture
) -> None:
    service.script.append(reply(400, "InvalidRecipient"))
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(InvalidError, match=r"example\.com.*InvalidRecipient") as raised,
    ):
        await sender.send(MAIL)
    assert len(service.requests) == 1
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "InvalidRecipient" in error.getMessage()
    assert "ann@" not in caplog.text + "".join(traceback.format_exception(raised.value))
    assert service.requests[0][0].headers["Authorization"] not in caplog.text


async def test_the_log_tells_no_address_and_no_content(
    sender: Sender, service: MailService, container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await sender.send(MAIL)
        await ContainerSender(container, "aloud@localhost").send(MAIL)
    logged = [record.getMessage() for record in caplog.records if record.name == "aloud.mail"]
    assert len(logged) == 2
    assert all("mail to example.com" in line for line in logged)
    assert service.requests[0][0].headers["Operation-Id"] in logged[0]
    assert not any("ann@" in line or "Lesen" in line for line in logged)


async def test_a_closed_sender_opens_again(sender: Sender, service: MailService) -> None:
    await sender.close()
    await sender.send(MAIL)
    await sender.close()
    await sender.send(MAIL)
    assert len(service.requests) == 2


async def read(container: Container, name: str) -> tuple[bytes, EmailMessage]:
    raw = await container.read(name)
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return raw, message


async def test_without_a_service_mails_are_files(connected: Connect, container: Container) -> None:
    sender = connected()
    link = "https://aloud.example/verify?token=" + "a" * 100
    mail = Mail(
        "letter-1", "ann@example.com", "Grüße\r\nBcc: x@y.zz", f"ü {link}\n", f'<a href="{link}">ü</a>'
    )
    await sender.send(mail)
    await sender.send(mail)
    names = [name async for name in container.names()]
    assert names == [f"ann@example.com/{fingerprint('letter-1')[:16]}.eml"]
    raw, message = await read(container, names[0])
    assert (message["From"], message["To"]) == ("aloud@aloud.example", "ann@example.com")
    assert message["Subject"] == "Grüße Bcc: x@y.zz"
    assert message["Bcc"] is None
    assert message["Date"].datetime.tzinfo is not None
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.iter_parts()
    assert (text.get_content_type(), text.get_content()) == ("text/plain", mail.text)
    assert (html.get_content_type(), html.get_content().rstrip("\n")) == ("text/html", mail.html)
    assert raw.count(link.encode()) == 2, "links can be copied from the file"


async def test_a_file_of_a_mail_without_html(container: Container) -> None:
    await ContainerSender(container, "aloud@localhost").send(Mail("a", "ann@example.com", "S", "Text\n"))
    _, message = await read(container, f"ann@example.com/{fingerprint('a')[:16]}.eml")
    assert (message.get_content_type(), message.get_content()) == ("text/plain", "Text\n")


async def test_the_settings_choose(connected: Connect) -> None:
    key = "endpoint=https://x.communication.azure.com/;accesskey=a2V5"
    assert isinstance(connected(), ContainerSender)
    assert isinstance(connected(MAIL_ENDPOINT="https://x.communication.azure.com"), AcsSender)
    assert isinstance(connected(MAIL_CONNECTION=key), AcsSender)


def test_a_start_loads_neither_the_sdk_nor_the_templates() -> None:
    code = (
        "import sys; from core.mail import connect; from core.settings import Settings\n"
        "s = {'AzureWebJobsStorage': 'x', 'JWT_SIGNING_KEY': 'k' * 32, 'MAIL_ENDPOINT': 'https://x.invalid'}\n"
        "connect(Settings.read(s), None, None); print(*sys.modules)"
    )
    root = Path(__file__).parent.parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert not {"azure.communication.email", "jinja2", "azure.identity"} & set(done.stdout.split())
