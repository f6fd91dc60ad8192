"""Workers that were asleep, steps that were cut short: the pipeline's rows after both."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from core.caller import Origin
from core.catalog.models import ProcessingStatus
from core.errors import UnavailableError
from core.ids import now
from core.settings import Settings
from core.transcription.ingesting import Ingest
from core.transcription.models import Job, Step
from core.transcription.progress import Messages
from core.wiring import Services, build
from localhost.azurite import Azurite
from tests.audio import make_audio
from tests.scripted_ai import ScriptedAi


@pytest_asyncio.fixture(scope="module")
async def ai() -> AsyncIterator[ScriptedAi]:
    async with ScriptedAi.start() as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def services(azurite: Azurite, ai: ScriptedAi) -> AsyncIterator[Services]:
    environment = {
        "AzureWebJobsStorage": azurite.connection_string,
        "JWT_SIGNING_KEY": "k" * 32,
        "OPENAI_BASE_URL": ai.base_url,
        "CHUNK_SECONDS": "12",
        "STALLED_SECONDS": "0.001",
        "CATALOG_REFRESH_SECONDS": "0",
    }
    running = build(Settings.read(environment))
    yield running
    await running.close()


async def drop(services: Services, name: str, seconds: int = 6) -> Job:
    uploads = services.transcription._drops._uploads
    await uploads.write(
        name, make_audio("flac", seconds, sounds=[(1, seconds - 1)]), "application/octet-stream"
    )
    job = await services.transcription.accept_drop("uploads", name)
    assert job is not None
    return job


async def finish(services: Services, job: Job) -> None:
    """Do all steps of a job of one chunk by hand, in order."""
    for queue, chunk in (("ingest", None), ("transcribe", 0), ("assemble", None), ("enrich", None)):
        await services.transcription.run(queue, Step(job_id=job.id, chunk=chunk))  # type: ignore[arg-type]


async def status(services: Services, job: Job) -> ProcessingStatus:
    return (await services.transcription.job(job.id)).status


async def test_two_planners_at_once_leave_one_plan_that_works(services: Services) -> None:
    """The claim of a worker that sleeps ends; the one that wakes up finds its work done."""
    job = await drop(services, "two planners.flac")
    ingest = services.transcription._steps._doers["ingest"].__self__  # type: ignore[attr-defined]
    assert isinstance(ingest, Ingest)
    await asyncio.gather(*(ingest.run(job, Step(job_id=job.id)) for _ in range(3)))
    assert await status(services, job) == "transcribing"
    await finish(services, job)
    assert await status(services, job) == "ready"
    chapters = await services.catalog.stored_chapters(job.target_id)
    await services.catalog.update(
        job.target_id,
        lambda book: book,
        tuple(chapter.model_copy(update={"title": "A good title"}) for chapter in chapters),
    )
    await ingest.plan(job)
    await ingest.reject(job, "asleep for too long")
    assert await status(services, job) == "ready"
    assert (await services.catalog.stored_chapters(job.target_id))[0].title == "A good title"
    book = await services.catalog.book(job.target_id)
    assert (await services.catalog._media.facts(book.parts[0].blob)).size == book.parts[0].size


async def test_a_final_state_reaches_the_book_even_if_the_worker_dies_in_between(services: Services) -> None:
    job = await drop(services, "dies.flac")
    await finish(services, job)
    await services.catalog.update(
        job.target_id, lambda book: book.model_copy(update={"processing_status": "enriching"})
    )  # as if the last write had not been made
    await services.transcription.run("enrich", Step(job_id=job.id))
    assert (await services.catalog.book(job.target_id)).processing_status == "ready"


async def test_what_is_paused_is_not_woken(services: Services) -> None:
    """Or each look would double the messages that wait."""
    job, switch = await drop(services, "paused.flac"), services.operations.switch
    origin = Origin(address="", request_id="")
    await switch.turn(is_paused=True, reason="Later.", actor="admin", origin=origin)
    try:
        await asyncio.sleep(0.01)
        assert await services.transcription.wake_stalled() == 0
        assert (await services.transcription._store.job(job.id)).woken_at is None
    finally:
        await switch.turn(is_paused=False, reason="", actor="admin", origin=origin)


async def test_what_sleeps_is_woken_once_and_not_at_every_look(services: Services) -> None:
    job = await drop(services, "sleeps.flac")
    store = services.transcription._store
    before = await store.job(job.id)
    await asyncio.sleep(0.01)
    assert await services.transcription.wake_stalled() >= 1
    after = await store.job(job.id)
    assert after.woken_at is not None
    assert after.updated_at > before.updated_at
    services.transcription._stalled = timedelta(hours=1)
    assert await services.transcription.wake_stalled() == 0


async def test_however_old_a_job_is_the_watchdog_finds_it_without_looking_at_those_that_are_over(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = services.transcription._store
    monkeypatch.setattr("core.transcription.service._JOBS_A_LOOK", 2)
    jobs = [await drop(services, f"old {number}.flac", 6 + number) for number in range(3)]
    long_ago = now() - timedelta(days=100)
    for job in jobs:
        old = {"status": "waiting", "created_at": long_ago}
        await store.update(job.id, lambda row, old=old: row.model_copy(update=old))  # type: ignore[misc]
    await services.transcription.cancel(jobs[1].id)
    asked: list[str] = []
    send = services.transcription._steps.send

    async def send_and_tell(messages: Messages) -> None:
        asked.extend(step.job_id for _, step in messages)
        await send(messages)

    monkeypatch.setattr(services.transcription._steps, "send", send_and_tell)
    looks = 0
    while not {jobs[0].id, jobs[2].id} <= set(asked):
        asked_before = len(asked)
        await services.transcription.wake_stalled()
        looks += 1
        assert len(asked) - asked_before <= 2
        assert looks < 50
    assert jobs[1].id not in asked
    for job in (jobs[0], jobs[2]):
        await services.transcription.cancel(job.id)
    open_ = {job.id async for job in store.open_jobs(10_000)} | {
        job.id async for job in store.open_jobs(10_000)
    }
    assert not open_ & {job.id for job in jobs}
    await services.transcription.retry(jobs[1].id)
    open_ = {job.id async for job in store.open_jobs(10_000)} | {
        job.id async for job in store.open_jobs(10_000)
    }
    assert jobs[1].id in open_


async def test_the_catalog_serves_on_while_the_storage_is_away(services: Services) -> None:
    job = await drop(services, "away.flac")
    await finish(services, job)
    await services.catalog.update(
        job.target_id,
        lambda book: book.model_copy(update={"visibility": "published", "updated_at": now()}),
    )
    await services.catalog.publish()
    shelf = await services.catalog.browse(10)
    assert job.target_id in [json.loads(book)["id"] for book in shelf.items]
    reader = services.catalog._reader

    async def away() -> None:
        raise UnavailableError("The storage does not answer.")

    reader._refresh = away  # type: ignore[method-assign]
    assert await services.catalog.browse(10) == shelf
