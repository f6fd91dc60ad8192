"""Mail through Azure Communication Services.

The SDK's own retries are off: it would sleep with a claimed message in hand, and the queue waits better.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from core.errors import InvalidError, UnavailableError
from core.mail.sender import Mail

if TYPE_CHECKING:
    from azure.communication.email.aio import EmailClient
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import HttpResponseError

TIMEOUT_SECONDS = 20.0

_log = logging.getLogger("aloud.mail")

_OPERATIONS = uuid.UUID("d2b0c922-8db9-4f4e-9597-3fdec92cfdc6")
_REFUSALS = (400, 413, 422)  # what the mail is; other answers are about us or the moment, and can change


class AcsSender:
    """Makes the SDK's client at the first mail, so that starting the app neither loads nor needs it."""

    def __init__(self, make_client: Callable[[], EmailClient], sender_address: str) -> None:
        self._make_client = make_client
        self._sender_address = sender_address
        self._client: EmailClient | None = None

    @classmethod
    def from_connection_string(cls, connection: str, sender_address: str, **options: Any) -> Self:
        """`connection` as the portal shows it: `endpoint=https://...;accesskey=...`."""

        def make() -> EmailClient:
            from azure.communication.email.aio import EmailClient

            return EmailClient.from_connection_string(connection, retry_total=0, **options)

        return cls(make, sender_address)

    @classmethod
    def from_endpoint(
        cls,
        endpoint: str,
        credential: Callable[[], AsyncTokenCredential],
        sender_address: str,
        **options: Any,
    ) -> Self:
        """`credential` is asked for at the first mail, and closed by whoever made it."""

        def make() -> EmailClient:
            from azure.communication.email.aio import EmailClient

            return EmailClient(endpoint, credential(), retry_total=0, **options)

        return cls(make, sender_address)

    async def send(self, mail: Mail) -> None:
        """Have a mail taken; what becomes of it then is in the service's own logs, under the operation's id.

        That id follows from `mail.id`: the service takes an operation once, and answers 400 where one comes
        again with another content. Raises UnavailableError, and InvalidError for a mail that is refused.
        """
        from azure.core.exceptions import AzureError, HttpResponseError

        if self._client is None:
            self._client = self._make_client()
        operation = str(uuid.uuid5(_OPERATIONS, mail.id))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._client.begin_send(self._write(mail), operation_id=operation, polling=False)
        except HttpResponseError as error:
            # not chained: the service's sentences quote addresses
            raise _translate(error, mail, operation) from None
        except (AzureError, TimeoutError) as error:
            raise UnavailableError(f"The mail service does not answer ({type(error).__name__}).") from error
        _log.info("mail to %s: taken as operation %s", mail.domain, operation)

    def _write(self, mail: Mail) -> dict[str, Any]:
        content = {"subject": mail.subject, "plainText": mail.text}
        if mail.html is not None:
            content["html"] = mail.html
        return {
            "senderAddress": self._sender_address,
            "recipients": {"to": [{"address": mail.to}]},
            "content": content,
            "userEngagementTrackingDisabled": True,  # tracking would rewrite the links
        }

    async def close(self) -> None:
        """Closes the sockets; a later mail would open new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _translate(error: HttpResponseError, mail: Mail, operation: str) -> UnavailableError | InvalidError:
    code = error.error.code if error.error else None
    answer = f"{error.status_code} {code}" if code else f"{error.status_code}"
    if error.status_code in _REFUSALS:
        _log.error("mail to %s: refused with %s as operation %s", mail.domain, answer, operation)
        return InvalidError(f"The mail service refuses a mail to {mail.domain} ({answer}).")
    response: Any = error.response
    wait = response.headers.get("retry-after", "") if response is not None else ""
    return UnavailableError(
        f"The mail service does not take a mail now ({answer}).",
        retry_after=float(wait) if wait.isdecimal() else None,
    )
