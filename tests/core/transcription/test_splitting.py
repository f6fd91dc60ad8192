"""A chunk that is split stands for nothing any more, and its halves for exactly what it stood for."""

import asyncio
import io
from dataclasses import asdict

import pytest

from core.errors import ConflictError
from core.transcription import audio
from core.transcription.models import Chunk, Job, Step
from core.transcription.transcribing import Transcribe
from core.wiring import Services
from tests.audio import find_markers, make_audio, read_flac
from tests.core.transcription.conftest import Drop
from tests.transcripts import Whole

SOUNDS = [(0.5, 9.3), (10.1, 19.5), (20.2, 28.0)]


def transcriber(services: Services) -> Transcribe:
    found = services.transcription._steps._doers["transcribe"].__self__  # type: ignore[attr-defined]
    assert isinstance(found, Transcribe)
    return found


async def planned(services: Services, drop: Drop, kind: str) -> tuple[Job, Chunk]:
    """Return a job whose recording is one chunk of 30 s, with tones at 2, 12 and 22 s."""
    content = make_audio(
        kind, 30, markers=[2, 12, 22], sounds=SOUNDS, rate=None if kind == "opus" else 16_000
    )
    job = await drop(f"split.{kind}", content)
    assert job is not None
    await services.transcription.run("ingest", Step(job_id=job.id))
    store = services.transcription._store
    (chunk,) = await store.chunks(job.id)
    return await store.job(job.id), chunk


@pytest.mark.parametrize("kind", ["mp3", "m4b"])
async def test_halves_follow_each_other_to_the_sample_and_begin_at_a_pause(
    services: Services, drop: Drop, kind: str
) -> None:
    job, chunk = await planned(services, drop, kind)
    rooms = transcriber(services)
    at_once = await asyncio.gather(*(rooms.split(job, chunk) for _ in range(3)))
    first, second = at_once[0]
    assert [[half.index for half in halves] for halves in at_once] == [[100_000, 200_000]] * 3
    assert (chunk.generation, first.generation, Chunk(**dict(first, index=100_007)).halves) == (
        0,
        1,
        (300_007, 400_007),
    )
    middle = first.cut["end_seconds"]
    assert 9.3 <= middle <= 10.1 or 19.5 <= middle <= 20.2
    assert (first.cut["start_seconds"], second.cut["start_seconds"]) == (0, middle)
    assert second.cut["end_seconds"] == chunk.cut["end_seconds"]
    heard: list[float] = []
    samples = 0
    for half in (first, second):
        flac = io.BytesIO()
        await rooms._cut(job, half, flac, "flac")
        found = read_flac(flac.getvalue())
        heard += [half.cut["start_seconds"] + at for at in find_markers(found)]
        samples += len(found)
    assert heard == pytest.approx([2, 12, 22], abs=0.003)
    assert samples == round(job.duration_seconds * audio.SAMPLE_RATE)  # type: ignore[operator]


async def test_the_book_is_joined_once_both_halves_are_there_whoever_died_in_between(
    services: Services, drop: Drop
) -> None:
    job, chunk = await planned(services, drop, "opus")
    rooms, store = transcriber(services), services.transcription._store
    halves = await rooms.split(job, chunk)
    parent = Step(job_id=job.id, chunk=chunk.index)
    # The worker died before it sent the halves' messages: the parent's message comes back.
    following = await rooms.run(job, parent)
    assert [(queue, step.chunk) for queue, step in following] == [
        ("transcribe", half.index) for half in halves
    ]
    assert [queue for queue, _ in await rooms.run(job, following[0][1])] == []
    assert [step.chunk for _, step in await rooms.run(job, parent)] == [halves[1].index]
    assert [queue for queue, _ in await rooms.run(job, following[1][1])] == ["assemble"]
    await services.transcription.run("assemble", Step(job_id=job.id))
    detail = await services.transcription.job(job.id)
    assert (detail.status, detail.chunks.total, detail.chunks.done) == ("enriching", 2, 2)
    book = await services.catalog.book(job.target_id)
    text = Whole.model_validate_json(await services.catalog._media.read(f"{book.transcript_prefix}.json"))
    assert text.coverage == 1
    assert len([segment for segment in text.segments if segment.text.startswith("Chunk ")]) == 2
    with pytest.raises(ConflictError):
        await store.split_chunk(job.id, halves[0], [asdict(audio.Cut(**halves[0].cut))] * 2)
