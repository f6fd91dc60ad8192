"""What is recommended to somebody follows from what they have, hear and follow, in a few reads."""

import json

from core.catalog.models import PersonName, SeriesPlace, name_id
from core.ids import new_id
from core.storage.account import count_calls
from tests.core.listening.conftest import ago
from tests.core.recommendations.conftest import Instance
from tests.core.recommendations.test_companions import tell


async def test_each_recommendation_has_its_reason_and_none_is_owned_or_a_draft(app: Instance) -> None:
    word = new_id()
    series = SeriesPlace(id=name_id("series", word), name=word)
    writer = PersonName.of(f"Writer {word}")
    one, two, draft = [
        await app.add_book(
            series=series.model_copy(update={"position": place}), visibility=seen, genres=(word,)
        )
        for place, seen in ((1, "published"), (2, "published"), (1.5, "draft"))
    ]
    finished = await app.add_book(title=f"Finished {word}", genres=())
    liked = await app.add_book(genres=())
    written = await app.add_book(authors=(writer,), genres=())
    same_genre = await app.add_book(genres=(word,))
    await app.catalog.publish()

    ada = await app.join()
    for _ in range(3):
        other = await app.join()
        await app.own(other, finished, liked, one)
        await tell(app, other)
    await app.own(ada, one)
    await app.save(ada, finished, position_seconds=3600, completed=True)
    await app.note(ada, await app.start(ada, one, **ago(600)), 60, **ago(300))
    await app.services.follows.follow(ada.user_id, writer.id)

    calls = count_calls()
    found = await app.recommended(ada)
    assert calls.count == 6  # what is owned, where, when, whom; one book that was finished; news of the index
    assert found[:4] == [
        ("series", f"Next in {word}", two),
        ("listeners", f"Because you finished Finished {word}", liked),
        ("author", f"By Writer {word}, whom you follow", written),
        ("genre", f"Because you listen to {word}", same_genre),
    ]
    shown = [book_id for _, _, book_id in found]
    assert not {one, finished, draft} & set(shown)
    assert len(set(shown)) == len(shown)
    assert await app.recommended(ada) == found
    assert (await app.recommended(ada, 2)) == found[:2]


async def test_a_newcomer_sees_what_is_popular_or_new_and_nothing_is_made_up(app: Instance) -> None:
    await app.add_book()
    await app.catalog.publish()
    cards = await app.rooms.for_listener((await app.join()).user_id, 100)
    assert cards
    assert {reason.kind for _, reason in cards} <= {"popular", "new"}
    assert all((json.loads(card)["plays"] > 0) == (reason.kind == "popular") for card, reason in cards)
