"""Imports: a file of books becomes books, row by row, in the background; again changes nothing."""

import asyncio
import logging
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from core.backoff import Tried
from core.caller import Caller, Origin
from core.catalog.editing import BookContent, Editing
from core.catalog.folding import fold
from core.catalog.formats import FileFormat, Row, read_rows
from core.catalog.store import BookStore, StoredBook
from core.errors import AloudError, ConflictError, MalformedRequestError, UnavailableError
from core.ids import ID_PATTERN, derived_id, new_id, now
from core.operations.service import Operations
from core.storage.blobs import Container
from core.storage.queues import Queues
from core.storage.tables import Table

_log = logging.getLogger("aloud.catalog")

ImportStatus = Literal["waiting", "running", "done", "failed"]
Outcome = Literal["created", "updated", "unchanged"]
_SLICE = 200
_WRITERS = 8
_SHOWN = 1000
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # so that a row of a file makes the same id each time
_SYSTEM = frozenset({"listener", "publisher", "admin"})


class BadRow(BaseModel):
    """Row `bad_{line}`: why a row of the file became no book."""

    model_config = ConfigDict(frozen=True)

    line: int
    reason: str


class Import(BaseModel):
    """Row `import` of `imports`, one partition an import; `done` rows of the file have been seen to.

    Without an `actor` it was begun on the machine itself; its books are the administrators'.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    actor: str | None = None
    origin: Origin
    format: FileFormat
    dry_run: bool
    status: ImportStatus = "waiting"
    reason: str | None = None
    total: int
    done: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    bad: int = 0
    created_at: datetime
    updated_at: datetime


class ImportView(BaseModel):
    """An import as administrators see it: progress, and the bad rows by line, at most the first thousand."""

    id: str
    format: FileFormat
    dry_run: bool
    status: ImportStatus
    reason: str | None
    total: int
    done: int
    created: int
    updated: int
    unchanged: int
    bad: int
    bad_rows: list[BadRow]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class ImportedBook:
    """A row: what it says of a book, and, where it comes from an export, the book's id."""

    id: str | None
    content: BookContent

    @classmethod
    def read(cls, said: dict[str, Any]) -> "ImportedBook":
        """Raises MalformedRequestError, ValidationError."""
        book_id = said.get("id")
        if book_id is not None and not (isinstance(book_id, str) and re.fullmatch(ID_PATTERN, book_id)):
            raise MalformedRequestError("id: this is none; leave it out for a new book")
        rest = {name: value for name, value in said.items() if name != "id"}
        return cls(book_id, BookContent.model_validate(rest))


class ImportRows(Tried):
    """Message on `catalog-work`: see to the next rows of an import."""

    kind: Literal["import"] = "import"
    id: str


class Imports:
    def __init__(
        self,
        imports: Table,
        files: Container,
        books: BookStore,
        editing: Editing,
        queues: Queues,
        operations: Operations,
    ) -> None:
        self._imports = imports
        self._files = files
        self._books = books
        self._editing = editing
        self._queues = queues
        self._operations = operations

    async def begin(
        self, content: bytes, form: FileFormat, actor: str | None, origin: Origin, *, dry_run: bool
    ) -> ImportView:
        """Take a file; `run` then works on it. Raises MalformedRequestError for a file that is none."""
        total = await asyncio.to_thread(lambda: sum(1 for _ in read_rows(content, form)))
        at = now()
        new = Import(
            id=new_id(at),
            actor=actor,
            origin=origin,
            format=form,
            dry_run=dry_run,
            total=total,
            created_at=at,
            updated_at=at,
        )
        await self._operations.record("catalog.imported", actor, new.id, origin, f"{total} rows of {form}")
        await self._files.write(new.id, content, "application/octet-stream")
        await self._imports.insert(new, new.id, "import")
        return _view(new, [])

    async def queue(self, import_id: str) -> None:
        """Have the import worked on in the background."""
        await self._queues.send("catalog-work", ImportRows(id=import_id))

    async def show(self, import_id: str) -> ImportView:
        """Raises NotFoundError."""
        found = (await self._imports.get(Import, import_id, "import")).value
        bad_rows: list[BadRow] = []
        if found.bad:
            async for stored in self._imports.each(BadRow, import_id, "bad_"):
                bad_rows.append(stored.value)
                if len(bad_rows) == _SHOWN:
                    break
        return _view(found, bad_rows)

    async def run(self, import_id: str) -> bool:
        """See to the next rows of an import; tell whether there are more.

        Rows that were seen to before a crash are seen to again, and are then unchanged.
        """
        found = (await self._imports.get(Import, import_id, "import")).value
        if found.status in ("done", "failed"):
            return False
        content = await self._files.read(import_id)
        rows = await asyncio.to_thread(
            lambda: list(islice(read_rows(content, found.format), found.done, found.done + _SLICE))
        )
        gate = asyncio.Semaphore(_WRITERS)
        tally: Counter[str] = Counter()

        async def see_to(row: Row) -> None:
            async with gate:
                tally[await self._see_to(found, row)] += 1

        async with asyncio.TaskGroup() as tasks:
            for same in _by_key(rows):
                tasks.create_task(_one_after_another(see_to, same))
        done = found.done + len(rows)

        def count(row: Import) -> Import | None:
            if row.done != found.done:
                return None  # a duplicate of this message was faster
            return row.model_copy(
                update={
                    **{name: getattr(row, name) + tally[name] for name in _COUNTED},
                    "done": done,
                    "status": "done" if done >= row.total else "running",
                    "updated_at": now(),
                }
            )

        return (await self._imports.update(Import, import_id, "import", count)).status == "running"

    async def give_up(self, import_id: str) -> None:
        """Say of an import that it has failed."""
        end = {"status": "failed", "reason": "It failed too often; begin it again: what is done stays done."}
        await self._imports.update(
            Import,
            import_id,
            "import",
            lambda row: row.model_copy(update=end) if row.status != "done" else None,
        )

    async def _see_to(self, job: Import, row: Row) -> str:
        line, said = row
        try:
            return await self._put(job, said)
        except UnavailableError:
            raise
        except AloudError as error:
            reason = error.detail or error.title
        except ValidationError as error:
            reason = "; ".join(
                f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
                for item in error.errors()
            )
        await self._imports.put(BadRow(line=line, reason=reason[:1000]), job.id, f"bad_{line:08d}")
        return "bad"

    async def _put(self, job: Import, said: dict[str, Any] | str) -> Outcome:
        """Make or change the book of a row: that of its id, else of its ISBN, else of its key."""
        if isinstance(said, str):
            raise MalformedRequestError(said)
        content = ImportedBook.read(said)
        caller = Caller(user_id=job.actor or "", session_id="", roles=_SYSTEM)
        book_id, before = await self._find(content)
        if job.dry_run:
            return "created" if before is None else "updated"
        if before is None:
            try:
                await self._editing.create(content.content, caller, job.origin, book_id=book_id)
            except ConflictError:
                before = await self._books.stored(book_id)
                if before is None:
                    raise
            else:
                return "created"
        revision = await self._editing.merge(book_id, content.content, caller, job.origin)
        return "unchanged" if revision == before.book.revision else "updated"

    async def _find(self, row: ImportedBook) -> tuple[str, StoredBook | None]:
        """Return the id that a row's book has or gets, and the book if it is there."""
        if row.id is not None and (named := await self._books.stored(row.id)) is not None:
            return row.id, named
        isbn = row.content.isbn
        book_id = (await self._editing.holder(isbn) if isbn else None) or row.id or _derive(row.content)
        return book_id, await self._books.stored(book_id)


_COUNTED = ("created", "updated", "unchanged", "bad")


def _derive(content: BookContent) -> str:
    """Return the id of a row's book: an edition by its title, people and place in a series."""
    series = content.series
    place = "" if series is None else f"{fold(series.name)} {series.position or ''}"
    people = [" ".join(sorted(map(fold, names))) for names in (content.authors, content.narrators)]
    return derived_id(_EPOCH, "import", fold(content.title), *people, place, content.isbn or "")


def _by_key(rows: list[Row]) -> list[list[Row]]:
    """Put rows together that may be of one book, since those are seen to one after another."""
    groups: dict[str, list[Row]] = {}
    for line, said in rows:
        title = said.get("title") if isinstance(said, dict) else None
        groups.setdefault(fold(title) if isinstance(title, str) else str(line), []).append((line, said))
    return list(groups.values())


async def _one_after_another(see_to: Any, rows: list[Row]) -> None:
    for row in rows:
        await see_to(row)


def _view(row: Import, bad_rows: list[BadRow]) -> ImportView:
    return ImportView(**row.model_dump(exclude={"actor", "origin"}), bad_rows=bad_rows)
