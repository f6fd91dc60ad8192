"""Polls one queue and hands its messages on, as the storage extension of the real host does."""

import asyncio
import base64
import binascii
import logging
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.functions.meta import Datum
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from localhost.host.app import Function
from localhost.host.config import QueueSettings
from localhost.host.invoke import Invoker
from localhost.host.lease import Lease, first_line

log = logging.getLogger("localhost.host")

POISON_SUFFIX = "-poison"
POISON_LIFE_SECONDS = 7 * 24 * 3600
FIRST_WAIT_SECONDS = 0.1
WAIT_JITTER = 0.2


@dataclass(frozen=True)
class ReceivedMessage:
    """A leased message with its decoded body."""

    raw: QueueMessage
    body: bytes


Handle = Callable[[ReceivedMessage], Awaitable[None]]


class QueueListener:
    """Receives in batches, keeps leases alive, and deletes, retries or moves to poison what has ended."""

    def __init__(
        self,
        service: QueueServiceClient,
        queue: str,
        *,
        poison: str | None,
        settings: QueueSettings,
        lease_seconds: float,
        rest_seconds: float | None = None,
        handle: Handle,
    ) -> None:
        self.queue = queue
        self._queue = service.get_queue_client(queue)
        self._poison = service.get_queue_client(poison) if poison else None
        self._settings = settings
        self._lease_seconds = lease_seconds
        self._rest_seconds = rest_seconds
        self._handle = handle
        self._stopping = asyncio.Event()
        self._room = asyncio.Event()
        self._expected = asyncio.Event()
        self.running: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Fetch no more; what runs goes on."""
        self._stopping.set()
        self._room.set()
        self._expected.set()

    def expect(self, seconds: float) -> None:
        """A message is there in so many seconds."""
        asyncio.get_running_loop().call_later(seconds, self._expected.set)

    async def run(self) -> None:
        """Poll until stopped: at once while messages are there or expected, ever slower while none is.

        Who is told of messages rests instead, and does so as soon as a batch was not full.
        """
        enough = 1 if self._rest_seconds is None else self._settings.batch_size
        empty_polls = 0
        while not self._stopping.is_set():
            self._expected.clear()
            count = await self._fetch()
            await self._wait_for_room()
            if count >= enough:
                empty_polls = 0
            else:
                await self._pause(empty_polls)
                empty_polls += 1

    async def _fetch(self) -> int:
        """Lease a batch and start a task for each message; a queue that does not exist counts as empty."""
        count = 0
        try:
            messages = self._queue.receive_messages(
                max_messages=self._settings.batch_size,
                messages_per_page=self._settings.batch_size,
                visibility_timeout=math.ceil(self._lease_seconds),
            )
            async for message in messages:
                count += 1
                task = asyncio.create_task(self._process(message))
                self.running.add(task)
                task.add_done_callback(self._finish)
        except ResourceNotFoundError:
            return 0
        except AzureError as error:
            log.warning("queue %s cannot be read: %s", self._queue.queue_name, first_line(error))
        return count

    def _finish(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        self._room.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("queue %s: %s", self._queue.queue_name, error, exc_info=error)

    async def _wait_for_room(self) -> None:
        while len(self.running) > self._settings.new_batch_threshold and not self._stopping.is_set():
            self._room.clear()
            await self._room.wait()

    async def _pause(self, empty_polls: int) -> None:
        growth = 2 ** min(empty_polls - 1, 30) if empty_polls else 0
        wait = FIRST_WAIT_SECONDS * (1 + growth) if self._rest_seconds is None else self._rest_seconds
        wait = min(wait, self._settings.max_polling_seconds)
        wait *= random.uniform(1 - WAIT_JITTER, 1 + WAIT_JITTER)  # noqa: S311 - spreads polls, guards nothing
        try:
            await asyncio.wait_for(self._expected.wait(), wait)
        except TimeoutError:
            return

    async def _process(self, message: QueueMessage) -> None:
        lease = Lease(self._queue, message, self._lease_seconds)
        try:
            body = decode_body(message.content, self._settings.is_base64)
        except ValueError:
            log.error("queue %s: message %s is not base64", self._queue.queue_name, message.id)
            await self._move_to_poison(lease)
            return
        try:
            async with lease:
                await self._handle(ReceivedMessage(message, body))
        except asyncio.CancelledError:
            await lease.release(0)
            raise
        except Exception:
            await self._give_back(lease)
        else:
            await lease.delete()

    async def _give_back(self, lease: Lease) -> None:
        """After a failure: again later, or poison. A queue without poison waits for its lease to run out."""
        if self._poison is None:
            return
        if (lease.message.dequeue_count or 0) >= self._settings.max_dequeue_count:
            await self._move_to_poison(lease)
        else:
            await lease.release(self._settings.visibility_seconds)

    async def _move_to_poison(self, lease: Lease) -> None:
        if self._poison is None:
            return
        name = self._poison.queue_name
        log.error(
            "message %s failed %s times and moves to %s", lease.message.id, lease.message.dequeue_count, name
        )
        try:
            await _send_raw(self._poison, lease.message.content)
        except ResourceNotFoundError:
            await create_queue(self._poison)
            await _send_raw(self._poison, lease.message.content)
        await lease.delete()


def listen_for_function(
    function: Function,
    service: QueueServiceClient,
    settings: QueueSettings,
    *,
    lease_seconds: float,
    rest_seconds: float | None,
    invoker: Invoker,
) -> QueueListener:
    """The listener of one queue-triggered function."""
    queue = str(function.trigger["queueName"])

    async def handle(message: ReceivedMessage) -> None:
        reason = f"New queue message detected on '{queue}'."
        await run_queue_function(function, invoker, message.body, message.raw, reason)

    poison = None if queue.endswith(POISON_SUFFIX) else queue + POISON_SUFFIX
    return QueueListener(
        service,
        queue,
        poison=poison,
        settings=settings,
        lease_seconds=lease_seconds,
        rest_seconds=rest_seconds,
        handle=handle,
    )


async def run_queue_function(
    function: Function, invoker: Invoker, body: bytes, message: QueueMessage, reason: str
) -> None:
    """Invoke with the fields that the worker's QueueMessage shows."""
    times = {
        "ExpirationTime": message.expires_on,
        "InsertionTime": message.inserted_on,
        "NextVisibleTime": message.next_visible_on,
    }
    metadata = {
        "Id": Datum(message.id, "string"),
        "DequeueCount": Datum(message.dequeue_count, "int"),
        "PopReceipt": Datum(message.pop_receipt, "string"),
        **{
            name: Datum(time.strftime("%Y-%m-%dT%H:%M:%S+00:00"), "string")
            for name, time in times.items()
            if time is not None
        },
    }
    is_binary = str(function.trigger.get("dataType", "")).upper() == "BINARY"
    data = Datum(body, "bytes") if is_binary else Datum(body.decode("utf-8", "replace"), "string")
    await invoker.invoke(function, data, metadata, reason=reason)


def decode_body(content: str, is_base64: bool) -> bytes:
    """Raise ValueError for what .NET's strict base64 reader would refuse."""
    if not is_base64:
        return content.encode()
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


async def create_queue(queue: QueueClient) -> None:
    """Create the queue unless it is there."""
    try:
        await queue.create_queue()
    except ResourceExistsError:
        return


async def _send_raw(queue: QueueClient, content: str) -> None:
    await queue.send_message(content, time_to_live=POISON_LIFE_SECONDS)
