"""What crawlers and feed readers are told, over the running app."""

import asyncio
from xml.etree import ElementTree

import pytest

from core.catalog.models import Book, Money, PersonName
from core.ids import new_id, now
from core.settings import Settings
from core.wiring import build
from tests.aloud import Aloud

ATOM = "{http://www.w3.org/2005/Atom}"


async def fetch(aloud: Aloud, path: str) -> tuple[str, ElementTree.Element]:
    async with aloud.http.get(path) as answer:
        assert answer.status == 200
        return answer.content_type, ElementTree.fromstring(await answer.read())


async def test_a_published_book_is_told_and_a_draft_is_not(aloud: Aloud) -> None:
    connection = {"AzureWebJobsStorage": aloud.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    services = build(Settings.read(connection))
    at, title = now(), f"<Odd> & \x0btitle {new_id()}"
    book = Book(
        id=new_id(at),
        title=title,
        authors=(PersonName.of("Ann Author"),),
        price=Money(amount=5),
        visibility="published",
        processing_status="ready",
        created_at=at,
        updated_at=at,
    )
    draft = book.model_copy(update={"id": new_id(at), "visibility": "draft"})
    try:
        await services.catalog.create(book)
        await services.catalog.create(draft)
    finally:
        await services.close()
    async with asyncio.timeout(20):
        while (await aloud.call("GET", f"/api/v1/audiobooks/{book.id}/similar"))[0] != 200:
            await asyncio.sleep(0.1)
        while True:
            kind, feed = await fetch(aloud, "/feed.xml")
            entries = {entry.findtext(f"{ATOM}title"): entry for entry in feed.iter(f"{ATOM}entry")}
            if title.replace("\x0b", "") in entries:
                break
            await asyncio.sleep(0.1)
    assert kind == "application/atom+xml"
    entry = entries[title.replace("\x0b", "")]
    link = entry.find(f"{ATOM}link")
    assert link is not None
    assert link.get("href", "").endswith(f"/books/{book.slug}")
    assert entry.findtext(f"{ATOM}author/{ATOM}name") == "Ann Author"

    kind, sitemap = await fetch(aloud, "/sitemap.xml")
    assert kind == "application/xml"
    addresses = [element.text or "" for element in sitemap.iter() if element.tag.endswith("loc")]
    assert any(address.endswith(f"/books/{book.slug}") for address in addresses)
    assert not any(draft.id in address for address in addresses)
    async with aloud.http.get("/robots.txt") as answer:
        assert "/sitemap.xml" in await answer.text()


@pytest.mark.parametrize("part", ["0", "-1", "x", "999999"])
async def test_a_part_that_cannot_be_is_not_found(aloud: Aloud, part: str) -> None:
    async with aloud.http.get(f"/sitemap.xml?part={part}") as answer:
        assert answer.status == 404
