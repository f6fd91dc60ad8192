"""What people change in a transcript is kept, whatever is heard, dropped or changed afterwards."""

import asyncio
import json
from collections.abc import Callable

import pytest

from core.caller import Caller
from core.catalog.models import Book
from core.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from core.ids import new_id
from core.transcription.revising import SegmentText, TranscriptPatch
from core.transcription.versions import VersionView
from core.wiring import Services
from tests.core.transcription.conftest import Complete, Drop
from tests.core.transcription.test_parts import ADMIN, ORIGIN, book_of, gather, newest_job, read, reading
from tests.scripted_ai import Call, Reply, ScriptedAi, ok
from tests.transcripts import Whole

SENTENCES = ["The First Part", "The Second Part"]


async def two_files(services: Services, drop: Drop, complete: Complete, folder: str) -> Book:
    """Return a published book in two files, whose last segment begins in the second."""
    for number, title in enumerate(SENTENCES, 1):
        await drop(f"{folder}{number}.mp3", reading(8, 2 + number, title))
    await gather(services, folder)
    book = await book_of(services, folder)
    job = await complete((await newest_job(services, book.id)).id)
    return await services.catalog.update(
        job.target_id, lambda book: book.model_copy(update={"visibility": "published"})
    )


def patch(texts: dict[int, str], version: int | None = None) -> TranscriptPatch:
    segments = [SegmentText(index=index, text=text) for index, text in texts.items()]
    return TranscriptPatch(segments=segments, version=version)


async def edit(services: Services, book: Book, texts: dict[int, str]) -> VersionView:
    return await services.revisions.edit(book.id, patch(texts), ADMIN, ORIGIN)


async def now_of(services: Services, book: Book) -> Whole:
    return await read(services, await services.catalog.book(book.id))


async def test_changed_segments_are_a_version_with_who_and_when_and_the_way_back(
    services: Services, drop: Drop, complete: Complete
) -> None:
    book = await two_files(services, drop, complete, "revised/")
    heard = await now_of(services, book)
    made = await edit(services, book, {0: "  What was\nreally said. "})
    assert (made.version, made.kind, made.author_id, made.changes) == (2, "edited", ADMIN.user_id, 1)
    changed = await now_of(services, book)
    assert (changed.segments[0].text, changed.segments[0].words) == ("What was really said.", ())
    assert changed.segments[1:] == heard.segments[1:]
    for form in ("txt", "srt", "vtt"):
        content, _ = await services.catalog.transcript(book.id, form, ADMIN)
        assert b"What was really said." in content
    assert (await edit(services, book, {0: "What was really said."})).version == 2, "nothing has changed"
    with pytest.raises(ConflictError):
        await services.revisions.edit(book.id, patch({0: "Late."}, version=1), ADMIN, ORIGIN)
    with pytest.raises(InvalidError):
        await edit(services, book, {len(heard.segments): "Too far."})

    back = await services.revisions.restore(book.id, 1, ADMIN, ORIGIN)
    assert (back.version, back.is_current) == (1, True)
    assert await now_of(services, book) == heard
    await services.revisions.restore(book.id, 2, ADMIN, ORIGIN)
    listed = await services.revisions.list(book.id, ADMIN)
    assert [(v.version, v.kind, v.is_current, v.fits) for v in listed] == [
        (2, "edited", True, True),
        (1, "machine", False, True),
    ]
    assert json.loads(await services.revisions.read(book.id, 1, ADMIN)) == heard.model_dump(mode="json")
    with pytest.raises(NotFoundError):
        await services.revisions.restore(book.id, 9, ADMIN, ORIGIN)
    other = Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener", "publisher"}))
    with pytest.raises(ForbiddenError):
        await services.revisions.edit(book.id, patch({0: "Not mine."}), other, ORIGIN)


async def test_two_people_at_once_lose_nothing(services: Services, drop: Drop, complete: Complete) -> None:
    book = await two_files(services, drop, complete, "at once/")
    last = len((await now_of(services, book)).segments) - 1
    await asyncio.gather(
        edit(services, book, {0: "From one."}), edit(services, book, {last: "From another."})
    )
    texts = [segment.text for segment in (await now_of(services, book)).segments]
    assert (texts[0], texts[last]) == ("From one.", "From another.")


async def test_changes_move_with_their_file_and_those_of_a_lost_file_are_told_of(
    services: Services, drop: Drop, complete: Complete
) -> None:
    folder = "carried/"
    book = await two_files(services, drop, complete, folder)
    last = len((await now_of(services, book)).segments) - 1
    await edit(services, book, {0: "In the first file.", last: "In the second file."})
    await drop(f"{folder}1.mp3", reading(6, 3, "Another Beginning"))
    await gather(services, folder)
    job = await complete((await newest_job(services, book.id)).id)
    assert job.status == "ready"
    assert job.reason is not None
    assert "1 changed sentence" in job.reason
    assert "version 2" in job.reason
    text = await now_of(services, book)
    assert text.segments[-1].text == "In the second file."
    assert "In the first file." not in [segment.text for segment in text.segments]
    assert text.duration_seconds == pytest.approx(14, abs=0.1)
    listed = await services.revisions.list(book.id, ADMIN)
    assert [(v.version, v.kind, v.is_current, v.fits) for v in listed] == [
        (4, "carried", True, True),
        (3, "machine", False, True),
        (2, "edited", False, False),
        (1, "machine", False, False),
    ]
    assert b"In the first file." in await services.revisions.read(book.id, 2, ADMIN)
    with pytest.raises(ConflictError):
        await services.revisions.restore(book.id, 2, ADMIN, ORIGIN)


async def test_a_changed_text_stays_until_a_person_chooses_what_was_heard_anew(
    services: Services, drop: Drop, complete: Complete, ai: ScriptedAi
) -> None:
    book = await two_files(services, drop, complete, "stays/")
    await edit(services, book, {0: "As I know it to be."})
    ai.choose(_say("Quite another sentence was heard this time, and one more word."))
    again = await services.transcription.hear_anew((await services.catalog.book(book.id)).job_id)
    job = await complete(again.id)
    ai.heal()
    assert job.status == "ready"
    assert job.reason is not None
    assert "version 3" in job.reason
    assert (await now_of(services, book)).segments[0].text == "As I know it to be."
    assert (await services.catalog.book(book.id)).processing_reason == job.reason
    chosen = await services.revisions.restore(book.id, 3, ADMIN, ORIGIN)
    assert (chosen.kind, chosen.is_current) == ("machine", True)
    assert (await now_of(services, book)).segments[0].text.startswith("Quite another")

    await edit(services, book, {0: "As I know it to be."})
    again = await services.transcription.hear_anew((await services.catalog.book(book.id)).job_id)
    ai.choose(_say("Quite another sentence was heard this time, and one more word."))
    await complete(again.id)
    ai.heal()
    current = (await services.revisions.list(book.id, ADMIN))[0]
    assert (current.kind, current.is_current) == ("carried", True), "heard the same: the change has its place"
    assert (await now_of(services, book)).segments[0].text == "As I know it to be."


def _say(text: str) -> Callable[[Call, bytes], Reply | None]:
    return lambda call, _: ok(text) if call.path.endswith("/transcriptions") else None
