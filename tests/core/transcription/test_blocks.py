"""A remote file reads like a local one, and each of its blocks is fetched about once."""

import io
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.transcription.blocks import BlockCache, BlockReader

CONTENT = bytes(range(256)) * 40
BLOCK = 1_000


class Remote:
    """A file far away that counts what is fetched from it."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.fetched: Counter[int] = Counter()

    def fetch(self, offset: int, length: int) -> bytes:
        self.fetched[offset] += 1
        return self.content[offset : offset + length]

    def open(self, cache: BlockCache, key: str = "book") -> BlockReader:
        return BlockReader(self.fetch, len(self.content), cache, key)


def test_it_reads_and_seeks_like_a_file() -> None:
    with BlockCache(block_bytes=BLOCK) as cache:
        far, near = Remote().open(cache), io.BytesIO(CONTENT)
        for place, whence, size in [(0, 0, 10), (995, 0, 10), (-5, 1, 3_000), (-7, 2, 100), (99_999, 0, 5)]:
            assert far.seek(place, whence) == near.seek(place, whence)
            assert far.read(size) == near.read(size)
            assert far.tell() == near.tell()
        far.seek(1)
        assert far.read() == CONTENT[1:]
        assert far.read(1) == b""
        assert (far.readable(), far.seekable(), far.writable()) == (True, True, False)
        assert not hasattr(far, "name")


def test_readers_of_one_file_share_its_blocks() -> None:
    remote = Remote()
    with BlockCache(block_bytes=BLOCK) as cache:
        assert remote.open(cache).read() == CONTENT
        assert remote.open(cache).read() == CONTENT
    assert set(remote.fetched.values()) == {1}
    assert sum(remote.fetched.values()) == 11


def test_another_version_of_a_file_is_another_file() -> None:
    old, new = Remote(), Remote(CONTENT[::-1])
    with BlockCache(block_bytes=BLOCK) as cache:
        assert old.open(cache, "etag 1").read() == CONTENT
        assert new.open(cache, "etag 2").read() == CONTENT[::-1]


def test_a_full_cache_stays_within_its_bound_and_right() -> None:
    remote = Remote()
    with BlockCache(max_bytes=8 * BLOCK, block_bytes=BLOCK) as cache:
        for _ in range(20):
            assert remote.open(cache).read() == CONTENT
        assert cache.held_bytes <= 8 * BLOCK
    assert 11 < sum(remote.fetched.values()) < 20 * 11 * 0.8


def test_a_block_that_many_want_at_once_is_fetched_once() -> None:
    wanted = threading.Barrier(4, timeout=10)
    count = 0

    def fetch(offset: int, length: int) -> bytes:
        nonlocal count
        count += 1
        return CONTENT[offset : offset + length]

    with BlockCache(block_bytes=len(CONTENT)) as cache, ThreadPoolExecutor(4) as pool:

        def read() -> bytes:
            reader = BlockReader(fetch, len(CONTENT), cache, "book")
            wanted.wait()
            return reader.read()

        found = [job.result() for job in [pool.submit(read) for _ in range(4)]]
    assert found == [CONTENT] * 4
    assert count == 1


def test_those_who_wait_for_a_failing_fetch_fail_with_it_and_the_next_try_works() -> None:
    asked, go_on = threading.Event(), threading.Event()
    remote = Remote()

    def fail(offset: int, length: int) -> bytes:
        asked.set()
        assert go_on.wait(10)
        raise ConnectionError("gone")

    with BlockCache(block_bytes=BLOCK) as cache, ThreadPoolExecutor(2) as pool:
        first = pool.submit(BlockReader(fail, len(CONTENT), cache, "book").read, 10)
        assert asked.wait(10)
        second = pool.submit(BlockReader(fail, len(CONTENT), cache, "book").read, 10)
        go_on.set()
        for job in (first, second):
            with pytest.raises(ConnectionError, match="gone"):
                job.result()
        assert remote.open(cache).read(10) == CONTENT[:10]


def test_a_fetch_that_brings_too_little_is_an_error() -> None:
    with BlockCache(block_bytes=BLOCK) as cache:
        reader = BlockReader(lambda offset, length: b"short", len(CONTENT), cache, "book")
        with pytest.raises(OSError, match="5 bytes came instead of 1000"):
            reader.read(1)
