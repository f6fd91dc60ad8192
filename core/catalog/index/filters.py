"""What shoppers narrow and order the catalog by, and the SQL that does it."""

import sqlite3
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.catalog.folding import fold
from core.catalog.index.documents import name_key, span_of, title_key
from core.catalog.index.schema import TERM_KINDS, UNKNOWN, read_fact

Sort = Literal["newest", "popular", "rating", "title", "duration", "price"]

_Name = Annotated[str | None, Field(min_length=1, max_length=200)]
_Seconds = Annotated[float | None, Field(ge=0, le=UNKNOWN - 1, allow_inf_nan=False)]
_Count = Annotated[int | None, Field(ge=0, le=UNKNOWN - 1)]
_Date = Annotated[str | None, Field(pattern=r"^[0-9]{4}(-[0-9]{2}){0,2}$")]

_DESCENDING = frozenset({"newest", "popular", "rating"})
_FEW = 2000
_PROBE = 2  # what it costs to ask of a book whether it has a term, where to read one of a term's books is 1
_BOOKS = "CROSS JOIN books b ON b.book = d.book"


class Filters(BaseModel):
    """A book has to pass all that is given. Names may be ids, or names however they are accented."""

    model_config = ConfigDict(frozen=True)

    genre: _Name = None
    author: _Name = None
    narrator: _Name = None
    series: _Name = None
    tag: _Name = None
    language: _Name = None
    publisher: _Name = None
    min_duration: _Seconds = Field(None, description="Seconds.")
    max_duration: _Seconds = Field(None, description="Seconds.")
    released_from: _Date = Field(None, description="A year, a month or a day: 2019, 2019-05, 2019-05-01.")
    released_to: _Date = Field(None, description="As `released_from`, and included.")
    min_rating: float | None = Field(None, ge=0, le=5, allow_inf_nan=False)
    min_plays: _Count = None
    max_price: _Count = Field(None, description="In minor units: 1299 is 12.99.")


@dataclass(frozen=True)
class Narrowed:
    """Filters as SQL over `books b`: all `conditions` hold; `terms` are sorted by size, the smallest first.

    `is_empty` where a name is not in the catalog at all.
    """

    conditions: tuple[str, ...]
    values: tuple[object, ...]
    terms: tuple[tuple[int, int], ...]
    is_empty: bool

    @property
    def clause(self) -> str:
        """All of it, to stand after AND or WHERE."""
        terms = [
            f"b.book IN (SELECT book FROM book_terms WHERE term = {term})"
            if size <= _FEW
            else f"EXISTS (SELECT 1 FROM book_terms x WHERE x.term = {term} AND x.book = b.book)"
            for term, size in self.terms
        ]
        return " AND ".join([*terms, *self.conditions]) or "1"

    @property
    def is_all(self) -> bool:
        """Whether every book passes."""
        return not (self.is_empty or self.terms or self.conditions)

    @property
    def everything(self) -> tuple[str, tuple[object, ...]]:
        """A query for the numbers of all books that pass, and its values."""
        if not self.terms:
            return f"SELECT b.book FROM books b WHERE {self.clause}", self.values
        source, clause = self.gathered
        return f"SELECT d.book FROM {source} WHERE {clause}", self.values

    @property
    def gathered(self) -> tuple[str, str]:
        """FROM and WHERE that begin with the books of the smallest term, `d`, and have the table `books` only
        where a condition asks it."""
        (first, _), *others = self.terms
        terms = [
            f"EXISTS (SELECT 1 FROM book_terms x WHERE x.term = {term} AND x.book = d.book)"
            for term, _ in others
        ]
        source = f"book_terms d {_BOOKS}" if self.conditions else "book_terms d"
        return source, " AND ".join([f"d.term = {first}", *terms, *self.conditions])

    def count(self, database: sqlite3.Connection) -> int:
        """Return how many books pass; known without counting where at most one term is asked for."""
        if self.is_empty:
            return 0
        if not self.conditions and len(self.terms) < 2:
            return self.terms[0][1] if self.terms else read_fact(database, "books")
        query, values = self.everything
        (count,) = database.execute(f"SELECT count(*) FROM ({query})", values).fetchone()
        return int(count)


def narrow(database: sqlite3.Connection, filters: Filters) -> Narrowed:
    """Turn filters into SQL; names are looked up here, once."""
    conditions: list[str] = []
    values: list[object] = []
    terms: list[tuple[int, int]] = []
    is_empty = False
    for kind in TERM_KINDS:
        wanted = getattr(filters, kind)
        if wanted is None:
            continue
        found = find_terms(database, kind, wanted)
        is_empty |= not found
        if len(found) == 1:
            terms += found
        elif found:
            numbers = ", ".join(str(term) for term, _ in found)
            conditions.append(f"b.book IN (SELECT book FROM book_terms WHERE term IN ({numbers}))")
    first, _ = span_of(filters.released_from)
    _, last = span_of(filters.released_to)
    bounds: tuple[tuple[str, object], ...] = (
        ("b.duration >= ?", filters.min_duration),
        ("b.duration <= ?", filters.max_duration),
        ("b.released_first >= ?", first),
        ("b.released_last <= ?", last),
        ("b.stars >= ?", filters.min_rating),
        ("b.popular >= ?", filters.min_plays),
        ("b.price <= ?", filters.max_price),
    )
    for condition, value in bounds:
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if filters.min_duration is not None:
        conditions.append(f"b.duration < {UNKNOWN}")
    terms.sort(key=lambda pair: pair[1])
    return Narrowed(tuple(conditions), tuple(values), tuple(terms), is_empty)


def find_terms(database: sqlite3.Connection, kind: str, wanted: str) -> list[tuple[int, int]]:
    """Return number and size of the terms that an id or a name may mean; people can share a name."""
    by_id = database.execute(
        "SELECT term, books FROM terms WHERE kind = ? AND id IN (?, ?)",
        (kind, fold(wanted), name_key(wanted)),
    ).fetchall()
    return (
        by_id
        or database.execute(
            "SELECT term, books FROM terms WHERE kind = ? AND folded = ?", (kind, title_key(wanted))
        ).fetchall()
    )


def order(sort: Sort) -> tuple[str, str, str]:
    """Return the column of an order, its direction, and how the next place compares to the last one."""
    descending = sort in _DESCENDING
    return sort, "DESC" if descending else "ASC", "<" if descending else ">"


def drive(database: sqlite3.Connection, narrowed: Narrowed, total: int, limit: int) -> tuple[str, str]:
    """Return FROM and WHERE for a page of a sorted list of `total` books, whichever meets fewer books.

    Either those of the smallest term are gathered and sorted, or all are met in order until a page is full.
    """
    if narrowed.terms:
        books = read_fact(database, "books")
        met_in_order = min(books, limit * books // max(total, 1))
        if narrowed.terms[0][1] + total < _PROBE * met_in_order:
            source, clause = narrowed.gathered
            return source if narrowed.conditions else f"{source} {_BOOKS}", clause
    return "books b", narrowed.clause
