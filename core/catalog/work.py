"""What the catalog does in the background: the messages on `catalog-work`."""

import asyncio
import logging
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from core.backoff import Backoff, Tried
from core.catalog.exporting import ExportBooks, Exports
from core.catalog.importing import ImportRows, Imports
from core.catalog.models import Book
from core.catalog.names import QUEUE, Names, Rename
from core.catalog.removal import Removal
from core.catalog.service import Catalog
from core.catalog.shelves import Shelves
from core.catalog.store import BookStore
from core.errors import NotFoundError
from core.ids import now
from core.operations.service import Operations
from core.settings import Settings
from core.storage.queues import Queues

_log = logging.getLogger("aloud.catalog")


_SHELVED = 1000
_WRITERS = 8


class Shelve(Tried):
    """Message on `catalog-work`: put the books after this one on their shelves."""

    kind: Literal["shelve"] = "shelve"
    after: str | None = None


Work = Rename | ImportRows | ExportBooks | Shelve
_WORK: TypeAdapter[Work] = TypeAdapter(Annotated[Work, Field(discriminator="kind")])


class CatalogWork:
    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        names: Names,
        imports: Imports,
        exports: Exports,
        removal: Removal,
        books: BookStore,
        shelves: Shelves,
        queues: Queues,
        operations: Operations,
    ) -> None:
        self._backoff = Backoff(settings)
        self._catalog = catalog
        self._names = names
        self._imports = imports
        self._exports = exports
        self._removal = removal
        self._books = books
        self._shelves = shelves
        self._queues = queues
        self._operations = operations

    async def run(self, body: str) -> None:
        """Do what a message asks for. Raises only what nobody foresaw."""
        try:
            work = _WORK.validate_json(body)
        except ValidationError:
            _log.error("a message on %s cannot be read and is set aside", QUEUE)
            await self.settle_poison(body)
            return
        await self._backoff.run(self._queues, QUEUE, work, self._do)

    async def _do(self, work: Work) -> None:
        match work:
            case Rename():
                await self._names.run(work)
                await self._catalog.announce()
            case ImportRows():
                if await self._imports.run(work.id):
                    await self._imports.queue(work.id)
            case ExportBooks():
                if await self._exports.run(work.id):
                    await self._exports.queue(work.id)
            case Shelve():
                await self._shelve(work)

    async def sweep(self) -> None:
        """Forget what is kept for a while only, and repair, once, what earlier versions have left out."""
        await self._exports.sweep()
        await self._removal.run()
        if not await self._shelves.are_complete():
            await self._queues.send(QUEUE, Shelve())

    async def _shelve(self, work: Shelve) -> None:
        """Put some books on their shelves, again where they are there, and queue the rest."""
        books: list[Book] = []
        async for stored in self._books.all_with_chapters(after=work.after):
            books.append(stored.book)
            if len(books) == _SHELVED:
                break
        gate = asyncio.Semaphore(_WRITERS)

        async def add(book: Book) -> None:
            async with gate:
                await self._shelves.add(book)

        await asyncio.gather(*map(add, books))
        if len(books) == _SHELVED:
            await self._queues.send(QUEUE, Shelve(after=books[-1].id))
        else:
            await self._shelves.call_complete()

    async def settle_poison(self, body: str) -> None:
        """Tell a person of work that could not be done."""
        with suppress(ValidationError, NotFoundError):
            work = _WORK.validate_json(body)
            if isinstance(work, ImportRows):
                await self._imports.give_up(work.id)
            if isinstance(work, ExportBooks):
                await self._exports.give_up(work.id)
        await self._operations.raise_alert(
            "poison-message", "A change of many books could not be done", body[:2000], QUEUE, now()
        )
