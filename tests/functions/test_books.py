"""A publisher's books over the running app: made, changed, published, withdrawn."""

import asyncio
import io
from collections.abc import Mapping
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from tests.aloud import Aloud
from tests.audio import make_audio
from tests.person import Person, publisher_of

Answer = tuple[int, Any, Mapping[str, str]]


@pytest_asyncio.fixture(scope="module")
async def publisher(aloud: Aloud) -> Person:
    return await publisher_of(aloud)


async def new_book(person: Person, /, **fields: Any) -> dict[str, Any]:
    status, book, headers = await person.post("/audiobooks", **{"title": "A book", **fields})
    assert status == 201, book
    assert headers["Location"] == f"/api/v1/audiobooks/{book['id']}"
    return dict(book)


async def patch(
    person: Person, book_id: str, headers: Mapping[str, str] | None = None, **fields: Any
) -> Answer:
    return await person.call("PATCH", f"/audiobooks/{book_id}", json=fields, headers=headers or {})


async def test_a_book_keeps_what_its_publisher_says(publisher: Person) -> None:
    said: dict[str, Any] = {
        "title": "  The Ŀong Way ",
        "subtitle": "Home",
        "authors": ["Ann Author", {"id": "any", "name": "Ben Both"}, "ann author"],
        "narrators": ["Ned"],
        "genres": ["Travel", "travel"],
        "series": {"name": "Ways", "position": 2.5},
        "description": "Two\nlines",
        "language": "pt-BR",
        "publisher": "A House",
        "isbn": "0-8044-2957-X",
        "price": {"amount": 1299, "currency": "EUR"},
        "release_date": "2019-05",
        "tags": ["slow", "long"],
        "names": ["Elinor Dashwood", "Norland Park"],
    }
    book = await new_book(publisher, **said)
    assert (book["title"], book["isbn"]) == ("The Ŀong Way", "9780804429573")
    assert [person["name"] for person in book["authors"]] == ["Ann Author", "Ben Both"]
    assert book["genres"] == ["Travel"]
    assert book["series"]["position"] == 2.5
    assert (book["visibility"], book["processing_status"]) == ("draft", "waiting")
    assert await publisher.get(f"/audiobooks/{book['id']}") == book
    mine = (await publisher.get("/audiobooks/mine"))["items"]
    assert mine[0]["id"] == book["id"]

    again = {name: book[name] for name in said} | {"title": "Short"}
    status, replaced, headers = await publisher.call("PUT", f"/audiobooks/{book['id']}", json=again)
    assert status == 200, replaced
    changed = {"title", "slug", "revision", "updated_at"}
    assert {name for name in book if book[name] != replaced[name]} == changed
    assert headers["ETag"] == f'"{replaced["revision"]}"'
    _, bare, _ = await publisher.call("PUT", f"/audiobooks/{book['id']}", json={"title": "Bare"})
    assert (bare["isbn"], bare["price"], bare["authors"], bare["tags"]) == (None, None, [], [])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"title": " "}, "title"),
        ({"title": "x" * 501}, "title"),
        ({"title": "a\x00b"}, "title"),
        ({"title": None}, "title"),
        ({"names": ["x" * 81]}, "names.0"),
        ({"names": [f"Name {n}" for n in range(101)]}, "names"),
        ({"isbn": "9780306406158"}, "isbn"),
        ({"price": {"amount": -1}}, "price.amount"),
        ({"price": {"amount": 12.99}}, "price.amount"),
        ({"price": {"amount": 1, "currency": "euro"}}, "price.currency"),
        ({"price": {"amount": 1, "paid": True}}, "price.paid"),
        ({"release_date": "2019-02-30"}, "release_date"),
        ({"language": "Klingon!"}, "language"),
        ({"authors": ["a"] * 21}, "authors"),
        ({"authors": [{"name": "a", "role": "x"}]}, "authors.0"),
        ({"series": {"position": 1}}, "series.name"),
        ({"owner_id": "someone"}, "owner_id"),
        ({"rating_average": 5}, "rating_average"),
        ({"rating_count": 9}, "rating_count"),
        ({"plays": 9}, "plays"),
        ({"revision": 9}, "revision"),
        ({"processing_status": "ready"}, "processing_status"),
        ({"published_at": "2020-01-01T00:00:00Z"}, "published_at"),
        ({"job_id": "x"}, "job_id"),
        ({"has_own_tags": True}, "has_own_tags"),
        ({"visibility": "published"}, "visibility"),
    ],
)
async def test_what_may_not_be_set_is_named(publisher: Person, fields: dict[str, Any], field: str) -> None:
    status, problem, _ = await publisher.post("/audiobooks", **{"title": "A book", **fields})
    assert status == 422
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_a_stale_change_is_refused_and_one_of_many_wins(publisher: Person) -> None:
    book = await new_book(publisher)
    tag = {"If-Match": f'"{book["revision"]}"'}
    answers = await asyncio.gather(
        *(patch(publisher, book["id"], tag, subtitle=f"Number {n}") for n in range(4))
    )
    assert sorted(status for status, _, _ in answers) == [200, 412, 412, 412]
    won = next(content for status, content, _ in answers if status == 200)
    assert (await publisher.get(f"/audiobooks/{book['id']}"))["subtitle"] == won["subtitle"]
    assert (await publisher.call("DELETE", f"/audiobooks/{book['id']}", headers=tag))[0] == 412
    assert (await patch(publisher, book["id"], {"If-Match": "*"}, subtitle=None))[0] == 200
    either = {"If-Match": f'"0", W/"{won["revision"] + 1}"'}
    assert (await patch(publisher, book["id"], either, subtitle="Yes"))[0] == 200
    assert (await patch(publisher, book["id"], subtitle="Without"))[0] == 200


async def test_an_isbn_is_of_one_book_and_free_again_once_left(publisher: Person) -> None:
    isbn = "9791090636071"
    answers = await asyncio.gather(
        *(publisher.post("/audiobooks", title=f"Number {n}", isbn=isbn) for n in range(4))
    )
    assert sorted(status for status, _, _ in answers) == [201, 409, 409, 409]
    first = next(content for status, content, _ in answers if status == 201)
    other = await new_book(publisher)
    assert (await patch(publisher, other["id"], isbn="979-10-90636-07-1"))[0] == 409
    assert (await patch(publisher, first["id"], isbn=isbn))[0] == 200
    assert (await patch(publisher, first["id"], isbn=None))[0] == 200
    assert (await patch(publisher, other["id"], isbn=isbn))[0] == 200
    assert (await patch(publisher, first["id"], isbn=isbn))[0] == 409


@pytest_asyncio.fixture(scope="module")
async def ready(aloud: Aloud) -> dict[str, Any]:
    """A ready book of the administrators."""
    await aloud.upload("editing.mp3", make_audio("mp3", 20, sounds=[(0, 9), (10, 20)]))
    await aloud.wait_for("editing.mp3", "ready")
    return await aloud.book_of("editing.mp3")


async def test_a_book_is_published_only_when_it_can_be_sold(aloud: Aloud, publisher: Person) -> None:
    book = await new_book(publisher, price={"amount": 1})
    status, problem, _ = await patch(publisher, book["id"], visibility="published")
    assert (status, problem["type"]) == (409, "/problems/conflict")
    assert "not ready" in problem["detail"]
    status, problem, _ = await patch(publisher, book["id"], visibility="published", price=None)
    assert (status, "price" in problem["detail"]) == (409, True)
    stranger = await publisher_of(aloud)
    assert (await stranger.call("GET", f"/audiobooks/{book['id']}"))[0] == 404
    assert (await patch(stranger, book["id"], title="Mine"))[0] == 404
    assert (await stranger.get("/audiobooks/mine"))["items"] == []


async def test_price_and_visibility_change_at_once_and_end_up_in_the_list(
    aloud: Aloud, ready: dict[str, Any]
) -> None:
    admin = Person(aloud, aloud.admin_email, aloud.admin_password)
    await admin.sign_in()
    path = f"/audiobooks/{ready['id']}"
    status, changed, _ = await patch(admin, ready["id"], price={"amount": 777}, title="Priced anew")
    assert (status, changed["price"]) == (200, {"amount": 777, "currency": "USD"})
    status, problem, _ = await admin.call("PUT", path, json={"title": "No price"})
    assert (status, "price" in problem["detail"]) == (409, True)
    listener = await Person.join(aloud)
    assert (await listener.get(path))["price"]["amount"] == 777
    assert (await listener.call("GET", f"{path}/stream?redirect=false"))[0] == 403
    async with asyncio.timeout(20):
        while True:
            found = (await aloud.get("/api/v1/audiobooks/search?q=priced%20anew"))["items"]
            if [item["price"]["amount"] for item in found if item["id"] == ready["id"]] == [777]:
                break
            await asyncio.sleep(0.05)
    status, _, _ = await admin.call("DELETE", path)
    assert status == 204
    assert (await listener.call("GET", path))[0] == 404
    assert (await admin.get(path))["visibility"] == "withdrawn"
    assert (await patch(admin, ready["id"], visibility="draft"))[0] == 409
    assert (await patch(admin, ready["id"], visibility="published"))[0] == 200
    entries = (await admin.get("/admin/audit?limit=100"))["items"]
    told = [entry["detail"] for entry in entries if entry["target"] == ready["id"]]
    assert told == ["visibility=published", "visibility=withdrawn", "price=777 USD, title"]


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ([(0, 5), (4, 9)], "items.1.start_seconds"),
        ([(5, 5)], "items.0.end_seconds"),
        ([(0, 5), (5, 30)], "items.1.end_seconds"),
        ([(0, float("inf"))], "items.0.end_seconds"),
        ([(-1, 5)], "items.0.start_seconds"),
    ],
)
async def test_chapters_that_cannot_be_are_named(
    aloud: Aloud, ready: dict[str, Any], times: list[tuple[float, float]], field: str
) -> None:
    items = [{"title": "x", "start_seconds": start, "end_seconds": end} for start, end in times]
    status, problem, _ = await aloud.call(
        "PUT", f"/api/v1/audiobooks/{ready['id']}/chapters", json={"items": items}
    )
    assert status == 422
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_chapters_are_replaced_as_a_whole_and_put_in_order(
    aloud: Aloud, ready: dict[str, Any], publisher: Person
) -> None:
    path = f"/api/v1/audiobooks/{ready['id']}/chapters"
    items = [
        {"title": "Second", "start_seconds": 9.5, "end_seconds": 20},
        {"title": "First", "start_seconds": 0, "end_seconds": 9.5},
    ]
    status, _, _ = await aloud.call("PUT", path, json={"items": items})
    assert status == 200
    shown = (await aloud.get(path))["items"]
    assert [(chapter["index"], chapter["title"]) for chapter in shown] == [(0, "First"), (1, "Second")]
    waiting = await new_book(publisher)
    status, problem, _ = await publisher.call(
        "PUT", f"/audiobooks/{waiting['id']}/chapters", json={"items": []}
    )
    assert (status, problem["detail"]) == (409, "This book has no audio yet.")


async def test_a_cover_is_stored_in_sizes_and_formats_and_replaced(aloud: Aloud, publisher: Person) -> None:
    book = await new_book(publisher)
    photo = io.BytesIO()
    Image.new("RGB", (1500, 2000), "teal").save(photo, "JPEG")

    async def send(content: bytes) -> Answer:
        headers = {"Content-Type": "image/jpeg"}
        return await publisher.call("POST", f"/audiobooks/{book['id']}/cover", data=content, headers=headers)

    status, first, _ = await send(photo.getvalue())
    assert status == 200, first
    assert (await aloud.call("GET", first["cover_url"], token=""))[0] == 404, "of a draft"
    names = [
        name
        async for name in aloud.blobs.get_container_client("media").list_blob_names(
            name_starts_with=f"{book['id']}/"
        )
    ]
    assert sorted(name.rpartition("/")[2] for name in names) == [
        "1024.jpg",
        "1024.webp",
        "320.jpg",
        "320.webp",
    ]
    blob = aloud.blobs.get_blob_client("media", next(name for name in names if name.endswith("320.webp")))
    stored = Image.open(io.BytesIO(await (await blob.download_blob()).readall()))
    assert (stored.format, stored.size) == ("WEBP", (240, 320))
    status, second, _ = await send(photo.getvalue())
    assert second["cover_url"] != first["cover_url"]
    assert (await send(b"\xff\xd8\xff junk"))[0] == 422
    assert (await publisher.get(f"/audiobooks/{book['id']}"))["cover_url"] == second["cover_url"]
