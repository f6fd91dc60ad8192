"""Mail through one interface; where it goes is decided by the wiring."""

import logging
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Protocol

from core.ids import fingerprint, now
from core.storage.blobs import Container

_log = logging.getLogger("aloud.mail")


@dataclass(frozen=True)
class Mail:
    """A mail in plain text; one that is sent twice under the same `id` is one mail."""

    id: str
    to: str
    subject: str
    text: str


class Sender(Protocol):
    async def send(self, mail: Mail) -> None:
        """Deliver, or raise UnavailableError to be asked again."""


class ContainerSender:
    """Files mails as .eml into a blob container, where people without a mail service read them."""

    def __init__(self, container: Container, sender: str) -> None:
        self._container = container
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = mail.to
        message["Subject"] = " ".join(mail.subject.split())
        message["Date"] = format_datetime(now())
        message.set_content(mail.text)
        name = f"{mail.to}/{fingerprint(mail.id)[:16]}.eml"
        await self._container.write(name, message.as_bytes(), "message/rfc822")
        _log.info("mail to %s: %s (in container %s)", mail.to, mail.subject, self._container.name)
