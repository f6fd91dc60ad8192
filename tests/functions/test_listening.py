"""Listening over HTTP: conflicts that show both sides, batches, pages of lists."""

from typing import Any

import pytest

from core.catalog.models import Book, Money
from core.ids import new_id, now
from core.settings import Settings
from core.wiring import build
from tests.aloud import Aloud
from tests.person import Person

SENT = "2026-01-01T10:00:00Z"


async def shelve(aloud: Aloud, *titles: str) -> list[str]:
    """Put free books on the shelf and return their ids."""
    given = {"AzureWebJobsStorage": aloud.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    services = build(Settings.read(given))
    made: dict[str, Any] = {"visibility": "published", "processing_status": "ready"}
    made |= {"created_at": now(), "updated_at": now(), "price": Money(amount=0), "duration_seconds": 600}
    books = [Book(id=new_id(), title=title, **made) for title in titles]
    try:
        for book in books:
            await services.catalog.create(book)
    finally:
        await services.close()
    return [book.id for book in books]


async def every_page(person: Person, path: str) -> list[dict[str, Any]]:
    """Return a list's items, read one by one."""
    found: list[dict[str, Any]] = []
    page = await person.get(f"{path}?limit=1")
    while True:
        assert len(page["items"]) <= 1
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        page = await person.get(f"{path}?limit=1&cursor={page['next_cursor']}")


async def test_an_older_place_is_refused_with_both_alone_and_in_a_batch(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    one, two = await shelve(aloud, "One", "Two")
    newer = {"position_seconds": 50, "recorded_at": "2026-01-01T09:59:59Z", "sent_at": SENT}
    older = {"position_seconds": 20, "recorded_at": "2026-01-01T09:00:00+00:00", "sent_at": SENT}
    status, saved, _ = await person.call("POST", f"/progress/{one}", json=newer)
    assert (status, saved["position_seconds"], saved["recorded_at"][-1]) == (200, 50, "Z")
    status, problem, headers = await person.call("PUT", f"/progress/{one}", json=older)
    assert (status, headers["Content-Type"]) == (409, "application/problem+json")
    assert problem["type"].endswith("/outdated")
    assert problem["stored"] == saved
    assert problem["sent"]["position_seconds"] == 20
    items = [older | {"audiobook_id": one}, older | {"audiobook_id": two}, newer | {"audiobook_id": "none"}]
    status, results, _ = await person.call("PUT", "/progress", json={"items": items})
    assert status == 200
    assert [item["status"] for item in results["items"]] == [409, 200, 404]
    assert [item["audiobook_id"] for item in results["items"]] == [one, two, "none"]
    assert results["items"][0]["progress"] == saved
    assert results["items"][2]["progress"] is None


async def test_lists_are_read_page_by_page(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    books = await shelve(aloud, "One", "Two", "Three")
    noon = 720 - now().hour * 60 - now().minute
    for number, book in enumerate(books):
        place = {"position_seconds": 9, "completed": number == 2}
        assert (await person.call("PUT", f"/progress/{book}", json=place))[0] == 200
        act = {"recorded_at": f"2026-01-01T09:0{number}:00Z", "sent_at": SENT}
        start = {"audiobook_id": book, "start_position_seconds": 0, "utc_offset_minutes": noon, **act}
        status, stretch, _ = await person.call("POST", "/listening/sessions", json=start)
        assert status == 201
        path = f"/listening/sessions/{stretch['id']}"
        assert (await person.call("PUT", path, json={"seconds_listened": 60}))[0] == 200
    history = await every_page(person, "/listening/history")
    assert [item["audiobook"]["title"] for item in history] == ["Three", "Two", "One"]
    current = await every_page(person, "/listening/current")
    assert [item["audiobook"]["title"] for item in current] == ["Two", "One"]
    completed = await every_page(person, "/listening/completed")
    assert [item["progress"]["audiobook_id"] for item in completed] == [books[2]]
    stats = await person.get("/users/me/stats")
    assert (stats["seconds_listened"], stats["books_completed"], stats["current_streak_days"]) == (180, 1, 1)


@pytest.mark.parametrize(
    "body",
    [
        {"position_seconds": -1},
        {"position_seconds": 1, "recorded_at": "2026-01-01T09:00:00"},
        {"position_seconds": 1, "speed": 9},
        {"position_seconds": 1, "user_id": "another"},
        {},
    ],
)
async def test_what_no_place_can_be_is_refused(aloud: Aloud, body: dict[str, Any]) -> None:
    status, problem, _ = await aloud.call("PUT", "/api/v1/progress/none", json=body)
    assert status == 422
    assert problem["errors"]
