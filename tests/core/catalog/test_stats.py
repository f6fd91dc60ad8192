"""Plays are counted once each, whoever counts at the same time and whatever is cut off; the index follows."""

import asyncio
import json

from core.catalog.index import CatalogReader, Filters, query
from core.catalog.models import Book, Stats
from core.errors import UnavailableError
from core.ids import new_id, now
from tests.core.catalog.conftest import LONG_AGO, House


async def shown(house: House, book: Book, reader: CatalogReader | None = None) -> dict[str, object]:
    """Return a book as lists show it."""
    page = await (reader or house.reader).ask(
        lambda d: query.browse(d, Filters(), "popular", 100), query.Page()
    )
    return next(item for item in map(json.loads, page.items) if item["id"] == book.id)


async def counted(house: House) -> list[str]:
    return [stored.key async for stored in house.counts.pending()]


async def test_plays_reach_the_index_and_leave_the_book_as_it_was(house: House) -> None:
    quiet, loud = await house.add("Quiet", "Loud")
    await house.publisher.publish()
    plays = [new_id() for _ in range(5)]
    for play_id in (*plays, *plays):
        await house.stats.add_play(loud.id, play_id)
    await house.publisher.publish()
    assert (await shown(house, loud))["plays"] == 0, "with the next round, not with each play"
    await house.publisher.publish_counts()
    assert ((await shown(house, loud))["plays"], (await shown(house, quiet))["plays"]) == (5, 0)
    assert await counted(house) == []
    stored = await house.store.stored(loud.id)
    assert stored is not None
    assert (stored.book.revision, stored.book.plays) == (loud.revision, 5)
    await house.store.update(loud.id, lambda book: book.model_copy(update={"title": "Louder"}))
    await house.publisher.rebuild()
    rebuilt = await shown(house, loud, house.instance())
    assert (rebuilt["plays"], rebuilt["title"]) == (5, "Louder")


async def test_ratings_reach_the_index_as_an_average(house: House) -> None:
    book, other = await house.add("Rated", "Other")
    await house.publisher.publish()
    await house.counts.mark(book.id, 1)
    table = house.stats._books
    await table.put(Stats(rating_sum=14, rating_count=3, revision=1), book.id, "stats")
    await house.publisher.publish_counts()
    rated = await shown(house, book)
    assert (rated["rating_average"], rated["rating_count"]) == (4.67, 3)
    assert (await shown(house, other))["rating_average"] is None


async def test_of_plays_at_the_same_moment_none_is_lost(house: House) -> None:
    (book,) = await house.add("Hit")

    async def play() -> None:
        play_id = new_id()
        while True:
            try:
                return await house.stats.add_play(book.id, play_id)
            except UnavailableError:
                continue

    await asyncio.gather(*(play() for _ in range(12)))
    stored = await house.store.stored(book.id)
    assert stored is not None
    assert stored.stats.plays == 12


async def test_a_play_cut_off_is_counted_once_when_it_is_told_again(house: House) -> None:
    """Before the mark, between mark and count, and after the count whose answer was lost."""
    (book,) = await house.add("Cut off")
    await house.publisher.publish()
    play_id = new_id()
    await house.counts.mark(book.id, 1)  # died here
    await house.publisher.publish_counts()
    assert await counted(house) == [book.id], "the count may be under way"
    await house.stats.add_play(book.id, play_id)
    await house.stats.add_play(book.id, play_id)  # the answer was lost
    await house.publisher.publish_counts()
    assert (await shown(house, book))["plays"] == 1
    assert await counted(house) == []
    await house.counts.mark(book.id, 9)
    table = house.counts._changes
    (stale,) = [stored async for stored in house.counts.pending()]
    await table.put(stale.value.model_copy(update={"marked_at": now() - LONG_AGO}), "counted", book.id)
    await house.publisher.publish_counts()
    assert await counted(house) == [], "a count that never came"
