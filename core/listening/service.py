"""The listening room: where listeners are in their books, and what they have heard."""

from collections.abc import AsyncIterator

from pydantic import BaseModel

from core.catalog.service import Catalog
from core.listening.progress import ProgressKeeper
from core.listening.sessions import ListeningSessions
from core.listening.store import ListeningStore


class Listening:
    """`progress`: positions; `sessions`: stretches of listening and what they add up to."""

    def __init__(self, store: ListeningStore, catalog: Catalog) -> None:
        self._store = store
        self.progress = ProgressKeeper(store, catalog)
        self.sessions = ListeningSessions(store, catalog)

    async def held(self, user_id: str) -> AsyncIterator[tuple[str, list[BaseModel]]]:
        """Yield all that is held about a listener, by name."""
        yield "progress", list(await self._store.all_progress(user_id))
        yield "listening", [session async for session in self._store.sessions(user_id)]
        yield "months", list(await self._store.all_months(user_id))

    async def erase(self, user_id: str) -> None:
        """Delete all of it."""
        await self._store.erase(user_id)
