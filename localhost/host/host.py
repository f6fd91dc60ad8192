"""The host: loads an app, starts what triggers its functions, and drains when it is told to stop."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any, Self

from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueServiceClient

from localhost.host.admin import AdminEndpoints
from localhost.host.app import Function, load_functions
from localhost.host.blobs import BlobTriggers, watched_container
from localhost.host.bridge import EventGridBridge, create_containers
from localhost.host.config import HostOptions, read_host_config
from localhost.host.http import ADDRESS, HttpServer, open_port
from localhost.host.invoke import Invoker
from localhost.host.queues import QueueListener, listen_for_function, run_queue_function
from localhost.host.routes import build_routes
from localhost.host.timers import TimerTrigger

log = logging.getLogger("localhost.host")

BY_HAND = "This function was programmatically called via the host APIs."


class Host:
    """One running function app. Use it as `async with Host.start(options) as host`."""

    @classmethod
    @asynccontextmanager
    async def start(cls, options: HostOptions, listener: socket.socket | None = None) -> AsyncIterator[Self]:
        """Load the app, serve it for as long as the block runs, then drain.

        `listener` is a socket from `open_port`, for who must know the port before the app is imported. Raises
        HostError for an app that cannot run and PortError.
        """
        async with AsyncExitStack() as parts:
            taken = parts.enter_context(closing(listener or open_port(options.port)))
            queues = QueueServiceClient.from_connection_string(
                options.connection_string, transport=AioHttpTransport(use_env_settings=False)
            )
            blobs = BlobServiceClient.from_connection_string(
                options.connection_string, transport=AioHttpTransport(use_env_settings=False)
            )
            await parts.enter_async_context(queues)
            await parts.enter_async_context(blobs)
            host = cls(options, taken, queues, blobs)
            parts.push_async_callback(host._drain)
            await host._open()
            yield host

    def __init__(
        self,
        options: HostOptions,
        listener: socket.socket,
        queues: QueueServiceClient,
        blobs: BlobServiceClient,
    ) -> None:
        self.base_url = f"http://{ADDRESS}:{listener.getsockname()[1]}"
        self._options = options
        self._socket = listener
        self._blobs = blobs
        self._invoker = Invoker()
        config = read_host_config(options.folder)
        self.functions = {function.name: function for function in load_functions(options.folder)}
        self._routes = build_routes(self.functions.values(), config.route_prefix)
        blob_functions = self._of_type("blobTrigger")
        self._containers = {function.name: watched_container(function) for function in blob_functions}
        self.blob_triggers = BlobTriggers(
            blob_functions,
            host_id=options.host_id,
            blobs=blobs,
            queues=queues,
            settings=config.blobs,
            lease_seconds=options.lease_seconds,
            rest_seconds=options.rest_seconds,
            invoker=self._invoker,
        )
        self._bridge = EventGridBridge(
            self._containers,
            blobs=blobs,
            host_id=options.host_id,
            base_url=self.base_url,
            key=self.blob_triggers.key,
            interval_seconds=options.bridge_seconds if options.rest_seconds is None else options.rest_seconds,
        )
        self._timers = {
            function.name: TimerTrigger(function, blobs, options.host_id, self._invoker)
            for function in self._of_type("timerTrigger")
        }
        self._listeners: list[QueueListener] = [
            listen_for_function(
                function,
                queues,
                config.queues,
                lease_seconds=options.lease_seconds,
                rest_seconds=options.rest_seconds,
                invoker=self._invoker,
            )
            for function in self._of_type("queueTrigger")
        ]
        admin = AdminEndpoints(options.host_id, self.functions, self._routes, self._run_by_hand)
        special = {**admin.paths(), **self.blob_triggers.paths()}
        self._server = HttpServer(self._routes, self._invoker, special)
        self._loops: set[asyncio.Task[None]] = set()
        self._by_hand: set[asyncio.Task[None]] = set()

    def expect_message(self, queue: str, seconds: float) -> None:
        """A message will be in this queue so many seconds from now: look then, however long polls rest."""
        for listener in self._listeners:
            if listener.queue == queue:
                listener.expect(seconds)

    def expect_blob(self, container: str) -> None:
        """A blob was written to this container."""
        self._bridge.expect(container)

    def _of_type(self, trigger: str) -> list[Function]:
        return [function for function in self.functions.values() if function.trigger["type"] == trigger]

    async def _open(self) -> None:
        await create_containers(self._blobs, set(self._containers.values()))
        await self._server.start(self._socket, self._options.drain_seconds)
        if self._containers:
            await self.blob_triggers.prepare()
            self._listeners.append(self.blob_triggers.listener)
            self._spawn(self._bridge.run(), self._loops)
        for listener in self._listeners:
            self._spawn(listener.run(), self._loops)
        for timer in self._timers.values():
            self._spawn(timer.run(), self._loops)
        log.info("%d functions are served at %s", len(self.functions), self.base_url)

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_log_failure)

    def _run_by_hand(self, name: str, given: str) -> bool:
        """Start one run of a function that is not an HTTP function; False for one that is."""
        function = self.functions[name]
        kind = function.trigger["type"]
        if kind == "queueTrigger":
            message = QueueMessage(given, id="by-hand", dequeue_count=1)
            work = run_queue_function(function, self._invoker, given.encode(), message, BY_HAND)
        elif kind == "blobTrigger":
            work = self.blob_triggers.run(function, given, BY_HAND)
        elif kind == "timerTrigger":
            work = self._timers[name].run_by_hand()
        else:
            return False
        self._spawn(work, self._by_hand)
        return True

    async def _drain(self) -> None:
        """Fetch nothing more, let what runs finish, cancel what takes too long and free its messages."""
        self._bridge.stop()
        for listener in self._listeners:
            listener.stop()
        for timer in self._timers.values():
            timer.stop()
        await asyncio.gather(self._server.stop(), self._wait_for_running())
        self._invoker.close()

    async def _wait_for_running(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._options.drain_seconds
        while running := self._running():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                log.warning("%d tasks still run after the drain time and are cancelled", len(running))
                for task in running:
                    task.cancel()
                await asyncio.wait(running)
                return
            await asyncio.wait(running, timeout=left)

    def _running(self) -> set[asyncio.Task[None]]:
        return set.union(self._loops, self._by_hand, *(listener.running for listener in self._listeners))


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("the host failed: %s", error, exc_info=error)
