"""What a person may be about to type: titles, people, series and genres that begin like it."""

import sqlite3
from dataclasses import dataclass

from core.catalog.folding import plain_words
from core.catalog.index.documents import title_key
from core.catalog.index.spelling import correct

_WORDS = 8
_CONSIDERED = 300
_SHORT = 2


@dataclass(frozen=True)
class Suggestion:
    """`kind` is book, author, narrator, series or genre; `id` is that of the thing itself."""

    kind: str
    id: str
    text: str


def suggest(database: sqlite3.Connection, text: str, limit: int) -> list[Suggestion]:
    """Return names first, then titles, the most wanted of each first; corrected where nothing begins so."""
    typed = plain_words(text)[:_WORDS]
    if not typed:
        return []
    found = _begin(database, typed, limit)
    if not found:
        corrected = [(correct(database, word) or [word])[0] for word in typed]
        if corrected != typed:
            found = _begin(database, corrected, limit)
    return found


def _begin(database: sqlite3.Connection, typed: list[str], limit: int) -> list[Suggestion]:
    expression = " AND ".join([*(f'"{word}"' for word in typed[:-1]), f'"{typed[-1]}"*'])
    names = database.execute(
        "SELECT t.kind, t.id, t.name FROM names n JOIN terms t ON t.term = n.rowid "
        "WHERE names MATCH ? ORDER BY t.books DESC, t.folded LIMIT ?",
        (expression, limit),
    ).fetchall()
    key = " ".join(typed)
    titles = _titles_from(database, key) if len(key) <= _SHORT else _titles_with(database, expression)
    titles.sort(key=lambda row: (not title_key(row[2]).startswith(key), -row[0], row[1]))
    books: dict[str, Suggestion] = {}
    for _, book_id, title in titles:  # of several editions, the one that is played most
        books.setdefault(title_key(title), Suggestion("book", book_id, title))
    people = [Suggestion(*row) for row in names[: max(limit // 2, limit - len(books))]]
    return people + list(books.values())[: limit - len(people)]


def _titles_from(database: sqlite3.Connection, key: str) -> list[tuple[int, str, str]]:
    """The titles that begin with one or two letters: too many have a word that does."""
    return database.execute(
        "SELECT b.popular, b.id, json_extract(c.card, '$.title') "
        "FROM books b JOIN cards c ON c.book = b.book "
        "WHERE b.title >= ? AND b.title < ? ORDER BY b.title LIMIT ?",
        (key, key + "\U0010ffff", _CONSIDERED),
    ).fetchall()


def _titles_with(database: sqlite3.Connection, expression: str) -> list[tuple[int, str, str]]:
    return database.execute(
        "SELECT h.popular, h.id, json_extract(c.card, '$.title') FROM "
        "(SELECT b.popular, b.id, b.book FROM "
        "(SELECT rowid FROM heads WHERE heads MATCH ? ORDER BY rank LIMIT ?) f "
        "CROSS JOIN books b ON b.book = f.rowid ORDER BY b.popular DESC LIMIT 50) h "
        "CROSS JOIN cards c ON c.book = h.book",
        (f"{{title forms}} : ({expression})", _CONSIDERED),
    ).fetchall()
