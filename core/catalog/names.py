"""What many books name: people, series and genres. Books hold the names; here is what else is known of them.

A person's or a series' id stays when the name changes, and the new name leads to it from then on; a genre is
known by its name, so that another name is another id. Books follow a new name in the background.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from core.backoff import Tried
from core.caller import Caller, Origin
from core.catalog.index import CatalogReader, query
from core.catalog.models import Book, NameKind, PersonName, Revisions, name_id
from core.catalog.store import BookStore
from core.errors import ConflictError, NotFoundError, StaleError
from core.ids import now
from core.operations.service import Operations
from core.storage.queues import Queues
from core.storage.tables import Stored, Table

_log = logging.getLogger("aloud.catalog")

QUEUE = "catalog-work"
_SCANNED = 2000
_CHANGED = 200
_WRITERS = 8
_AGAIN_SECONDS = 60
_TERMS: dict[NameKind, tuple[Literal["author", "narrator", "genre", "series"], ...]] = {
    "person": ("author", "narrator"),
    "genre": ("genre",),
    "series": ("series",),
}

Mapped = Mapping[tuple[NameKind, str], PersonName]
"""What names of books become, by kind and id."""


class NameContent(BaseModel):
    """What administrators say of a person, a series or a genre."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[
        str,
        StringConstraints(
            strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"
        ),
    ]
    about: (
        Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000, pattern=r"^[^\x00]*$")]
        | None
    ) = None


class NameRow(BaseModel):
    """Row of `names`, a partition a kind. With `alias_of` the id leads to another, which has the name.

    `revision` grows with each change; what only books name has none yet.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    about: str | None = None
    alias_of: str | None = None
    revision: int = 0
    updated_at: datetime


Guard = Mapping[str, Stored[NameRow] | None]
"""Rows that may be written only as they were read (None: only if they still are not there)."""


class Rename(Tried):
    """Message on `catalog-work`: books after this one that name any of `ids` shall name `to_id`."""

    kind: Literal["rename"] = "rename"
    of: NameKind
    ids: tuple[str, ...]
    to_id: str
    after: str | None = None


class Names:
    def __init__(
        self, names: Table, books: BookStore, reader: CatalogReader, queues: Queues, operations: Operations
    ) -> None:
        self._names = names
        self._books = books
        self._reader = reader
        self._queues = queues
        self._operations = operations

    async def find(self, kind: NameKind, row_id: str) -> NameRow | None:
        """Return what is known of an id, of that to which it leads where the name has changed."""
        row = await self._row(kind, row_id)
        seen = {row_id}
        while row is not None and row.alias_of is not None and row.alias_of not in seen:
            seen.add(row.alias_of)
            row = await self._row(kind, row.alias_of)
        return row

    async def known(self, kind: NameKind, row_id: str) -> NameRow:
        """Return what is known of an id, from its row or from published books. Raises NotFoundError."""
        row = await self.find(kind, row_id)
        if row is not None:
            return row
        name = await self._published(kind, row_id)
        if name is None:
            raise NotFoundError(f"There is no such {kind}.")
        return NameRow(id=row_id, name=name, updated_at=now())

    async def _published(self, kind: NameKind, row_id: str) -> str | None:
        """Return the name that published books have for an id, None if none of them has it."""

        def look(database: sqlite3.Connection) -> str | None:
            found = (query.find_term(database, term, row_id, 1) for term in _TERMS[kind])
            return next((entry[0].name for entry in found if entry is not None), None)

        return await self._reader.ask(look, None)

    async def create(self, kind: NameKind, content: NameContent, caller: Caller, origin: Origin) -> NameRow:
        """Add a name. Raises ConflictError if it is known, under this spelling or a former one."""
        row_id = name_id(kind, content.name)
        row = NameRow(id=row_id, name=content.name, about=content.about, revision=1, updated_at=now())
        await self._operations.record(f"{kind}.created", caller.user_id, row.id, origin)
        try:
            await self._names.insert(row, kind, row.id)
        except ConflictError:
            raise ConflictError(f"There is a {kind} of that name.") from None
        await self._rename(kind, {row.id}, row.id)  # books may spell it another way
        return row

    async def change(
        self,
        kind: NameKind,
        row_id: str,
        content: NameContent,
        caller: Caller,
        origin: Origin,
        revisions: Revisions = None,
    ) -> NameRow:
        """Say anew what is known of a name, and have books follow; can be repeated.

        Raises NotFoundError, ConflictError if another has the new name, StaleError if it is at none of the
        revisions any more.
        """
        known = await self.known(kind, row_id)
        guard = await self._guard(kind, known, revisions)
        by_name = name_id(kind, content.name)
        to_id = by_name if kind == "genre" else known.id
        await self._operations.record(f"{kind}.changed", caller.user_id, known.id, origin)
        row = NameRow(
            id=to_id,
            name=content.name,
            about=content.about,
            revision=known.revision + 1,
            updated_at=now(),
        )
        alias_id = known.id if kind == "genre" else by_name
        is_new = False
        if alias_id != to_id:
            is_new = await self._lead(kind, alias_id, row, guard, is_free=kind != "genre")
        try:
            await self._put(kind, to_id, row, guard)
        except StaleError:
            if is_new:
                await self._names.delete(kind, alias_id)
            raise
        await self._rename(kind, {known.id, row_id, by_name}, to_id)
        return row

    async def _guard(self, kind: NameKind, known: NameRow, revisions: Revisions) -> Guard:
        """Raises StaleError where a name is at none of these revisions; any will do without."""
        if revisions is None:
            return {}
        seen = await self._names.find(NameRow, kind, known.id)
        revision = seen.value.revision if seen else 0
        if not {tag.partition(".")[0] for tag in revisions} & {str(revision)}:
            raise StaleError(f"This {kind} is at revision {revision} now; load it again.")
        return {known.id: seen}

    async def _put(self, kind: NameKind, row_id: str, row: NameRow, guard: Guard) -> None:
        """Write a row. Raises StaleError where it is guarded and has changed."""
        seen = guard.get(row_id)
        if row_id not in guard:
            await self._names.put(row, kind, row_id)
        elif seen is not None:
            await self._names.replace(seen, row)
        else:
            try:
                await self._names.insert(row, kind, row_id)
            except ConflictError:
                raise StaleError(f"Somebody else has just changed this {kind}; load it again.") from None

    async def _lead(
        self, kind: NameKind, alias_id: str, row: NameRow, guard: Guard, *, is_free: bool
    ) -> bool:
        """Have an id lead to another; tell whether it led nowhere before.

        Raises ConflictError where it has to be free and is not.
        """
        taken = await self._row(kind, alias_id)
        if is_free and taken is not None and taken.alias_of != row.id:
            raise ConflictError(f"There is another {kind} of that name.")
        alias = row.model_copy(update={"id": alias_id, "alias_of": row.id})
        await self._put(kind, alias_id, alias, guard)
        return taken is None and alias_id not in guard

    async def delete(
        self,
        kind: NameKind,
        row_id: str,
        caller: Caller,
        origin: Origin,
        revisions: Revisions = None,
    ) -> None:
        """Forget what is known of a name that no published book has.

        Drafts keep the name as they have it. Raises NotFoundError, ConflictError while published books name
        it, StaleError as `change` does.
        """
        row = await self.known(kind, row_id)
        guard = await self._guard(kind, row, revisions)
        if await self._published(kind, row.id) is not None:
            raise ConflictError(f"Published books name this {kind}; change those first.")
        await self._operations.record(f"{kind}.deleted", caller.user_id, row.id, origin)
        async for stored in self._names.each(NameRow, kind):
            if stored.value.alias_of == row.id:
                await self._names.delete(kind, stored.key)
        seen = guard.get(row.id)
        if seen is None:
            await self._names.delete(kind, row.id)
        elif not await self._names.delete_unchanged(seen):
            raise StaleError(f"Somebody else has just changed this {kind}; load it again.")

    # What books say

    async def mapping(self, book: Book) -> Mapped:
        """Return what the names in a book have become, for those that have changed."""
        named: dict[tuple[NameKind, str], str] = {
            ("person", person.id): person.name for person in (*book.authors, *book.narrators)
        }
        named |= {("genre", name_id("genre", genre)): genre for genre in book.genres}
        if book.series is not None:
            named["series", book.series.id] = book.series.name
        rows = await asyncio.gather(*(self.find(kind, row_id) for kind, row_id in named))
        return {
            key: PersonName(id=row.id, name=row.name)
            for key, row in zip(named, rows, strict=True)
            if row is not None and (row.id, row.name) != (key[1], named[key])
        }

    async def run(self, work: Rename) -> None:
        """Have some books follow a new name, and queue the rest; of many changes one message tells the index.

        Whatever the message says, books get the name that the row has now.
        """
        row = await self.find(work.of, work.to_id)
        if row is None:
            return
        becomes: Mapped = {(work.of, row_id): PersonName(id=row.id, name=row.name) for row_id in work.ids}
        scanned, after = 0, work.after
        doomed: list[str] = []
        is_over = True
        async for stored in self._books.all_with_chapters(after=work.after):
            scanned, after = scanned + 1, stored.book.id
            if apply_names(stored.book, becomes) != stored.book:
                doomed.append(stored.book.id)
            if scanned >= _SCANNED or len(doomed) >= _CHANGED:
                is_over = False
                break
        gate = asyncio.Semaphore(_WRITERS)

        async def write(book_id: str) -> None:
            async with gate:
                await self._books.update(book_id, lambda book: apply_names(book, becomes))

        await asyncio.gather(*(write(book_id) for book_id in doomed))
        if not is_over:
            await self._queues.send(QUEUE, work.model_copy(update={"after": after, "attempt": 1}))
        _log.info("%s books have a new name of a %s", len(doomed), work.of)

    async def _rename(self, kind: NameKind, ids: set[str], to_id: str) -> None:
        """Queue it twice: a book that was read before the change may be written after the first time."""
        work = Rename(of=kind, ids=tuple(sorted(ids)), to_id=to_id)
        await self._queues.send(QUEUE, work)
        await self._queues.send(QUEUE, work, _AGAIN_SECONDS)

    async def _row(self, kind: NameKind, row_id: str) -> NameRow | None:
        found = await self._names.find(NameRow, kind, row_id)
        return None if found is None else found.value


def apply_names(book: Book, becomes: Mapped) -> Book:
    """Return the book with its names as they are now, each once."""

    def people(named: tuple[PersonName, ...]) -> tuple[PersonName, ...]:
        return tuple(dict.fromkeys(becomes.get(("person", person.id), person) for person in named))

    def genre_now(genre: str) -> str:
        found = becomes.get(("genre", name_id("genre", genre)))
        return genre if found is None else found.name

    series = book.series
    if series is not None and (found := becomes.get(("series", series.id))) is not None:
        series = series.model_copy(update={"id": found.id, "name": found.name})
    return book.model_copy(
        update={
            "authors": people(book.authors),
            "narrators": people(book.narrators),
            "genres": tuple(dict.fromkeys(genre_now(genre) for genre in book.genres)),
            "series": series,
        }
    )
