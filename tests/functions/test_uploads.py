"""Recordings that are announced and written straight to the storage, and small ones sent at once."""

from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from core.ids import now
from core.settings import Settings
from core.storage import StorageAccount
from core.transcription.uploads import Allowance
from localhost.azurite import STORAGE
from tests.aloud import Aloud
from tests.audio import make_audio
from tests.person import Person, form_with_file, publisher_of, write_blob


@pytest.fixture(scope="module")
def recording() -> bytes:
    return make_audio("mp3", 12, sounds=[(0, 5), (6, 12)], tags={"title": "By its tags", "artist": "Ann"})


@pytest_asyncio.fixture(scope="module")
async def publisher(aloud: Aloud) -> Person:
    return await publisher_of(aloud)


def announced(content: bytes, **fields: Any) -> dict[str, Any]:
    said = {"filename": "My Book.mp3", "size_bytes": len(content), "content_type": "audio/mpeg"}
    return {"purpose": "audiobook", **said, **fields}


async def test_an_announced_file_becomes_its_publishers_draft(
    aloud: Aloud, publisher: Person, recording: bytes
) -> None:
    status, upload, headers = await publisher.post("/uploads", **announced(recording))
    assert status == 201, upload
    path = f"/uploads/{upload['id']}"
    assert headers["Location"] == f"/api/v1{path}"
    book_path = f"/audiobooks/{upload['audiobook_id']}"
    waiting = await publisher.get(book_path)
    assert (waiting["title"], waiting["processing_status"]) == ("My Book", "waiting")
    assert (await publisher.get(f"{book_path}/processing"))["job_id"] is None
    assert (await publisher.post(f"{path}/complete"))[0] == 409

    other = await publisher_of(aloud)
    assert (await other.call("GET", path))[0] == 404
    assert (await aloud.call("GET", f"/api/v1{path}"))[0] == 404, "an administrator's is another's too"
    renewed = await publisher.get(path)
    assert renewed["url"] != "" and renewed["audiobook_id"] == upload["audiobook_id"]
    await write_blob(renewed["url"], recording, blocks=3)
    status, done, _ = await publisher.post(f"{path}/complete")
    assert (status, done["audiobook_id"]) == (202, upload["audiobook_id"])

    job = await aloud.settled(f"{upload['id']}/audio.mp3")
    assert (job["status"], job["audiobook_id"]) == ("ready", upload["audiobook_id"])
    book = await publisher.get(book_path)
    assert (book["title"], book["processing_status"]) == ("By its tags", "ready")
    assert book["visibility"] == "draft", "a publisher's book is not given away by AUTO_PUBLISH"
    processing = await publisher.get(done["status_url"].removeprefix("/api/v1"))
    assert processing["processing_status"] == "ready"
    assert processing["chunks"]["done"] == processing["chunks"]["total"] == 1
    assert (await publisher.post(f"{book_path}/processing/retry"))[0] == 409
    mine = (await publisher.get("/audiobooks/mine"))["items"]
    assert [item["id"] for item in mine].count(book["id"]) == 1

    fields = {"visibility": "published", "price": {"amount": 300}}
    assert (await publisher.call("PATCH", book_path, json=fields))[0] == 200


async def test_the_link_writes_one_blob_and_does_nothing_else(
    aloud: Aloud, publisher: Person, recording: bytes
) -> None:
    _, upload, _ = await publisher.post("/uploads", **announced(recording))
    url = upload["url"]
    await aloud.blobs.get_blob_client("uploads", f"{upload['id']}/other.mp3").upload_blob(b"not ours")
    blob_headers = {"x-ms-blob-type": "BlockBlob"}
    async with aiohttp.ClientSession() as http:
        neighbour = url.replace("/audio.mp3", "/next.mp3")
        assert (await http.put(neighbour, data=b"x", headers=blob_headers)).status == 403
        assert (await http.get(url.replace("/audio.mp3", "/other.mp3"))).status == 403
        assert (await http.get(url)).status in (403, 404)
        assert (await http.delete(url)).status == 403
        folder = url.replace(f"/{upload['id']}/audio.mp3", "")
        assert (await http.get(f"{folder}&restype=container&comp=list")).status == 403
    log = aloud.log.read_text()
    assert "sig=" not in log


async def test_a_page_of_ours_may_write_to_the_storage_and_another_may_not(
    aloud: Aloud, publisher: Person, recording: bytes
) -> None:
    _, upload, _ = await publisher.post("/uploads", **announced(recording))
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-ms-blob-type"}
    async with aiohttp.ClientSession() as http:
        for origin, expected in ((aloud.base_url, 200), ("https://elsewhere.example", 403)):
            async with http.options(upload["url"], headers={"Origin": origin, **asked}) as answer:
                assert answer.status == expected
                allowed = answer.headers.get("Access-Control-Allow-Origin")
                assert (allowed == origin) == (expected == 200)


async def test_a_file_other_than_announced_is_rejected_with_a_reason(
    aloud: Aloud, publisher: Person, recording: bytes
) -> None:
    _, upload, _ = await publisher.post("/uploads", **announced(recording))
    await write_blob(upload["url"], recording + b"more")
    status, problem, _ = await publisher.post(f"/uploads/{upload['id']}/complete")
    assert status == 409
    assert "were announced" in problem["detail"]
    job = await aloud.settled(f"{upload['id']}/audio.mp3")
    assert (job["status"], job["reason"]) == ("rejected", problem["detail"])
    processing = await publisher.get(f"/audiobooks/{upload['audiobook_id']}/processing")
    assert processing["processing_reason"] == problem["detail"]


async def test_a_book_that_is_there_gets_its_audio_and_keeps_what_was_said(
    aloud: Aloud, publisher: Person, recording: bytes
) -> None:
    said = {"title": "As I call it", "authors": ["Me"], "tags": ["mine"], "price": {"amount": 5}}
    _, book, _ = await publisher.post("/audiobooks", **said)
    stranger = await publisher_of(aloud)
    wanted = announced(recording, audiobook_id=book["id"])
    assert (await stranger.post("/uploads", **wanted))[0] == 404
    _, upload, _ = await publisher.post("/uploads", **wanted)
    assert upload["audiobook_id"] == book["id"]
    await write_blob(upload["url"], recording)
    await aloud.settled(f"{upload['id']}/audio.mp3")
    made = await publisher.get(f"/audiobooks/{book['id']}")
    assert (made["title"], made["authors"], made["tags"]) == (book["title"], book["authors"], ["mine"])
    assert (made["processing_status"], made["duration_seconds"]) == ("ready", pytest.approx(12, abs=0.2))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"size_bytes": 5 * 10**9}, 413),
        ({"filename": "notes.pdf"}, 415),
        ({"content_type": "text/html"}, 415),
        ({"size_bytes": 0}, 422),
        ({"purpose": "podcast"}, 422),
        ({"purpose": "task", "audiobook_id": "0" * 26}, 422),
        ({"purpose": "task", "task_id": "0" * 26}, 422),
        ({"purpose": "task", "task_id": "0" * 26, "part": 2}, 404),
        ({"task_id": "0" * 26, "part": 2}, 422),
        ({"filename": "a\n.mp3"}, 422),
        ({"audiobook_id": "0" * 26}, 404),
        ({"owner_id": "me"}, 422),
    ],
)
async def test_what_cannot_come_is_refused_before_it_comes(
    publisher: Person, fields: dict[str, Any], expected: int
) -> None:
    status, problem, _ = await publisher.post("/uploads", **announced(b"words", **fields))
    assert status == expected, problem


async def test_a_small_file_and_its_book_come_in_one_form(
    aloud: Aloud, publisher: Person, recording: bytes
) -> None:
    fields = {
        "title": "By form",
        "authors": "Ann; Ben",
        "price": "250",
        "currency": "EUR",
        "isbn": "0306406152",
    }
    form = form_with_file(recording, "../../Örtlich.MP3", **fields)
    status, reply, _ = await publisher.call("POST", "/audiobooks/upload", data=form)
    assert status == 202, reply
    book = reply["book"]
    assert [person["name"] for person in book["authors"]] == ["Ann", "Ben"]
    assert book["price"] == {"amount": 250, "currency": "EUR"}
    status_path = reply["status_url"].removeprefix("/api/v1")
    jobs = (await aloud.get("/api/v1/admin/jobs?limit=100"))["items"]
    while not (mine := [job for job in jobs if job["audiobook_id"] == book["id"]]):
        jobs = (await aloud.get("/api/v1/admin/jobs?limit=100"))["items"]
    await aloud.settled(mine[0]["blob_name"])
    assert (await publisher.get(status_path))["processing_status"] == "ready"
    made = await publisher.get(f"/audiobooks/{book['id']}")
    assert (made["title"], made["isbn"]) == ("By form", "9780306406157")


async def test_who_has_used_up_the_day_gets_no_empty_draft(aloud: Aloud, recording: bytes) -> None:
    publisher = await publisher_of(aloud)
    user_id = (await publisher.get("/users/me"))["id"]
    settings = Settings.read({STORAGE: aloud.connection_string, "JWT_SIGNING_KEY": "k" * 32})
    account = StorageAccount(settings)
    try:
        row = Allowance(announced=int(settings.upload_gb_per_day * 10**9) - 5)
        await account.table("uploads").put(row, f"user-{user_id}", f"day-{now():%Y-%m-%d}")
    finally:
        await account.close()
    form = form_with_file(recording, title="Too much")
    status, problem, headers = await publisher.call("POST", "/audiobooks/upload", data=form)
    assert (status, int(headers["Retry-After"]) > 0) == (429, True), problem
    assert (await publisher.get("/audiobooks/mine"))["items"] == []
    assert (await publisher.call("POST", "/audiobooks/upload", data=form_with_file(b"word")))[0] == 202


@pytest.mark.parametrize(
    ("form", "expected", "said"),
    [
        (form_with_file(b"0" * (25 * 2**20 + 2**17)), 413, "/uploads"),
        (form_with_file(b""), 422, "file"),
        (form_with_file(b"words", price="12.99"), 422, "price.amount"),
        (form_with_file(b"words", owner_id="me"), 422, "owner_id"),
        (form_with_file(b"words", isbn="1"), 422, "isbn"),
        (form_with_file(b"words", "a.exe"), 415, ".mp3"),
    ],
)
async def test_a_form_that_cannot_be_is_refused(
    publisher: Person, form: aiohttp.FormData, expected: int, said: str
) -> None:
    status, problem, _ = await publisher.call("POST", "/audiobooks/upload", data=form)
    assert status == expected, problem
    assert said in f"{problem['detail']} {problem.get('errors')}"
    assert (await publisher.call("POST", "/audiobooks/upload", json={}))[0] == 415
