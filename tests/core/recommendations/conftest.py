"""People who own and hear books, and what is counted and recommended of that, on a real storage."""

import json
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from core.caller import Caller
from core.commerce.models import Owned
from core.ids import new_id, now
from core.recommendations.models import Counted
from core.settings import Settings
from core.storage import Watch
from localhost.azurite import Azurite
from tests.core.listening.conftest import Anything
from tests.core.listening.conftest import Instance as ListeningInstance
from tests.instances import closing_all


class Instance(ListeningInstance):
    """One instance of the product; what is written into the catalog is shown when it is published."""

    def __init__(self, settings: Settings, watch: Watch | None = None) -> None:
        super().__init__(settings, watch)
        self.rooms = self.services.recommendations
        self.companions = self._account.table("companions")

    async def own(self, person: Caller, *book_ids: str) -> None:
        """Let a person own books, without any message."""
        for book_id in book_ids:
            row = Owned(book_id=book_id, order_id=new_id(), state="owned", acquired_at=now())
            await self.users.put(row, person.user_id, f"owned_{book_id}")

    async def disown(self, person: Caller, book_id: str) -> None:
        await self.users.delete(person.user_id, f"owned_{book_id}")

    async def counts(self, book_id: str) -> dict[str, int]:
        """Return how many people own another book together with one, where these are enough."""
        return {item.book_id: item.owners for item in (await self.rooms._store.top(book_id)).items}

    async def traces(self, person: Caller, *book_ids: str) -> list[str]:
        """Return the rows that name a person."""
        found = [stored.key async for stored in self.companions.each(Anything, f"user-{person.user_id}")]
        for book_id in book_ids:
            mine = f"owner_{person.user_id}"
            found += [stored.key async for stored in self.companions.each(Counted, book_id, mine)]
        return found

    async def recommended(self, person: Caller, limit: int = 50) -> list[tuple[str, str, str]]:
        """Return kind, text and book id."""
        found = await self.rooms.for_listener(person.user_id, limit)
        return [(reason.kind, reason.text, json.loads(card)["id"]) for card, reason in found]

    async def also_enjoyed(self, book_id: str) -> list[str]:
        return [json.loads(card)["id"] for card in await self.rooms.also_enjoyed(book_id, 20)]


Build = Callable[..., Instance]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Build]:
    """Return a function that starts an instance; all are closed after the test."""
    given = {
        "AzureWebJobsStorage": azurite.connection_string,
        "JWT_SIGNING_KEY": "k" * 32,
        "CATALOG_REFRESH_SECONDS": "0",
    }
    settings = Settings.read(given)

    def build_one(watch: Watch | None = None) -> Instance:
        return Instance(settings, watch)

    async with closing_all(build_one) as start:
        yield start


@pytest_asyncio.fixture
async def app(start: Build) -> Instance:
    return start()
