"""A book in several files: gathered in order, on one timeline, and done again only where a file is new."""

import json
from datetime import timedelta
from typing import Any

import pytest

from core.caller import Caller, Origin
from core.catalog.models import Book
from core.catalog.service import STREAM_LIFE
from core.errors import ConflictError, NotFoundError
from core.ids import new_id, now
from core.transcription.drops import Gathering
from core.transcription.folders import folder_of, natural_key
from core.transcription.models import Job, Step
from core.transcription.uploads import BookUpload, UploadRequest
from core.wiring import Services
from tests.audio import make_audio
from tests.core.transcription.conftest import Complete, Drop
from tests.scripted_ai import ScriptedAi, status
from tests.transcripts import Whole

ORIGIN = Origin(address="192.0.2.1", request_id="test")
ADMIN = Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener", "admin"}))


def reading(seconds: float, tone: float, title: str | None = None, **tags: str) -> bytes:
    given = {"title": title, **tags} if title else tags
    return make_audio("mp3", seconds, markers=[tone], sounds=[(0.3, seconds - 0.3)], tags=given, rate=22_050)


async def gather(services: Services, path: str, book_id: str | None = None) -> None:
    """Let the message come that was sent with the newest file."""
    message = Gathering(path=path, audiobook_id=book_id, newest=now() + timedelta(seconds=1))
    await services.gather.run(message.model_dump_json())


async def newest_job(services: Services, book_id: str) -> Job:
    book = await services.catalog.book(book_id)
    assert book.job_id is not None
    return await services.transcription._store.job(book.job_id)


async def book_of(services: Services, path: str) -> Book:
    source = await services.transcription._drops.claim(path, now())
    return await services.catalog.book(source.audiobook_id)


async def read(services: Services, book: Book) -> Whole:
    content = await services.catalog._media.read(f"{book.transcript_prefix}.json")
    return Whole.model_validate_json(content)


async def drop_three(services: Services, drop: Drop, folder: str) -> Book:
    """Drop three files of 6, 7 and 8 s in an order of chance, and return their book, which has begun."""
    assert await drop(f"{folder}10 Last.mp3", reading(8, 5, "The End", album="A Dropped Book")) is None
    assert await drop(f"{folder}2 Second.mp3", reading(7, 4, "The Middle", album="A Dropped Book")) is None
    assert await drop(f"{folder}1 First.mp3", reading(6, 3, "The Start", album="A Dropped Book")) is None
    await gather(services, folder)
    return await book_of(services, folder)


def test_names_are_counted_as_people_do_and_discs_belong_together() -> None:
    names = ["b/10.mp3", "b/9.mp3", "B/1 é.mp3", "b/2.mp3", "b/CD 10/1.mp3", "b/CD 2/1.mp3"]
    ordered = ["B/1 é.mp3", "b/2.mp3", "b/9.mp3", "b/10.mp3", "b/CD 2/1.mp3", "b/CD 10/1.mp3"]
    assert sorted(names, key=natural_key) == ordered
    folders = {
        "one.mp3": None,
        "/one.mp3": None,
        "book/one.mp3": "book/",
        "author/book/one.mp3": "author/book/",
        "book/CD 2/one.mp3": "book/",
        "Disc 1/one.mp3": "Disc 1/",
    }
    assert {name: folder_of(name) for name in folders} == folders


async def test_a_dropped_folder_is_one_book_in_natural_order_on_one_timeline(
    services: Services, drop: Drop, complete: Complete, ai: ScriptedAi
) -> None:
    folder = "a dropped folder/"
    assert await drop(f"{folder}cover.jpg", b"no recording") is None
    book = await drop_three(services, drop, folder)
    await gather(services, folder)  # the message comes twice
    job = await complete((await newest_job(services, book.id)).id)
    assert (job.status, job.reason, job.blob_name, job.total) == ("ready", None, folder, 3)

    shown = await services.catalog.show(book.id, ADMIN)
    assert shown.title == "A Dropped Book"
    assert shown.duration_seconds == pytest.approx(21, abs=0.1)
    assert [(part.index, part.title) for part in shown.parts] == [
        (1, "The Start"),
        (2, "The Middle"),
        (3, "The End"),
    ]
    starts = [part.start_seconds for part in shown.parts]
    assert starts == [0, shown.parts[0].duration_seconds, pytest.approx(13, abs=0.06)]
    chapters = [(chapter.title, chapter.start_seconds) for chapter in shown.chapters]
    assert chapters == list(zip(["The Start", "The Middle", "The End"], starts, strict=True))
    assert shown.chapters[-1].end_seconds == shown.duration_seconds

    transcript = await read(services, await services.catalog.book(book.id))
    times = [t for s in transcript.segments for t in (s.start_seconds, s.end_seconds)]
    assert times == sorted(times)
    tones = [s.start_seconds for s in transcript.segments if "Tone 1000" in s.text]
    assert tones == [pytest.approx(at, abs=2) for at in (3, 10, 18)]
    assert transcript.coverage == 1

    sizes = {part.size_bytes for part in shown.parts}
    assert len(sizes) == 3
    links = [(await services.catalog.stream(book.id, ADMIN, part)).url for part in (1, 2, 3)]
    assert len(set(links)) == 3
    for part in (4, 0):
        with pytest.raises(NotFoundError):
            await services.catalog.stream(book.id, ADMIN, part)


async def test_nothing_begins_before_the_folder_has_been_quiet(services: Services, drop: Drop) -> None:
    folder = "not quiet/"
    await drop(f"{folder}1.mp3", reading(4, 2))
    waiting = await book_of(services, folder)
    assert (waiting.processing_status, waiting.job_id) == ("waiting", None)
    assert waiting.processing_reason is not None
    early = Gathering(path=folder, newest=now() - timedelta(seconds=5))
    await services.gather.run(early.model_dump_json())
    assert (await book_of(services, folder)).job_id is None
    await gather(services, folder)
    assert (await book_of(services, folder)).job_id is not None


async def test_another_file_does_only_its_own_work_and_the_old_book_stays_until_then(
    services: Services, drop: Drop, complete: Complete, ai: ScriptedAi
) -> None:
    folder = "exchanged/"
    book = await drop_three(services, drop, folder)
    await complete((await newest_job(services, book.id)).id)
    before = await services.catalog.book(book.id)
    old = await read(services, before)
    chapters = await services.catalog.stored_chapters(book.id)
    renamed = tuple(c.model_copy(update={"title": f"My {c.title}"}) for c in chapters)
    await services.catalog.update(book.id, lambda book: book, renamed)
    paid = len(ai.transcriptions)

    await drop(f"{folder}2 Second.mp3", reading(9, 4, "The New Middle", album="Another Name"))
    await gather(services, folder)
    job = await newest_job(services, book.id)
    await services.transcription.run("ingest", Step(job_id=job.id))
    during = await services.catalog.book(book.id)
    assert (during.parts, during.transcript_prefix) == (before.parts, before.transcript_prefix)
    assert during.processing_status == "transcribing"
    await complete(job.id)

    assert len(ai.transcriptions) - paid == 1
    after = await services.catalog.book(book.id)
    assert (after.processing_status, after.title) == ("ready", before.title)
    assert [part.duration_seconds for part in after.parts] == pytest.approx([6, 9, 8], abs=0.06)
    titles = [chapter.title for chapter in await services.catalog.stored_chapters(book.id)]
    assert titles == ["My The Start", "The New Middle", "My The End"]
    new = await read(services, after)
    moved = after.parts[2].start_seconds - before.parts[2].start_seconds
    last = [s for s in old.segments if s.start_seconds >= before.parts[2].start_seconds]
    assert [s.text for s in new.segments][-len(last) :] == [s.text for s in last]
    assert new.segments[-1].end_seconds == pytest.approx(last[-1].end_seconds + moved, abs=0.002)


async def test_many_files_are_read_in_several_steps_and_each_once(
    services: Services, drop: Drop, complete: Complete, ai: ScriptedAi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.transcription.ingesting._STEP_SECONDS", 0)
    folder = "in several steps/"
    await drop(f"{folder}0 Notes.mp3", b"words " * 500)
    book = await drop_three(services, drop, folder)
    job = await newest_job(services, book.id)
    rooms = services.transcription
    seen = []
    for _ in range(4):
        assert await rooms._progress.calls_for(await rooms._store.job(job.id)) == [
            ("ingest", Step(job_id=job.id))
        ]
        await rooms.run("ingest", Step(job_id=job.id))
        parts = await rooms._store.parts(job.id)
        seen.append([part.read_in for part in parts])
    assert seen == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    paid = len(ai.transcriptions)
    job = await complete(job.id)
    assert (job.status, job.total, len(ai.transcriptions) - paid) == ("ready", 3, 3)
    shown = await services.catalog.show(book.id, ADMIN)
    assert shown.title == "A Dropped Book"
    assert [part.title for part in shown.parts] == ["The Start", "The Middle", "The End"]
    assert [part.start_seconds for part in shown.parts] == pytest.approx([0, 6, 13], abs=0.1)


async def test_what_is_ended_while_it_is_planned_is_planned_anew_when_it_is_retried(
    services: Services, drop: Drop, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other limits another file may be of use, and all that come after it have other numbers then."""
    monkeypatch.setattr("core.transcription.ingesting._STEP_SECONDS", 0)
    folder = "planned anew/"
    book = await drop_three(services, drop, folder)
    job = await newest_job(services, book.id)
    rooms = services.transcription
    ingest = rooms._steps._doers["ingest"].__self__  # type: ignore[attr-defined]
    limit, ingest._max_hours = ingest._max_hours, 6.5 / 3600
    for _ in range(2):
        await rooms.run("ingest", Step(job_id=job.id))
    ingest._max_hours = limit
    assert [bool(part.flaw) for part in await rooms._store.parts(job.id)] == [False, True, False]
    await rooms.cancel(job.id)
    await rooms.run("ingest", Step(job_id=job.id))
    assert [part.read_in for part in await rooms._store.parts(job.id)] == [1, 1, 0]
    await rooms.retry(job.id)
    job = await complete(job.id)
    assert (job.status, job.reason, job.total) == ("ready", None, 3)
    assert (await read(services, await services.catalog.book(book.id))).coverage == 1


async def test_a_file_that_comes_while_others_are_heard_makes_nothing_paid_twice(
    services: Services, drop: Drop, complete: Complete, ai: ScriptedAi
) -> None:
    folder = "late/"
    paid = len(ai.transcriptions)
    book = await drop_three(services, drop, folder)
    first = await newest_job(services, book.id)
    await services.transcription.run("ingest", Step(job_id=first.id))
    await services.transcription.run("transcribe", Step(job_id=first.id, chunk=1))
    await drop(f"{folder}11 Later still.mp3", reading(5, 2, "After the End"))
    await gather(services, folder)
    await drop(f"{folder}12 Latest.mp3", reading(5, 2.5, "At Last"))
    await gather(services, folder)  # the one before has had no time to do anything
    job = await complete((await newest_job(services, book.id)).id)
    assert (job.status, job.total) == ("ready", 5)
    assert (await services.transcription.job(first.id)).status == "cancelled"
    assert len(ai.transcriptions) - paid == 5
    with pytest.raises(ConflictError):
        await services.transcription.retry(first.id)
    await services.transcription.run("transcribe", Step(job_id=first.id, chunk=0))
    assert len(ai.transcriptions) - paid == 5, "a message of the job before does nothing any more"
    texts = [s.text for s in (await read(services, await services.catalog.book(book.id))).segments]
    assert len([text for text in texts if text.startswith("Chunk ")]) == 5


async def test_parts_can_be_uploaded_one_by_one_and_in_any_order(
    services: Services, drop: Drop, complete: Complete, ai: ScriptedAi
) -> None:
    async def upload(part: int | None, content: bytes, book_id: str | None) -> str:
        request: dict[str, Any] = {"purpose": "audiobook", "content_type": "audio/mpeg", "part": part}
        request |= {"filename": f"file {part}.mp3", "size_bytes": len(content), "audiobook_id": book_id}
        begun, _ = await services.uploads.begin(UploadRequest(**request), ADMIN, ORIGIN)
        await drop(begun.blob_name, content)
        assert isinstance(begun, BookUpload)
        return begun.audiobook_id

    book_id = await upload(None, reading(4, 2, "The First"), None)
    await complete((await newest_job(services, book_id)).id)
    await upload(3, reading(6, 2, "The Third"), book_id)
    await upload(2, reading(5, 2, "The Second"), book_id)
    paid = len(ai.transcriptions)
    await gather(services, f"parts of {book_id}", book_id)
    await complete((await newest_job(services, book_id)).id)
    assert len(ai.transcriptions) - paid == 2
    shown = await services.catalog.show(book_id, ADMIN)
    assert [part.title for part in shown.parts] == ["The First", "The Second", "The Third"]
    await upload(None, reading(7, 2, "All of It"), book_id)
    await complete((await newest_job(services, book_id)).id)
    shown = await services.catalog.show(book_id, ADMIN)
    assert [part.title for part in shown.parts] == ["All of It"], "a file without a part is all of the book"


async def test_what_is_no_recording_is_left_out_and_told_of(
    services: Services, drop: Drop, complete: Complete
) -> None:
    folder = "odd one/"
    await drop(f"{folder}1.mp3", b"words " * 500)
    await drop(f"{folder}2.mp3", reading(4, 2))
    await gather(services, folder)
    book = await book_of(services, folder)
    job = await complete((await newest_job(services, book.id)).id)
    assert job.status == "ready"
    assert job.reason is not None
    assert job.reason.startswith("1.mp3: ")
    shown = await services.catalog.show(book.id, ADMIN)
    assert len(shown.parts) == 1
    await drop("none/1.mp3", b"words " * 500)
    await gather(services, "none/")
    job = await complete((await newest_job(services, (await book_of(services, "none/")).id)).id)
    assert job.status == "rejected"
    assert json.loads(job.model_dump_json())["reason"]


async def names(services: Services, folder: str) -> list[str]:
    media = services.catalog._media
    return [name.removeprefix(folder) async for name in media.names(folder)]


async def test_a_book_is_heard_anew_in_full_and_keeps_its_text_until_that_is_whole(
    services: Services, drop: Drop, complete: Complete, ai: ScriptedAi
) -> None:
    folder = "heard anew/"
    first = await complete((await newest_job(services, (await drop_three(services, drop, folder)).id)).id)
    before = await services.catalog.book(first.target_id)
    chapters = await services.catalog.stored_chapters(before.id)
    again = await services.transcription.hear_anew(before.job_id)
    assert (await services.transcription.hear_anew(again.id)).id == again.id, "asked twice, it is done once"
    ai.fail_with(status(400))
    paid = len(ai.transcriptions)
    for queue, chunk in (("ingest", None), ("transcribe", 0)):
        await services.transcription.run(queue, Step(job_id=again.id, chunk=chunk))  # type: ignore[arg-type]
    ai.heal()
    await services.transcription.settle_poison("transcribe", Step(job_id=again.id, chunk=0).model_dump_json())
    assert (await complete(again.id)).status == "transcription_failed"
    torn = await services.catalog.book(before.id)
    assert (torn.transcript_prefix, torn.parts) == (before.transcript_prefix, before.parts)
    assert torn.processing_status == "transcription_failed"

    await services.transcription.retry(again.id)
    assert (await complete(again.id)).status == "ready"
    assert len(ai.transcriptions) - paid == 4, "three files, one of them twice"
    after = await services.catalog.book(before.id)
    assert after.transcript_prefix != before.transcript_prefix
    assert await services.catalog.stored_chapters(before.id) == chapters
    assert (await read(services, after)).coverage == 1


async def test_what_a_newer_version_replaces_goes_when_no_link_to_it_works_any_more(
    services: Services, drop: Drop, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "replaced.mp3"
    one = await drop(path, reading(4, 2))
    assert one is not None
    await complete(one.id)
    two = await drop(path, reading(5, 2))
    assert two is not None
    old, new = (f"{one.target_id}/{job.id}/" for job in (one, two))
    await complete(two.id)
    await services.transcription.remove_retired()
    assert "audio-0001.mp3" in await names(services, old), "a listener may still have a link"
    later = now() + STREAM_LIFE + timedelta(hours=2)
    monkeypatch.setattr("core.transcription.renewal.now", lambda: later)
    await services.transcription.remove_retired()
    assert {name.partition("-")[0] for name in await names(services, old)} == {"transcript"}
    assert "audio-0001.mp3" in await names(services, new)
    work = services.transcription._store._work
    assert [name async for name in work.names(f"{one.id}/")] == []
    assert [name async for name in work.names(f"{two.id}/")] != []
    await services.transcription.remove_retired()
    await services.catalog.stream(one.target_id, ADMIN)
