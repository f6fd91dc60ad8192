"""Budgets and the pipeline: over budget a book waits, visibly, and in the end the sums are right."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

import pytest
import pytest_asyncio
from aiohttp import web

from core.errors import ConflictError
from core.ids import new_id, now
from core.operations.models import Sum
from core.settings import Settings
from core.transcription.models import Chunk, Job, Step
from core.transcription.progress import Messages
from core.wiring import Services, build
from localhost.azurite import Azurite
from tests.audio import make_audio
from tests.instances import closing_all
from tests.scripted_ai import Call, ScriptedAi, say_default, status

SECONDS = 24
PRICE = 6_000  # millionths of a dollar a minute of gpt-4o-transcribe

Start = Callable[..., Services]


@pytest_asyncio.fixture
async def start(azurite: Azurite, ai: ScriptedAi) -> AsyncIterator[Start]:
    environment = {
        "AzureWebJobsStorage": azurite.connection_string,
        "JWT_SIGNING_KEY": "k" * 32,
        "OPENAI_BASE_URL": ai.base_url,
        "SPEECH_MODEL": "gpt-4o-transcribe",
        "TEXT_MODEL": "gpt-4o-mini",
        "CHUNK_SECONDS": "12",
        "CATALOG_REFRESH_SECONDS": "0",
    }

    def build_one(**limits: str) -> Services:
        return build(Settings.read(environment | limits))

    async with closing_all(build_one) as start:
        yield start


async def drop(services: Services) -> Job:
    name = f"{new_id()}.mp3"
    sounds = [(t + 0.4, t + 1.6) for t in range(0, SECONDS, 3)]
    content = make_audio("bare mp3", SECONDS, sounds=sounds, rate=16_000)
    await services.transcription._drops._uploads.write(name, content, "audio/mpeg")
    job = await services.transcription.accept_drop("uploads", name)
    assert job is not None
    return job


async def run(services: Services, job_id: str) -> Job:
    """Do the steps of a job until it is final or waits."""
    rooms = services.transcription
    await rooms.run("ingest", Step(job_id=job_id, run=(await rooms._store.job(job_id)).run))
    while not (job := await rooms._store.job(job_id)).is_final and job.status != "waiting":
        for queue, step in await rooms._progress.calls_for(job):
            await rooms.run(queue, step)
    return job


async def sums(services: Services) -> Sum:
    return await services.operations.budgets.sums(None, now())


async def test_over_budget_a_book_waits_and_goes_on_when_there_is_more(start: Start, ai: ScriptedAi) -> None:
    rich, poor = start(), start(BUDGET_DOLLARS="0.000001")
    before, asked = await sums(rich), ai.calls
    job = await run(poor, (await drop(poor)).id)
    assert (job.status, job.reason) == (
        "waiting",
        "This is more than the budget allows in a whole month.",
    )
    book = await poor.catalog.book(job.target_id)
    assert (book.processing_status, book.processing_reason) == ("waiting", job.reason)
    assert (await poor.transcription.wake_stalled(), ai.calls) == (0, asked)
    await run(poor, job.id)
    assert await poor.catalog.book(job.target_id) == book, "asking again is not planning again"

    job = await run(rich, job.id)
    assert job.status == "ready"
    after, shown = await sums(rich), await rich.transcription.job(job.id)
    assert after.spent_microdollars - before.spent_microdollars == shown.cost_microdollars
    assert shown.cost_microdollars >= SECONDS / 60 * PRICE
    assert after.reserved_microdollars == before.reserved_microdollars
    assert after.spent_seconds - before.spent_seconds == pytest.approx(SECONDS, abs=1)


async def test_what_fails_is_paid_for_once_and_tried_again_only_within_the_budget(
    start: Start, ai: ScriptedAi
) -> None:
    rich, poor = start(), start(BUDGET_DOLLARS="0.000001")
    before = await sums(rich)
    job = await drop(rich)
    rooms = rich.transcription
    await rooms.run("ingest", Step(job_id=job.id))
    await rooms.run("transcribe", Step(job_id=job.id, chunk=0))
    ai.fail_with(status(400))
    try:
        await rooms.run("transcribe", Step(job_id=job.id, chunk=1))
        await rooms.settle_poison("transcribe", Step(job_id=job.id, chunk=1).model_dump_json())
        job = await run(rich, job.id)
    finally:
        ai.heal()
    assert job.status == "transcription_failed"
    failed = await sums(rich)
    first = (await rooms.job(job.id)).cost_microdollars
    assert first > 0
    assert failed.spent_microdollars - before.spent_microdollars == first
    assert failed.reserved_microdollars == before.reserved_microdollars
    with pytest.raises(ConflictError, match="budget"):
        await poor.transcription.retry(job.id)
    assert (await rooms.job(job.id)).status == "transcription_failed"

    await rooms.retry(job.id)
    job = await run(rich, job.id)
    after, whole = await sums(rich), (await rooms.job(job.id)).cost_microdollars
    assert (job.status, job.run) == ("ready", 2)
    assert after.spent_microdollars - before.spent_microdollars == whole > first
    assert after.reserved_microdollars == before.reserved_microdollars


async def test_what_a_crash_has_left_reserved_is_settled_by_the_timer(start: Start) -> None:
    services = start()
    before = await sums(services)
    job = await drop(services)
    rooms = services.transcription
    await rooms.run("ingest", Step(job_id=job.id))
    during = await sums(services)
    assert during.reserved_microdollars > before.reserved_microdollars
    over = {"status": "cancelled"}
    await rooms._store.update(job.id, lambda row: row.model_copy(update=over))  # and then the crash
    await rooms.wake_stalled()
    after = await sums(services)
    assert after == before


async def test_what_is_reserved_for_a_job_whose_rows_are_gone_counts_as_spent(start: Start) -> None:
    """Nobody knows any more what it has cost; reserved for ever, it would narrow the month for all."""
    services = start()
    before = await sums(services)
    job = await drop(services)
    rooms = services.transcription
    await rooms.run("ingest", Step(job_id=job.id))
    held = (await sums(services)).reserved_microdollars - before.reserved_microdollars
    await rooms._store.erase(job.id)
    await rooms.wake_stalled()
    after = await sums(services)
    assert after.reserved_microdollars == before.reserved_microdollars
    assert after.spent_microdollars - before.spent_microdollars == held > 0


async def test_what_is_ended_while_it_asks_for_money_gives_it_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = start()
    costs = services.transcription._costs
    reserve = costs.reserve

    async def reserve_and_cancel(job: Job, chunks: Sequence[Chunk], at: datetime) -> str | None:
        lacks = await reserve(job, chunks, at)
        await services.transcription.cancel(job.id)
        return lacks

    before = await sums(services)
    monkeypatch.setattr(costs, "reserve", reserve_and_cancel)
    job = await run(services, (await drop(services)).id)
    assert (job.status, job.reserved_at) == ("cancelled", None)
    assert await sums(services) != before
    await services.transcription.wake_stalled()
    assert await sums(services) == before


async def test_an_answer_that_comes_after_the_end_is_paid_for_too(start: Start, ai: ScriptedAi) -> None:
    services = start()
    rooms = services.transcription
    before = await sums(services)
    job = await drop(services)

    async def cancel_and_answer(request: web.Request, call: Call) -> web.StreamResponse:
        await rooms.cancel(job.id)
        assert await sums(services) == before
        return await say_default(request, call)

    await rooms.run("ingest", Step(job_id=job.id))
    ai.script(cancel_and_answer)
    await rooms.run("transcribe", Step(job_id=job.id, chunk=0))
    after, shown = await sums(services), await rooms.job(job.id)
    assert shown.status == "cancelled"
    assert after.spent_microdollars - before.spent_microdollars == shown.cost_microdollars > 0
    assert after.reserved_microdollars == before.reserved_microdollars


async def test_a_model_whose_price_nobody_knows_is_bounded_by_time(start: Start, ai: ScriptedAi) -> None:
    """A deployment of one's own name costs nothing that we know of, and money all the same."""
    services = start(SPEECH_MODEL="our-deployment", TEXT_MODEL="another", BUDGET_HOURS="0")
    asked = ai.calls
    job = await run(services, (await drop(services)).id)
    assert (job.status, ai.calls) == ("waiting", asked)
    await services.transcription.cancel(job.id)


async def test_who_has_waited_longest_asks_first(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = start(BUDGET_DOLLARS="0.000001")
    steps = poor.transcription._steps
    send = steps.send
    asked: list[str] = []

    async def send_and_tell(messages: Messages) -> None:
        asked.extend(step.job_id for _, step in messages)
        await send(messages)

    jobs = [await run(poor, (await drop(poor)).id) for _ in range(3)]
    assert {job.status for job in jobs} == {"waiting"}
    monkeypatch.setattr(steps, "send", send_and_tell)
    await poor.transcription.wake_stalled()
    came = {job.id: job.created_at for job in jobs}
    assert [came[job_id] for job_id in asked if job_id in came] == sorted(came.values())
    for job in jobs:
        await poor.transcription.cancel(job.id)
