"""The compiled read model: every public book in one immutable SQLite file, published by swapping a pointer.

A builder writes a new file beside the old one and swaps `pointer.json` only if its revision is greater;
of two that race, the loser builds again from the winner's revision. Each instance asks for the pointer at
most once in a while, so that browsing costs no storage call in between.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import AsyncIterable, Callable
from contextlib import closing

from core.catalog.models import Book, BookSummary, summarise
from core.errors import ConflictError, NotFoundError, StaleError, UnavailableError
from core.ids import new_id
from core.storage.blobs import Container

_log = logging.getLogger("aloud.catalog")

_FORMAT = "v1"
_POINTER = f"{_FORMAT}/pointer.json"
_KEPT = 5
_TRIES = 20


def _compile(books: list[Book]) -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.execute(
            "CREATE TABLE books (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, shown TEXT NOT NULL)"
        )
        database.execute("CREATE INDEX newest ON books (created_at DESC, id DESC)")
        database.executemany(
            "INSERT INTO books VALUES (?, ?, ?)",
            ((b.id, b.created_at.isoformat(), summarise(b).model_dump_json()) for b in books),
        )
        return database.serialize()


class CatalogIndex:
    """`refresh_seconds` is how old this instance's view may become."""

    def __init__(self, container: Container, refresh_seconds: float) -> None:
        self._container = container
        self._refresh_seconds = refresh_seconds
        self._checked = -float("inf")
        self._etag: str | None = None
        self._database: sqlite3.Connection | None = None
        self._lock = asyncio.Lock()

    async def build(self, scan: Callable[[], AsyncIterable[Book]]) -> int:
        """Publish a new revision with every published book that `scan` yields; return its number.

        The pointer is read before the scan, so a builder that wins has seen all that the one before it saw.
        """
        for _ in range(_TRIES):
            try:
                pointer, etag = await self._container.read_with_etag(_POINTER)
                revision = int(json.loads(pointer)["revision"]) + 1
            except NotFoundError:
                etag, revision = None, 1
            public = [book async for book in scan() if book.visibility == "published"]
            name = f"{_FORMAT}/{revision:012d}-{new_id()}.sqlite"
            content = await asyncio.to_thread(_compile, public)
            await self._container.write(name, content, "application/vnd.sqlite3")
            swap = json.dumps({"revision": revision, "file": name}).encode()
            try:
                await self._container.write(
                    _POINTER, swap, "application/json", if_etag=etag, if_absent=etag is None
                )
            except (StaleError, ConflictError):
                if not await self._is_current(name):
                    continue
            await self._remove_old(revision)
            return revision
        raise UnavailableError("Too many builders of the catalog at once.", retry_after=5)

    async def newest(self, limit: int, after: tuple[str, str] | None) -> tuple[list[BookSummary], int]:
        """Return public books, newest first, after the keyset (created_at, id), and how many there are."""
        database = await self._current()
        if database is None:
            return [], 0

        where, values = ("WHERE (created_at, id) < (?, ?)", after) if after else ("", ())
        rows = database.execute(
            f"SELECT shown FROM books {where} ORDER BY created_at DESC, id DESC LIMIT ?",  # noqa: S608
            (*values, limit),
        ).fetchall()
        (total,) = database.execute("SELECT count(*) FROM books").fetchone()
        return [BookSummary.model_validate_json(shown) for (shown,) in rows], total

    async def _current(self) -> sqlite3.Connection | None:
        """Return the newest file that this instance can have; None before the first build.

        While the storage is away, the last one serves on.
        """
        async with self._lock:
            if time.monotonic() - self._checked >= self._refresh_seconds:
                try:
                    await self._refresh()
                except UnavailableError:
                    if self._database is None:
                        raise
                    _log.warning("no newer catalog can be had: it stays as it is for now")
                self._checked = time.monotonic()
            return self._database

    async def _refresh(self) -> None:
        try:
            changed = await self._container.read_if_changed(_POINTER, self._etag)
        except NotFoundError:
            return
        if changed is not None:
            try:
                content = await self._container.read(json.loads(changed[0])["file"])
            except NotFoundError:
                raise UnavailableError("The catalog is just being replaced.", retry_after=2) from None
            database = sqlite3.connect(":memory:")
            database.deserialize(content)
            self._database, self._etag = database, changed[1]

    async def _is_current(self, name: str) -> bool:
        """Tell whether the pointer names this file: after a lost answer the SDK repeats a swap."""
        return bool(json.loads(await self._container.read(_POINTER))["file"] == name)

    async def _remove_old(self, revision: int) -> None:
        """Remove the files of all but the last revisions, and those of builders that lost with them."""
        names = [n async for n in self._container.names(f"{_FORMAT}/") if n.endswith(".sqlite")]
        for name in names:
            if int(name.removeprefix(f"{_FORMAT}/").partition("-")[0]) <= revision - _KEPT:
                with contextlib.suppress(NotFoundError):
                    await self._container.delete(name)
