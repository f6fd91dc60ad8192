"""Stretches of listening: what counts, once, and what it adds up to."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalog.models import Money
from core.errors import NotFoundError, NotOwnedError
from core.ids import new_id, now
from core.listening.models import Session, SessionUpdate
from core.listening.sessions import advance
from core.storage.account import count_calls
from tests.core.listening.conftest import Instance, ago


async def test_what_was_heard_is_in_the_sums_once_however_often_it_is_told(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book(genres=("Mystery", "Short"))
    session = await app.start(ada, book, device_id="phone", **ago(600))
    for told, when in ((60, 540), (60, 540), (60, 500), (120, 480), (90, 470), (60, 540), (120, 300)):
        view = await app.note(ada, session, told, position_seconds=told, **ago(when))
    assert view.seconds_listened == 120
    stats = await app.stats(ada)
    assert stats.seconds_listened == 120
    assert (stats.days_listened, stats.current_streak_days, stats.longest_streak_days) == (1, 1, 1)
    assert [(genre.genre, genre.seconds_listened) for genre in stats.by_genre] == [
        ("Mystery", 120),
        ("Short", 120),
    ]
    assert sum(month.seconds_listened for month in stats.by_month) == 120


async def test_nobody_hears_more_than_time_has_passed_times_speed(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book()
    session = await app.start(ada, book, **ago(100))
    assert (await app.note(ada, session, 5000, **ago(90))).seconds_listened == pytest.approx(10, abs=1)
    view = await app.note(ada, session, 5000, speed=2.0, **ago(50))
    assert view.seconds_listened == pytest.approx(90, abs=2)
    view = await app.note(ada, session, 5000)
    assert view.seconds_listened == pytest.approx(190, abs=4)
    days_ago = await app.start(ada, book, **ago(3 * 86400))
    assert (await app.note(ada, days_ago, 10**6)).seconds_listened == 86400


async def test_updates_that_arrive_at_once_count_once(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book()
    sessions = [await app.start(ada, book, **ago(600)) for _ in range(2)]
    acts = [app.note(ada, session, 50, **ago(300)) for session in sessions for _ in range(4)]
    assert {view.seconds_listened for view in await asyncio.gather(*acts)} == {50}
    assert (await app.stats(ada)).seconds_listened == 100
    assert await app.plays(book) == 1


async def test_a_play_is_counted_once_a_day_for_each_listener_and_book(app: Instance) -> None:
    book, other = await app.add_book(), await app.add_book()
    for _ in range(2):
        ada = await app.join()
        for heard in (book, book, other):
            session = await app.start(ada, heard, **ago(60))
            await app.note(ada, session, 0)
            await app.note(ada, session, 5, **ago(30))
            await app.note(ada, session, 25)
    silent = await app.start(await app.join(), other)
    assert silent
    assert (await app.plays(book), await app.plays(other)) == (2, 2)


async def test_the_history_shows_what_was_heard_newest_first(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book()
    sessions = [await app.start(ada, book, **ago(1000 - 100 * number)) for number in range(5)]
    for session in (*sessions[:2], *sessions[3:]):
        await app.note(ada, session, 10)
    found, after = [], None
    while True:
        items, after = await app.listening.sessions.history(ada, 2, after)
        found += [item.session.id for item in items]
        assert all(item.audiobook and item.audiobook.id == book for item in items)
        if after is None:
            break
    assert found == [sessions[4], sessions[3], sessions[1], sessions[0]]


async def test_a_stretch_is_its_listeners_own_and_of_a_book_that_may_be_heard(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book()
    session = await app.start(ada, book, **ago(60))
    for caller, session_id in (
        (await app.join(), session),
        (ada, new_id()),
        (ada, "z" * 26),
        (ada, "nothing"),
    ):
        with pytest.raises(NotFoundError):
            await app.note(caller, session_id, 1)
    with pytest.raises(NotOwnedError):
        await app.start(ada, await app.add_book(price=Money(amount=1)))


async def test_stats_cost_one_read(app: Instance) -> None:
    ada, book = await app.join(), await app.add_book()
    session = await app.start(ada, book, **ago(60))
    await app.note(ada, session, 10)
    calls = count_calls()
    await app.stats(ada)
    assert calls.count == 1


UPDATES = st.tuples(
    st.floats(0, 100_000), st.floats(0, 1_000_000), st.none() | st.floats(0.5, 3.5), st.floats(-5000, 200_000)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(UPDATES, max_size=12))
def test_whatever_is_told_in_whatever_order_what_counts_only_grows_within_time_and_speed(
    told: list[tuple[float, float, float | None, float]],
) -> None:
    received = now()
    began = received - timedelta(hours=20)
    session = Session(
        id="a",
        audiobook_id="b",
        started_at=began,
        start_position_seconds=0,
        position_seconds=0,
        speed=1,
        heard_at=began,
    )
    most = 0.0
    for position, seconds, speed, seconds_ago in told:
        act = ago(seconds_ago)
        entry = SessionUpdate(seconds_listened=seconds, position_seconds=position, speed=speed, **act)
        after, heard = advance(session, entry, received)
        assert heard >= 0
        assert heard == pytest.approx(after.seconds_listened - session.seconds_listened, abs=0.002)
        assert after.heard_at >= session.heard_at
        most += (after.heard_at - session.heard_at).total_seconds() * after.speed
        assert after.seconds_listened <= most + 0.001 * len(told)
        assert after.seconds_listened <= max(known for _, known, _, _ in told) + 0.001
        assert advance(after, entry, received) == (after, 0.0)
        session = after
