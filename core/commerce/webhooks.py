"""What payment providers tell by themselves: which order to look at, once for each event."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from core.errors import ConflictError, NotFoundError, UnauthenticatedError
from core.ids import fingerprint, now
from core.payments import Provider
from core.storage.tables import Table

KEPT = timedelta(days=30)  # as long as events can be sent again by hand

_log = logging.getLogger("aloud.commerce")


class DoneEvent(BaseModel):
    """Row of `events`: provider, SHA-256 of the event's id; its order, which names its buyer, was settled."""

    model_config = ConfigDict(frozen=True)

    at: datetime


class Webhooks:
    def __init__(
        self,
        events: Table,
        providers: Mapping[str, Provider],
        settle: Callable[[str], Awaitable[object]],
    ) -> None:
        self._events = events
        self._providers = list(dict.fromkeys(providers.values()))
        self._settle = settle

    async def receive(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Settle the order that a signed event is about; header names are in small letters.

        An event is noted only after that, so where settling fails the provider sends it again. What happened
        is asked of the provider, so events may come twice, late or in any order. Raises UnauthenticatedError
        for a signature that is missing, forged or too old, MalformedRequestError for what is no event, and
        UnavailableError where it has to be sent again.
        """
        provider = self._find_provider(headers)
        event = provider.read_event(body, headers)
        if event is None:
            return
        key = fingerprint(event.id)
        if await self._events.find(DoneEvent, provider.name, key) is not None:
            return
        try:
            await self._settle(event.order_id)
        except NotFoundError:
            _log.error("%s tells of order %s, which is not here", provider.name, event.order_id)
        done = DoneEvent(at=now())
        with suppress(ConflictError):  # it came twice at once
            await self._events.insert(done, provider.name, key)

    def _find_provider(self, headers: Mapping[str, str]) -> Provider:
        for provider in self._providers:
            if provider.signature_header in headers:
                return provider
        raise UnauthenticatedError("This carries no signature of a payment provider.")

    async def sweep(self) -> None:
        """Forget events that nobody sends any more."""
        oldest = now() - KEPT
        for provider in self._providers:
            async for stored in self._events.each(DoneEvent, provider.name):
                if stored.value.at < oldest:
                    await self._events.delete(stored.partition, stored.key)
