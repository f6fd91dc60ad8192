"""People, series and genres that administrators name, over the running app, and who follows whom."""

import asyncio
import json
from typing import Any

import pytest_asyncio

from core.catalog.models import Book, Money
from core.ids import new_id, now
from core.settings import Settings
from core.wiring import build
from tests.aloud import Aloud
from tests.person import Person, publisher_of


@pytest_asyncio.fixture(scope="module")
async def admin(aloud: Aloud) -> Person:
    person = Person(aloud, aloud.admin_email, aloud.admin_password)
    await person.sign_in()
    return person


async def publish(aloud: Aloud, **fields: Any) -> Book:
    """Put a published book into the tables, as a publisher would have left it."""
    connection = {"AzureWebJobsStorage": aloud.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    services = build(Settings.read(connection))
    at = now()
    facts = {
        "id": new_id(at),
        "price": Money(amount=5),
        "visibility": "published",
        "processing_status": "ready",
    }
    book = Book.model_validate({**facts, "created_at": at, "updated_at": at, **fields})
    try:
        await services.catalog.create(book)
    finally:
        await services.close()
    return book


async def listed(person: Person, path: str, count: int) -> dict[str, Any]:
    """Wait until an author or a series has so many published books."""
    async with asyncio.timeout(20):
        while True:
            status, shown, _ = await person.call("GET", path)
            if status == 200 and shown["book_count"] == count:
                return dict(shown)
            await asyncio.sleep(0.05)


async def test_a_new_name_is_seen_in_books_and_drafts_and_the_old_one_leads_to_it(
    aloud: Aloud, admin: Person
) -> None:
    publisher = await publisher_of(aloud)
    old, new = f"Mary {new_id()}", f"Marian {new_id()}"
    published = await publish(aloud, title="Out", authors=(old,), narrators=(old,))
    _, draft, _ = await publisher.post("/audiobooks", title="Not out", authors=[old])
    author_id = draft["authors"][0]["id"]
    path = f"/authors/{author_id}"
    shown = await listed(admin, path, 1)
    assert (shown["name"], shown["about"]) == (old, None)

    status, _, _ = await admin.call("PUT", path, json={"name": new, "about": "Wrote it.", "rank": 1})
    assert status == 422
    status, changed, _ = await admin.call("PUT", path, json={"name": new, "about": "Wrote it."})
    assert (status, changed) == (200, {"id": author_id, "name": new, "about": "Wrote it."})
    async with asyncio.timeout(20):
        while (await publisher.get(f"/audiobooks/{draft['id']}"))["authors"][0]["name"] != new:
            await asyncio.sleep(0.05)
        while (await admin.get(path))["name"] != new:
            await asyncio.sleep(0.05)
        while True:
            book = (await aloud.call("GET", f"/api/v1/audiobooks/{published.id}", token=""))[1]
            if book["narrators"][0]["name"] == book["authors"][0]["name"] == new:
                break
            await asyncio.sleep(0.05)
    for name in (old, new):  # whatever the next book's file or form says
        _, book, _ = await publisher.post("/audiobooks", title="Next", authors=[name])
        assert book["authors"] == [{"id": author_id, "name": new}]
    assert (await admin.post("/authors", name=new))[0] == 409
    assert (await admin.post("/narrators", name=old.upper()))[0] == 409
    assert (await admin.call("DELETE", path))[0] == 409, "a published book names her"


async def test_a_name_that_is_taken_is_refused_and_one_without_books_is_shown_and_deleted(
    admin: Person,
) -> None:
    first, second = f"First {new_id()}", f"Second {new_id()}"
    _, one, headers = await admin.post("/series", name=first, about="A row of books.")
    _, two, _ = await admin.post("/series", name=second)
    assert headers["Location"] == f"/api/v1/series/{one['id']}"
    shown = await admin.get(f"/series/{one['id']}")
    assert (shown["about"], shown["book_count"], shown["books"]) == ("A row of books.", 0, [])
    assert (await admin.call("PUT", f"/series/{two['id']}", json={"name": first}))[0] == 409
    assert (await admin.call("PUT", f"/series/{'0' * 26}", json={"name": "x"}))[0] == 404
    assert (await admin.call("DELETE", f"/series/{one['id']}"))[0] == 204
    assert (await admin.call("DELETE", f"/series/{one['id']}"))[0] == 404
    assert (await admin.call("PUT", f"/series/{two['id']}", json={"name": first}))[0] == 200


async def test_of_two_who_change_what_they_have_read_one_is_told(admin: Person) -> None:
    name = f"Guarded {new_id()}"
    status, author, headers = await admin.post("/authors", name=name)
    path = f"/authors/{author['id']}"
    _, _, read = await admin.call("GET", path)
    assert (status, headers["ETag"]) == (201, '"1"')
    assert (await admin.call("GET", path, headers={"If-None-Match": read["ETag"]}))[0] == 304
    answers = await asyncio.gather(
        *(
            admin.call("PUT", path, json={"name": f"{name} {n}"}, headers={"If-Match": read["ETag"]})
            for n in range(3)
        )
    )
    assert sorted(status for status, _, _ in answers) == [200, 412, 412]
    (changed,) = [content["name"] for status, content, _ in answers if status == 200]
    for n in range(3):
        free = 409 if changed.endswith(str(n)) else 201
        assert (await admin.post("/authors", name=f"{name} {n}"))[0] == free, "a name that was not taken"
    assert (await admin.call("DELETE", path, headers={"If-Match": read["ETag"]}))[0] == 412
    _, _, read = await admin.call("GET", path)
    assert (await admin.call("DELETE", path, headers={"If-Match": read["ETag"]}))[0] == 204
    _, genre, tag = await admin.post("/genres", name=f"Genre {new_id()}")
    genre_path = f"/genres/{genre['id']}"
    body = {"name": genre["name"], "about": "Now described."}
    for expected in (200, 412):
        guarded = {"If-Match": tag["ETag"]}
        assert (await admin.call("PUT", genre_path, json=body, headers=guarded))[0] == expected


async def test_two_genres_become_one(aloud: Aloud, admin: Person) -> None:
    publisher = await publisher_of(aloud)
    short, full = f"SF {new_id()}", f"Science Fiction {new_id()}"
    _, book, _ = await publisher.post("/audiobooks", title="Both", genres=[short, full])
    _, genre, _ = await admin.post("/genres", name=short)
    status, changed, _ = await admin.call("PUT", f"/genres/{genre['id']}", json={"name": full})
    assert status == 200
    assert changed["id"] != genre["id"]
    async with asyncio.timeout(20):
        while (await publisher.get(f"/audiobooks/{book['id']}"))["genres"] != [full]:
            await asyncio.sleep(0.05)
    _, later, _ = await publisher.post("/audiobooks", title="Later", genres=[short])
    assert later["genres"] == [full]
    third = f"Speculative {new_id()}"
    assert (await admin.call("PUT", f"/genres/{changed['id']}", json={"name": third}))[0] == 200
    _, latest, _ = await publisher.post("/audiobooks", title="Latest", genres=[short, full])
    assert latest["genres"] == [third]


async def test_whom_i_follow_is_mine_to_take_along(aloud: Aloud, admin: Person) -> None:
    person = await Person.join(aloud)
    _, author, _ = await admin.post("/authors", name=f"Followed {new_id()}")
    for path, expected in ((author["id"], 204), (author["id"], 204), ("0" * 26, 404)):
        assert (await person.call("PUT", f"/authors/{path}/follow"))[0] == expected
    followed = json.loads((await person.export()).read("follows.json"))
    assert [row["person_id"] for row in followed] == [author["id"]]
    assert (await person.call("DELETE", f"/narrators/{author['id']}/follow"))[0] == 204
