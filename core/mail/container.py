"""Mail as files, for whoever has no mail service."""

import logging
from email.message import EmailMessage
from email.utils import format_datetime

from core.ids import fingerprint, now
from core.mail.sender import Mail
from core.storage.blobs import Container

_log = logging.getLogger("aloud.mail")


class ContainerSender:
    """Files mails as .eml into a blob container, where people without a mail service read them."""

    def __init__(self, container: Container, sender_address: str) -> None:
        self._container = container
        self._sender_address = sender_address

    async def send(self, mail: Mail) -> None:
        """Raises UnavailableError."""
        message = EmailMessage()
        message["From"] = self._sender_address
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(now())
        # as 8bit, links stay whole for whoever opens the file
        message.set_content(mail.text, cte="8bit")
        if mail.html is not None:
            message.add_alternative(mail.html, subtype="html", cte="8bit")
        file = f"{fingerprint(mail.id)[:16]}.eml"
        await self._container.write(f"{mail.to}/{file}", message.as_bytes(), "message/rfc822")
        _log.info("mail to %s: %s (%s in %s)", mail.domain, mail.subject, file, self._container.name)

    async def close(self) -> None:
        """Nothing to end: the container's connections are the storage's."""
