"""A catalog of one's own on a real storage, and instances that read it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest_asyncio

from core.catalog.index import CatalogPublisher, CatalogReader
from core.catalog.models import Book, Chapter, Money, PersonName
from core.catalog.stats import StatsStore
from core.catalog.store import COUNTED, BookStore, ChangeStore
from core.ids import new_id, now
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.blobs import Container
from localhost.azurite import Azurite


def make_book(title: str = "A book", **changes: Any) -> Book:
    """Return a published book."""
    at = changes.pop("created_at", now())
    facts: dict[str, Any] = {
        "id": new_id(at),
        "title": title,
        "authors": (PersonName.of("Ada Example"),),
        "price": Money(amount=999),
        "visibility": "published",
        "processing_status": "ready",
        "created_at": at,
        "updated_at": at,
    }
    return Book.model_validate(facts | changes)


@dataclass
class House:
    """One storage, one publisher, and as many instances as a test wants."""

    account: StorageAccount
    container: Container
    store: BookStore
    changes: ChangeStore
    counts: ChangeStore
    stats: StatsStore
    publisher: CatalogPublisher
    reader: CatalogReader
    calls: list[str] = field(default_factory=list)
    readers: list[CatalogReader] = field(default_factory=list)

    def instance(self, refresh_seconds: float = 0) -> CatalogReader:
        async def call() -> None:
            self.calls.append("build")

        reader = CatalogReader(self.container, refresh_seconds, call)
        self.readers.append(reader)
        return reader

    def builder(self, reader: CatalogReader | None = None) -> CatalogPublisher:
        return CatalogPublisher(self.container, self.store, self.changes, self.counts, reader or self.reader)

    async def add(self, *titles: str, **changes: Any) -> list[Book]:
        books = [make_book(title, **changes) for title in titles]
        for book in books:
            await self.store.create(book, (Chapter(index=0, title="One", start_seconds=0, end_seconds=5),))
        return books

    async def pending(self) -> list[str]:
        return [stored.key async for stored in self.changes.pending()]


@pytest_asyncio.fixture
async def open_house(azurite: Azurite) -> AsyncIterator[Callable[[], House]]:
    """Make houses, each with tables and a container of its own."""
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    account = StorageAccount(Settings.read(environment))
    houses: list[House] = []

    def build() -> House:
        name = f"t{new_id()}"
        changes = ChangeStore(account.table(f"{name}changes"))
        counts = ChangeStore(account.table(f"{name}changes"), COUNTED)
        store = BookStore(account.table(f"{name}books"), changes)
        stats = StatsStore(account.table(f"{name}books"), counts)
        container = account.container(name)
        calls: list[str] = []

        async def call() -> None:
            calls.append("build")

        reader = CatalogReader(container, 0, call)
        publisher = CatalogPublisher(container, store, changes, counts, reader)
        house = House(account, container, store, changes, counts, stats, publisher, reader, calls, [reader])
        houses.append(house)
        return house

    yield build
    for house in houses:
        for reader in house.readers:
            await reader.close()
    await account.close()


@pytest_asyncio.fixture
async def house(open_house: Callable[[], House]) -> House:
    return open_house()


LONG_AGO = timedelta(hours=1)
