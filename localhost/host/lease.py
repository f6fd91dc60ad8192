"""Keeps a message with the one who works on it."""

import asyncio
import logging
import math
from typing import Self

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

log = logging.getLogger("localhost.host")


class Lease:
    """Keeps one message invisible for as long as the block runs, by renewing at half time."""

    def __init__(self, queue: QueueClient, message: QueueMessage, seconds: float) -> None:
        self.message = message
        self._queue = queue
        self._seconds = seconds
        self._receipt = message.pop_receipt or ""
        self._renewal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._renewal = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._renewal is not None
        self._renewal.cancel()
        await asyncio.wait([self._renewal])

    async def delete(self) -> None:
        try:
            await self._queue.delete_message(self.message.id, self._receipt)
        except ResourceNotFoundError:
            self._log_lost()

    async def release(self, seconds: float) -> None:
        """Make the message visible again after so many seconds."""
        try:
            await self._set_visibility(seconds)
        except ResourceNotFoundError:
            self._log_lost()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 2)
            try:
                await self._set_visibility(self._seconds)
            except ResourceNotFoundError:
                self._log_lost()
                return
            except AzureError as error:
                log.warning("message %s was not leased again: %s", self.message.id, first_line(error))

    async def _set_visibility(self, seconds: float) -> None:
        updated = await self._queue.update_message(
            self.message.id, self._receipt, visibility_timeout=math.ceil(seconds)
        )
        self._receipt = updated.pop_receipt or ""

    def _log_lost(self) -> None:
        log.warning("message %s is leased elsewhere or gone; it may run twice", self.message.id)


def first_line(error: Exception) -> str:
    """Of an error of the storage SDK, whose text goes on with the whole response."""
    return str(error).partition("\n")[0]
