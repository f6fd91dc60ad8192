"""The threads that decode and the blocks of audio that they read, which all steps of this process share."""

import asyncio
import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from core.storage.blobs import Container
from core.transcription.blocks import BlockCache, BlockReader

if TYPE_CHECKING:
    from core.transcription.audio import Probe

R = TypeVar("R")

_DECODERS = 2


class Workshop:
    def __init__(self) -> None:
        # A thread keeps the memory that it once needed, so one thread does all that needs much of it.
        self._heavy = ThreadPoolExecutor(1, "heavy")
        self._decoders = ThreadPoolExecutor(_DECODERS, "audio")
        self._blocks: BlockCache | None = None

    def close(self) -> None:
        """Give back the threads and the blocks of audio on disk."""
        for executor in (self._heavy, self._decoders):
            executor.shutdown(wait=False, cancel_futures=True)
        if self._blocks is not None:
            self._blocks.close()

    async def do_heavy(self, work: Callable[..., R], *arguments: Any) -> R:
        """Do what takes much memory, one such thing at a time."""
        return await _do(self._heavy, _give_back_memory_after, work, *arguments)

    async def decode(self, probe: "Probe", work: Callable[..., R], *arguments: Any) -> R:
        """Do what decodes a recording; an mp4 takes much memory, the others little."""
        if probe.container == "mp4":
            return await self.do_heavy(work, *arguments)
        return await _do(self._decoders, work, *arguments)

    def reader(self, media: Container, name: str, etag: str, size: int) -> BlockReader:
        """Return a file that fetches the audio in blocks, which this process shares and keeps for a while."""
        if self._blocks is None:
            self._blocks = BlockCache()
        loop = asyncio.get_running_loop()

        def fetch(offset: int, length: int) -> bytes:
            return asyncio.run_coroutine_threadsafe(
                media.read_range(name, offset, length, etag), loop
            ).result()

        return BlockReader(fetch, size, self._blocks, (name, etag))


class Meter:
    """How much processor time the threads have spent on one step."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        self._seconds += seconds

    def take(self) -> float:
        """Return the seconds since the last time."""
        taken, self._seconds = self._seconds, 0.0
        return round(taken, 3)


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


def begin_metering() -> Meter:
    """Meter what is done for this task and those that it begins."""
    meter = Meter()
    _meter.set(meter)
    return meter


def current_meter() -> Meter:
    """Return the meter of the step that runs."""
    return _meter.get() or Meter()


def _give_back_memory_after(work: Callable[..., R], *arguments: Any) -> R:
    """Do something, and then have the C library return what it holds for later.

    It does so by itself only at the heap's end. Only glibc has malloc_trim(3), and the Functions host on
    Linux runs on it.
    """
    try:
        return work(*arguments)
    finally:
        with suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)


async def _do(executor: ThreadPoolExecutor, work: Callable[..., R], *arguments: Any) -> R:
    meter = current_meter()

    def metered() -> R:
        begun = time.thread_time()
        try:
            return work(*arguments)
        finally:
            meter.add(time.thread_time() - begun)

    return await asyncio.get_running_loop().run_in_executor(executor, metered)
