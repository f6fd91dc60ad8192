"""A ZIP of 40 books of 100 MB, whose maker is killed in the middle: memory, time, and whether it is whole."""

import asyncio
import os
import shutil
import sys
import time
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from bench.process import read_cpu_seconds, read_peak_mb
from bench.rows import Limit, Row
from core.caller import Caller
from core.catalog.models import AudioPart, Book, Money, PersonName
from core.commerce.archive_store import ArchiveView
from core.ids import new_id, now
from core.settings import Settings
from core.storage import StorageAccount
from core.wiring import Services, build
from localhost.azurite import STORAGE, Azurite

BOOK_BYTES = 100_000_000
LONGEST_WAIT_SECONDS = 1800
_FORMS = {"json": 2_000_000, "txt": 600_000, "srt": 900_000, "vtt": 900_000}


@dataclass
class Packers:
    """The processes that have made ZIPs: what they took, one after another."""

    environment: dict[str, str]
    peaks: list[float | None]
    cpu_seconds: list[float | None]

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Have one at work, and kill it at the end as a host is killed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.packer", env=os.environ | self.environment
        )
        try:
            yield
        finally:
            self.peaks.append(read_peak_mb(process.pid))
            self.cpu_seconds.append(read_cpu_seconds(process.pid))
            process.kill()
            await process.wait()


async def measure(quick: bool) -> AsyncIterator[Row]:
    count = 6 if quick else 40
    name = f"ZIP of {count} books of {BOOK_BYTES / 1e6:.0f} MB"
    with TemporaryDirectory(prefix="aloud-bench-") as folder:
        async with Azurite.start(data=Path(folder)) as azurite:
            environment = {STORAGE: azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
            settings = Settings.read(environment)
            account = StorageAccount(settings)
            services = build(settings, account)
            packers = Packers(environment, [], [])
            try:
                caller = Caller(user_id=new_id(), session_id="", roles=frozenset({"listener"}))
                ids = [await _add_book(services, account, number) for number in range(count)]
                started = time.perf_counter()
                begun = await services.commerce.archives.begin(ids, caller)
                async with packers.one():
                    half = await _wait(services, caller, begun.id, 0.5)
                before = time.perf_counter() - started
                async with packers.one():
                    await _wait(services, caller, begun.id, half.progress + 0.001)
                    gap = time.perf_counter() - started - before
                    done = await _wait(services, caller, begun.id, 1)
                seconds = time.perf_counter() - started
                assert done.url is not None and done.size_bytes is not None
                path = Path(folder, "books.zip")
                await _load(done.url, path)
            finally:
                await services.close()
        whole = await _test(path)
    peaks = [peak for peak in packers.peaks if peak is not None]
    cpu = [seconds for seconds in packers.cpu_seconds if seconds is not None]
    gigabytes = done.size_bytes / 1e9
    yield Row(f"{name}: peak memory", max(peaks, default=None), "MB", Limit("<", 200),
              note="of the process that makes it, the larger of the two")  # fmt: skip
    kill = f"killed at {half.progress:.0%}, silent for {gap:.0f} s after that"
    yield Row(f"{name}: time", seconds, "s", note=f"{gigabytes:.2f} GB; {kill}")
    if cpu:
        yield Row(f"{name}: CPU", sum(cpu) / gigabytes, "s/GB", note="user and system, of both processes")
    yield Row(f"{name}: bad files in it", float(whole[0]), "files", Limit("<", 1), note=whole[1])


async def _add_book(services: Services, account: StorageAccount, number: int) -> str:
    """Put a free book on the shelf: noise, which nothing can compress, and texts of a long book."""
    media, book_id, at = account.container("media"), new_id(), now()
    await media.write(f"{book_id}/audio.mp3", os.urandom(BOOK_BYTES), "audio/mpeg")
    for form, size in _FORMS.items():
        text = b"".join(b"%d words of a book " % word for word in range(size // 24))
        await media.write(f"{book_id}/transcript.{form}", text, "text/plain")
    await services.catalog.create(
        Book(
            id=book_id,
            title=f"Book {number}",
            authors=(PersonName.of("Ada Example"),),
            price=Money(amount=0),
            visibility="published",
            processing_status="ready",
            parts=(AudioPart(blob=f"{book_id}/audio.mp3", content_type="audio/mpeg", size=BOOK_BYTES),),
            transcript_prefix=f"{book_id}/transcript",
            created_at=at,
            updated_at=at,
        )
    )
    return book_id


async def _wait(services: Services, caller: Caller, archive_id: str, progress: float) -> ArchiveView:
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while True:
            view = await services.commerce.archives.show(archive_id, caller)
            if view.status == "failed":
                raise RuntimeError(f"the ZIP has failed: {view.reason}")
            if view.progress >= progress and (view.status == "ready" or progress < 1):
                return view
            await asyncio.sleep(0.2)


async def _load(url: str, path: Path) -> None:
    async with aiohttp.ClientSession() as http, http.get(url, timeout=aiohttp.ClientTimeout()) as answer:
        with path.open("wb") as file:
            async for part in answer.content.iter_chunked(1024 * 1024):
                file.write(part)


async def _test(path: Path) -> tuple[int, str]:
    """Return how many files of a ZIP are bad, and who says so."""
    if unzip := shutil.which("unzip"):
        process = await asyncio.create_subprocess_exec(
            unzip, "-tq", str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        last = said.decode().strip().splitlines()[-1].removesuffix(f" of {path}.")
        return (1 if process.returncode else 0), f"unzip -t: {last}"
    with zipfile.ZipFile(path) as file:
        bad = await asyncio.to_thread(file.testzip)
        return (1 if bad else 0), "Python's zipfile; there is no unzip here"
