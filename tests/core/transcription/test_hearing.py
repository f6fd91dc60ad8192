"""One chunk from its audio to its row: what helps the model, what is made of odd texts, what it costs."""

import asyncio
from collections.abc import Iterable
from functools import cache
from itertools import count

import pytest

from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.transcription.models import Chunk, Job, Step
from core.wiring import Services, build
from localhost.azurite import Azurite
from tests.audio import make_audio
from tests.core.transcription.conftest import Drop
from tests.faults import crash_everywhere
from tests.scripted_ai import ScriptedAi, chat, empty, json_answer, ok, status
from tests.transcripts import Whole

SECONDS = 32
SOUND = (0.5, 31.5)
NAMES = ["Elinor Dashwood", "Norland Park"]
LOOP = "It was a quiet evening by the sea. " * 12
STORY = " ".join(f"word{n}" for n in range(75))
number = count()


@cache
def record(sounds: tuple[tuple[float, float], ...]) -> bytes:
    return make_audio("mp3", SECONDS, sounds=sounds, rate=16_000)


@pytest.fixture(autouse=True)
def fresh(ai: ScriptedAi) -> None:
    ai.heal()
    ai.requests.clear()


async def begin(services: Services, drop: Drop, sounds: Iterable[tuple[float, float]] = (SOUND,)) -> Job:
    """Return the job of a recording that is one chunk, planned and ready to be heard."""
    job = await drop(f"hearing {next(number)}.mp3", record(tuple(sounds)))
    assert job is not None
    await services.transcription.run("ingest", Step(job_id=job.id))
    return job


async def hear(services: Services, job: Job, index: int = 0) -> Chunk:
    await services.transcription.run("transcribe", Step(job_id=job.id, chunk=index))
    return await services.transcription._store.chunk(job.id, index)


async def finish(services: Services, job: Job) -> Whole:
    await services.transcription.run("assemble", Step(job_id=job.id))
    prefix = (await services.catalog.book(job.target_id)).transcript_prefix
    return Whole.model_validate_json(await services.catalog._media.read(f"{prefix}.json"))


async def name(services: Services, job: Job, language: str | None = None) -> None:
    await services.catalog.update(
        job.target_id,
        lambda book: book.model_copy(update={"names": tuple(NAMES), "language": language}),
    )


async def test_a_books_names_and_language_go_to_the_model(
    services: Services, drop: Drop, ai: ScriptedAi
) -> None:
    job = await begin(services, drop)
    await name(services, job, "en-GB")
    await hear(services, job)
    fields = ai.transcriptions[0].fields
    assert fields["language"] == ["en"]
    (prompt,) = fields["prompt"]
    title = (await services.catalog.book(job.target_id)).title
    assert prompt == f"Elinor Dashwood, Norland Park, {title}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LOOP, "repeats itself"),
        (f"{STORY} Elinor Dashwood, Norland Park, hearing", "what the model was told"),
        (
            "Es war ein schöner Morgen und der alte Mann ging mit dem Hund an den Hafen, um zu sehen, was "
            "die Boote in der Nacht gebracht hatten, denn er hatte es nicht eilig und wusste, dass es noch "
            "Zeit genug war, bis die anderen aus der Stadt zu ihm kommen würden.",
            "another language",
        ),
    ],
    ids=["loop", "echo", "language"],
)
async def test_an_odd_text_is_asked_for_once_more_without_hints_and_then_kept_with_a_flag(
    services: Services, drop: Drop, ai: ScriptedAi, text: str, said: str
) -> None:
    job = await begin(services, drop)
    await services.catalog.update(
        job.target_id,
        lambda book: book.model_copy(update={"names": (*NAMES, "hearing aid of the old"), "language": "en"}),
    )
    echo = "Elinor Dashwood, Norland Park, hearing aid of the old"
    text = text.replace("Elinor Dashwood, Norland Park, hearing", echo)
    ai.script(ok(text))
    doubted = await hear(services, job)
    assert (doubted.status, doubted.rejected, doubted.attempts) == ("pending", 1, 1)
    assert said in (doubted.error or "")
    ai.script(ok(text))
    kept = await hear(services, job)
    assert kept.status == "done"
    if said == "what the model was told":
        assert kept.flag is None  # it was told nothing this time, so the reader has really said it
    else:
        assert said in (kept.flag or "")
    first, second = ai.transcriptions
    assert "prompt" in first.fields
    assert not second.fields.keys() & {"prompt", "language"}
    assert first.audio_sha256 == second.audio_sha256


async def test_empty_text_on_sound_is_never_taken(services: Services, drop: Drop, ai: ScriptedAi) -> None:
    job = await begin(services, drop)
    ai.script(ok(""), ok(" "))
    chunks = [await hear(services, job) for _ in range(2)]
    assert [(chunk.status, chunk.rejected) for chunk in chunks] == [("pending", 1), ("pending", 2)]


async def test_silence_is_never_sent(services: Services, drop: Drop, ai: ScriptedAi) -> None:
    job = await begin(services, drop, sounds=[])
    chunk = await hear(services, job)
    assert (chunk.status, chunk.calls, ai.calls) == ("done", 0, 0)
    transcript = await finish(services, job)
    assert (transcript.segments, transcript.coverage) == ((), 1)


async def test_of_a_long_silence_only_its_edges_are_sent(
    services: Services, drop: Drop, ai: ScriptedAi
) -> None:
    job = await begin(services, drop, sounds=[(0.5, 6), (24, 31.5)])
    chunk = await hear(services, job)
    assert ai.transcriptions[0].audio_seconds == pytest.approx(7 + 9, abs=0.2)
    assert chunk.audio_seconds == pytest.approx(7 + 9, abs=0.2)
    transcript = await finish(services, job)
    assert transcript.coverage == 1
    assert transcript.segments[-1].end_seconds == pytest.approx(31.5, abs=0.2)


async def test_a_text_at_the_models_limit_is_asked_for_in_halves(
    services: Services, drop: Drop, ai: ScriptedAi
) -> None:
    job = await begin(services, drop, sounds=[(0.5, 15.5), (16.5, 31.5)])
    usage = {"type": "tokens", "input_tokens": 400, "output_tokens": 1_999, "total_tokens": 2_399}
    ai.script(json_answer({"text": STORY, "usage": usage}))
    whole = await hear(services, job)
    assert whole.status == "split"
    for half in whole.halves:
        assert (await hear(services, job, half)).status == "done"
    sent = [call.audio_seconds for call in ai.transcriptions]
    assert sent[0] == SECONDS
    assert sum(sent[1:]) == pytest.approx(SECONDS)
    transcript = await finish(services, job)
    assert (transcript.coverage, transcript.gaps) == (1, ())
    detail = await services.transcription.job(job.id)
    # the rejected whole, and the halves, each rounded up
    assert detail.cost_microdollars == pytest.approx(2 * SECONDS * 100, abs=2)


async def test_each_reply_that_was_paid_is_counted_once(
    services: Services, drop: Drop, ai: ScriptedAi
) -> None:
    job = await begin(services, drop)
    ai.script(status(500), empty(), ok(LOOP), ok(STORY))
    for _ in range(4):
        chunk = await hear(services, job)
    # the 500 was not paid and used up no second hearing; the broken answer, the loop and the story were
    assert (chunk.attempts, chunk.calls, chunk.rejected, chunk.flag) == (4, 3, 1, None)
    assert chunk.audio_seconds == 3 * SECONDS
    assert chunk.cost_microdollars == 3 * SECONDS * 100
    assert chunk.input_tokens == 2 * SECONDS * 10
    assert chunk.output_tokens == sum(len(text.split()) * 4 // 3 for text in (LOOP, STORY))
    assert (chunk.latency_seconds or 0) > 0
    assert chunk.request_id == "req_scripted_4"
    assert (await hear(services, job)).calls == 3


async def test_text_calls_are_counted_too_and_cancelled_where_one_fails(
    services: Services, drop: Drop, ai: ScriptedAi
) -> None:
    job = await begin(services, drop)
    await hear(services, job)
    await finish(services, job)
    chapter = (await services.catalog.stored_chapters(job.target_id))[0]
    halves = (
        chapter.model_copy(update={"title": "Part 1", "end_seconds": 20.0}),
        chapter.model_copy(update={"index": 1, "title": "Part 2", "start_seconds": 20.0}),
    )
    await services.catalog.update(job.target_id, lambda book: book, halves)
    cancelled = asyncio.Event()
    waiting = asyncio.Event()

    async def hang(request: object, call: object) -> object:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return None

    async def fail(request: object, call: object) -> object:
        await waiting.wait()
        return await json_answer({**chat(call, "No JSON."), "choices": []})(request, call)  # type: ignore[arg-type]

    def choose(call: object, _: bytes) -> object:
        return hang if "beginning of each chapter" in str(call) else fail

    ai.choose(choose)  # type: ignore[arg-type]
    await services.transcription.run("enrich", Step(job_id=job.id))
    async with asyncio.timeout(10):
        await cancelled.wait()
    row = await services.transcription._store.job(job.id)
    assert (row.status, row.text_calls) == ("enriching", 1)  # paid, though nobody could use it
    first = row.text_cost_microdollars
    assert first > 0
    ai.heal()
    await services.transcription.run("enrich", Step(job_id=job.id))
    detail = await services.transcription.job(job.id)
    assert (detail.status, detail.text_calls) == ("ready", 3)
    assert detail.text_cost_microdollars > first
    assert detail.cost_microdollars == detail.text_cost_microdollars + SECONDS * 100


async def test_a_worker_that_dies_anywhere_leaves_a_chunk_that_is_done_and_one_answer_uncounted_at_most(
    azurite: Azurite, ai: ScriptedAi
) -> None:
    """It dies while an answer is charged and rejected; the next worker hears the chunk to its end."""
    settings = Settings.read(
        {
            "AzureWebJobsStorage": azurite.connection_string,
            "JWT_SIGNING_KEY": "k" * 32,
            "OPENAI_BASE_URL": ai.base_url,
            "CHUNK_SECONDS": "60",
        }
    )
    content = make_audio("mp3", 3, sounds=[(0.2, 2.8)], rate=16_000)

    def start(watch: Watch | None) -> Services:
        return build(settings, StorageAccount(settings, watch))

    planned: list[tuple[Job, Chunk]] = []

    async def prepare(services: Services) -> Job:
        if not planned:
            name = f"dies {next(number)}.mp3"
            await services.transcription._drops._uploads.write(name, content, "audio/mpeg")
            dropped = await services.transcription.accept_drop("uploads", name)
            assert dropped is not None
            await services.transcription.run("ingest", Step(job_id=dropped.id))
            planned.append((dropped, await services.transcription._store.chunk(dropped.id, 0)))
        job, new = planned[0]
        await services.transcription._store.update_chunk(job.id, 0, lambda _: new)
        ai.requests.clear()
        ai.choose(lambda call, _: ok(LOOP if "prompt" in call.fields else STORY))
        return job

    async def act(services: Services, job: Job) -> None:
        await hear(services, job)

    async def check(services: Services, job: Job) -> None:
        chunk = await services.transcription._store.chunk(job.id, 0)
        assert len(ai.transcriptions) - chunk.calls in (0, 1)
        assert chunk.cost_microdollars == chunk.calls * 3 * 100

    async def repeat(services: Services, job: Job) -> None:
        forget: dict[str, object] = {"claimed_by": None, "running_until": None}  # as time does
        await services.transcription._store.update_chunk(job.id, 0, lambda c: c.model_copy(update=forget))
        await act(services, job)

    async def check_done(services: Services, job: Job) -> None:
        await act(services, job)
        await check(services, job)
        chunk = await services.transcription._store.chunk(job.id, 0)
        assert (chunk.status, chunk.flag) == ("done", None)
        assert len(ai.transcriptions) <= 3

    places = await crash_everywhere(start, prepare, act, check, repeat, check_done)
    assert len(places) >= 10
