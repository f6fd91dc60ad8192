"""What the index chooses for a listener: for a reason each, and never what they have."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.catalog.index import documents
from core.catalog.index.documents import Document
from core.catalog.index.picks import find_cards, find_picks
from core.catalog.models import Book, PersonName, SeriesPlace, Taste, name_id
from core.ids import new_id
from tests.core.catalog.conftest import make_book
from tests.core.catalog.shelf import build

ANN, BEN = PersonName.of("Ann Author"), PersonName.of("Ben Voice")
SAGA = name_id("series", "The Saga")


def saga(position: float, **facts: object) -> Book:
    series = SeriesPlace(id=SAGA, name="The Saga", position=position)
    return make_book(f"Saga {position:g}", series=series, **facts)


FIRST = datetime(2026, 1, 1, tzinfo=UTC)
BOOKS = {
    book.title: book.model_copy(update={"created_at": FIRST + timedelta(days=day)})
    for day, book in enumerate(
        [
            *(saga(position, genres=("Fantasy",)) for position in (1, 2, 2.5, 3)),
            make_book("By Ann 1", authors=(ANN,), work_id="ann-1"),
            make_book("By Ann 1, read by Ben", authors=(ANN,), narrators=(BEN,), work_id="ann-1"),
            make_book("By Ann 2", authors=(ANN,), genres=("Mystery",)),
            *(make_book(f"Mystery {plays}", genres=("Mystery",), plays=plays) for plays in range(6)),
            *(make_book(f"Other {plays}", plays=plays) for plays in (0, 50, 90)),
        ]
    )
}
IDS = [book.id for book in BOOKS.values()]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    database = build(tmp_path_factory.mktemp("picks") / "index.sqlite", BOOKS.values())
    yield database
    database.close()


def taste(*known: str, **wants: object) -> Taste:
    ids = tuple(BOOKS[title].id for title in known)
    return Taste(known=frozenset(ids), begun=ids, **wants)  # type: ignore[arg-type]


def ask(shelf: sqlite3.Connection, wanted: Taste, limit: int = 20) -> list[tuple[str, str, str]]:
    return [
        (pick.kind, pick.name, json.loads(pick.card)["title"]) for pick in find_picks(shelf, wanted, limit)
    ]


def test_a_series_goes_on_after_the_last_book_that_was_begun(shelf: sqlite3.Connection) -> None:
    assert ask(shelf, taste("Saga 1"), 1) == [("series", "The Saga", "Saga 2")]
    assert ask(shelf, taste("Saga 1", "Saga 2"), 1) == [("series", "The Saga", "Saga 2.5")]
    assert ask(shelf, taste("Saga 3", "Saga 1"), 1) == [("series", "The Saga", "Saga 2")]  # what was left out
    whole = ask(shelf, taste("Saga 1", "Saga 2", "Saga 2.5", "Saga 3"))
    assert "series" not in [kind for kind, _, _ in whole]


def test_each_source_takes_its_turn_and_then_comes_what_many_hear(shelf: sqlite3.Connection) -> None:
    wanted = taste(
        "Saga 1",
        people=(ANN.id, BEN.id),
        genres=("Mystery",),
        companions=(
            (BOOKS["Saga 1"].id, (new_id(), BOOKS["Other 50"].id, BOOKS["Mystery 1"].id)),
            (new_id(), (BOOKS["Other 0"].id,)),
        ),
    )
    found = ask(shelf, wanted)
    assert found[:6] == [
        ("series", "The Saga", "Saga 2"),
        ("listeners", "Saga 1", "Other 50"),
        ("author", "Ann Author", "By Ann 2"),
        ("genre", "Mystery", "Mystery 5"),
        ("listeners", "Saga 1", "Mystery 1"),
        ("author", "Ann Author", "By Ann 1, read by Ben"),
    ]
    assert found[6:8] == [("genre", "Mystery", "Mystery 4"), ("genre", "Mystery", "Mystery 3")]
    rest = [(kind, title) for kind, _, title in found if kind in ("popular", "new")]
    assert rest[0] == ("popular", "Other 90")
    assert {title for kind, title in rest if kind == "new"} <= {"Other 0", "Saga 2.5", "Saga 3"}
    assert "By Ann 1" not in [title for _, _, title in found]  # another edition of one that is shown


def test_a_newcomer_gets_what_many_hear(shelf: sqlite3.Connection) -> None:
    assert ask(shelf, Taste(), 3) == [
        ("popular", "", "Other 90"),
        ("popular", "", "Other 50"),
        ("popular", "", "Mystery 5"),
    ]


ids = st.sampled_from([*IDS, "00000000000000000000000000"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    known=st.frozensets(ids, max_size=len(IDS)),
    begun=st.lists(ids, unique=True, max_size=4),
    companions=st.lists(st.tuples(ids, st.lists(ids, unique=True, max_size=5)), max_size=3),
    people=st.lists(st.sampled_from([ANN.id, BEN.id, "unknown"]), unique=True),
    genres=st.lists(st.sampled_from(["Mystery", "Fantasy", "None"]), unique=True),
    limit=st.integers(1, 20),
)
def test_nobody_is_shown_what_they_have_nor_anything_twice(
    shelf: sqlite3.Connection,
    known: frozenset[str],
    begun: list[str],
    companions: list[tuple[str, list[str]]],
    people: list[str],
    genres: list[str],
    limit: int,
) -> None:
    wanted = Taste(
        known=known | frozenset(begun),
        begun=tuple(begun),
        companions=tuple((book_id, tuple(others)) for book_id, others in companions),
        people=tuple(people),
        genres=tuple(genres),
    )
    picks = find_picks(shelf, wanted, limit)
    shown = [json.loads(pick.card)["id"] for pick in picks]
    works = {book.id: book.work_id or book.id for book in BOOKS.values()}
    had = {works[book_id] for book_id in wanted.known if book_id in works}
    left = set(works.values()) - had
    assert len({works[book_id] for book_id in shown}) == len(shown) == min(limit, len(left))
    assert not had & {works[book_id] for book_id in shown}
    assert picks == find_picks(shelf, wanted, limit)


def test_what_is_not_public_any_more_is_not_shown(tmp_path: Path) -> None:
    books = [make_book("Stays"), make_book("Goes")]
    database = build(tmp_path / "index.sqlite", books)
    ids = [book.id for book in reversed(books)]
    assert list(find_cards(database, ids)) == ids
    documents.apply(database, [Document(id=books[1].id, book=None)], 2)
    assert list(find_cards(database, ids)) == [books[0].id]
    assert [json.loads(pick.card)["title"] for pick in find_picks(database, Taste(), 5)] == ["Stays"]
    database.close()
