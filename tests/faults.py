"""Kills a flow at every write that it makes to the storage, and looks at what it leaves behind."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from core.storage import Watch


class Crash(BaseException):
    """The process is gone: what code still wants of the storage on its way out is not done."""


class Closable(Protocol):
    async def close(self) -> None: ...


S = TypeVar("S", bound=Closable)
T = TypeVar("T")


class Fault:
    """A watch of storage calls that ends the process at the `number`-th write: before it is sent, or unheard.

    `place` says where that was. Requests that are on their way at that moment still arrive, as they may in
    life, so that what the crash leaves does not change under the eyes of whoever looks; then `gone` is set.
    None of the tasks that made them goes on, and nothing is sent any more.
    """

    def __init__(self, number: int, unheard: bool) -> None:
        self.place: str | None = None
        self.gone = asyncio.Event()
        self._number = number
        self._unheard = unheard
        self._seen = 0
        self._on_their_way = 0

    @asynccontextmanager
    async def watch(self, method: str, url: str) -> AsyncIterator[None]:
        if self.place is not None:
            raise Crash(self.place)
        changes = method not in ("GET", "HEAD")
        self._seen += changes
        is_it = changes and self._seen == self._number
        call = f"write {self._seen}, {method} {url}"
        if is_it and not self._unheard:
            self.place = f"before {call}"
            await self._stop()
        self._on_their_way += 1
        try:
            yield
        finally:
            self._on_their_way -= 1
            if is_it and self.place is None:
                self.place = f"after {call}"
            if self.place is not None:
                await self._stop()

    async def _stop(self) -> None:
        """Never return; the task is cancelled once the process is gone."""
        if self._on_their_way == 0:
            self.gone.set()
        await asyncio.Future()


async def crash_everywhere(
    build: Callable[[Watch | None], S],
    prepare: Callable[[S], Awaitable[T]],
    act: Callable[[S, T], Awaitable[object]],
    check: Callable[[S, T], Awaitable[object]],
    repeat: Callable[[S, T], Awaitable[object]],
    check_done: Callable[[S, T], Awaitable[object]],
    *,
    in_sequence: bool = False,
) -> list[str]:
    """Run `act` on fresh data with a crash before and after each write to the storage; return the places.

    `build` joins the product on a storage account with this watch. One build lives through it all: there
    `prepare` makes the data of one run, `check` sees what a crash has left, `repeat` does what people do
    next, and `check_done` sees the end. The last run of each kind crashes nowhere and has to end well.
    What they raise has a note of where the crash was. A crash around a read leaves what the one around the
    write before it has left. So does one before a write, where calls go one by one and to nothing but the
    storage, `in_sequence`.
    """
    places: list[str] = []
    survivor = build(None)
    try:
        for unheard in (True,) if in_sequence else (False, True):
            for number in itertools.count(1):
                data = await prepare(survivor)
                fault = Fault(number, unheard)
                try:
                    await _run_until_crash(build, fault, act, data)
                    if fault.place is not None:
                        await check(survivor, data)
                        await repeat(survivor, data)
                    await check_done(survivor, data)
                except Exception as error:
                    error.add_note(f"with a crash {fault.place}" if fault.place else "without a crash")
                    raise
                if fault.place is None:
                    break
                places.append(fault.place)
    finally:
        await survivor.close()
    return places


async def _run_until_crash(
    build: Callable[[Watch | None], S], fault: Fault, act: Callable[[S, T], Awaitable[object]], data: T
) -> None:
    """Run `act` in a build of its own, and end that as a killed process ends: no task of it is left."""
    others = asyncio.all_tasks()
    mortal = build(fault.watch)
    acting = asyncio.ensure_future(act(mortal, data))
    crashing = asyncio.create_task(fault.gone.wait())
    await asyncio.wait((acting, crashing), return_when=asyncio.FIRST_COMPLETED)
    if fault.place is None:
        crashing.cancel()
        await mortal.close()
        await acting
        return
    await crashing
    left = asyncio.all_tasks() - others
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await mortal.close()
