"""From what I own to files on my disk, over HTTP and through the queue; and none of the links is logged."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from core.catalog.models import Book
from core.settings import Settings
from tests.aloud import Aloud
from tests.core.commerce.conftest import SETTINGS
from tests.core.commerce.depot import FORMS, Depot
from tests.person import Person


@pytest_asyncio.fixture
async def ada(aloud: Aloud) -> Person:
    return await Person.join(aloud)


@pytest_asyncio.fixture
async def book(aloud: Aloud, ada: Person) -> AsyncIterator[Book]:
    """A book that Ada has bought."""
    depot = Depot(Settings.read({"AzureWebJobsStorage": aloud.connection_string, **SETTINGS}))
    book = await depot.fill("Emma", b"sound of Emma")
    user = await ada.get("/users/me")
    await depot.give_to(user["id"], book)
    yield book
    await depot.close()


async def _load(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def test_what_i_own_can_be_loaded_one_by_one(aloud: Aloud, ada: Person, book: Book) -> None:
    (mine,) = (await ada.get("/my-books"))["items"]
    assert (mine["id"], mine["title"]) == (book.id, "Emma")
    assert await _load(mine["downloads"]["original"]) == b"sound of Emma"
    status, _, headers = await ada.call("GET", f"/my-books/{book.id}/download")
    assert status == 302
    assert await _load(headers["Location"]) == b"sound of Emma"
    link = await ada.get(f"/my-books/{book.id}/download?format=srt&redirect=false")
    assert await _load(link["url"]) == b"srt: words "
    eve = await Person.join(aloud)
    assert (await eve.get("/my-books"))["items"] == []
    assert (await eve.call("GET", f"/my-books/{book.id}/download"))[0] == 403
    assert (await ada.call("GET", f"/my-books/{book.id}/download?format=exe"))[0] == 422
    assert "sig=" not in aloud.log.read_text()


async def test_a_zip_is_made_in_the_background(aloud: Aloud, ada: Person, book: Book) -> None:
    status, begun, headers = await ada.post("/my-books/downloads", audiobook_ids=[book.id])
    assert status == 202
    path = headers["Location"].removeprefix("/api/v1")
    assert path == f"/my-books/downloads/{begun['id']}"
    async with asyncio.timeout(30):
        while (archive := await ada.get(path))["status"] != "ready":
            await asyncio.sleep(0.1)
    assert [one["id"] for one in (await ada.get("/my-books/downloads"))["items"]] == [begun["id"]]
    file = zipfile.ZipFile(io.BytesIO(await _load(archive["url"])))
    assert file.testzip() is None
    names = {f"Emma.{form}" for form in ("mp3", *FORMS)} | {"cover.jpg"}
    assert set(file.namelist()) == {f"Ada Example - Emma/{name}" for name in names}
    eve = await Person.join(aloud)
    assert (await eve.call("GET", path))[0] == 404
    assert (await eve.post("/my-books/downloads", audiobook_ids=[book.id]))[0] == 403
    assert (await ada.post("/my-books/downloads", audiobook_ids=[]))[0] == 422
    assert "sig=" not in aloud.log.read_text()
