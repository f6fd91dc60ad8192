"""Published books for one listener: chosen from the index for what somebody has begun, follows and likes."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from core.catalog.index.filters import Filters, drive, narrow
from core.catalog.index.query import read_cards
from core.catalog.models import Pick, PickKind, Taste

_BOOKS_OF_PERSON = 3
_BOOKS_OF_GENRE = 50  # about as many are looked at before enough are new to somebody
_Found = tuple[int, PickKind, str]


def find_cards(database: sqlite3.Connection, book_ids: Sequence[str]) -> dict[str, str]:
    """Return those of the books that are public, as lists show them, in the given order."""
    rows = database.execute(
        "SELECT id, book FROM books WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(book_ids),)
    )
    numbers = dict(rows.fetchall())
    cards = read_cards(database, list(numbers.values()))
    return {book_id: cards[numbers[book_id]] for book_id in book_ids if book_id in numbers}


def find_picks(database: sqlite3.Connection, taste: Taste, limit: int) -> list[Pick]:
    """Return books for a listener: one by one from each source that fits them, then what many hear.

    None of what they have, in no other edition either; each only once.
    """
    shelf = _Shelf(database, taste.known)
    sources = [
        _next_in_series(shelf, taste.begun),
        _with_companions(shelf, taste.companions),
        _by_people(shelf, taste.people),
        *(_of_genre(shelf, genre) for genre in taste.genres),
    ]
    found: list[_Found] = []
    while sources and len(found) < limit:
        for source in list(sources):
            one = next(source, None)
            if one is None:
                sources.remove(source)
            else:
                found.append(one)
    found += _many(shelf, max(0, limit - len(found)))
    cards = read_cards(database, [book for book, _, _ in found[:limit]])
    return [Pick(kind, name, cards[book]) for book, kind, name in found[:limit]]


class _Shelf:
    """What has been chosen already, or is known: a source asks it for each book, and takes what is new."""

    def __init__(self, database: sqlite3.Connection, known: Collection[str]) -> None:
        self.database = database
        rows = database.execute(
            "SELECT book, work FROM books WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(known)),),
        ).fetchall()
        self._books = {book for book, _ in rows}
        self._works = {work for _, work in rows if work is not None}
        self._known = frozenset(self._books), frozenset(self._works)

    def knows(self, book: int, work: str | None) -> bool:
        """Tell whether the listener has a book, or another edition of it."""
        books, works = self._known
        return book in books or work in works

    def take(self, rows: Iterable[tuple[int, str | None]]) -> Iterator[int]:
        """Yield those that are new, and know them from then on."""
        for book, work in rows:
            if book in self._books or work in self._works:
                continue
            self._books.add(book)
            if work is not None:
                self._works.add(work)
            yield book


def _next_in_series(shelf: _Shelf, begun: Sequence[str]) -> Iterator[_Found]:
    """The book after the last one that somebody has of a series; where that is the last, one left out."""
    seen: set[int] = set()
    for book_id in begun:
        series = shelf.database.execute(
            "SELECT t.term, t.name FROM books b JOIN book_terms x ON x.book = b.book "
            "JOIN terms t ON t.term = x.term WHERE b.id = ? AND t.kind = 'series'",
            (book_id,),
        ).fetchone()
        if series is None or series[0] in seen:
            continue
        seen.add(series[0])
        rows = shelf.database.execute(
            "SELECT b.book, b.work FROM book_terms d CROSS JOIN books b ON b.book = d.book WHERE d.term = ? "
            "ORDER BY b.place IS NULL, b.place, b.released_first, b.id",
            (series[0],),
        ).fetchall()
        last = max((place for place, row in enumerate(rows) if shelf.knows(*row)), default=-1)
        for book in shelf.take([*rows[last + 1 :], *rows[:last]]):
            yield book, "series", series[1]
            break


def _with_companions(shelf: _Shelf, companions: Sequence[tuple[str, Sequence[str]]]) -> Iterator[_Found]:
    for source_id, book_ids in companions:
        title = shelf.database.execute(
            "SELECT json_extract(c.card, '$.title') FROM books b JOIN cards c ON c.book = b.book "
            "WHERE b.id = ?",
            (source_id,),
        ).fetchone()
        if title is None:
            continue
        rows = {
            row[0]: row[1:]
            for row in shelf.database.execute(
                "SELECT id, book, work FROM books WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(book_ids),),
            )
        }
        for book in shelf.take(rows[book_id] for book_id in book_ids if book_id in rows):
            yield book, "listeners", title[0]


def _by_people(shelf: _Shelf, people: Sequence[str]) -> Iterator[_Found]:
    """The newest books by, and read by, those whom somebody follows."""
    for person_id in people:
        for kind in ("author", "narrator"):
            rows = shelf.database.execute(
                "SELECT b.book, b.work, t.name FROM terms t JOIN book_terms d ON d.term = t.term "
                "JOIN books b ON b.book = d.book WHERE t.kind = ? AND t.id = ? "
                "ORDER BY b.newest DESC, b.id DESC",
                (kind, person_id),
            ).fetchall()
            new = shelf.take((book, work) for book, work, _ in rows)
            for book in islice(new, _BOOKS_OF_PERSON):
                yield book, kind, rows[0][2]


def _of_genre(shelf: _Shelf, genre: str) -> Iterator[_Found]:
    narrowed = narrow(shelf.database, Filters(genre=genre))
    if not narrowed.is_empty:
        source, clause = drive(shelf.database, narrowed, narrowed.count(shelf.database), _BOOKS_OF_GENRE)
        rows = shelf.database.execute(
            f"SELECT b.book, b.work FROM {source} WHERE {clause} ORDER BY b.popular DESC, b.id DESC",
            narrowed.values,
        )
        for book in shelf.take(rows):
            yield book, "genre", genre


def _many(shelf: _Shelf, limit: int) -> list[_Found]:
    """What is played most; what nobody has played yet is only new."""
    rows = shelf.database.execute("SELECT book, work, popular FROM books ORDER BY popular DESC, id DESC")
    plays: dict[int, int] = {}

    def met() -> Iterator[tuple[int, str | None]]:
        for book, work, popular in rows:
            plays[book] = popular
            yield book, work

    new = islice(shelf.take(met()), limit)
    return [(book, "popular" if plays[book] else "new", "") for book in new]
