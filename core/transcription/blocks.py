"""A remote file read block by block, each block fetched about once by the whole process."""

import io
import os
import random
import tempfile
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, BinaryIO, Self

Fetch = Callable[[int, int], bytes]
_Key = tuple[Hashable, int]

BLOCK_BYTES = 512 * 1024
CACHE_BYTES = 512 * 1024 * 1024


class BlockCache:
    """Keeps blocks of remote files in one unnamed temporary file of at most `max_bytes`.

    They rest on disk so that a whole book stays at hand without taking memory: planning an mp3 reads all
    of it, and cutting it then reads nothing again. A full cache drops blocks at random: a book that is
    too large is read twice from start to end, and the longest unused block would then always be the next
    one needed. Threads may share a cache; a block that several of them want at once is fetched once.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES, block_bytes: int = BLOCK_BYTES) -> None:
        self.block_bytes = block_bytes
        self._slots = max(1, max_bytes // block_bytes)
        self._keys: list[_Key] = []
        self._held: dict[_Key, tuple[int, int]] = {}
        self._coming: dict[_Key, Future[bytes]] = {}
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the cache

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def held_bytes(self) -> int:
        """How much the cache holds now."""
        return sum(length for _, length in self._held.values())

    def block(self, key: Hashable, index: int, size: int, fetch: Fetch) -> bytes:
        """Return block `index` of the file `key`, which is `size` bytes long; raises what `fetch` raises."""
        at = (key, index)
        with self._lock:
            if held := self._held.get(at):
                slot, length = held
                return os.pread(self._file.fileno(), length, slot * self.block_bytes)
            coming = self._coming.get(at)
            if coming is None:
                mine = self._coming[at] = Future[bytes]()
        if coming is not None:
            return coming.result()
        offset = index * self.block_bytes
        length = min(self.block_bytes, size - offset)
        try:
            content = fetch(offset, length)
            if len(content) != length:
                raise OSError(f"{len(content)} bytes came instead of {length}")
            self._keep(at, content)
        except BaseException as error:
            with self._lock:
                del self._coming[at]
            mine.set_exception(error)
            raise
        mine.set_result(content)
        return content

    def _keep(self, at: _Key, content: bytes) -> None:
        with self._lock:
            slot = len(self._keys)
            if slot < self._slots:
                self._keys.append(at)
            else:
                slot = random.randrange(self._slots)  # noqa: S311 - nothing secret
                del self._held[self._keys[slot]]
                self._keys[slot] = at
            os.pwrite(self._file.fileno(), content, slot * self.block_bytes)
            self._held[at] = (slot, len(content))
            del self._coming[at]


class BlockReader(io.RawIOBase):
    """Seekable, read-only view of a remote file of `size` bytes, read through a BlockCache.

    `key` names one version of the file, such as (blob, etag); `fetch(offset, length)` reads from it. It
    has no `name`, from which a decoder might guess the format. One reader belongs to one thread.
    """

    def __init__(self, fetch: Fetch, size: int, cache: BlockCache, key: Hashable) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._cache = cache
        self._key = key
        self._position = 0
        self._latest: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError("seek to before the start")
        self._position = origin + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return exactly `size` bytes, fewer only at the end of the file."""
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        parts = []
        while self._position < end:
            index, start = divmod(self._position, self._cache.block_bytes)
            part = self._block(index)[start : start + end - self._position]
            parts.append(part)
            self._position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _block(self, index: int) -> bytes:
        if self._latest[0] != index:
            self._latest = (index, self._cache.block(self._key, index, self._size, self._fetch))
        return self._latest[1]


class PatchedReader(io.RawIOBase):
    """Read-only view of a file in which other bytes stand from `start` on."""

    def __init__(self, source: "Source", start: int, patch: bytes) -> None:
        super().__init__()
        self._source = source
        self._start = start
        self._patch = patch
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset, whence = offset + self._position, io.SEEK_SET
        self._position = self._source.seek(offset, whence)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return exactly `size` bytes, fewer only at the end of the file."""
        self._source.seek(self._position)
        content = self._source.read(-1 if size is None else size)
        begin = self._start - self._position
        first, stop = max(0, begin), min(len(content), begin + len(self._patch))
        self._position += len(content)
        if first >= stop:
            return content
        return content[:first] + self._patch[first - begin : stop - begin] + content[stop:]


# What a recording may be read from.
Source = BinaryIO | BlockReader | PatchedReader
