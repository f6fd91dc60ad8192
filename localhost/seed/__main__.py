"""`python -m localhost.seed N` writes generated books into the storage of the Aloud that runs here."""

import argparse
import asyncio
import os
import secrets
import time
from pathlib import Path

from core.catalog.models import Book, Chapter, MediaFile
from core.catalog.service import Catalog
from core.errors import ConflictError
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.blobs import Container
from core.wiring import build
from localhost.azurite import STORAGE, find_running
from localhost.seed.books import draw_cover, generate

_WRITERS = 32


async def seed(connection: str, count: int, *, with_covers: bool) -> int:
    """Write the books that are not there yet; return how many that were. The catalog follows by itself."""
    unused = secrets.token_urlsafe(32)  # nothing is signed here
    settings = Settings.read({STORAGE: connection, "JWT_SIGNING_KEY": unused})
    services, account = build(settings), StorageAccount(settings)
    media = account.container("media")
    gate = asyncio.Semaphore(_WRITERS)
    written = 0

    async def write(book: Book, chapters: tuple[Chapter, ...]) -> None:
        nonlocal written
        try:
            is_new = await _write(services.catalog, media if with_covers else None, book, chapters)
            written += is_new  # not in one line: others count while this one waits
        finally:
            gate.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            for book, chapters in generate(count):
                await gate.acquire()
                tasks.create_task(write(book, chapters))
    finally:
        await services.close()
        await account.close()
    return written


async def _write(
    catalog: Catalog, media: Container | None, book: Book, chapters: tuple[Chapter, ...]
) -> bool:
    if media is not None:
        content = await asyncio.to_thread(draw_cover, book)
        cover = MediaFile(blob=f"{book.id}/cover", content_type="image/jpeg", size=len(content))
        await media.write(cover.blob, content, cover.content_type)
        book = book.model_copy(update={"cover": cover})
    try:
        await catalog.create(book, chapters)
    except ConflictError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m localhost.seed", description="Write generated books.")
    parser.add_argument("count", type=int, help="how many books")
    parser.add_argument("--data", type=Path, default=Path(".data"), help="data folder of the running Aloud")
    parser.add_argument("--no-covers", action="store_true", help="faster: draw no covers")
    options = parser.parse_args()
    connection = os.environ.get(STORAGE) or find_running(options.data)
    if connection is None:
        parser.error("Aloud is not running here: start it with `make run`, in another terminal.")
    started = time.perf_counter()
    written = asyncio.run(seed(connection, options.count, with_covers=not options.no_covers))
    print(f"{written} books written in {time.perf_counter() - started:.0f} s; the catalog shows them soon.")


if __name__ == "__main__":
    main()
