"""Messages that could not be dealt with, kept until somebody sends them again."""

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel

from core.errors import ConflictError, NotFoundError
from core.ids import now
from core.storage.queues import Queues
from core.storage.tables import Table

_log = logging.getLogger("aloud.operations")

_KEPT = timedelta(days=30)


class DeadLetter(BaseModel):
    """Row of `poison`, a partition a queue: a message as it was on its queue."""

    model_config = ConfigDict(frozen=True)

    body: bytes
    at: datetime


class DeadLetters:
    def __init__(self, table: Table, queues: Queues) -> None:
        self._table = table
        self._queues = queues

    async def keep(self, queue: str, message_id: str, body: str) -> None:
        """Keep a message that came to the poison queue of `queue`; again changes nothing."""
        await self._table.put(DeadLetter(body=body.encode(), at=now()), queue, message_id)

    async def count(self, queue: str) -> int:
        """Return how many there are of a queue."""
        return sum([1 async for _ in self._table.each(DeadLetter, queue)])

    async def redrive(self, queue: str, revive: Callable[[str], Awaitable[None]]) -> int:
        """Have `revive` deal with every message of a queue that is kept, and forget each; return how many.

        A message whose revival is cut off may be revived twice, and is never lost. One that `revive` has no
        use for stays where it is, as does what comes while this goes on.
        """
        revived, begun = 0, now()
        async for stored in self._table.each(DeadLetter, queue):
            if stored.value.at > begun:
                continue
            try:
                await revive(stored.value.body.decode())
            except (ConflictError, NotFoundError) as error:
                _log.warning("message %s of %s is not sent again: %s", stored.key, queue, error.detail)
                continue
            await self._table.delete(queue, stored.key)
            revived += 1
        return revived

    async def sweep(self) -> None:
        """Forget what nobody has sent again for a month; it may hold what people have deleted since."""
        before = now() - _KEPT
        async for stored in self._table.each(DeadLetter, None, condition="at lt @before", before=before):
            await self._table.delete(stored.partition, stored.key)

    async def send_again(self, queue: str, body: str) -> None:
        """Put a message on its queue as it was at its first try."""
        try:
            content = json.loads(body)
        except ValueError:
            raise ConflictError(f"A message of {queue} cannot be read; look at it in the table.") from None
        if isinstance(content, dict):
            content.pop("attempt", None)
        await self._queues.send(queue, RootModel[Any](content))
