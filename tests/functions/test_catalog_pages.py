"""The pages to find books by, as a browser without scripts gets them."""

import asyncio
import html
import re
from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio

from core.catalog.models import Book, Money, SeriesPlace, name_id
from core.ids import new_id
from tests.aloud import Aloud
from tests.functions.test_names import publish

WORD = f"Zq{new_id()[-8:]}"
Read = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture(scope="module")
async def books(aloud: Aloud) -> list[Book]:
    """A series of two by one author, who reads one of them, and a stranger's."""
    series = f"Row {WORD}"
    place = {"id": name_id("series", series), "name": series}
    first = await publish(
        aloud,
        title=f"The {WORD} Garden",
        authors=(f"Ann {WORD}",),
        narrators=(f"Ann {WORD}",),
        series=SeriesPlace(**place, position=1),
        summary=f"All about {WORD} & <roses>.",
        genres=(f"Genre {WORD}", "Fiction"),
        price=Money(amount=0),
    )
    second = await publish(
        aloud,
        title=f"The {WORD} Winter",
        authors=(f"Ann {WORD}",),
        narrators=("Ben Reader",),
        series=SeriesPlace(**place, position=2.5),
        genres=(f"Genre {WORD}",),
        price=Money(amount=900),
    )
    other = await publish(aloud, title=f"Elsewhere {WORD}", authors=(f"Cy {WORD}",), price=Money(amount=900))
    async with asyncio.timeout(20):
        while (await aloud.get(f"/api/v1/audiobooks/search?q={WORD}"))["total"] < 3:
            await asyncio.sleep(0.1)
    return [first, second, other]


@pytest_asyncio.fixture
async def read(aloud: Aloud) -> Read:
    async def fetch(path: str, expected: int = 200) -> str:
        async with aloud.http.get(path, allow_redirects=False) as answer:
            content = await answer.text()
            assert answer.status == expected, (path, content)
            return content

    return fetch


def titles(page: str) -> list[str]:
    headings = re.findall(r"<h3>\s*<a [^>]*>(.*?)</a>", page, re.S)
    return [html.unescape(re.sub(r"</?mark>", "", heading)) for heading in headings]


def link(page: str, text: str) -> str:
    """Return where the first link with this text leads."""
    found = re.search(rf'<a [^>]*href="([^"]+)"[^>]*>(?:<span>)?{re.escape(text)}', page)
    assert found, text
    return html.unescape(found[1])


async def test_a_search_shows_what_was_found_marked_and_can_be_narrowed(
    read: Read, books: list[Book]
) -> None:
    page = await read(f"/search?q={WORD.lower()}")
    assert set(titles(page)) == {book.title for book in books}
    assert f"<mark>{WORD}</mark> &amp; &lt;roses&gt;" in page
    assert 'content="noindex"' in page
    narrowed = await read(link(page, f"Genre {WORD}"))
    assert set(titles(narrowed)) == {books[0].title, books[1].title}
    again = await read(f"{link(narrowed, f'Ann {WORD}')}&max_price=0")
    assert titles(again) == [books[0].title]
    assert 'type="hidden" name="genre"' in again, "the form keeps what was chosen"
    assert set(titles(await read(link(narrowed, f"Genre: Genre {WORD}")))) == {book.title for book in books}


async def test_without_words_all_books_are_browsed_page_by_page(
    read: Read, books: list[Book], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await read(f"/search?author={books[0].authors[0].id}&sort=price&q=&min_rating=")
    assert titles(page) == [books[0].title, books[1].title]
    assert "2 books" in page
    assert 'content="noindex"' not in await read("/search")
    assert "Nothing was found" in await read("/search?genre=no-such-genre")
    await read("/search?after=forged", 404)
    await read("/search?min_rating=many", 422)
    assert "&lt;script&gt;" in await read("/search?q=%3Cscript%3E")


async def test_a_misspelt_word_says_what_was_searched_instead(read: Read, books: list[Book]) -> None:
    page = await read(f"/search?q={WORD[:-2]}{WORD[-1]}{WORD[-2]}+garden")
    assert titles(page)[0] == books[0].title


async def test_people_and_series_have_pages_that_books_lead_to(
    aloud: Aloud, read: Read, books: list[Book]
) -> None:
    page = await read(f"/books/{books[0].slug}")
    author = await read(link(page, f"Ann {WORD}"))
    assert set(titles(author)) == {books[0].title, books[1].title}
    narrator = await read(link(author, "the narrator of 1"))
    assert titles(narrator) == [books[0].title]
    series = await read(link(page, f"Row {WORD}"))
    assert titles(series) == [books[0].title, books[1].title]
    assert "Book 1" in series
    assert "Book 2.5" in series
    assert set(titles(await read(link(page, f"Genre {WORD}")))) == {books[0].title, books[1].title}
    for path in ("authors", "narrators", "series"):
        await read(f"/{path}/{'0' * 26}", 404)
        await read(f"/{path}/..%2F", 404)
    sitemap = await read("/sitemap.xml")
    person, place = books[0].authors[0].id, books[0].series
    assert place is not None
    for path in (
        f"/authors/{person}",
        f"/narrators/{person}",
        f"/series/{place.id}",
        f"/books/{books[0].slug}",
    ):
        assert f"{path}</loc>" in sitemap


async def test_what_administrators_say_is_shown_and_a_former_name_leads_to_the_new_one(
    aloud: Aloud, read: Read
) -> None:
    name = f"Old {new_id()}"
    _, author, _ = await aloud.call(
        "POST", "/api/v1/authors", json={"name": name, "about": "<b>Born</b> 1850."}
    )
    page = await read(f"/authors/{author['id']}")
    assert "&lt;b&gt;Born&lt;/b&gt; 1850." in page
    assert "There are no books yet" in page
    new = f"New {new_id()}"
    await aloud.call("PUT", f"/api/v1/authors/{author['id']}", json={"name": new})
    former = name_id("person", new)
    async with aloud.http.get(f"/authors/{former}", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, f"/authors/{author['id']}")


async def test_the_home_page_offers_a_search_and_genres(read: Read, books: list[Book]) -> None:
    page = await read("/")
    assert 'action="/search"' in page
    assert link(page, "Search") == "/search"
    assert re.search(r'href="/search\?genre=[^"]+"', page)
