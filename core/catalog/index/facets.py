"""What found books can be narrowed by: the values that most of them have, of each kind."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from core.catalog.index.schema import TERM_KINDS, kind_of

COUNTED_BOOKS = 20_000
"""Of more found books, so many are counted: the time is bounded, and the numbers are the least there are."""

_VALUES = 10
_EQUALS = 100


@dataclass(frozen=True, slots=True)
class Facet:
    """One value that the found books can be narrowed by, and how many would be left."""

    id: str
    name: str
    count: int


Facets = dict[str, list[Facet]]


def count_facets(database: sqlite3.Connection, query: str, values: Sequence[object]) -> Facets:
    """Return the most frequent values of each kind among the books of a query; equal ones by name."""
    # one long text: a row for each term of each book would cost several times as much
    (found,) = database.execute(
        f"SELECT group_concat(x.term) FROM (SELECT book FROM ({query}) LIMIT ?) f "
        "CROSS JOIN book_terms x ON x.book = f.book",
        (*values, COUNTED_BOOKS),
    ).fetchone()
    by_kind: dict[str, dict[int, int]] = {kind: {} for kind in TERM_KINDS}
    for text, count in Counter(found.split(",") if found else ()).items():
        term = int(text)
        by_kind[kind_of(term)][term] = count
    return {kind: _name_most(database, counts) for kind, counts in by_kind.items()}


def _name_most(database: sqlite3.Connection, counts: dict[int, int]) -> list[Facet]:
    most = nlargest(_VALUES, counts.values())
    chosen = [term for term, count in counts.items() if count > most[-1]]
    chosen += [term for term, count in counts.items() if count == most[-1]][:_EQUALS] if most else []
    marks = ", ".join("?" * len(chosen))
    rows = database.execute(f"SELECT term, id, name, folded FROM terms WHERE term IN ({marks})", chosen)
    ranked = sorted(rows, key=lambda row: (-counts[row[0]], row[3], row[1]))
    return [Facet(term_id, name, counts[term]) for term, term_id, name, _ in ranked[:_VALUES]]


def list_facets(database: sqlite3.Connection) -> Facets:
    """Return the same for the whole catalog, whose numbers are kept in it."""
    return {
        kind: [
            Facet(*row)
            for row in database.execute(
                "SELECT id, name, books FROM terms WHERE kind = ? ORDER BY books DESC LIMIT ?",
                (kind, _VALUES),
            )
        ]
        for kind in TERM_KINDS
    }
