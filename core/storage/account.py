"""One storage account: credentials, the shared connection pool, and the three adapters on top of it."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueServiceClient

from core.errors import UnavailableError
from core.settings import Settings
from core.storage.blobs import Container
from core.storage.failures import translated
from core.storage.queues import Queues
from core.storage.tables import Table

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

_calls: ContextVar[list[int] | None] = ContextVar("storage_calls", default=None)


def count_calls() -> list[int]:
    """Start to count the storage calls of the current task; item 0 of the list is the count."""
    counter = [0]
    _calls.set(counter)
    return counter


class _CountingTransport(AioHttpTransport):  # type: ignore[misc]
    """One connection pool for the three services; adds each request to the task's counter."""

    async def send(self, request: Any, **config: Any) -> Any:
        counter = _calls.get()
        if counter is not None:
            counter[0] += 1
        return await super().send(request, **config)

    async def __aexit__(self, *_: object) -> None:
        """A client that closes leaves the pool open for the others; `close` ends it."""


class StorageAccount:
    """Opens nothing until first used; `close` ends its connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: tuple[BlobServiceClient, QueueServiceClient, TableServiceClient] | None = None
        self._credential: AsyncTokenCredential | None = None
        self._transport: _CountingTransport | None = None

    def table(self, name: str) -> Table:
        """Return the adapter of one table."""
        return Table(name, lambda: self._connect()[2].get_table_client(name))

    def container(self, name: str) -> Container:
        """Return the adapter of one blob container."""
        return Container(name, self._blobs)

    def _blobs(self) -> BlobServiceClient:
        return self._connect()[0]

    def queues(self) -> Queues:
        """Return the adapter of all queues."""
        return Queues(
            lambda name: self._connect()[1].get_queue_client(
                name, message_encode_policy=TextBase64EncodePolicy()
            )
        )

    def _connect(self) -> tuple[BlobServiceClient, QueueServiceClient, TableServiceClient]:
        if self._services is None:
            self._transport = _CountingTransport()
            common: dict[str, Any] = {"transport": self._transport}
            retry = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=3)
            settings = self._settings
            if settings.storage_connection is not None:
                connection = settings.storage_connection.get_secret_value()
                self._services = (
                    BlobServiceClient.from_connection_string(connection, retry_policy=retry, **common),
                    QueueServiceClient.from_connection_string(connection, retry_policy=retry, **common),
                    TableServiceClient.from_connection_string(connection, **common),
                )
            else:
                from azure.identity.aio import ManagedIdentityCredential

                self._credential = ManagedIdentityCredential(client_id=settings.identity_client_id)
                blobs, queues, tables = (
                    str(settings.blob_service_uri),
                    str(settings.queue_service_uri),
                    str(settings.table_service_uri),
                )
                self._services = (
                    BlobServiceClient(blobs, self._credential, retry_policy=retry, **common),
                    QueueServiceClient(queues, self._credential, retry_policy=retry, **common),
                    TableServiceClient(tables, credential=self._credential, **common),
                )
        return self._services

    def blob_origin(self) -> str:
        """Return scheme, host and port of the blob endpoint."""
        parts = urlsplit(self._connect()[0].url)
        return f"{parts.scheme}://{parts.netloc}"

    async def check(self) -> dict[str, str]:
        """Ask each of the three services for its properties; maps its name to `ok` or to what is wrong."""
        blobs, queues, tables = self._connect()

        async def ask(call: Any) -> str:
            try:
                async with asyncio.timeout(2):
                    with translated("the storage"):
                        await call()
            except (UnavailableError, TimeoutError):
                return "does not answer"
            except Exception as error:
                return f"answers with {type(error).__name__}"
            return "ok"

        states = await asyncio.gather(
            ask(blobs.get_service_properties),
            ask(queues.get_service_properties),
            ask(tables.get_service_properties),
        )
        return dict(zip(("blobs", "queues", "tables"), states, strict=True))

    async def close(self) -> None:
        """End all connections."""
        if self._services is not None:
            for service in self._services:
                await service.close()
            self._services = None
        if self._transport is not None:
            await self._transport.close()
        if self._credential is not None:
            await self._credential.close()
