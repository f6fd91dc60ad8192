"""Books that are owned together are counted once for each person, and not at all for one who is gone."""

import asyncio
import random
from dataclasses import dataclass
from itertools import combinations

import pytest

from core.caller import Caller
from core.catalog.models import Book
from core.commerce.models import ShelfChanged
from core.errors import NotFoundError
from core.ids import new_id, now
from core.recommendations.models import LEAST_OWNERS, MOST_BOOKS
from core.storage.account import count_calls
from tests.core.recommendations.conftest import Build, Instance
from tests.faults import crash_everywhere


async def tell(app: Instance, person: Caller) -> None:
    """Do what the message asks for that a changed shelf sends."""
    await app.rooms.run(ShelfChanged(user_id=person.user_id).model_dump_json())


async def test_three_people_are_needed_and_a_repeat_counts_nothing(app: Instance) -> None:
    a, b, c = [await app.add_book() for _ in range(3)]
    await app.catalog.publish()
    people = [await app.join() for _ in range(4)]
    for number, person in enumerate(people):
        assert await app.also_enjoyed(a) == []
        assert await app.counts(a) == {}
        await app.own(person, *((a, b, c) if number else (a, b)))
        for _ in range(2):
            await tell(app, person)
        if number == 2:
            break
    assert await app.counts(a) == {b: 3}
    assert await app.also_enjoyed(a) == [b]
    await app.own(people[3], a, b, c)
    await asyncio.gather(*(tell(app, people[3]) for _ in range(3)))
    assert (await app.counts(a), await app.counts(c)) == ({b: 4, c: 3}, {a: 3, b: 3})
    assert await app.also_enjoyed(a) == [b, c]

    calls = count_calls()
    assert await app.also_enjoyed(a) == [b, c]
    assert calls.count == 2  # one row; and the index, which is asked for news each time here

    await app.disown(people[3], b)
    await tell(app, people[3])
    assert (await app.counts(a), await app.counts(b)) == ({b: 3, c: 3}, {a: 3})


async def test_only_public_books_are_shown_and_only_of_public_ones(app: Instance) -> None:
    a, b, c = [await app.add_book() for _ in range(3)]
    for _ in range(3):
        person = await app.join()
        await app.own(person, a, b, c)
        await tell(app, person)

    def withdraw(book: Book) -> Book:
        return book.model_copy(update={"visibility": "withdrawn"})

    await app.catalog.update(b, withdraw)
    await app.catalog.publish()
    assert await app.also_enjoyed(a) == [c]
    for book_id in (b, new_id()):
        with pytest.raises(NotFoundError):
            await app.also_enjoyed(book_id)


async def test_who_leaves_leaves_nothing_even_if_a_message_comes_late(app: Instance) -> None:
    books = [await app.add_book() for _ in range(3)]
    people = [await app.join() for _ in range(4)]
    for person in people:
        await app.own(person, *books)
        await tell(app, person)
    gone = people[0]
    assert (await app.copy(gone))["companions.json"]["book_ids"] == sorted(books)
    assert await app.traces(gone, *books) == ["shelf", *[f"owner_{gone.user_id}"] * 3]
    stored = await app.store.user(gone.user_id)
    leaving = stored.value.model_copy(update={"erasing_at": now()})
    await app.users.replace(stored, leaving)
    await app.erase(gone)
    assert await app.traces(gone, *books) == []
    await tell(app, gone)
    assert await app.traces(gone, *books) == []
    assert await app.counts(books[0]) == dict.fromkeys(books[1:], 3)
    assert "companions.json" not in await app.copy(gone)


async def test_of_a_large_shelf_the_books_that_came_last_count(
    app: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written for one more book has an end, and what drops out is not counted any more."""
    monkeypatch.setattr("core.recommendations.service.MOST_BOOKS", 4)
    person, books = await app.join(), [new_id() for _ in range(5)]
    await app.own(person, *books[:-1])
    await tell(app, person)
    await app.own(person, books[-1])
    await tell(app, person)
    shelf = await app.rooms.held(person.user_id)
    assert shelf is not None
    assert shelf.book_ids == tuple(sorted(books[1:]))
    assert await app.traces(person, books[0]) == ["shelf"]


async def test_the_largest_change_under_one_book_fits_into_a_transaction(app: Instance) -> None:
    book_id, store = new_id(), app.rooms._store
    before, after = ({new_id() for _ in range(MOST_BOOKS - 1)} for _ in range(2))
    for number in range(LEAST_OWNERS):
        await store._count_under(book_id, str(number), frozenset(before))
    assert len(await app.counts(book_id)) == len(before)
    await store._count_under(book_id, "0", frozenset(after))
    assert await app.counts(book_id) == {}


async def test_whatever_comes_and_goes_in_any_order_counts_are_right(app: Instance) -> None:
    chance = random.Random(7)
    books, people = [new_id() for _ in range(5)], [await app.join() for _ in range(5)]
    owned: dict[str, set[str]] = {person.user_id: set() for person in people}
    for _ in range(6):
        for person in chance.sample(people, 4):
            book_id = chance.choice(books)
            if book_id in owned[person.user_id] and chance.random() < 0.5:
                owned[person.user_id].discard(book_id)
                await app.disown(person, book_id)
            else:
                owned[person.user_id] |= {book_id, chance.choice(books)}
                await app.own(person, *owned[person.user_id])
        await asyncio.gather(*(tell(app, person) for person in chance.choices(people, k=5)))
    await asyncio.gather(*(tell(app, person) for person in people))
    for first, second in combinations(books, 2):
        both = sum({first, second} <= shelf for shelf in owned.values())
        expected = both if both >= 3 else None
        assert (await app.counts(first)).get(second) == expected
        assert (await app.counts(second)).get(first) == expected
    assert any([await app.counts(book_id) for book_id in books])


@dataclass
class Shelves:
    """Three people who own two books and are counted; the third has just got another one for one of them."""

    people: list[Caller]
    books: list[str]


async def test_killed_anywhere_a_change_counts_once_when_its_message_comes_again(start: Build) -> None:
    async def prepare(app: Instance) -> Shelves:
        shelves = Shelves([await app.join() for _ in range(3)], [new_id() for _ in range(3)])
        a, b, c = shelves.books
        for number, person in enumerate(shelves.people):
            await app.own(person, *((a, b, c) if number < 2 else (a, b)))
            await tell(app, person)
        await app.disown(shelves.people[2], b)
        await app.own(shelves.people[2], c)
        return shelves

    async def act(app: Instance, shelves: Shelves) -> None:
        await tell(app, shelves.people[2])

    async def check(app: Instance, shelves: Shelves) -> None:
        for book_id in shelves.books:
            assert set((await app.counts(book_id)).values()) <= {3}

    async def check_done(app: Instance, shelves: Shelves) -> None:
        a, _, c = shelves.books
        assert [await app.counts(book_id) for book_id in shelves.books] == [{c: 3}, {}, {a: 3}]
        await app.erase(shelves.people[2])
        assert await app.traces(shelves.people[2], *shelves.books) == []
        assert [await app.counts(book_id) for book_id in shelves.books] == [{}, {}, {}]

    places = await crash_everywhere(start, prepare, act, check, act, check_done, in_sequence=True)
    assert len(places) >= 5
