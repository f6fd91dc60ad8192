"""When to try again: waits that double, with a little chance in them, and an end."""

import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel, Field

from core.errors import UnavailableError
from core.settings import Settings
from core.storage.queues import Queues

_log = logging.getLogger("aloud.backoff")


class Tried(BaseModel):
    """Base of a message that counts its own tries."""

    attempt: int = Field(1, ge=1)


T = TypeVar("T", bound=Tried)


class Backoff:
    def __init__(self, settings: Settings) -> None:
        self._first = settings.backoff_seconds
        self._longest = settings.max_backoff_seconds
        self._tries = settings.max_attempts

    def delay(self, tries: int, retry_after: float | None) -> float | None:
        """Return the seconds to wait after this many tries, None if that was the last one.

        What a service asks for with Retry-After is the least.
        """
        if tries >= self._tries:
            return None
        wait: float = min(self._first * 2 ** (tries - 1), self._longest)
        return max(wait * random.uniform(0.8, 1.2), retry_after or 0)  # noqa: S311

    async def run(
        self, queues: Queues, queue: str, message: T, work: Callable[[T], Awaitable[object]]
    ) -> None:
        """Do the work of a message; after a transient failure put it back, after the last try set it aside.

        Whatever is not transient passes as it is: the host then counts the tries.
        """
        try:
            await work(message)
        except UnavailableError as error:
            wait = self.delay(message.attempt, error.retry_after)
            again = message.model_copy(update={"attempt": message.attempt + 1})
            name = f"{queue}-poison" if wait is None else queue
            _log.warning("%s: %s; the message goes to %s", queue, error.detail, name)
            await queues.send(name, again, wait or 0)
