"""What people look for comes first, pages neither repeat nor skip, and no text can break a search."""

import json
import random
import sqlite3
import string
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.catalog.index import Filters, Sort, documents, facets, query
from core.catalog.index.counts import Counts, Kept
from core.catalog.index.documents import Document
from core.catalog.index.suggest import suggest
from core.catalog.models import Book, Money, PersonName, SeriesPlace
from core.errors import InvalidError
from localhost.seed.books import Words, generate
from tests.core.catalog.conftest import make_book
from tests.core.catalog.shelf import build, document_of, ids_of, read_shelf, titles_of

RELEVANCE = [
    tuple(part.strip() for part in line.split("="))
    for line in Path(__file__).with_name("relevance.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
IN_MEMORY = Path(":memory:")
SORTS: tuple[Sort, ...] = get_args(Sort)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """The hand-made books among generated ones."""
    words = Words(3000)
    others = [book for book, _ in generate(150, words=words)]
    database = build(tmp_path_factory.mktemp("shelf") / "index.sqlite", [*others, *read_shelf()])
    yield database
    database.close()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    database = build(
        tmp_path_factory.mktemp("crowd") / "index.sqlite",
        [book for book, _ in generate(120, words=Words(3000))],
    )
    yield database
    database.close()


def find(database: sqlite3.Connection, text: str, limit: int = 10, **filters: Any) -> query.Page:
    return query.search(database, text, Filters(**filters), limit)


def test_what_people_mean_comes_first(shelf: sqlite3.Connection) -> None:
    """Mean reciprocal rank over the whole list; a miss counts 0."""
    assert len(RELEVANCE) >= 60
    ranks = {}
    for text, expected in RELEVANCE:
        found = titles_of(find(shelf, text))
        ranks[text] = 1 / (found.index(expected) + 1) if expected in found else 0.0
    missed = {text: rank for text, rank in ranks.items() if rank < 1}
    assert sum(ranks.values()) / len(ranks) >= 0.9, missed
    assert all(ranks.values()), missed


def test_a_correction_is_said(shelf: sqlite3.Connection) -> None:
    assert find(shelf, "frankenstien").words == "frankenstein"
    assert find(shelf, "frankenstein").words is None


def test_highlights_are_html_with_only_our_marks(shelf: sqlite3.Connection) -> None:
    documents.apply(
        shelf,
        [document_of(make_book("Tags <b>bold</b> & <script>", summary="See <i>zanzibar</i> & \x02more\x03"))],
        2,
    )
    (item,) = find(shelf, "zanzibar").items
    assert json.loads(item)["highlights"] == {
        "summary": "See &lt;i&gt;<mark>zanzibar</mark>&lt;/i&gt; &amp; \x02more\x03"
    }
    (item,) = find(shelf, "les miserables").items
    assert json.loads(item)["highlights"]["title"] == "<mark>Les</mark> <mark>Misérables</mark>"
    item = find(shelf, "源氏").items[0]
    assert json.loads(item)["highlights"]["title"] == "<mark>源氏</mark>物語"
    assert json.loads(item)["summary"] == "光源氏の愛と栄華の物語。"


def test_filters_hold_for_a_search_and_facets_count_what_is_left(shelf: sqlite3.Connection) -> None:
    page = query.search(shelf, "moors", Filters(), 10, with_facets=True)
    assert page.facets is not None
    genres = {facet.name: facet.count for facet in page.facets["genre"]}
    assert genres["Classics"] == page.total == len(page.items)
    for name, count in genres.items():
        assert find(shelf, "moors", genre=name).total == count
    assert titles_of(find(shelf, "moors", author="charlotte bronte")) == []
    assert titles_of(find(shelf, "moors", author="Emily Bronte")) == ["Wuthering Heights"]


def test_facets_of_very_many_books_are_the_least_there_are(
    shelf: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> tuple[query.Page, query.Page]:
        return (
            query.browse(shelf, Filters(language="en"), "newest", 5, with_facets=True),
            find_all("the"),
        )

    def find_all(text: str) -> query.Page:
        return query.search(shelf, text, Filters(), 5, with_facets=True)

    exact = ask()
    assert not any(page.is_floor for page in exact)
    monkeypatch.setattr(query, "COUNTED_BOOKS", 40)
    monkeypatch.setattr(facets, "COUNTED_BOOKS", 40)
    for page, full in zip(ask(), exact, strict=True):
        assert page.is_floor
        assert page.total == full.total > 40
        assert page.items == full.items
        assert page.facets is not None and full.facets is not None
        true = {facet.id: facet.count for facet in full.facets["language"]}
        assert sum(facet.count for facet in page.facets["language"]) == 40
        assert all(facet.count <= true[facet.id] for facet in page.facets["language"])
    whole = query.browse(shelf, Filters(), "newest", 5, with_facets=True)
    assert not whole.is_floor, "the numbers of the whole catalog are kept"
    assert whole.facets is not None
    assert sum(facet.count for facet in whole.facets["language"]) > 40


def test_what_was_counted_before_holds_for_its_revision_alone() -> None:
    books = [make_book(f"Night {n}", genres=("Poetry",), language="en") for n in range(6)]
    database = build(IN_MEMORY, books)
    counts = Counts()

    def ask() -> list[int]:
        found = query.browse(
            database, Filters(genre="poetry", language="en"), "title", 2, with_facets=True, counts=counts
        )
        searched = query.search(database, "night", Filters(), 2, with_facets=True, counts=counts)
        left = [page.facets["genre"][0].count for page in (found, searched) if page.facets]
        return [found.total, searched.total, *left]

    assert ask() == ask() == [6, 6, 6, 6]
    documents.apply(database, [Document(id=books[0].id, book=None)], 2)
    assert ask() == ask() == [5, 5, 5, 5]
    database.close()


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    kept: Kept[int] = Kept(2)
    counted: list[int] = []

    def find(number: int) -> int:
        def count() -> int:
            counted.append(number)
            return number

        return kept.find(number, count)

    assert [find(n) for n in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert counted == [1, 2, 3, 2]


def test_a_search_can_be_put_in_another_order(shelf: sqlite3.Connection) -> None:
    first = query.search(shelf, "classics", Filters(author="Charles Dickens"), 2, sort="title")
    second = query.search(shelf, "classics", Filters(author="Charles Dickens"), 9, first.after, sort="title")
    assert titles_of(first) + titles_of(second) == sorted(
        ["A Tale of Two Cities", "David Copperfield", "Great Expectations", "Oliver Twist"]
    )


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dick", ("author", "Charles Dickens")),
        ("charlotte b", ("author", "Charlotte Brontë")),
        ("frank", ("book", "Frankenstein")),
        ("sherl", ("series", "Sherlock Holmes")),
        ("sci", ("genre", "Science Fiction")),
        ("mis", ("book", "Les Misérables")),
        ("marq", ("author", "Gabriel García Márquez")),
        ("oconn", ("author", "Siobhán O'Connell")),
        ("雪", ("book", "雪国")),
        ("dostoyevsky", ("author", "Fyodor Dostoevsky")),
        ("wuthring", ("book", "Wuthering Heights")),
    ],
)
def test_suggestions_while_typing(shelf: sqlite3.Connection, typed: str, expected: tuple[str, str]) -> None:
    assert expected in [(entry.kind, entry.text) for entry in suggest(shelf, typed, 8)]


def test_related_books_share_what_is_rare(shelf: sqlite3.Connection) -> None:
    def related(title: str) -> list[str]:
        (book_id,) = [i for i, t in zip(ids_of(p), titles_of(p), strict=True) if t == title]
        found = query.find_similar(shelf, book_id, 5)
        assert found is not None
        assert book_id not in [json.loads(item)["id"] for item in found]
        return [json.loads(item)["title"] for item in found]

    p = query.browse(shelf, Filters(genre="Fantasy"), "title", 100)
    assert set(related("The Two Lanterns")[:2]) == {
        "The Fellowship of the Copper Ring",
        "The Crown Comes Home",
    }
    p = query.browse(shelf, Filters(author="Jane Austen"), "title", 100)
    assert set(related("Emma")[:2]) == {"Pride and Prejudice", "Sense and Sensibility"}
    assert query.find_similar(shelf, "nothing", 5) is None


def test_people_and_series_have_their_books(shelf: sqlite3.Connection) -> None:
    names: list[str] = []
    after = None
    while True:
        page = query.list_terms(shelf, "author", 30, after)
        names += [term.name for term in page.items]
        after = page.after
        if after is None:
            break
    assert len(names) == page.total == len(set(names))
    series = {term.name: term for term in query.list_terms(shelf, "series", 100).items}
    found = query.find_term(shelf, "series", series["Sherlock Holmes"].id, 10)
    assert found is not None
    entry, books = found
    assert entry.books == 4
    assert [json.loads(book)["series"]["position"] for book in books] == [1, 2, 3, 5]
    assert query.find_term(shelf, "series", "nothing", 10) is None


# Pages

DAY = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = ("Ada", "Béa", "Čar", "Ödön")


@st.composite
def small_books(draw: st.DrawFn, key: int) -> Book:
    """A book that shares most of what can be filtered and sorted by with others."""
    return make_book(
        draw(st.sampled_from(("River", "river road", "The River", "Éte", "雪", ""))) or "?",
        id=f"book{key:022d}",
        authors=(PersonName.of(draw(st.sampled_from(NAMES))),),
        genres=tuple(draw(st.sets(st.sampled_from(("Fiction", "Poetry", "History")), max_size=2))),
        tags=tuple(draw(st.sets(st.sampled_from(("sea", "war")), max_size=2))),
        language=draw(st.sampled_from((None, "en", "de"))),
        series=draw(st.sampled_from((None, SeriesPlace(id="s1", name="Rivers", position=1)))),
        summary="water " * draw(st.integers(1, 3)),
        duration_seconds=draw(st.sampled_from((None, 60.0, 600.0, 6000.0))),
        price=draw(st.sampled_from((None, Money(amount=0), Money(amount=500), Money(amount=900)))),
        rating_average=draw(st.sampled_from((None, 2.0, 4.5))),
        rating_count=draw(st.integers(0, 3)),
        plays=draw(st.integers(0, 3)),
        release_date=draw(st.sampled_from((None, "2019", "2019-06", "2020-02-03", "soon"))),
        created_at=DAY + timedelta(days=draw(st.integers(0, 3))),
    )


@st.composite
def shelves(draw: st.DrawFn, largest: int = 14) -> list[Book]:
    return [draw(small_books(key)) for key in range(draw(st.integers(0, largest)))]


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "genre": st.sampled_from(("fiction", "Poetry", "no such")),
        "author": st.sampled_from(("ada", "bea", "odon")),
        "tag": st.just("sea"),
        "language": st.sampled_from(("en", "de")),
        "series": st.sampled_from(("s1", "rivers")),
        "min_duration": st.sampled_from((60.0, 700.0)),
        "max_duration": st.just(600.0),
        "released_from": st.sampled_from(("2019", "2019-06-01", "2020")),
        "released_to": st.sampled_from(("2019", "2020-02")),
        "min_rating": st.just(3.0),
        "min_plays": st.just(2),
        "max_price": st.sampled_from((0, 500)),
    },
)
PLAIN = {"bea": "Béa", "odon": "Ödön", "ada": "Ada", "fiction": "Fiction"}


def passes(book: Book, wanted: dict[str, Any]) -> bool:
    """The filters as a person reads them, without an index."""
    first, last = documents.span_of(book.release_date)
    seconds, price = book.duration_seconds, book.price
    checks: dict[str, Callable[[Any], bool]] = {
        "genre": lambda v: PLAIN.get(v, v) in book.genres,
        "author": lambda v: PLAIN[v] in [person.name for person in book.authors],
        "tag": lambda v: v in book.tags,
        "language": lambda v: book.language == v,
        "series": lambda _: book.series is not None,
        "min_duration": lambda v: seconds is not None and seconds >= v,
        "max_duration": lambda v: seconds is not None and seconds <= v,
        "released_from": lambda v: first is not None and first >= v,
        "released_to": lambda v: last is not None and last <= str(documents.span_of(v)[1]),
        "min_rating": lambda v: (book.rating_average or 0) >= v,
        "min_plays": lambda v: book.plays >= v,
        "max_price": lambda v: price is not None and price.amount <= v,
    }
    return all(checks[name](value) for name, value in wanted.items())


QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(
    books=shelves(),
    wanted=FILTERS,
    sort=st.sampled_from(SORTS),
    limit=st.integers(1, 5),
    searched=st.booleans(),
)
def test_pages_hold_each_book_that_passes_once_and_in_order(
    books: list[Book], wanted: dict[str, Any], sort: Sort, limit: int, searched: bool
) -> None:
    database = build(IN_MEMORY, books)
    expected = {book.id: book for book in books if passes(book, wanted)}
    seen: list[str] = []
    after = None
    while True:
        if searched:
            page = query.search(database, "water", Filters(**wanted), limit, after, sort=sort)
        else:
            page = query.browse(database, Filters(**wanted), sort, limit, after, with_facets=True)
        assert page.total == len(expected)
        seen += ids_of(page)
        after = json.loads(json.dumps(page.after))
        if after is None:
            break
        assert len(page.items) == limit
    database.close()
    assert sorted(seen) == sorted(expected)
    if page.facets:
        for kind in ("genre", "author", "language"):
            for facet in page.facets[kind]:
                more = {**wanted, kind: facet.name}
                if kind not in wanted:
                    names = {"Béa": "bea", "Ödön": "odon", "Ada": "ada"}
                    if facet.name != "Čar":
                        more[kind] = names.get(facet.name, facet.name)
                        assert facet.count == sum(passes(book, more) for book in books)
    values = [_sort_value(expected[book_id], sort) for book_id in seen]
    assert values == sorted(values, reverse=sort in ("newest", "popular", "rating"))


def _sort_value(book: Book, sort: Sort) -> Any:
    document = document_of(book).book
    assert document is not None
    return {
        "newest": book.created_at,
        "popular": book.plays,
        "rating": documents.rating_of(document),
        "title": documents.title_key(book.title),
        "duration": 10**9 if book.duration_seconds is None else book.duration_seconds,
        "price": 10**9 if book.price is None else book.price.amount,
    }[sort]


@QUICK
@given(data=st.data(), sort=st.sampled_from((None, *SORTS)), limit=st.integers(1, 4))
def test_a_book_that_stays_as_it_is_is_met_once_while_others_come_and_go(
    data: st.DataObject, sort: Sort | None, limit: int
) -> None:
    books = data.draw(shelves())
    database = build(IN_MEMORY, books)
    touched: set[str] = set()
    seen: list[str] = []
    after, key = None, 100
    for revision in range(2, 60):
        if sort is None:
            page = query.search(database, "water", Filters(), limit, after)
        else:
            page = query.browse(database, Filters(), sort, limit, after)
        seen += ids_of(page)
        after = json.loads(json.dumps(page.after))
        if after is None:
            break
        changes: list[Document] = []
        for _ in range(data.draw(st.integers(0, 2))):
            key += 1
            book = data.draw(small_books(key))
            changes.append(document_of(book))
            touched.add(book.id)
        gone = data.draw(st.sampled_from([None, *books]))
        if gone is not None:
            changes.append(Document(id=gone.id, book=None))
            touched.add(gone.id)
        documents.apply(database, changes, revision)
    database.close()
    kept = [book_id for book_id in seen if book_id not in touched]
    assert sorted(kept) == sorted(book.id for book in books if book.id not in touched)
    if sort is None:
        assert len(seen) == len(set(seen)), "relevance: nothing twice at all"


def test_a_place_in_another_order_is_refused(crowd: sqlite3.Connection) -> None:
    page = query.browse(crowd, Filters(), "title", 5)
    with pytest.raises(InvalidError):
        query.browse(crowd, Filters(), "price", 5, page.after)
    with pytest.raises(InvalidError):
        query.search(crowd, "garden", Filters(), 5, page.after)


def test_folding_changes_in_leaves_the_same_index_as_building_it_at_once(tmp_path: Path) -> None:
    books = [book for book, _ in generate(60, words=Words(2000))]
    changed = [book.model_copy(update={"title": f"{book.title} again", "plays": 7}) for book in books[:20]]
    at_once = build(tmp_path / "one.sqlite", [*changed, *books[30:]])
    in_steps = build(tmp_path / "two.sqlite", books)
    documents.apply(in_steps, [document_of(book) for book in changed[:10]], 2)
    documents.apply(in_steps, [document_of(book) for book in changed], 3)
    documents.apply(in_steps, [Document(id=book.id, book=None) for book in books[20:30]], 4)
    for sort in SORTS:
        one, two = (query.browse(d, Filters(), sort, 100, with_facets=True) for d in (at_once, in_steps))
        assert (one.items, one.total) == (two.items, two.total)
        assert {k: set(v) for k, v in (one.facets or {}).items() if k == "genre"} == {
            k: set(v) for k, v in (two.facets or {}).items() if k == "genre"
        }
    for text in ("again", "garden", "the", "ada"):
        assert find(at_once, text).total == find(in_steps, text).total
    kinds = ("author", "narrator", "series", "genre")
    for kind in kinds:
        assert query.list_terms(at_once, kind, 100).items == query.list_terms(in_steps, kind, 100).items
    for table in ("texts", "heads", "names"):
        in_steps.execute(f"INSERT INTO {table}({table}) VALUES ('integrity-check')")
    at_once.close()
    in_steps.close()


# Anything at all


def odd_texts(count: int) -> Iterator[str]:
    source = random.Random(1)
    pieces = [
        '"', "'", "*", "(", ")", "AND", "OR", "NOT", "NEAR(", "^", ":", "-", "+", "{", "}", "title:",
        "\\", "\x00", "\u200b", "\u0301", "\ud800", "é", "ß", "東京", "ガ", "🎧", "--", ";", "/*", "%", "_",
        "a", "the", "garden", "ada", "o'", "x" * 60, "\n", "1", "½", "ﬁ", "İ", "ة", "ไทย",
    ]  # fmt: skip
    for _ in range(count):
        kind = source.random()
        if kind < 0.5:
            yield source.choice(("", " ")).join(source.choices(pieces, k=source.randint(1, 8)))
        elif kind < 0.8:
            yield "".join(chr(source.randrange(1, 0x2FFFF)) for _ in range(source.randint(1, 12)))
        else:
            yield "".join(source.choices(string.printable, k=source.randint(1, 20)))


def test_ten_thousand_odd_texts_are_answered(crowd: sqlite3.Connection) -> None:
    for number, text in enumerate(odd_texts(10_000)):
        page = find(crowd, text, 5)
        assert page.total >= len(page.items)
        if number % 25 == 0:
            suggest(crowd, text, 5)
            name = text.encode(errors="replace").decode()[:200] or "a"
            query.browse(crowd, Filters(author=name, tag=name), "title", 5)
