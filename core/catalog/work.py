"""What the catalog does in the background: the messages on `catalog-work`."""

import logging
from contextlib import suppress
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from core.backoff import Backoff
from core.catalog.exporting import ExportBooks, Exports
from core.catalog.importing import ImportRows, Imports
from core.catalog.names import QUEUE, Names, Rename
from core.catalog.service import Catalog
from core.errors import NotFoundError
from core.ids import now
from core.operations.service import Operations
from core.settings import Settings
from core.storage.queues import Queues

_log = logging.getLogger("aloud.catalog")

Work = Rename | ImportRows | ExportBooks
_WORK: TypeAdapter[Work] = TypeAdapter(Annotated[Work, Field(discriminator="kind")])


class CatalogWork:
    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        names: Names,
        imports: Imports,
        exports: Exports,
        queues: Queues,
        operations: Operations,
    ) -> None:
        self._backoff = Backoff(settings)
        self._catalog = catalog
        self._names = names
        self._imports = imports
        self._exports = exports
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

    async def sweep(self) -> None:
        """Forget what is kept for a while only."""
        await self._exports.sweep()

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
