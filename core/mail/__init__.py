"""Mail: letters that are rendered from templates, and where they go, which is a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.mail.acs import AcsSender
from core.mail.container import ContainerSender
from core.mail.letters import Letter, Template, compose
from core.mail.sender import Mail, Sender
from core.settings import Settings
from core.storage.blobs import Container

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

__all__ = ["AcsSender", "ContainerSender", "Letter", "Mail", "Sender", "Template", "compose", "connect"]


def connect(
    settings: Settings,
    container: Container,
    credential: Callable[[], AsyncTokenCredential],
    **options: Any,
) -> Sender:
    """Return the sender that the settings ask for; without a mail service, one that files into `container`.

    `credential` is asked for at the first mail, where only an endpoint is set; whoever made it closes it.
    `options` are keywords of the Azure SDK's client.
    """
    if settings.mail_connection is not None:
        connection = settings.mail_connection.get_secret_value()
        return AcsSender.from_connection_string(connection, settings.mail_from, **options)
    if settings.mail_endpoint:
        return AcsSender.from_endpoint(settings.mail_endpoint, credential, settings.mail_from, **options)
    return ContainerSender(container, settings.mail_from)
