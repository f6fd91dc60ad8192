"""The addresses of all published books, for crawlers, from the index."""

import sqlite3
from dataclasses import dataclass

PART = 10_000
"""Books in a part of the list; the protocol takes 50,000 and 50 MB."""


@dataclass(frozen=True)
class Slugs:
    """Slugs of one part of the published books, and how many books there are in all."""

    total: int = 0
    slugs: tuple[str, ...] = ()


def list_slugs(database: sqlite3.Connection, part: int) -> Slugs:
    """Return part 0, 1, ... of the slugs, in the order in which books came."""
    (total,) = database.execute("SELECT count(*) FROM books").fetchone()
    rows = database.execute(
        "SELECT json_extract(card, '$.slug') FROM cards ORDER BY book LIMIT ? OFFSET ?", (PART, part * PART)
    )
    return Slugs(total, tuple(slug for (slug,) in rows))
