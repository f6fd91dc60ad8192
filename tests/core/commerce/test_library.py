"""My books: what I own and nothing else, and links that load one file for a few minutes."""

from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import aiohttp
import pytest
import pytest_asyncio

from core.caller import Caller
from core.catalog.models import AudioPart
from core.errors import ConflictError, NotFoundError, NotOwnedError
from core.ids import now
from localhost.azurite import Azurite
from tests.core.commerce.depot import FORMS, Depot, settings_of, somebody


@pytest_asyncio.fixture
async def depot(azurite: Azurite) -> AsyncIterator[Depot]:
    depot = Depot(settings_of(azurite))
    yield depot
    await depot.close()


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def ada() -> Caller:
    return somebody()


async def test_the_last_bought_comes_first_page_by_page(depot: Depot, ada: Caller) -> None:
    books = [await depot.fill(title) for title in ("One", "Two", "Three")]
    coming = await depot.fill("Being bought")
    for book in reversed(books):
        await depot.give(ada, book)
    await depot.give(ada, coming, "pending")
    await depot.withdraw(books[1])
    first, after = await depot.library.books(ada.user_id, 2)
    assert [book.title for book in first] == ["One", "Two"]
    rest, end = await depot.library.books(ada.user_id, 2, after)
    assert ([book.title for book in rest], end) == (["Three"], None)
    assert await depot.library.books(somebody().user_id, 2) == ([], None)


async def test_each_book_has_a_link_for_each_of_its_files(
    depot: Depot, ada: Caller, http: aiohttp.ClientSession
) -> None:
    whole, silent = await depot.fill("Straße: 日本?"), await depot.fill("No text", text=None)
    await depot.give(ada, silent)
    await depot.give(ada, whole)
    (book, other), _ = await depot.library.books(ada.user_id, 2)
    assert set(book.downloads) == {"original", *FORMS}
    assert set(other.downloads) == {"original"}
    for form, url in book.downloads.items():
        async with http.get(url) as answer:
            assert answer.status == 200
            content = await answer.read()
            name = "Straße 日本." + ("mp3" if form == "original" else form)
            disposition = answer.headers["Content-Disposition"]
        assert unquote(disposition.partition("filename*=UTF-8''")[2]) == name
        assert content == (b"sound" if form == "original" else f"{form}: words ".encode())


async def test_each_file_of_a_recording_has_its_own_name_and_link(
    depot: Depot, ada: Caller, http: aiohttp.ClientSession
) -> None:
    whole = await depot.fill("Emma")
    await depot.media.write(f"{whole.id}/two.flac", b"more sound", "audio/flac")
    second = AudioPart(blob=f"{whole.id}/two.flac", content_type="audio/flac", size=10, title="Chapter: 2")
    first = whole.parts[0].model_copy(update={"title": "Chapter 1"})
    await depot.catalog.update(whole.id, lambda b: b.model_copy(update={"parts": (first, second)}))
    await depot.give(ada, whole)
    ((book,), _) = await depot.library.books(ada.user_id, 1)
    names = []
    for url in book.original_parts:
        async with http.get(url) as answer:
            names.append(unquote(answer.headers["Content-Disposition"].partition("filename*=UTF-8''")[2]))
    assert names == ["01 Emma - Chapter 1.mp3", "02 Emma - Chapter 2.flac"]
    link = await depot.library.download(whole.id, "original", ada, 2)
    assert urlsplit(link.url).path == urlsplit(book.original_parts[1]).path
    with pytest.raises(NotFoundError):
        await depot.library.download(whole.id, "original", ada, 3)
    packed = [entry.name for entry in await depot.library.entries((whole.id,)) if not entry.is_text]
    assert [name.rpartition("/")[2] for name in packed] == [*names, "cover.jpg"]


async def test_a_link_reads_one_file_for_a_few_minutes_and_does_nothing_else(
    depot: Depot, ada: Caller, http: aiohttp.ClientSession
) -> None:
    book, other = await depot.fill("Emma"), await depot.fill("Persuasion")
    await depot.give(ada, book)
    link = await depot.library.download(book.id, "original", ada)
    parts = urlsplit(link.url)
    assert parse_qs(parts.query)["sp"] == ["r"] and parse_qs(parts.query)["sr"] == ["b"]
    assert link.expires_at - now() <= timedelta(minutes=15)
    assert other.parts
    elsewhere = urlunsplit(parts._replace(path=parts.path.replace(book.parts[0].blob, other.parts[0].blob)))
    container = urlunsplit(parts._replace(path=parts.path.removesuffix(f"/{book.parts[0].blob}")))
    longer = link.url.replace(parse_qs(parts.query)["se"][0].replace(":", "%3A"), "2099-01-01T00%3A00%3A00Z")
    assert longer != link.url
    headers = {"x-ms-blob-type": "BlockBlob"}
    for method, url in (
        ("PUT", link.url),
        ("DELETE", link.url),
        ("GET", elsewhere),
        ("GET", longer),
        ("GET", f"{container}&restype=container&comp=list"),
    ):
        async with http.request(method, url, headers=headers, data=b"") as answer:
            assert answer.status == 403, (method, url)
    async with http.get(link.url, headers={"Range": "bytes=1-2"}) as answer:
        assert (answer.status, await answer.read()) == (206, b"ou")


async def test_a_file_is_for_who_may_hear_the_book(depot: Depot, ada: Caller) -> None:
    book, draft = await depot.fill("Emma", text=None), await depot.fill("Sanditon", visibility="draft")
    for wanted, error in ((book, NotOwnedError), (draft, NotFoundError)):
        with pytest.raises(error):
            await depot.library.download(wanted.id, "original", ada)
    await depot.give(ada, book, "pending")
    with pytest.raises(NotOwnedError):
        await depot.library.download(book.id, "original", ada)
    eve = somebody()
    await depot.give(eve, book)
    await depot.withdraw(book)
    await depot.library.download(book.id, "original", eve)
    with pytest.raises(ConflictError):
        await depot.library.download(book.id, "txt", eve)
    with pytest.raises(NotFoundError):
        await depot.library.download(book.id, "original", somebody())
