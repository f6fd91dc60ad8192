"""A book's sample: a short file of its own, from the first words to a pause, and only of a book."""

import io
from datetime import timedelta

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from core.caller import Caller
from core.catalog.models import Book
from core.errors import NotFoundError
from core.ids import new_id, now
from core.transcription import audio
from core.wiring import Services
from tests.audio import find_markers, make_audio
from tests.core.transcription.conftest import Complete, Drop
from tests.core.transcription.test_parts import gather
from tests.core.transcription.test_private import drop as drop_recording
from tests.core.transcription.test_private import kept, recording

ADMIN = Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener", "admin"}))
STRANGER = Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener"}))


def play(content: bytes) -> tuple[NDArray[np.int16], float]:
    """Decode an mp3; return it with 16,000 samples a second, and its length in seconds."""
    with av.open(io.BytesIO(content), "r") as source:
        stream = source.streams.audio[0]
        assert (source.format.name, stream.rate, stream.layout.name) == ("mp3", 44_100, "mono")
        resampler = av.AudioResampler("s16", "mono", 16_000)
        frames = [part for frame in source.decode(stream) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return samples, len(samples) / 16_000


async def sampled(services: Services, book: Book) -> bytes:
    assert book.sample is not None
    content = await services.catalog._media.read(book.sample.blob)
    assert len(content) == book.sample.size
    return content


@pytest.mark.parametrize("kind", ["mp3", "m4b", "opus"])
def test_an_excerpt_begins_with_the_first_sound_and_ends_at_a_pause(kind: str) -> None:
    """Pauses are at 24 s and at 33 s; 20 s from the first sound on end at 27 s: the nearer one is taken."""
    sounds = [(7.0, 24.0), (24.8, 33.0), (34.0, 60.0)]
    file = io.BytesIO(make_audio(kind, 60, markers=[8, 20, 28], sounds=sounds))
    probe = audio.probe(file)
    cuts = audio.plan(file, probe, 10, 2).cuts
    assert len(cuts) > 3
    out = io.BytesIO()
    seconds = audio.excerpt(file, probe, cuts, 0.0, 20.0, out)
    samples, length = play(out.getvalue())
    assert length == pytest.approx(seconds, abs=0.1)
    assert seconds == pytest.approx(24.4 - 7, abs=0.4)
    assert find_markers(samples) == [pytest.approx(at, abs=0.15) for at in (1, 13)]


def test_a_recording_without_a_sound_has_no_excerpt() -> None:
    file, out = io.BytesIO(make_audio("flac", 30)), io.BytesIO()
    probe = audio.probe(file)
    assert audio.excerpt(file, probe, audio.plan(file, probe).cuts, 0.0, 7.0, out) == 0
    assert out.getvalue() == b""


async def test_a_book_gets_a_sample_that_anybody_may_hear_once_it_is_published(
    services: Services, drop: Drop, complete: Complete
) -> None:
    """Of several files: the first that is long enough, and from where the first words in it are."""
    folder = "a sampled folder/"
    await drop(f"{folder}1 Title.mp3", make_audio("mp3", 6, sounds=[(0.5, 5)], rate=22_050))
    await drop(
        f"{folder}2 Text.mp3",
        make_audio("mp3", 66, markers=[10, 50], sounds=[(8, 25), (25.7, 66)], rate=22_050),
    )
    await gather(services, folder)
    source = await services.transcription._drops.claim(folder, now())
    before = await services.catalog.book(source.audiobook_id)
    assert before.job_id is not None
    job = await complete(before.job_id)
    book = await services.catalog.book(before.id)
    assert book.sample is not None
    assert book.sample.blob == f"{book.id}/{job.id}/sample.mp3"
    content = await sampled(services, book)
    samples, length = play(content)
    assert length == pytest.approx(25.35 - 8, abs=0.5)  # a quarter of 72 s, at the pause that is near
    assert find_markers(samples)[0] == pytest.approx(2, abs=0.2)
    assert book.sample.size < book.parts[1].size

    assert (await services.catalog.show(book.id, ADMIN)).has_sample
    assert "sample.mp3?" in (await services.catalog.sample(book.id, ADMIN)).url
    for caller in (None, STRANGER):
        with pytest.raises(NotFoundError, match="no such book"):
            await services.catalog.sample(book.id, caller)
    await services.catalog.update(book.id, lambda b: b.model_copy(update={"visibility": "published"}))
    assert await services.catalog.sample(book.id, None) is not None

    heard_anew = await services.transcription.hear_anew(job.id)
    await complete(heard_anew.id)
    after = await services.catalog.book(book.id)
    assert after.sample is not None
    assert after.sample.blob == f"{book.id}/{heard_anew.id}/sample.mp3"
    assert await sampled(services, after) == content
    await services.transcription._store.note_removal(job.id, now() - timedelta(hours=1))
    await services.transcription.remove_retired()
    assert [name async for name in services.catalog._media.names(f"{book.id}/{job.id}/sample")] == []
    assert await sampled(services, after) == content


async def test_what_is_short_or_private_has_no_sample(
    services: Services, drop: Drop, complete: Complete
) -> None:
    job = await drop("short to sample.flac", make_audio("flac", 12, sounds=[(1, 11)]))
    assert job is not None
    await complete(job.id)
    assert (await services.catalog.book(job.target_id)).sample is None
    assert not (await services.catalog.show(job.target_id, ADMIN)).has_sample
    with pytest.raises(NotFoundError, match="no sample"):
        await services.catalog.sample(job.target_id, ADMIN)

    owner_id, task_id = new_id(), new_id()
    private = await drop_recording(services, owner_id, task_id, recording(24))
    assert (await complete(private.id)).status == "ready"
    names = await kept(services, owner_id)
    assert any(name.endswith("audio-0001.mp3") for name in names)
    assert not any("sample" in name for name in names)
