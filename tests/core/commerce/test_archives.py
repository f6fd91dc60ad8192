"""ZIPs of books: whole or not there at all, whatever is killed, and their owner's alone."""

import asyncio
import io
import shutil
import subprocess
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.caller import Caller
from core.catalog.models import Book
from core.commerce.archives import PackBooks
from core.errors import ConflictError, InvalidError, NotFoundError, NotOwnedError, ThrottledError
from core.operations.models import Alert
from localhost.azurite import Azurite
from tests.core.commerce.depot import FORMS, Depot, settings_of, somebody
from tests.faults import crash_everywhere

BLOCK = 1000
AUDIO = bytes(number % 251 for number in range(3 * BLOCK + 7))


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small books in small blocks, and a step is one reading and writing of two of them."""
    monkeypatch.setattr("core.commerce.packing.BLOCK_BYTES", BLOCK)
    monkeypatch.setattr("core.commerce.archives._PIECES_AT_ONCE", 2)
    monkeypatch.setattr("core.commerce.archives._STEP_SECONDS", 0)


@pytest_asyncio.fixture
async def depot(azurite: Azurite) -> AsyncIterator[Depot]:
    depot = Depot(settings_of(azurite))
    yield depot
    await depot.close()


@pytest.fixture
def ada() -> Caller:
    return somebody()


async def _open(depot: Depot, caller: Caller, archive_id: str) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(await depot.files.read(f"{caller.user_id}/{archive_id}.zip")))
    assert archive.testzip() is None
    return archive


async def test_a_zip_has_a_folder_for_each_book(depot: Depot, ada: Caller, tmp_path: Path) -> None:
    books = [
        await depot.fill("Emma", AUDIO, "words " * 500),
        await depot.fill("EMMA", b"other", None),
        await depot.fill("../Straße: 日本?", b"", "ein Wort"),
    ]
    for each in books:
        await depot.give(ada, each)
    archive = await depot.make(ada, *books)
    assert (archive.status, archive.reason) == ("ready", None)
    assert archive.step > 3
    assert archive.bytes_done == archive.bytes_total
    file = await _open(depot, ada, archive.id)
    first, second, third = (
        "Ada Example - Emma",
        "Ada Example - EMMA (2)",
        "Ada Example - .. Straße 日本",
    )
    assert sorted(file.namelist()) == sorted([
        f"{first}/Emma.mp3", *(f"{first}/Emma.{form}" for form in FORMS), f"{first}/cover.jpg",
        f"{second}/EMMA.mp3", f"{second}/cover.jpg",
        f"{third}/Straße 日本.mp3", *(f"{third}/Straße 日本.{form}" for form in FORMS), f"{third}/cover.jpg",
    ])  # fmt: skip
    assert file.read(f"{first}/Emma.mp3") == AUDIO
    assert file.read(f"{first}/Emma.vtt").decode() == "vtt: " + "words " * 500
    assert file.getinfo(f"{first}/Emma.mp3").compress_type == zipfile.ZIP_STORED
    assert file.getinfo(f"{first}/Emma.vtt").compress_size < 100
    assert file.read(f"{third}/Straße 日本.mp3") == b""
    if unzip := shutil.which("unzip"):
        path = tmp_path / "books.zip"
        path.write_bytes(await depot.files.read(f"{ada.user_id}/{archive.id}.zip"))
        done = subprocess.run([unzip, "-tq", path], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


async def test_progress_grows_until_there_is_a_link(depot: Depot, ada: Caller) -> None:
    book = await depot.fill("Emma", AUDIO)
    await depot.give(ada, book)
    begun = await depot.archives.begin([book.id], ada)
    assert (begun.status, begun.progress, begun.url) == ("waiting", 0, None)
    seen = [begun.progress]
    while (await depot.step(ada, begun.id)).is_under_way:
        seen.append((await depot.archives.show(begun.id, ada)).progress)
    assert seen == sorted(set(seen)) and len(seen) > 2
    ready = await depot.archives.show(begun.id, ada)
    assert (ready.status, ready.progress) == ("ready", 1)
    assert ready.url is not None and ready.url_expires_at is not None
    assert ready.url_expires_at - ready.created_at < timedelta(minutes=20)


async def test_a_crash_anywhere_leaves_no_broken_zip_and_is_made_good(
    azurite: Azurite, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.commerce.archive_store._CLAIM_LIFE", timedelta(0))
    owned: list[Book] = []

    async def begin(depot: Depot) -> str:
        if not owned:
            owned.append(await depot.fill("Emma", AUDIO[: 2 * BLOCK], None))
            await depot.give(ada, owned[0])
        monkeypatch.setattr("core.commerce.archives._PER_DAY", 1000)
        return (await depot.archives.begin([owned[0].id], ada)).id

    async def work(depot: Depot, archive_id: str) -> None:
        await depot.work_off(ada, archive_id)

    async def check(depot: Depot, archive_id: str) -> None:
        try:
            file = await _open(depot, ada, archive_id)
        except NotFoundError:
            assert (await depot.archive(ada, archive_id)).is_under_way
        else:
            assert file.read("Ada Example - Emma/Emma.mp3") == AUDIO[: 2 * BLOCK]

    async def check_done(depot: Depot, archive_id: str) -> None:
        assert (await depot.archives.show(archive_id, ada)).status == "ready"
        await check(depot, archive_id)

    places = await crash_everywhere(
        lambda watch: Depot(settings_of(azurite), watch),
        begin,
        work,
        check,
        work,
        check_done,
        in_sequence=True,
    )
    assert len(places) > 16


async def test_workers_side_by_side_make_one_good_zip(
    azurite: Azurite, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without claims, so that they do step on each other's feet."""
    monkeypatch.setattr("core.commerce.archive_store._CLAIM_LIFE", timedelta(0))
    depots = [Depot(settings_of(azurite)) for _ in range(3)]
    try:
        book = await depots[0].fill("Emma", AUDIO, None)
        await depots[0].give(ada, book)
        begun = await depots[0].archives.begin([book.id], ada)
        await asyncio.gather(*(depot.work_off(ada, begun.id) for depot in depots))
        assert (await depots[0].archives.show(begun.id, ada)).status == "ready"
        assert (await _open(depots[0], ada, begun.id)).read("Ada Example - Emma/Emma.mp3") == AUDIO
    finally:
        for depot in depots:
            await depot.close()


async def test_a_zip_that_is_worked_on_is_left_alone(depot: Depot, ada: Caller) -> None:
    book = await depot.fill("Emma", AUDIO)
    await depot.give(ada, book)
    begun = await depot.archives.begin([book.id], ada)
    archive = await depot.archive(ada, begun.id)
    until = archive.created_at + timedelta(minutes=5)
    claimed = archive.model_copy(update={"claimed_until": until})
    await depot.users.put(claimed, ada.user_id, f"archive_{begun.id}")
    assert await depot.step(ada, begun.id) == claimed


async def test_an_instance_works_on_two_zips_at_a_time(depot: Depot, ada: Caller) -> None:
    """What each of them holds in memory adds up; the message of a third one goes back."""
    books = [await depot.fill(f"Book {number}", AUDIO) for number in range(3)]
    for book in books:
        await depot.give(ada, book)
    begun = [await depot.archives.begin([book.id], ada) for book in books]
    after = await asyncio.gather(*(depot.step(ada, one.id) for one in begun))
    assert sorted(archive.status for archive in after) == ["running", "running", "waiting"]


async def test_a_request_that_is_cut_off_loses_no_row(azurite: Azurite, ada: Caller) -> None:
    """Wherever `begin` ends, a row that is there has a message that comes."""
    depot = Depot(settings_of(azurite))
    book = await depot.fill("Emma")
    await depot.close()
    sent: list[str] = []

    async def prepare(depot: Depot) -> Caller:
        caller = somebody()
        await depot.give(caller, book)
        return caller

    async def begin(depot: Depot, caller: Caller) -> None:
        send = depot.archives._queues.send

        async def note(name: str, message: Any, delay_seconds: float = 0) -> None:
            await send(name, message, delay_seconds)
            sent.append(message.id)

        depot.archives._queues.send = note  # type: ignore[method-assign]
        await depot.archives.begin([book.id], caller)

    async def check(depot: Depot, caller: Caller) -> None:
        for archive in await depot.rows.all(caller.user_id):
            assert archive.id in sent

    async def repeat(depot: Depot, caller: Caller) -> None:
        await depot.archives.begin([book.id], caller)

    async def check_done(depot: Depot, caller: Caller) -> None:
        assert len(await depot.rows.all(caller.user_id)) == 1

    await crash_everywhere(
        lambda watch: Depot(settings_of(azurite), watch),
        prepare,
        begin,
        check,
        repeat,
        check_done,
        in_sequence=True,
    )


async def test_the_same_books_again_are_the_same_zip(depot: Depot, ada: Caller) -> None:
    books = [await depot.fill("Emma"), await depot.fill("Persuasion")]
    for each in books:
        await depot.give(ada, each)
    ids = [book.id for book in books]
    first = await depot.archives.begin(ids, ada)
    assert (await depot.archives.begin([*reversed(ids), ids[0]], ada)).id == first.id
    assert (await depot.archives.begin(ids[:1], ada)).id != first.id


async def test_only_what_one_may_hear_goes_into_a_zip(depot: Depot, ada: Caller) -> None:
    book, other = await depot.fill("Emma"), await depot.fill("Persuasion")
    draft = await depot.fill("Sanditon", visibility="draft")
    silent = await depot.fill("Lady Susan", audio=b"", price={"amount": 0, "currency": "USD"})
    await depot.services.catalog.update(silent.id, lambda b: b.model_copy(update={"parts": ()}))
    await depot.give(ada, book)
    await depot.give(ada, other, "pending")
    for wanted, error in ((other.id, NotOwnedError), (draft.id, NotFoundError), (silent.id, ConflictError)):
        with pytest.raises(error):
            await depot.archives.begin([book.id, wanted], ada)
    mine = await depot.make(ada, book)
    with pytest.raises(NotFoundError):
        await depot.archives.show(mine.id, somebody())


async def test_a_book_that_was_taken_back_is_no_longer_given_out(depot: Depot, ada: Caller) -> None:
    books = [await depot.fill("Emma"), await depot.fill("Persuasion")]
    for each in books:
        await depot.give(ada, each)
    archive = await depot.make(ada, *books)
    await depot.users.delete(ada.user_id, f"owned_{books[1].id}")
    shown = await depot.archives.show(archive.id, ada)
    assert (shown.status, shown.url) == ("failed", None)
    assert shown.reason is not None and "no longer yours" in shown.reason
    with pytest.raises(NotFoundError):
        await depot.files.read(f"{ada.user_id}/{archive.id}.zip")


async def test_a_recording_that_is_replaced_meanwhile_ends_the_zip(depot: Depot, ada: Caller) -> None:
    book = await depot.fill("Emma", AUDIO)
    await depot.give(ada, book)
    begun = await depot.archives.begin([book.id], ada)
    assert (await depot.step(ada, begun.id)).is_under_way
    assert book.parts
    await depot.media.write(book.parts[0].blob, AUDIO[::-1], "audio/mpeg")
    archive = await depot.work_off(ada, begun.id)
    assert (archive.status, archive.size) == ("failed", None)
    assert archive.reason is not None and "replaced" in archive.reason


async def test_what_one_may_have_in_a_day_holds_side_by_side(
    azurite: Azurite, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.commerce.archives._PER_DAY", 2)
    depot = Depot(settings_of(azurite, ARCHIVE_GB_PER_DAY="0.000004"))
    try:
        books = [await depot.fill(f"Book {number}") for number in range(4)]
        large = await depot.fill("Large", AUDIO), await depot.fill("Larger", AUDIO)
        for each in (*books, *large):
            await depot.give(ada, each)
        with pytest.raises(InvalidError):
            await depot.archives.begin([book.id for book in large], ada)
        answers = await asyncio.gather(
            *(depot.archives.begin([book.id], ada) for book in books), return_exceptions=True
        )
        assert [type(answer) for answer in answers].count(ThrottledError) == 2
        eve = somebody()
        for each in large:
            await depot.give(eve, each)
        await depot.archives.begin([large[0].id], eve)
        with pytest.raises(ThrottledError):
            await depot.archives.begin([large[1].id], eve)
    finally:
        await depot.close()


async def test_a_step_that_fails_too_often_is_told_of(depot: Depot, ada: Caller) -> None:
    book = await depot.fill("Emma")
    await depot.give(ada, book)
    ready = await depot.make(ada, book)
    begun = await depot.archives.begin([book.id], ada)
    for archive_id, status in ((begun.id, "failed"), (ready.id, "ready")):
        body = PackBooks(user_id=ada.user_id, id=archive_id).model_dump_json()
        await depot.archives.settle_poison(body)
        assert (await depot.archives.show(archive_id, ada)).status == status
    alerts, _ = await depot.services.operations.alerts(100, None)
    assert any(isinstance(alert, Alert) and begun.id in alert.detail for alert in alerts)


async def test_zips_end(depot: Depot, ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    book = await depot.fill("Emma")
    await depot.give(ada, book)
    archive = await depot.make(ada, book)
    await depot.archives.sweep()
    assert (await depot.archives.show(archive.id, ada)).status == "ready"
    monkeypatch.setattr("core.commerce.archives.LIFE", timedelta(0))
    await depot.archives.sweep()
    with pytest.raises(NotFoundError):
        await depot.archives.show(archive.id, ada)
    assert [name async for name in depot.files.names(ada.user_id)] == []


async def test_nothing_is_left_of_one_whose_owner_leaves_meanwhile(depot: Depot, ada: Caller) -> None:
    book = await depot.fill("Emma", AUDIO)
    await depot.give(ada, book)
    begun = await depot.archives.begin([book.id], ada)
    archive = await depot.step(ada, begun.id)
    await depot.users.erase(ada.user_id)
    await depot.archives.run(PackBooks(user_id=ada.user_id, id=begun.id, step=archive.step).model_dump_json())
    assert [name async for name in depot.files.names(ada.user_id)] == []
