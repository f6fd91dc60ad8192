"""Listeners and books on a real storage, and devices that tell of what was done some time ago."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest_asyncio
from pydantic import BaseModel

from core.accounts.models import User
from core.accounts.store import AccountStore
from core.caller import Caller
from core.catalog.models import Book, Money
from core.ids import new_id, now
from core.listening.models import ProgressEntry, ProgressView, SessionStart, SessionUpdate, SessionView
from core.listening.stats import ListeningStats
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.wiring import Services, build
from localhost.azurite import Azurite
from tests.instances import closing_all

# A device whose clock is wrong by years: only how long ago it says that something was counts.
DEVICE_NOW = datetime.fromisoformat("2031-05-06T07:08:09Z")


def ago(seconds: float) -> dict[str, datetime]:
    """Return the times that a device tells of an act so long before it sends it."""
    return {"recorded_at": DEVICE_NOW - timedelta(seconds=seconds), "sent_at": DEVICE_NOW}


def offset_of_noon() -> int:
    """Return how far a clock is ahead of UTC that shows noon, so that no test runs into the next day."""
    at = now()
    return 720 - at.hour * 60 - at.minute


class Instance:
    """One instance of the product, and what listeners do with it."""

    def __init__(self, settings: Settings, watch: Watch | None = None) -> None:
        self._account = StorageAccount(settings, watch)
        self.services: Services = build(settings, self._account)
        self.catalog = self.services.catalog
        self.listening = self.services.listening
        self.users = self._account.table("users")
        self.store = AccountStore(self._account.table("accounts"), self.users)

    async def close(self) -> None:
        await self.services.close()

    async def join(self) -> Caller:
        """Return somebody who has an account."""
        user = User(id=new_id(), email=f"{new_id()}@example.com", display_name="Ada", created_at=now())
        await self.users.insert(user, user.id, "user")
        return Caller(user_id=user.id, session_id="", roles=frozenset({"listener"}))

    async def add_book(self, **facts: Any) -> str:
        """Return the id of a book that is free, an hour long and a mystery, unless told otherwise."""
        given: dict[str, Any] = {
            "id": new_id(),
            "title": "A book",
            "genres": ("Mystery",),
            "duration_seconds": 3600,
            "price": Money(amount=0),
            "visibility": "published",
            "processing_status": "ready",
            "created_at": now(),
            "updated_at": now(),
        }
        book = Book.model_validate(given | facts)
        await self.catalog.create(book)
        return book.id

    async def save(self, caller: Caller, book_id: str, **entry: Any) -> ProgressView:
        return await self.listening.progress.save(caller, book_id, ProgressEntry(**entry))

    async def start(self, caller: Caller, book_id: str, **entry: Any) -> str:
        """Begin a stretch of listening at the beginning of a book and return its id."""
        entry = {"start_position_seconds": 0, "utc_offset_minutes": offset_of_noon()} | entry
        start = SessionStart(audiobook_id=book_id, **entry)
        return (await self.listening.sessions.start(caller, start)).id

    async def note(self, caller: Caller, session_id: str, seconds: float, **entry: Any) -> SessionView:
        update = SessionUpdate(seconds_listened=seconds, **entry)
        return await self.listening.sessions.note(caller, session_id, update)

    async def stats(self, caller: Caller) -> ListeningStats:
        return await self.listening.sessions.stats(caller.user_id)

    async def plays(self, book_id: str) -> int:
        """Return how often a book was played, as it is counted."""
        return (await self.catalog.show(book_id, await self.join())).plays

    async def copy(self, caller: Caller) -> dict[str, Any]:
        """Return the files of a copy of all that other rooms hold about somebody, by name."""
        found = {}
        for holder in self.services.accounts.holdings.holders:
            async for holding in holder.holdings(caller.user_id):
                assert isinstance(holding.content, bytes)
                found[holding.name] = json.loads(holding.content)
        return found

    async def erase(self, caller: Caller) -> None:
        """Delete all that other rooms hold about somebody."""
        for holder in self.services.accounts.holdings.holders:
            await holder.erase(caller.user_id)

    async def rows(self, user_id: str) -> list[str]:
        """Return the keys of all rows in somebody's partition."""
        return [stored.key async for stored in self.users.each(Anything, user_id)]


class Anything(BaseModel):
    """Whatever a row holds."""


Build = Callable[..., Instance]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Build]:
    """Return a function that starts an instance; all are closed after the test."""
    given = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    settings = Settings.read(given)

    def build_one(watch: Watch | None = None) -> Instance:
        return Instance(settings, watch)

    async with closing_all(build_one) as start:
        yield start


@pytest_asyncio.fixture
async def app(start: Build) -> Instance:
    return start()
