"""Withdrawn books that nobody has bought lose their recordings after a month, and no other book does."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from core.catalog.models import AudioPart, Book
from core.catalog.removal import KEPT_DAYS, Removal
from core.catalog.shelves import Complete, Shelves
from core.catalog.store import BookStore, ChangeStore
from core.catalog.work import CatalogWork, Shelve
from core.ids import new_id, now
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.transcription.models import Job, Part
from core.transcription.store import JobStore
from core.wiring import build
from localhost.azurite import Azurite
from tests.core.catalog.conftest import make_book
from tests.faults import crash_everywhere

NAME = f"t{new_id()}"
PAST = timedelta(days=KEPT_DAYS, minutes=1)


class Instance:
    """The nightly removal, on a catalog of its own."""

    def __init__(self, settings: Settings, watch: Watch | None) -> None:
        account = StorageAccount(settings, watch)
        services = build(settings, account)
        self.close = services.close
        self.changes = ChangeStore(account.table(f"{NAME}changes"))
        self.books = BookStore(account.table(f"{NAME}books"), self.changes)
        self.media, self.shelf_rows = account.container(NAME), account.table(f"{NAME}shelves")
        self.removal = Removal(
            self.books, self.changes, self.media, services.transcription, services.operations
        )
        self.jobs = JobStore(account.table("jobs"), account.container("work"))
        self.drops, self.results = account.container("uploads"), account.container("work")
        shelves = Shelves(self.shelf_rows)
        self.work = CatalogWork(
            settings, services.catalog, services.names, services.imports, services.exports, self.removal,
            self.books, shelves, account.queues(), services.operations,
        )  # fmt: skip

    async def withdrawn(self, age: timedelta = PAST, **fields: Any) -> Book:
        """Store a book with its files that was withdrawn so long ago."""
        book = make_book(visibility="draft", transcript_prefix="", **fields)
        job_id = new_id()
        folder = f"{book.id}/{job_id}/"
        audio = AudioPart(blob=f"{folder}audio.mp3", content_type="audio/mpeg", size=5)
        book = book.model_copy(update={"parts": (audio,), "transcript_prefix": f"{folder}transcript-1"})
        for name in ("audio.mp3", "transcript-1.json"):
            await self.media.write(f"{folder}{name}", b"words", "text/plain")
        await self.books.create(book)
        await self.set(book, visibility="withdrawn")
        async for stored in self.changes.withdrawn():
            if stored.key == book.id:
                since = stored.value.model_copy(update={"since": now() - age})
                await self.changes._changes.put(since, stored.partition, stored.key)
        return book

    async def with_job(self, *, is_rejected: bool = False) -> Book:
        """Store such a book with all that is kept elsewhere of its making; of a rejected one, only that."""
        book = await self.withdrawn()
        job_id = book.parts[0].blob.split("/")[1]
        if is_rejected:
            await self.media.delete_prefix(f"{book.id}/")
            book = book.model_copy(update={"job_id": job_id})
            gone: dict[str, Any] = {"parts": (), "transcript_prefix": None, "processing_status": "rejected"}
            await self.set(book, job_id=job_id, **gone)
        etag = await self.drops.write(f"{job_id}/audio.mp3", b"words", "audio/mpeg")
        await self.results.write(f"{job_id}/chunk_0000.json", b"{}", "application/json")
        job = Job(
            id=job_id, target_id=book.id, container="uploads", blob_name=f"{job_id}/audio.mp3", size=5,
            status="ready", chunk_seconds=330, title=book.title,
            created_at=now(), run_started_at=now(), updated_at=now(),
        )  # fmt: skip
        part = Part(
            index=1,
            blob_name=job.blob_name,
            file_name="a.mp3",
            etag=etag,
            size=5,
            digest=None,
            modified=now(),
        )
        await self.jobs.create(job, [part])
        return book

    async def set(self, book: Book, **fields: Any) -> None:
        await self.books.update(book.id, lambda stored: stored.model_copy(update=fields))

    async def files(self, book: Book) -> int:
        return len([name async for name in self.media.names(f"{book.id}/")])

    async def noted(self) -> list[str]:
        return [stored.key async for stored in self.changes.withdrawn()]


Start = Callable[[Watch | None], Instance]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Start]:
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    settings = Settings.read(environment)
    yield lambda watch: Instance(settings, watch)


async def test_only_what_nobody_has_bought_and_nobody_sells_goes_and_not_before_its_time(
    start: Start,
) -> None:
    instance = start(None)
    try:
        gone = await instance.withdrawn()
        rejected = await instance.with_job(is_rejected=True)
        recent = await instance.withdrawn(PAST - timedelta(minutes=2))
        busy = await instance.withdrawn(processing_status="transcribing")
        sold = await instance.withdrawn(sold=True)
        back = await instance.withdrawn()
        await instance.set(back, visibility="published")
        await instance.changes.mark_withdrawn(new_id())  # and its write never came
        for _ in range(2):
            await instance.removal.run()
        assert [await instance.files(book) for book in (gone, recent, busy, sold, back)] == [0, 2, 2, 2, 2]
        assert {recent.id, busy.id} <= set(await instance.noted())
        assert not {gone.id, sold.id, back.id} & set(await instance.noted())
        assert [name async for name in instance.drops.names(f"{rejected.job_id}/")] == []
        book = await instance.books.book(gone.id)
        assert (book.title, book.parts, book.processing_status) == (gone.title, (), "waiting")
        assert "deleted" in (book.processing_reason or "")
        await instance.set(busy, processing_status="ready")
        await instance.removal.run()
        assert await instance.files(busy) == 0
    finally:
        await instance.close()


async def test_a_removal_cut_off_is_finished_and_takes_nothing_that_came_since(start: Start) -> None:
    async def act(instance: Instance, _: Book) -> None:
        await instance.removal.run()

    async def check(instance: Instance, data: Book) -> None:
        """A book never names a file that is not there; then its owner sends another recording."""
        book = await instance.books.book(data.id)
        if book.parts:
            assert await instance.files(book) == 2
            return
        blob = f"{book.id}/another/audio.mp3"
        await instance.media.write(blob, b"words", "audio/mpeg")
        await instance.set(book, parts=(AudioPart(blob=blob, content_type="audio/mpeg", size=5),))

    async def check_done(instance: Instance, data: Book) -> None:
        left = [name async for name in instance.media.names(f"{data.id}/")]
        audio = (await instance.books.book(data.id)).parts
        assert left == ([] if not audio else [f"{data.id}/another/audio.mp3"])
        job_id = data.parts[0].blob.split("/")[1]
        for container in (instance.drops, instance.results):
            assert [name async for name in container.names(f"{job_id}/")] == []
        assert data.id not in await instance.noted()

    places = await crash_everywhere(
        start, lambda instance: instance.with_job(), act, check, act, check_done, in_sequence=True
    )
    assert len(places) >= 7


async def test_books_from_before_there_were_shelves_are_put_on_them_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.catalog.work._SHELVED", 2)
    instance = start(None)
    sent: list[Shelve] = []

    async def keep(_: str, message: Shelve, __: float = 0) -> None:
        sent.append(message)

    try:
        owner = new_id()
        books = [make_book(owner_id=owner) for _ in range(3)]
        for book in books:
            await instance.books.create(book)
        monkeypatch.setattr(instance.work._queues, "send", keep)
        await instance.work.sweep()
        assert sent == [Shelve()]
        while sent:
            await instance.work.run(sent.pop().model_dump_json())
        placed, _ = await Shelves(instance.shelf_rows).list(owner, 10, None)
        assert sorted(placed) == sorted(book.id for book in books)
        assert await instance.shelf_rows.find(Complete, "shelves", "complete") is not None
        await instance.work.sweep()
        assert sent == []
    finally:
        await instance.close()
