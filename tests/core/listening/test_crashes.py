"""Killed at any storage call, nothing that was confirmed is lost, and nothing counts twice."""

from dataclasses import dataclass

from core.caller import Caller
from tests.core.listening.conftest import Build, Instance, ago
from tests.faults import crash_everywhere


@dataclass
class Evening:
    """Somebody with a book, and a stretch of listening that began ten minutes ago."""

    ada: Caller
    book: str
    session: str = ""


async def begin(app: Instance) -> Evening:
    return Evening(await app.join(), await app.add_book())


async def begin_listening(app: Instance) -> Evening:
    evening = await begin(app)
    evening.session = await app.start(evening.ada, evening.book, **ago(600))
    return evening


async def sums(app: Instance, evening: Evening) -> tuple[float, float]:
    """Return what counts: of the stretches, and of the months."""
    held = {name: rows async for name, rows in app.listening.held(evening.ada.user_id)}
    return (
        sum(row.model_dump()["seconds_listened"] for row in held["listening"]),
        (await app.stats(evening.ada)).seconds_listened,
    )


async def test_what_was_heard_counts_whole_or_not_at_all_and_its_play_once(start: Build) -> None:
    async def act(app: Instance, evening: Evening) -> None:
        await app.note(evening.ada, evening.session, 60, **ago(300))

    async def check(app: Instance, evening: Evening) -> None:
        assert await sums(app, evening) in ((0, 0), (60, 60))
        assert await app.plays(evening.book) in (0, 1)

    async def check_done(app: Instance, evening: Evening) -> None:
        assert await sums(app, evening) == (60, 60)
        assert await app.plays(evening.book) == 1

    places = await crash_everywhere(start, begin_listening, act, check, act, check_done, in_sequence=True)
    assert len(places) >= 4


async def test_a_book_is_completed_and_counted_together(start: Build) -> None:
    async def act(app: Instance, evening: Evening) -> None:
        await app.save(evening.ada, evening.book, position_seconds=9, completed=True, **ago(60))

    async def check(app: Instance, evening: Evening) -> None:
        shown = await app.listening.progress.show(evening.ada, evening.book)
        assert (await app.stats(evening.ada)).books_completed == int(shown.completed)

    async def check_done(app: Instance, evening: Evening) -> None:
        shown = await app.listening.progress.show(evening.ada, evening.book)
        assert (shown.position_seconds, shown.completed) == (9, True)
        assert (await app.stats(evening.ada)).books_completed == 1

    places = await crash_everywhere(start, begin, act, check, act, check_done, in_sequence=True)
    assert places


async def test_a_stretch_that_was_begun_twice_shows_once(start: Build) -> None:
    async def act(app: Instance, evening: Evening) -> None:
        evening.session = await app.start(evening.ada, evening.book, **ago(60))

    async def check(app: Instance, evening: Evening) -> None:
        assert await sums(app, evening) == (0, 0)

    async def check_done(app: Instance, evening: Evening) -> None:
        await app.note(evening.ada, evening.session, 10)
        history, _ = await app.listening.sessions.history(evening.ada, 10, None)
        assert [item.session.seconds_listened for item in history] == [10]

    places = await crash_everywhere(start, begin, act, check, act, check_done, in_sequence=True)
    assert places
