"""Changed books reach every instance, whoever races, whatever gets lost or damaged, and never go back."""

import asyncio
import json
import sqlite3
from contextlib import suppress
from typing import Any

import pytest

from core.catalog.index import CatalogReader, Filters, publish, query
from core.catalog.index.pointer import BASES, POINTER, Pointer
from core.catalog.index.refresh import Question
from core.catalog.models import Book
from core.catalog.store import Change
from core.errors import UnavailableError
from core.ids import new_id, now
from core.storage.account import count_calls
from tests.core.catalog.conftest import LONG_AGO, House, make_book


async def titles(reader: CatalogReader) -> list[str]:
    page = await reader.ask(lambda d: query.browse(d, Filters(), "title", 100), query.Page())
    return [json.loads(item)["title"] for item in page.items]


async def pointer(house: House) -> Pointer:
    return Pointer.model_validate_json(await house.container.read(POINTER))


def renamed(title: str) -> Any:
    return lambda book: book.model_copy(update={"title": title})


def spoiled(content: bytes) -> bytes:
    return content[:60] + bytes(byte ^ 0xFF for byte in content[60:90]) + content[90:]


async def test_first_boot_is_an_empty_catalog_that_asks_to_be_built(house: House) -> None:
    assert await titles(house.reader) == []
    assert await titles(house.reader) == []
    assert house.calls == ["build"], "once, not with every visit"
    assert await house.publisher.publish() == 1
    assert await titles(house.reader) == []
    await house.add("First")
    await house.publisher.publish()
    assert await titles(house.reader) == ["First"]


async def test_a_change_costs_each_instance_one_small_file(house: House) -> None:
    books = await house.add(*(f"Book {number:02d}" for number in range(30)))
    await house.publisher.publish()
    other = house.instance()
    assert len(await titles(other)) == len(await titles(house.reader)) == 30
    base = (await pointer(house)).base
    await house.store.update(books[3].id, renamed("Changed"))
    await house.store.update(books[4].id, lambda b: b.model_copy(update={"visibility": "withdrawn"}))
    await house.publisher.publish()
    now_ = await pointer(house)
    assert now_.base == base
    assert [segment.books for segment in now_.segments] == [2]
    assert now_.segments[0].size < 2000
    for reader in (house.reader, other):
        calls = count_calls()
        seen = await titles(reader)
        assert len(seen) == 29
        assert "Changed" in seen
        assert "Book 03" not in seen
        assert calls.count == 2, "the pointer and the segment"
        await titles(reader)
        assert calls.count == 3, "nothing new: the pointer alone"
    assert await house.pending() == []


async def test_drafts_are_neither_marked_nor_shown(house: House) -> None:
    draft = make_book("Draft", visibility="draft")
    await house.store.create(draft)
    await house.store.update(draft.id, renamed("Still a draft"))
    assert await house.pending() == []
    await house.store.update(draft.id, lambda b: b.model_copy(update={"visibility": "published"}))
    assert await house.pending() == [draft.id]
    await house.publisher.publish()
    assert await titles(house.reader) == ["Still a draft"]
    assert (await house.store.book(draft.id)).published_at is not None


async def test_builders_that_race_lose_nothing(house: House) -> None:
    await house.publisher.publish()
    builders = [house.builder() for _ in range(4)]
    expected = []
    for turn in range(2):
        books = await house.add(*(f"{turn}-{number}" for number in range(3)))
        expected += [book.title for book in books]
        await asyncio.gather(*(builder.publish() for builder in builders))
    final = await pointer(house)
    assert sorted(await titles(house.instance())) == sorted(expected)
    assert sorted(await titles(house.reader)) == sorted(expected)
    revisions = [segment.revision for segment in final.segments]
    assert revisions == sorted(set(revisions))
    assert [s.after for s in final.segments[1:]] == revisions[:-1]
    assert await house.pending() == []


async def test_a_builder_that_was_overtaken_does_not_publish_what_it_had_read(house: House) -> None:
    (book,) = await house.add("Old")
    await house.publisher.publish()
    await house.store.update(book.id, renamed("Between"))
    slow = house.builder()
    write, held, go_on = house.container.write, asyncio.Event(), asyncio.Event()

    async def late_write(name: str, content: Any, content_type: str, **conditions: Any) -> str:
        if name == POINTER:
            held.set()
            await go_on.wait()
        return await write(name, content, content_type, **conditions)

    slow._container = type(house.container)(house.container.name, house.container._service)
    slow._container.write = late_write  # type: ignore[method-assign]
    task = asyncio.create_task(slow.publish())
    await held.wait()
    await house.store.update(book.id, renamed("New"))
    newest = await house.publisher.publish()
    go_on.set()
    assert await task >= newest
    assert await titles(house.instance()) == ["New"]


async def test_a_lost_message_is_made_up_for_by_the_timer(house: House) -> None:
    await house.publisher.publish()
    await house.add("Nobody was told")
    await house.publisher.keep()
    assert await titles(house.reader) == ["Nobody was told"]


async def test_the_timer_builds_what_was_never_built(house: House) -> None:
    await house.add("Poisoned")
    await house.publisher.keep()
    assert await titles(house.reader) == ["Poisoned"]


async def test_a_mark_outlives_a_build_that_could_not_see_its_write(house: House) -> None:
    await house.publisher.publish()
    book = make_book("Under way")
    await house.changes.mark(book.id, 1)
    await house.publisher.publish()
    await house.publisher.rebuild()
    assert await house.pending() == [book.id]
    await house.store.create(book)
    await house.publisher.publish()
    assert await titles(house.reader) == ["Under way"]
    assert await house.pending() == []


async def test_the_mark_of_a_write_that_never_came_is_cleared(house: House) -> None:
    await house.publisher.publish()
    table = house.changes._changes
    await table.put(Change(revision=3, marked_at=now() - LONG_AGO), "pending", new_id())
    await house.publisher.publish()
    assert await house.pending() == []


async def test_compaction_costs_an_instance_that_is_up_to_date_nothing(house: House) -> None:
    books = await house.add("One", "Two", "Three")
    await house.publisher.publish()
    await house.store.update(books[0].id, renamed("Uno"))
    await house.publisher.publish()
    other = house.instance()
    before = await titles(other)
    behind = house.instance(refresh_seconds=3600)
    assert await titles(behind) == before
    revision = await house.publisher.compact()
    compacted = await pointer(house)
    assert compacted.revision == revision
    assert compacted.base.revision == compacted.content == revision - 1
    calls = count_calls()
    assert await titles(other) == before
    assert calls.count == 1
    await house.store.update(books[1].id, renamed("Dos"))
    await house.publisher.publish()
    calls = count_calls()
    assert await titles(other) == ["Dos", "Three", "Uno"]
    assert calls.count == 2, "a new base of known books is not fetched"
    await behind.refresh()
    assert await titles(behind) == ["Dos", "Three", "Uno"]
    assert await titles(house.instance()) == ["Dos", "Three", "Uno"]


async def test_a_compaction_does_not_lose_what_was_published_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = await house.add("One", "Two")
    await house.publisher.publish()
    pack, compactor = publish.make_dense, house.builder(house.instance())
    loop = asyncio.get_running_loop()

    def slow(file: Any) -> int:
        async def change() -> None:
            await house.store.update(books[0].id, renamed("Uno"))
            await house.publisher.publish()

        asyncio.run_coroutine_threadsafe(change(), loop).result()
        return pack(file)

    await house.store.update(books[1].id, renamed("Dos"))
    await house.publisher.publish()
    monkeypatch.setattr(publish, "make_dense", slow)
    await compactor.compact()
    for reader in (house.reader, house.instance()):
        assert await titles(reader) == ["Dos", "Uno"]


async def test_a_new_base_is_made_when_segments_have_grown(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_FRESH_SEGMENTS", 2)
    await house.publisher.publish()
    for number in range(3):
        await house.add(f"Book {number}")
        await house.publisher.publish()
    assert (await pointer(house)).base.books == 0
    await house.publisher.keep()
    final = await pointer(house)
    assert (final.base.books, final.fresh_books) == (3, 0)
    assert len(await titles(house.instance())) == 3


async def test_old_files_are_removed_but_for_the_last_five(house: House) -> None:
    await house.add("Book")
    for _ in range(7):
        await house.publisher.rebuild()
    names = [name async for name in house.container.names(BASES)]
    assert len(names) == 5
    assert (await pointer(house)).base.file in names


async def test_a_damaged_segment_leaves_the_last_good_state_and_is_repaired(house: House) -> None:
    (book,) = await house.add("Good")
    await house.publisher.publish()
    assert await titles(house.reader) == ["Good"]
    await house.store.update(book.id, renamed("Better"))
    await house.publisher.publish()
    name = (await pointer(house)).segments[0].file
    await house.container.write(name, b"not a segment", "application/gzip")
    assert await titles(house.reader) == ["Good"]
    assert await titles(house.instance()) == ["Good"], "a new instance finds the base"
    await house.publisher.keep()
    assert await titles(house.reader) in (["Good"], ["Better"])
    await house.reader.refresh()
    assert await titles(house.reader) == ["Better"]


async def test_a_damaged_base_is_replaced_by_the_one_before_and_repaired(house: House) -> None:
    (book,) = await house.add("Good")
    await house.publisher.rebuild()
    await house.store.update(book.id, renamed("Better"))
    await house.publisher.rebuild()
    name = (await pointer(house)).base.file
    await house.container.write(name, spoiled(await house.container.read(name)), "application/gzip")
    new = house.instance()
    assert await titles(new) == ["Good"]
    await house.builder(new).keep()
    await new.refresh()
    assert await titles(new) == ["Better"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"revision": "x"}'])
async def test_a_pointer_that_cannot_be_read_changes_nothing_and_is_repaired(
    house: House, content: bytes
) -> None:
    await house.add("Good")
    await house.publisher.publish()
    before = await pointer(house)
    assert await titles(house.reader) == ["Good"]
    await house.container.write(POINTER, content, "application/json")
    assert await titles(house.reader) == ["Good"]
    assert await titles(house.instance()) == ["Good"]
    await house.publisher.keep()
    assert (await pointer(house)).revision > before.revision
    assert await titles(house.reader) == ["Good"]


async def test_an_older_pointer_after_a_newer_one_is_not_followed(house: House) -> None:
    (book,) = await house.add("Old")
    await house.publisher.publish()
    old = await house.container.read(POINTER)
    await house.store.update(book.id, renamed("New"))
    await house.publisher.publish()
    assert await titles(house.reader) == ["New"]
    await house.container.write(POINTER, old, "application/json")
    assert await titles(house.reader) == ["New"]


async def test_a_file_that_is_not_here_yet_is_waited_for(house: House) -> None:
    await house.add("Here")
    await house.publisher.publish()
    name = (await pointer(house)).base.file
    content = await house.container.read(name)
    await house.container.delete(name)
    waiting = asyncio.create_task(titles(house.instance()))
    await asyncio.sleep(0)
    await house.container.write(name, content, "application/gzip")
    assert await waiting == ["Here"]
    await house.container.delete(name)
    with pytest.raises(UnavailableError) as raised:
        await titles(house.instance())
    assert raised.value.retry_after


async def test_an_old_format_is_left_alone_and_the_new_one_built(house: House) -> None:
    await house.container.write(
        "v1/pointer.json", b'{"revision": 9, "file": "v1/x.sqlite"}', "application/json"
    )
    await house.container.write("v1/x.sqlite", b"what no code of today can read", "x")
    await house.add("Kept")
    assert await titles(house.reader) == []
    assert house.calls == ["build"]
    await house.publisher.publish()
    assert await titles(house.reader) == ["Kept"]
    assert await house.container.read("v1/x.sqlite")


async def test_a_question_sees_one_state_from_its_beginning_to_its_end(house: House) -> None:
    (book,) = await house.add("Before")
    await house.publisher.publish()
    reader = house.instance(refresh_seconds=3600)
    loop = asyncio.get_running_loop()

    def both(database: sqlite3.Connection) -> tuple[str, str]:
        def title() -> str:
            found = database.execute("SELECT card FROM cards").fetchone()
            return str(json.loads(found[0])["title"])

        async def change() -> None:
            await house.store.update(book.id, renamed("After"))
            await house.publisher.publish()
            await reader.refresh()

        first = title()
        asyncio.run_coroutine_threadsafe(change(), loop).result()
        return first, title()

    question: Question[tuple[str, str]] = both
    assert await reader.ask(question, ("", "")) == ("Before", "Before")
    assert await titles(reader) == ["After"]


async def test_a_new_base_in_the_middle_of_a_question_leaves_it_its_file(house: House) -> None:
    (book,) = await house.add("Before")
    await house.publisher.publish()
    reader = house.instance(refresh_seconds=3600)
    loop = asyncio.get_running_loop()

    def both(database: sqlite3.Connection) -> tuple[int, int]:
        async def rebuild() -> None:
            await house.store.update(book.id, renamed("After"))
            await house.publisher.rebuild()
            await reader.refresh()

        (first,) = database.execute("SELECT count(*) FROM books WHERE title = 'before'").fetchone()
        asyncio.run_coroutine_threadsafe(rebuild(), loop).result()
        (second,) = database.execute("SELECT count(*) FROM books WHERE title = 'before'").fetchone()
        return first, second

    assert await reader.ask(both, (0, 0)) == (1, 1)
    assert await titles(reader) == ["After"]


async def test_a_copy_that_breaks_on_this_machine_is_fetched_again(house: House) -> None:
    await house.add("Whole")
    await house.publisher.publish()
    assert await titles(house.reader) == ["Whole"]

    def break_(_: sqlite3.Connection) -> list[str]:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with pytest.raises(UnavailableError):
        await house.reader.ask(break_, [""])
    assert await titles(house.reader) == ["Whole"]


async def test_nobody_ever_sees_an_older_revision_after_a_newer_one(house: House) -> None:
    """Three builders and a compactor work while instances ask; each instance only goes forward."""
    (book,) = await house.add("0")
    await house.publisher.publish()
    is_over = asyncio.Event()

    async def write() -> None:
        for number in range(1, 10):
            await house.store.update(book.id, renamed(str(number)))
            await asyncio.gather(*(builder.publish() for builder in builders))
            if number % 4 == 0:
                await builders[0].compact()
            if number % 5 == 0:
                await builders[1].rebuild()
        is_over.set()

    async def watch(reader: CatalogReader) -> list[int]:
        seen = []
        while not is_over.is_set():
            with suppress(UnavailableError):
                seen += [int(title) for title in await titles(reader)]
        await reader.refresh()
        return [*seen, *map(int, await titles(reader))]

    builders = [house.builder(house.instance()) for _ in range(3)]
    watching = [asyncio.create_task(watch(house.instance())) for _ in range(3)]
    await write()
    watched = await asyncio.gather(*watching)
    for seen in watched:
        assert seen
        assert seen == sorted(seen)
        assert seen[-1] == 9


async def test_a_row_of_an_earlier_version_still_reads() -> None:
    old = {
        "id": new_id(),
        "title": "Old",
        "authors": ["Ada Example", "Bea Sample"],
        "created_at": now(),
        "updated_at": now(),
    }
    book = Book.model_validate(old)
    assert [person.name for person in book.authors] == ["Ada Example", "Bea Sample"]
    assert book.authors[0].id == Book.model_validate(old | {"authors": ["ADA  Éxample"]}).authors[0].id
    assert (book.plays, book.rating_average, book.series) == (0, None, None)
