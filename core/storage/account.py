"""One storage account: credentials, the shared connection pool, and the three adapters on top of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

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

Watch = Callable[[str, str], AbstractAsyncContextManager[object]]
"""Entered with method and URL (without its query) before a request is sent, left once it is answered."""


@dataclass
class Calls:
    """The storage calls of one task and of those it started: how many, and how many one after another.

    Calls that are under way together are one round, a call that waited for another's answer begins the next.
    """

    count: int = 0
    rounds: int = 0
    _under_way: int = field(default=0, init=False, repr=False)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count what happens inside as one call."""
        # a task knows the rounds of its own calls; where nothing is under way, it has joined all others
        before = _round.get() if self._under_way else self.rounds
        _round.set(before + 1)
        self.rounds = max(self.rounds, before + 1)
        self.count += 1
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


_calls: ContextVar[Calls | None] = ContextVar("storage_calls", default=None)
_round: ContextVar[int] = ContextVar("storage_round", default=0)


def count_calls() -> Calls:
    """Start to count the storage calls of the current task and of the tasks that it starts."""
    calls = Calls()
    _calls.set(calls)
    _round.set(0)
    return calls


_BLOCK_BYTES = 4 * 1024 * 1024


class _Transport(AioHttpTransport):  # type: ignore[misc]
    """One connection pool for the three services; counts each request, and shows it to the watch."""

    def __init__(self, watch: Watch | None) -> None:
        # where the environment names no proxy, not every request has to ask again, in a thread
        super().__init__(use_env_settings=bool(getproxies_environment()))
        self._watch = watch

    async def send(self, request: Any, **config: Any) -> Any:
        calls = _calls.get()
        counted = nullcontext() if calls is None else calls.one()
        watched: AbstractAsyncContextManager[object] = nullcontext()
        if self._watch is not None:
            watched = self._watch(request.method, request.url.partition("?")[0])
        with counted:
            async with watched:
                return await super().send(request, **config)

    async def __aexit__(self, *_: object) -> None:
        """A client that closes leaves the pool open for the others; `close` ends it."""


class StorageAccount:
    """Opens nothing until first used; `close` ends its connections. Tests see each request with a `watch`."""

    def __init__(self, settings: Settings, watch: Watch | None = None) -> None:
        self._settings = settings
        self._watch = watch
        self._services: tuple[BlobServiceClient, QueueServiceClient, TableServiceClient] | None = None
        self._credential: AsyncTokenCredential | None = None
        self._transport: _Transport | None = None

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
            self._transport = _Transport(self._watch)
            common: dict[str, Any] = {"transport": self._transport}
            retry = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=3)
            # What is larger goes in blocks of that size, and is not all of it in memory, or not twice.
            sizes: dict[str, Any] = {"max_single_put_size": _BLOCK_BYTES, "max_single_get_size": _BLOCK_BYTES}
            settings = self._settings
            if settings.storage_connection is not None:
                connection = settings.storage_connection.get_secret_value()
                self._services = (
                    BlobServiceClient.from_connection_string(
                        connection, retry_policy=retry, **sizes, **common
                    ),
                    QueueServiceClient.from_connection_string(connection, retry_policy=retry, **common),
                    TableServiceClient.from_connection_string(connection, **common),
                )
            else:
                credential = self.credential()
                blobs, queues, tables = (
                    str(settings.blob_service_uri),
                    str(settings.queue_service_uri),
                    str(settings.table_service_uri),
                )
                self._services = (
                    BlobServiceClient(blobs, credential, retry_policy=retry, **sizes, **common),
                    QueueServiceClient(queues, credential, retry_policy=retry, **common),
                    TableServiceClient(tables, credential=credential, **common),
                )
        return self._services

    def credential(self) -> AsyncTokenCredential:
        """Return the app's managed identity, for every Azure service that it calls; `close` ends it."""
        if self._credential is None:
            from azure.identity.aio import ManagedIdentityCredential

            self._credential = ManagedIdentityCredential(client_id=self._settings.identity_client_id)
        return self._credential

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
            self._transport = None
        if self._credential is not None:
            await self._credential.close()
            self._credential = None
