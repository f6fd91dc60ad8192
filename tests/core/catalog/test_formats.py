"""Books as files: what is written can be read again, and what is odd is told by line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalog.editing import BookContent
from core.catalog.folding import fold
from core.catalog.formats import header, read_rows, to_cells, to_line
from core.catalog.models import Book, Money, PersonName, SeriesPlace, name_id
from core.errors import MalformedRequestError
from core.ids import new_id, now

ODD = st.sampled_from(("a;b", "\\", "\\;", ";", "'=1", "''+", "'", "@x", "-"))
TEXT = ODD | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(
    str.strip
)
NAMES = st.lists(TEXT, max_size=3, unique_by=lambda name: name.strip().casefold())


def unique(people: tuple[PersonName, ...]) -> list[str]:
    """Return names that differ in more than case and accents, as a book takes them."""
    found: dict[str, str] = {}
    for person in people:
        found.setdefault(fold(person.name), person.name)
    return list(found.values())


@given(TEXT, NAMES, NAMES, st.none() | st.integers(0, 10_000), st.none() | TEXT)
def test_what_is_exported_is_imported_as_the_same(
    title: str, authors: list[str], tags: list[str], price: int | None, series: str | None
) -> None:
    at = now()
    book = Book(
        id=new_id(at),
        title=title.strip(),
        authors=tuple(PersonName.of(name.strip()) for name in authors),
        tags=tuple(tag.strip() for tag in tags),
        price=None if price is None else Money(amount=price, currency="EUR"),
        other_prices=(Money(amount=5, currency="USD"), Money(amount=7, currency="GBP")) if price else (),
        series=None
        if series is None
        else SeriesPlace(id=name_id("series", series), name=series.strip(), position=2.5),
        description='Two\nlines, "quoted"; and more',
        created_at=at,
        updated_at=at,
    )
    ((_, from_csv),) = read_rows((header() + to_cells(book)).encode(), "csv")
    ((_, from_json),) = read_rows(to_line(book).encode(), "jsonl")
    for said in (from_csv, from_json):
        assert isinstance(said, dict)
        assert said.pop("id") == book.id
        content = BookContent.model_validate(said)
        assert content.title == book.title
        assert list(content.authors) == unique(book.authors)
        assert (content.price is None) == (book.price is None)
        assert content.price is None or content.price.amount == price
        assert [(p.amount, p.currency) for p in content.other_prices] == [
            (p.amount, p.currency) for p in book.other_prices
        ]
        assert (content.series.name if content.series else None) == (series.strip() if series else None)
        assert content.description == book.description


@pytest.mark.parametrize("title", ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "'quoted'"])
def test_a_spreadsheet_computes_nothing(title: str) -> None:
    at = now()
    book = Book(id=new_id(at), title=title, created_at=at, updated_at=at)
    line = to_cells(book)
    assert line[0] not in "=+-@\t\r"
    ((_, said),) = read_rows((header() + line).encode(), "csv")
    assert isinstance(said, dict)
    assert said["title"] == title


def test_rows_that_cannot_be_read_are_told_by_line() -> None:
    csv = 'title,price\r\nOne,5\r\n\r\n"Two\nlines",6\r\nThree\r\nFour,7\r\n'
    rows = list(read_rows(csv.encode(), "csv"))
    assert [line for line, _ in rows] == [2, 4, 6, 7]
    assert [isinstance(said, dict) for _, said in rows] == [True, True, False, True]
    lines = list(read_rows(b'{"title": "One"}\n\n[1]\nno\n{"title": "Two"}', "jsonl"))
    assert [(line, isinstance(said, dict)) for line, said in lines] == [
        (1, True),
        (3, False),
        (4, False),
        (5, True),
    ]


@pytest.mark.parametrize(
    ("content", "form"),
    [(b"name,price\r\nx,1", "csv"), (b"\xff\xfe", "jsonl"), (b"<!DOCTYPE a><a/>", "opf"), (b"<a", "opf")],
)
def test_a_file_that_is_none_is_refused(content: bytes, form: str) -> None:
    with pytest.raises(MalformedRequestError):
        list(read_rows(content, form))  # type: ignore[arg-type]


def test_a_package_is_one_book() -> None:
    package = """<?xml version="1.0"?>
    <package xmlns="http://www.idpf.org/2007/opf" xmlns:opf="http://www.idpf.org/2007/opf"
             xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>
      <dc:title>A Package</dc:title>
      <dc:creator opf:role="aut">Ann Author</dc:creator>
      <dc:creator opf:role="nrt">Ned Narrator</dc:creator>
      <dc:identifier>calibre:7</dc:identifier><dc:identifier opf:scheme="ISBN">0-306-40615-2</dc:identifier>
      <dc:language>en</dc:language><dc:date>2019-05-01T00:00:00+00:00</dc:date><dc:subject>Travel</dc:subject>
      <meta name="calibre:series" content="Packages"/><meta name="calibre:series_index" content="2.0"/>
    </metadata></package>"""
    ((_, said),) = read_rows(package.encode(), "opf")
    content = BookContent.model_validate(said)
    assert (content.title, content.isbn, content.release_date) == ("A Package", "9780306406157", "2019-05-01")
    assert (content.authors, content.narrators, content.genres) == (
        ("Ann Author",),
        ("Ned Narrator",),
        ("Travel",),
    )
    assert content.series is not None
    assert (content.series.name, content.series.position) == ("Packages", 2)
