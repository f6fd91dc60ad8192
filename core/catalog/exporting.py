"""Exports: all books as a file that the import takes, written in the background, block by block."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

from core.backoff import Tried
from core.caller import Origin
from core.catalog.formats import header, to_cells, to_line
from core.catalog.names import QUEUE
from core.catalog.store import BookStore
from core.ids import new_id, now
from core.operations.service import Operations
from core.storage.blobs import Container
from core.storage.queues import Queues
from core.storage.tables import Table

ExportFormat = Literal["csv", "jsonl"]
ExportStatus = Literal["waiting", "running", "done", "failed"]
EXPORT_DAYS = 7
_PARTITION = "exports"
_SLICE = 2000
_LINK_LIFE = timedelta(minutes=15)
_TYPES: dict[ExportFormat, str] = {"csv": "text/csv", "jsonl": "application/jsonl"}


class Export(BaseModel):
    """Row of `imports`, partition `exports`. `blocks` of the file hold the books up to `after`.

    `is_whole` once they hold all of them.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    format: ExportFormat
    status: ExportStatus = "waiting"
    reason: str | None = None
    done: int = 0
    after: str | None = None
    blocks: tuple[str, ...] = ()
    is_whole: bool = False
    created_at: datetime
    updated_at: datetime

    @property
    def blob_name(self) -> str:
        return f"exports/{self.id}.{self.format}"


class ExportView(BaseModel):
    """An export as administrators see it: how many books are written, and when it is done, where they are.

    The address is good for some minutes; the file is there for a week.
    """

    id: str
    format: ExportFormat
    status: ExportStatus
    reason: str | None
    done: int
    created_at: datetime
    updated_at: datetime
    url: str | None = None
    url_expires_at: datetime | None = None


class ExportBooks(Tried):
    """Message on `catalog-work`: write the next books of an export."""

    kind: Literal["export"] = "export"
    id: str


class Exports:
    def __init__(
        self, exports: Table, files: Container, books: BookStore, queues: Queues, operations: Operations
    ) -> None:
        self._exports = exports
        self._files = files
        self._books = books
        self._queues = queues
        self._operations = operations

    async def begin(self, form: ExportFormat, actor: str | None, origin: Origin) -> ExportView:
        """Note that a file is wanted; `run` then works on it."""
        at = now()
        new = Export(id=new_id(at), format=form, created_at=at, updated_at=at)
        await self._operations.record("catalog.exported", actor, new.id, origin, form)
        await self._exports.insert(new, _PARTITION, new.id)
        return await self._view(new)

    async def queue(self, export_id: str) -> None:
        """Have the export worked on in the background."""
        await self._queues.send(QUEUE, ExportBooks(id=export_id))

    async def show(self, export_id: str) -> ExportView:
        """Raises NotFoundError."""
        return await self._view((await self._exports.get(Export, _PARTITION, export_id)).value)

    async def recent(self) -> list[ExportView]:
        """Return the exports whose files are there, or will be, the newest first."""
        found = [stored.value async for stored in self._exports.each(Export, _PARTITION)]
        return [await self._view(export) for export in reversed(found)]

    async def run(self, export_id: str) -> bool:
        """Write the next books of an export; tell whether there are more.

        A block counts once the row names it, so what a crash or a duplicate has written besides is not in
        the file.
        """
        export = (await self._exports.get(Export, _PARTITION, export_id)).value
        if export.status in ("done", "failed"):
            return False
        if not export.is_whole:
            export = await self._write_block(export)
        if not export.is_whole:
            return True
        await self._files.commit(export.blob_name, export.blocks, _TYPES[export.format])
        await self._end(export_id, "done")
        return False

    async def _write_block(self, export: Export) -> Export:
        lines = [header()] if export.format == "csv" and not export.blocks else []
        count, after = 0, export.after
        async for stored in self._books.all_with_chapters(after=export.after):
            lines.append(to_cells(stored.book) if export.format == "csv" else f"{to_line(stored.book)}\n")
            count, after = count + 1, stored.book.id
            if count == _SLICE:
                break
        block = new_id()
        if lines:
            await self._files.stage(export.blob_name, block, "".join(lines).encode())

        def add(row: Export) -> Export | None:
            if (row.blocks, row.is_whole) != (export.blocks, False):
                return None  # a duplicate of this message was faster
            return row.model_copy(
                update={
                    "status": "running",
                    "blocks": (*row.blocks, block) if lines else row.blocks,
                    "done": row.done + count,
                    "after": after,
                    "is_whole": count < _SLICE,
                    "updated_at": now(),
                }
            )

        return await self._exports.update(Export, _PARTITION, export.id, add)

    async def give_up(self, export_id: str) -> None:
        """Say of an export that it has failed."""
        await self._end(export_id, "failed", "It failed too often; begin another.")

    async def _end(self, export_id: str, status: ExportStatus, reason: str | None = None) -> None:
        end = {"status": status, "reason": reason, "updated_at": now()}
        await self._exports.update(
            Export,
            _PARTITION,
            export_id,
            lambda row: row.model_copy(update=end) if row.status != "done" else None,
        )

    async def _view(self, row: Export) -> ExportView:
        view = ExportView(**row.model_dump(include=set(ExportView.model_fields)))
        if row.status != "done":
            return view
        name = f"aloud-books-{row.created_at:%Y-%m-%d}.{row.format}"
        link = await self._files.link(row.blob_name, _LINK_LIFE, _TYPES[row.format], name)
        return view.model_copy(update={"url": link.url, "url_expires_at": link.expires_at})

    async def lines(self, form: ExportFormat) -> AsyncIterator[str]:
        """Yield all books, drafts too, as lines that the import takes."""
        if form == "csv":
            yield header()
        async for stored in self._books.all_with_chapters():
            yield to_cells(stored.book) if form == "csv" else f"{to_line(stored.book)}\n"

    async def sweep(self) -> None:
        """Forget exports that are over a week old, the file first."""
        async for stored in self._exports.each(Export, _PARTITION):
            if stored.value.created_at < now() - timedelta(days=EXPORT_DAYS):
                await self._files.delete_prefix(stored.value.blob_name)
                await self._exports.delete(_PARTITION, stored.key)
