"""Questions to the index: browse, search, one book, related books, people and series.

Each runs in a thread with one connection, inside one transaction, so that all its parts see one state.
Books are returned as the JSON that the index holds of them: nobody parses it on the way out.
"""

import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.catalog.folding import SEPARATOR
from core.catalog.index.counts import Counts
from core.catalog.index.facets import COUNTED_BOOKS, Facets, count_facets, list_facets
from core.catalog.index.filters import Filters, Narrowed, Sort, drive, narrow, order
from core.catalog.index.highlighting import highlight
from core.catalog.index.matching import Match, count_matches, find_matches
from core.catalog.index.schema import TEXT_COLUMNS, read_fact
from core.errors import InvalidError

_SUMMARY = TEXT_COLUMNS.index("summary")
_RELATED_TERM_BOOKS = 3000
_SERIES_BOOKS = 500
_as_json = json.JSONEncoder(ensure_ascii=False).encode
_KIND_WEIGHT = {"series": 4.0, "author": 3.0, "narrator": 1.5, "tag": 1.0, "genre": 1.0}


@dataclass(frozen=True)
class Page:
    """Books as JSON, how many there are in all, and where the next page begins (None: this was the last).

    `words` are those that were searched, where they are not the ones that were asked for. With `is_floor`
    there are more books than were counted for the facets, whose numbers are the least there are.
    """

    items: list[str] = field(default_factory=list)
    total: int = 0
    after: Any = None
    facets: Facets | None = None
    is_floor: bool = False
    words: str | None = None
    revision: int = 0


@dataclass(frozen=True)
class TermEntry:
    """A person, a genre or a series of the catalog; shown alone, with the catalog's revision."""

    id: str
    name: str
    books: int
    revision: int = 0


@dataclass(frozen=True)
class TermPage:
    items: list[TermEntry] = field(default_factory=list)
    total: int = 0
    after: Any = None
    revision: int = 0


def browse(
    database: sqlite3.Connection,
    filters: Filters,
    sort: Sort,
    limit: int,
    after: Any = None,
    *,
    with_facets: bool = False,
    counts: Counts | None = None,
) -> Page:
    """Return a page of books in an order. The place of a page is that of the book before it, whatever has
    come or gone since. Raises InvalidError for a place in another order."""
    place = _check_place(after, sort)
    counts = counts or Counts()
    revision = read_fact(database, "revision")
    narrowed = narrow(database, filters)
    if narrowed.is_empty:
        return Page(revision=revision, facets={} if with_facets else None)
    total = counts.totals.find((revision, narrowed), lambda: narrowed.count(database))
    column, direction, comparison = order(sort)
    source, clause = drive(database, narrowed, total, limit)
    bound, start = (f"AND (b.{column}, b.id) {comparison} (?, ?)", place) if place else ("", ())
    rows = database.execute(
        f"SELECT b.book, b.{column}, b.id FROM {source} WHERE {clause} {bound} "
        f"ORDER BY b.{column} {direction}, b.id {direction} LIMIT ?",
        (*narrowed.values, *start, limit + 1),
    ).fetchall()
    shown = rows[:limit]
    return Page(
        items=list(read_cards(database, [row[0] for row in shown]).values()),
        total=total,
        after=[sort, *shown[-1][1:]] if len(rows) > limit else None,
        facets=_facets_of(database, counts, revision, narrowed) if with_facets else None,
        is_floor=with_facets and not narrowed.is_all and total > COUNTED_BOOKS,
        revision=revision,
    )


def _facets_of(database: sqlite3.Connection, counts: Counts, revision: int, narrowed: Narrowed) -> Facets:
    if narrowed.is_all:
        return list_facets(database)
    return _facets(database, counts, revision, *narrowed.everything)


def _facets(
    database: sqlite3.Connection, counts: Counts, revision: int, query: str, values: tuple[object, ...]
) -> Facets:
    return counts.facets.find((revision, query, values), lambda: count_facets(database, query, values))


def search(
    database: sqlite3.Connection,
    text: str,
    filters: Filters,
    limit: int,
    after: Any = None,
    *,
    sort: Sort | None = None,
    with_facets: bool = False,
    counts: Counts | None = None,
) -> Page:
    """Return the books that fit a text, the best first, or in an order.

    How well a book fits changes a little with every book that comes or goes. So the place of a page in the
    order of relevance is the set of books that were shown before it: none comes twice, none is passed over.
    """
    revision = read_fact(database, "revision")
    narrowed = narrow(database, filters)
    nothing = Page(revision=revision, facets={} if with_facets else None)
    if narrowed.is_empty:
        return nothing
    seen = _check_seen(after) if sort is None else frozenset()
    known = counts or Counts()

    def count(table: str, expression: str) -> int:
        key = (revision, table, expression, narrowed)
        return known.totals.find(key, lambda: count_matches(database, table, expression, narrowed))

    match = find_matches(database, text, narrowed, limit, seen, count)
    if match is None:
        return nothing
    query, values = match.everything(narrowed)
    if sort is not None:
        books, following = _put_in_order(database, query, values, sort, limit, after)
    else:
        books, following = match.books, None
        if match.has_more:
            following = ["relevance", "".join(sorted(seen | set(match.codes)))]
    return Page(
        items=_with_highlights(database, match, books),
        total=match.total,
        after=following,
        facets=_facets(database, known, revision, query, values) if with_facets else None,
        is_floor=with_facets and match.total > COUNTED_BOOKS,
        words=match.words,
        revision=revision,
    )


def _put_in_order(
    database: sqlite3.Connection, query: str, values: tuple[object, ...], sort: Sort, limit: int, after: Any
) -> tuple[list[int], list[Any] | None]:
    """Return the next books of a query in an order, and where the page after them begins."""
    place = _check_place(after, sort)
    column, direction, comparison = order(sort)
    bound, start = (f"WHERE (b.{column}, b.id) {comparison} (?, ?)", place) if place else ("", ())
    rows = database.execute(
        f"SELECT b.book, b.{column}, b.id FROM ({query}) m JOIN books b ON b.book = m.book {bound} "
        f"ORDER BY b.{column} {direction}, b.id {direction} LIMIT ?",
        (*values, *start, limit + 1),
    ).fetchall()
    shown = rows[:limit]
    return [row[0] for row in shown], [sort, *shown[-1][1:]] if len(rows) > limit else None


def _check_place(after: Any, sort: str) -> tuple[Any, ...]:
    if after is None:
        return ()
    if not isinstance(after, list) or len(after) != 3 or after[0] != sort:
        raise InvalidError("Check the query.", (("cursor", "belongs to another order"),))
    return tuple(after[1:])


def _check_seen(after: Any) -> frozenset[str]:
    if after is None:
        return frozenset()
    if not isinstance(after, list) or len(after) != 2 or after[0] != "relevance":
        raise InvalidError("Check the query.", (("cursor", "belongs to another order"),))
    codes = str(after[1])
    return frozenset(codes[i : i + 4] for i in range(0, len(codes), 4))


def read_cards(database: sqlite3.Connection, books: Sequence[int]) -> dict[int, str]:
    """Return the books as lists show them, in the given order."""
    marks = ", ".join("?" * len(books))
    rows = database.execute(
        f"SELECT c.book, c.card, t.c{_SUMMARY} FROM cards c JOIN texts_content t ON t.id = c.book "
        f"WHERE c.book IN ({marks})",
        books,
    )
    found = {book: f'{card[:-1]},"summary":{_quote(summary)}}}' for book, card, summary in rows}
    return {book: found[book] for book in books}


def _quote(text: str) -> str:
    """Write an indexed text as JSON, as it was before it was indexed."""
    return _as_json(text.replace(SEPARATOR, "") or None)


def _with_highlights(database: sqlite3.Connection, match: Match, books: list[int]) -> list[str]:
    columns = ", ".join(f"t.c{column}" for column in range(len(TEXT_COLUMNS)))
    marks = ", ".join("?" * len(books))
    rows = database.execute(
        f"SELECT c.book, c.card, {columns} FROM cards c JOIN texts_content t ON t.id = c.book "
        f"WHERE c.book IN ({marks})",
        books,
    )
    found = {}
    for book, card, *texts in rows:
        highlights = _as_json(highlight(match.wanted, texts))
        found[book] = f'{card[:-1]},"summary":{_quote(texts[_SUMMARY])},"highlights":{highlights}}}'
    return [found[book] for book in books]


def find_detail(database: sqlite3.Connection, book_id: str) -> bytes | None:
    """Return a book as its page shows it, as JSON; None where it is not public, or not yet."""
    row = database.execute(
        f"SELECT c.card, t.c{_SUMMARY}, t.c{_SUMMARY + 1}, d.rest "
        "FROM books b JOIN cards c ON c.book = b.book "
        "JOIN details d ON d.book = b.book JOIN texts_content t ON t.id = b.book WHERE b.id = ?",
        (book_id,),
    ).fetchone()
    if row is None:
        return None
    card, summary, description, rest = row
    texts = f'"summary":{_quote(summary)},"description":{_quote(description)}'
    return f"{card[:-1]},{texts},{zlib.decompress(rest).decode()[1:]}".encode()


def find_similar(database: sqlite3.Connection, book_id: str, limit: int) -> list[str] | None:
    """Return books that share people, series, tags and genres with one, rare things counting more.

    None where the book itself is not in the catalog.
    """
    row = database.execute("SELECT book, work FROM books WHERE id = ?", (book_id,)).fetchone()
    if row is None:
        return None
    book, work = row
    terms = database.execute(
        "SELECT t.term, t.kind, t.books FROM book_terms x JOIN terms t ON t.term = x.term WHERE x.book = ?",
        (book,),
    ).fetchall()
    weights = [
        (term, _KIND_WEIGHT[kind] / (1 + size) ** 0.25)
        for term, kind, size in terms
        if kind in _KIND_WEIGHT and 1 < size <= _RELATED_TERM_BOOKS
    ]
    books: list[int] = []
    if weights:
        parts = " UNION ALL ".join(
            f"SELECT book, {weight} AS weight FROM book_terms WHERE term = {term}" for term, weight in weights
        )
        found = database.execute(
            "SELECT b.book FROM (SELECT book, sum(weight) AS shared FROM "
            f"({parts}) GROUP BY book ORDER BY shared DESC LIMIT 200) s JOIN books b ON b.book = s.book "
            "WHERE b.book <> ? AND (? IS NULL OR b.work IS NULL OR b.work <> ?) "
            "ORDER BY s.shared DESC, b.rating DESC, b.popular DESC, b.id LIMIT ?",
            (book, work, work, limit),
        )
        books = [number for (number,) in found]
    if len(books) < limit:  # what is loved most in the rarest of its genres, else at all
        genres = sorted((size, term) for term, kind, size in terms if kind == "genre")
        source, clause = "books b", "1"
        if genres:
            source = "books b JOIN book_terms d ON d.book = b.book"
            clause = f"d.term = {genres[0][1]}"
        found = database.execute(
            f"SELECT b.book FROM {source} WHERE {clause} AND b.book <> ? "
            "ORDER BY b.popular DESC, b.id LIMIT ?",
            (book, limit + len(books)),
        )
        books += [number for (number,) in found if number not in books]
    return list(read_cards(database, books[:limit]).values())


def list_terms(database: sqlite3.Connection, kind: str, limit: int, after: Any = None) -> TermPage:
    """Return the people, genres or series of the catalog by name."""
    place = _check_place(after, "name")
    bound = "AND (folded, id) > (?, ?)" if place else ""
    rows = database.execute(
        f"SELECT id, name, books, folded FROM terms WHERE kind = ? {bound} ORDER BY folded, id LIMIT ?",
        (kind, *place, limit + 1),
    ).fetchall()
    (total,) = database.execute("SELECT count(*) FROM terms WHERE kind = ?", (kind,)).fetchone()
    shown = rows[:limit]
    return TermPage(
        items=[TermEntry(*row[:3]) for row in shown],
        total=total,
        after=["name", shown[-1][3], shown[-1][0]] if len(rows) > limit else None,
        revision=read_fact(database, "revision"),
    )


def find_term(
    database: sqlite3.Connection, kind: str, term_id: str, limit: int
) -> tuple[TermEntry, list[str]] | None:
    """Return a person with the newest books, or a series with its books in their order."""
    row = database.execute(
        "SELECT id, name, books, term FROM terms WHERE kind = ? AND id = ?", (kind, term_id)
    ).fetchone()
    if row is None:
        return None
    ordering = "b.newest DESC, b.id DESC"
    if kind == "series":
        ordering = "b.place IS NULL, b.place, b.released_first, b.id"
    books = database.execute(
        "SELECT b.book FROM book_terms d CROSS JOIN books b ON b.book = d.book WHERE d.term = ? "
        f"ORDER BY {ordering} LIMIT ?",
        (row[3], _SERIES_BOOKS if kind == "series" else limit),
    )
    numbers = [book for (book,) in books]
    entry = TermEntry(row[0], row[1], row[2], read_fact(database, "revision"))
    return entry, list(read_cards(database, numbers).values())
