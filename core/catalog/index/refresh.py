"""An instance's own copy of the catalog: loaded once, kept up to date, asked from threads."""

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from core.catalog.index import documents
from core.catalog.index.files import DamagedIndexError, fetch_base, fetch_segment
from core.catalog.index.pointer import BASES, POINTER, Base, Pointer, Segment, revision_of
from core.catalog.index.schema import connect_reader, connect_writer, read_fact
from core.errors import NotFoundError, UnavailableError
from core.ids import new_id
from core.storage.blobs import Container

_log = logging.getLogger("aloud.catalog")

T = TypeVar("T")
Question = Callable[[sqlite3.Connection], T]

_THREADS = 4
_PAUSES = (0.2, 0.5, 1.0)
_FETCHES = 8
_CALL_AGAIN_SECONDS = 30


class _Copy:
    """One file of this instance: a writer that folds segments in, and a reader for each thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer = connect_writer(path)
        self.content = read_fact(self.writer, "revision")
        self.revision = 0
        self._readers: dict[int, sqlite3.Connection] = {}
        self._users = 0
        self._is_retired = False

    def answer(self, question: Question[T]) -> T:
        """Ask in this thread; the whole question sees one state, whatever is folded in meanwhile."""
        thread = threading.get_ident()
        reader = self._readers.get(thread)
        if reader is None:
            reader = self._readers[thread] = connect_reader(self.path)
        reader.execute("BEGIN")
        try:
            return question(reader)
        finally:
            reader.execute("ROLLBACK")

    def enter(self) -> None:
        self._users += 1

    def leave(self) -> None:
        self._users -= 1
        self._end()

    def retire(self) -> None:
        """Remove the file as soon as nobody asks it any more."""
        self._is_retired = True
        self._end()

    def _end(self) -> None:
        if self._is_retired and self._users == 0:
            for connection in (*self._readers.values(), self.writer):
                connection.close()
            for path in self.path.parent.glob(f"{self.path.name}*"):
                path.unlink(missing_ok=True)


class CatalogReader:
    """`refresh_seconds` is how old this instance's view may become; `call_builder` asks for a first build."""

    def __init__(
        self, container: Container, refresh_seconds: float, call_builder: Callable[[], Awaitable[None]]
    ) -> None:
        self._container = container
        self._refresh_seconds = refresh_seconds
        self._call_builder = call_builder
        self._called = -float("inf")
        self._checked = -float("inf")
        self._etag: str | None = None
        self._copy: _Copy | None = None
        self._lock = asyncio.Lock()
        self._replacement: asyncio.Task[None] | None = None
        self._folder: Path | None = None
        self._executor = ThreadPoolExecutor(_THREADS, "catalog")
        self.is_damaged = False

    async def close(self) -> None:
        """Give back threads and files."""
        if self._replacement is not None:
            self._replacement.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._replacement
        self._executor.shutdown(wait=True, cancel_futures=True)
        if self._copy is not None:
            self._copy.retire()
            self._copy = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def ask(self, question: Question[T], empty: T) -> T:
        """Return the answer of the newest catalog that this instance can have; `empty` before the first.

        Raises UnavailableError where there is a catalog and this instance cannot get it yet.
        """
        await self._keep_fresh()
        copy = self._copy
        if copy is None:
            return empty
        copy.enter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, copy.answer, question)
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise
            _log.exception("this instance's copy of the catalog is damaged and is fetched again")
            if self._copy is copy:
                self._copy, self._etag, self._checked = None, None, -float("inf")
                copy.retire()
            raise UnavailableError("The catalog is being fetched again.", retry_after=2) from error
        finally:
            copy.leave()

    @property
    def content(self) -> int:
        """The revision of the books that this instance shows; 0 before the first."""
        return 0 if self._copy is None else self._copy.content

    async def refresh(self) -> None:
        """Bring this instance up to date now, a new base included."""
        async with self._lock:
            await self._refresh()
        if self._replacement is not None:
            await self._replacement

    async def copy_to(self, target: Path) -> int:
        """Write what this instance holds as one dense file; return its content. Raises UnavailableError."""
        await self.refresh()
        copy = self._copy
        if copy is None:
            raise UnavailableError("There is no catalog yet.", retry_after=5)

        def dump() -> int:
            place = f"file:{copy.path}?mode=ro"
            with closing(sqlite3.connect(place, uri=True, isolation_level=None)) as database:
                database.execute("VACUUM INTO ?", (str(target),))
            return copy.content

        copy.enter()
        try:
            async with self._lock:  # nothing is folded in meanwhile
                return await asyncio.to_thread(dump)
        finally:
            copy.leave()

    async def _keep_fresh(self) -> None:
        """Look at the pointer where that is due; whoever comes meanwhile is served from what is there."""
        if time.monotonic() - self._checked < self._refresh_seconds:
            return
        if self._lock.locked() and self._copy is not None:
            return
        async with self._lock:
            if time.monotonic() - self._checked < self._refresh_seconds:
                return
            try:
                await self._refresh()
            except UnavailableError as error:
                if self._copy is None:
                    raise
                _log.warning("no newer catalog can be had, it stays as it is for now: %s", error.detail)
            self._checked = time.monotonic()

    async def _refresh(self) -> None:
        """Follow the pointer; a file that it names and that is not there yet is waited for a moment."""
        for pause in (*_PAUSES, None):
            try:
                await self._follow()
                return
            except NotFoundError:
                if pause is None or self._copy is not None:
                    raise UnavailableError("The catalog is just being replaced.", retry_after=2) from None
                await asyncio.sleep(pause)

    async def _follow(self) -> None:
        try:
            found = await self._container.read_if_changed(POINTER, self._etag)
        except NotFoundError:
            await self._call_for_build()
            return
        if found is None:
            return
        copy = self._copy
        try:
            pointer = Pointer.model_validate_json(found[0])
        except ValidationError:
            self.is_damaged = True
            if copy is None and not await self._load_older():
                raise DamagedIndexError("The catalog's pointer cannot be read.", retry_after=5) from None
            return
        if copy is not None and pointer.revision <= copy.revision:
            self._etag = found[1]
            return
        base, segments = pointer.path_from(None if copy is None else copy.content)
        try:
            if copy is not None and base is None:
                await self._fold(copy, segments)
                copy.revision = pointer.revision
            elif copy is not None and base is not None:
                self._replace(pointer, found[1])
                return
            elif base is not None:
                self._copy = await self._load(base, segments)
                self._copy.revision = pointer.revision
        except DamagedIndexError:
            self.is_damaged = True
            if copy is None and await self._load_older():
                return
            raise
        self.is_damaged = False
        self._etag = found[1]

    async def _fold(self, copy: _Copy, segments: tuple[Segment, ...]) -> None:
        gate = asyncio.Semaphore(_FETCHES)

        async def fetch(segment: Segment) -> list[documents.Document]:
            async with gate:
                return await fetch_segment(self._container, segment)

        found = await asyncio.gather(*(fetch(segment) for segment in segments))
        for segment, content in zip(segments, found, strict=True):
            await asyncio.to_thread(documents.apply, copy.writer, content, segment.revision)
            copy.content = segment.revision

    async def _load(self, base: Base, segments: tuple[Segment, ...]) -> _Copy:
        """Fetch a base into a file of its own, whole before it has its name, and fold the segments in."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="aloud-catalog-"))
            # a host that just ends closes nothing, and a copy is large
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / f"{new_id()}.sqlite"
        partial = path.with_suffix(".part")
        try:
            await fetch_base(self._container, base, partial)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
        copy = _Copy(path)
        try:
            await self._fold(copy, segments)
        except BaseException:
            copy.retire()
            raise
        return copy

    def _replace(self, pointer: Pointer, etag: str) -> None:
        """Load a new base beside the old copy, which answers until it is there."""
        if self._replacement is not None and not self._replacement.done():
            return

        async def load() -> None:
            try:
                new = await self._load(*pointer.path_from(None))  # type: ignore[arg-type]
            except (NotFoundError, UnavailableError) as error:
                self.is_damaged = isinstance(error, DamagedIndexError)
                _log.warning("the new catalog cannot be had, the old one stays for now: %s", error.detail)
                return
            new.revision = pointer.revision
            async with self._lock:
                old, self._copy, self._etag, self.is_damaged = self._copy, new, etag, False
            if old is not None:
                old.retire()

        self._replacement = asyncio.create_task(load())

    async def _load_older(self) -> bool:
        """Where what the pointer names is not whole, take the newest base that is; tell if there was one."""
        names = [name async for name in self._container.names(BASES)]
        for name in sorted(names, reverse=True):
            base = Base(file=name, revision=revision_of(name), books=0, size=0, digest=None)
            with contextlib.suppress(NotFoundError, DamagedIndexError):
                self._copy = await self._load(base, ())
                _log.error("the newest catalog is damaged: %s is shown instead", name)
                return True
        return False

    async def _call_for_build(self) -> None:
        """There is no catalog, or only one of another format: ask for it, now and then."""
        if self._copy is None and time.monotonic() - self._called > _CALL_AGAIN_SECONDS:
            self._called = time.monotonic()
            try:
                await self._call_builder()
            except UnavailableError as error:
                _log.warning("nobody can be asked to build a catalog: %s", error.detail)
