"""The addresses of all public pages of books, people and series, for crawlers, from the index."""

import sqlite3
from dataclasses import dataclass

PART = 10_000
"""Addresses in a part of the list; the protocol takes 50,000 and 50 MB."""


@dataclass(frozen=True)
class Addresses:
    """Paths of one part of the list, and how many there are in all."""

    total: int = 0
    paths: tuple[str, ...] = ()


def list_addresses(database: sqlite3.Connection, part: int) -> Addresses:
    """Return part 0, 1, ... of the paths: books in the order in which they came, then people and series."""
    (books,) = database.execute("SELECT count(*) FROM books").fetchone()
    (terms,) = database.execute(
        "SELECT count(*) FROM terms WHERE kind IN ('author', 'narrator', 'series')"
    ).fetchone()
    first = part * PART
    rows = database.execute(
        "SELECT '/books/' || json_extract(card, '$.slug') FROM cards ORDER BY book LIMIT ? OFFSET ?",
        (PART, first),
    ).fetchall()
    rows += database.execute(
        "SELECT CASE kind WHEN 'series' THEN '/series/' ELSE '/' || kind || 's/' END || id "
        "FROM terms WHERE kind IN ('author', 'narrator', 'series') ORDER BY term LIMIT ? OFFSET ?",
        (PART - len(rows), max(0, first - books)),
    ).fetchall()
    return Addresses(books + terms, tuple(path for (path,) in rows))
