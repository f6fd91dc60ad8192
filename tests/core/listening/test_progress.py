"""Where listeners are in their books, whichever device tells of it and when."""

import asyncio
from datetime import datetime, timedelta

import pytest

from core.caller import Caller
from core.catalog.models import Money
from core.errors import NotFoundError, NotOwnedError, OutdatedError
from core.ids import now
from core.listening.models import BookProgressEntry
from tests.core.listening.conftest import DEVICE_NOW, Build, Instance, ago


async def test_nothing_saved_is_zero_and_what_was_saved_is_found_on_every_device(
    app: Instance, start: Build
) -> None:
    ada, book = await app.join(), await app.add_book()
    none = await app.listening.progress.show(ada, book)
    assert (none.position_seconds, none.recorded_at, none.completed) == (0, None, False)
    saved = await app.save(ada, book, position_seconds=61.5, device_id="phone", speed=1.25)
    assert await start().listening.progress.show(ada, book) == saved
    assert (saved.position_seconds, saved.speed, saved.device_id) == (61.5, 1.25, "phone")
    other = await app.listening.progress.show(await app.join(), book)
    assert other.position_seconds == 0


async def test_the_later_act_wins_in_whatever_order_they_arrive(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book()
    await app.save(ada, book, position_seconds=500, device_id="phone", **ago(60))
    with pytest.raises(OutdatedError) as refused:
        await app.save(ada, book, position_seconds=100, device_id="car", **ago(3600))
    assert refused.value.stored["position_seconds"] == 500
    assert refused.value.sent["position_seconds"] == 100
    assert (await app.listening.progress.show(ada, book)).position_seconds == 500
    assert (await app.save(ada, book, position_seconds=90, **ago(30))).position_seconds == 90


async def test_only_the_delay_between_act_and_sending_counts_and_nothing_is_in_the_future(
    app: Instance,
) -> None:
    ada, book = await app.join(), await app.add_book()
    before = now()
    saved = await app.save(ada, book, position_seconds=1, **ago(90))
    assert saved.recorded_at is not None
    assert before - timedelta(seconds=90) <= saved.recorded_at <= now() - timedelta(seconds=90)
    tomorrow = {"recorded_at": DEVICE_NOW + timedelta(days=1), "sent_at": DEVICE_NOW}
    saved = await app.save(ada, book, position_seconds=2, **tomorrow)
    assert saved.recorded_at is not None
    assert saved.recorded_at <= now()
    saved = await app.save(ada, book, position_seconds=3, recorded_at=DEVICE_NOW)
    assert saved.recorded_at is not None
    assert saved.recorded_at <= now()


@pytest.mark.parametrize("recorded", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_clocks_at_the_ends_of_time_are_taken(app: Instance, recorded: str) -> None:
    ada, book = await app.join(), await app.add_book()
    at = datetime.fromisoformat(recorded)
    saved = await app.save(ada, book, position_seconds=1, recorded_at=at, sent_at=DEVICE_NOW)
    assert saved.recorded_at is not None
    assert now() - timedelta(days=367) < saved.recorded_at <= now()


async def test_a_repeat_changes_nothing_however_late_it_arrives(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book()
    act = {"recorded_at": DEVICE_NOW - timedelta(seconds=9), "sent_at": DEVICE_NOW, "device_id": "car"}
    first = await app.save(ada, book, position_seconds=10, completed=True, **act)
    later = act | {"sent_at": DEVICE_NOW + timedelta(seconds=20)}
    for repeat in (act, later):
        assert await app.save(ada, book, position_seconds=10, completed=True, **repeat) == first
    assert (await app.stats(ada)).books_completed == 1


async def test_nobody_is_beyond_the_end_of_a_book(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book(duration_seconds=100)
    assert (await app.save(ada, book, position_seconds=5000)).position_seconds == 100


async def test_who_may_not_hear_a_book_is_nowhere_in_it(app: Instance) -> None:
    ada = await app.join()
    priced = await app.add_book(price=Money(amount=1299))
    draft = await app.add_book(visibility="draft")
    with pytest.raises(NotOwnedError):
        await app.save(ada, priced, position_seconds=1)
    assert (await app.listening.progress.show(ada, priced)).position_seconds == 0
    with pytest.raises(NotFoundError):
        await app.save(ada, draft, position_seconds=1)
    with pytest.raises(NotFoundError):
        await app.listening.progress.show(ada, draft)


async def test_a_batch_tells_of_each_item_and_saves_what_fits(app: Instance) -> None:
    ada, one, two = await app.join(), await app.add_book(), await app.add_book()
    priced = await app.add_book(price=Money(amount=1))
    await app.save(ada, two, position_seconds=900, **ago(5))
    entries = [
        BookProgressEntry(audiobook_id=one, position_seconds=30, completed=True, **ago(10)),
        BookProgressEntry(audiobook_id=two, position_seconds=20, **ago(60)),
        BookProgressEntry(audiobook_id=priced, position_seconds=20, **ago(60)),
        BookProgressEntry(audiobook_id="nosuchbook", position_seconds=20),
        BookProgressEntry(audiobook_id=one, position_seconds=10, **ago(40)),
    ]
    outcomes = await app.listening.progress.save_all(ada, entries)
    assert [outcome.error.status if outcome.error else 200 for outcome in outcomes] == [
        200,
        409,
        403,
        404,
        200,
    ]
    assert outcomes[1].progress is not None
    assert outcomes[1].progress.position_seconds == 900
    assert (await app.listening.progress.show(ada, one)).position_seconds == 30
    assert (await app.listening.progress.show(ada, two)).position_seconds == 900
    assert (await app.stats(ada)).books_completed == 1


async def test_books_are_current_until_completed_and_counted_once(app: Instance) -> None:
    ada = await app.join()
    books = [await app.add_book(title=title) for title in ("One", "Two", "Three")]
    for number, book in enumerate(books):
        await app.save(ada, book, position_seconds=10, **ago(100 - number))
    assert await titles(app, ada, completed=False) == ["Three", "Two", "One"]
    await app.save(ada, books[1], position_seconds=3600, completed=True, **ago(50))
    await app.save(ada, books[1], position_seconds=5, **ago(40))
    assert await titles(app, ada, completed=False) == ["Three", "One"]
    assert await titles(app, ada, completed=True) == ["Two"]
    assert (await app.stats(ada)).books_completed == 1
    await app.save(ada, books[1], position_seconds=5, completed=False, **ago(30))
    assert await titles(app, ada, completed=False) == ["Two", "Three", "One"]
    assert (await app.stats(ada)).books_completed == 0
    await app.catalog.update(books[2], lambda book: book.model_copy(update={"visibility": "withdrawn"}))
    items, _ = await app.listening.progress.begun(ada, 10, None, completed=False)
    assert [item.audiobook is None for item in items] == [False, True, False]


async def titles(app: Instance, caller: Caller, *, completed: bool) -> list[str]:
    """Return what is listed, read page by page."""
    found: list[str] = []
    after = None
    while True:
        items, after = await app.listening.progress.begun(caller, 1, after, completed=completed)
        found += [item.audiobook.title for item in items if item.audiobook]
        if after is None:
            return found


async def test_of_many_devices_at_once_the_last_act_is_kept(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book()
    acts = [app.save(ada, book, position_seconds=n, device_id=f"d{n}", **ago(100 - n)) for n in range(1, 9)]
    results = await asyncio.gather(*acts, return_exceptions=True)
    assert all(not isinstance(result, Exception) or isinstance(result, OutdatedError) for result in results)
    assert (await app.listening.progress.show(ada, book)).position_seconds == 8


async def test_nothing_is_written_for_who_has_left(app: Instance) -> None:
    ada, book, other = await app.join(), await app.add_book(), await app.add_book()
    await app.save(ada, book, position_seconds=1)
    session = await app.start(ada, book, **ago(60))
    await app.note(ada, session, 10)
    files = await app.copy(ada)
    assert files.keys() == {"progress.json", "listening.json", "months.json"}
    assert files["progress.json"][0]["audiobook_id"] == book
    assert files["listening.json"][0]["seconds_listened"] == 10
    await app.store.change_user(ada.user_id, lambda user: user.model_copy(update={"erasing_at": now()}))
    await app.erase(ada)
    assert await app.rows(ada.user_id) == ["user"]
    for late in (
        app.save(ada, book, position_seconds=2),
        app.save(ada, other, position_seconds=2, completed=True),
        app.start(ada, book),
        app.note(ada, session, 20),
    ):
        with pytest.raises(NotFoundError):
            await late
    assert await app.rows(ada.user_id) == ["user"]
