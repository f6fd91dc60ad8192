"""Messages on Azure queues: JSON in base64, as the Functions host reads them, and never expiring."""

from __future__ import annotations

import math
from collections.abc import Callable

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient
from pydantic import BaseModel

from core.errors import StorageLimitError
from core.storage.failures import made_on_demand, translated

MAX_MESSAGE_BYTES = 64 * 1024
MAX_DELAY_SECONDS = 7 * 24 * 3600


class Queues:
    """All queues of the account, by name; each is made on first use."""

    def __init__(self, client: Callable[[str], QueueClient]) -> None:
        self._open = client
        self._opened: dict[str, QueueClient] = {}

    def _client(self, name: str) -> QueueClient:
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    async def send(self, name: str, message: BaseModel, delay_seconds: float = 0) -> None:
        """Put a message on a queue; it stays invisible for the delay, which is rounded up to whole seconds.

        It has no time to live: the service's seven days would lose work that is paused.
        Raises StorageLimitError if the message is over 64 KiB in base64.
        """
        text = message.model_dump_json(exclude_none=True)
        size = math.ceil(len(text.encode()) / 3) * 4
        if size > MAX_MESSAGE_BYTES:
            raise StorageLimitError(f"A message of {size} bytes; a queue takes {MAX_MESSAGE_BYTES}.")
        client = self._client(name)
        delay = min(math.ceil(delay_seconds), MAX_DELAY_SECONDS - 1)
        with translated(f"queue {name}"):
            await made_on_demand(
                lambda: client.send_message(text, visibility_timeout=delay, time_to_live=-1),
                client.create_queue,
            )

    async def length(self, name: str) -> int:
        """Return about how many messages a queue has, those that wait or are being worked on too."""
        with translated(f"queue {name}"):
            try:
                found = await self._client(name).get_queue_properties()
            except ResourceNotFoundError:
                return 0
        return found.approximate_message_count or 0
