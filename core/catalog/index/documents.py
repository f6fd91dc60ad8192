"""What the index holds of a book, and how it is put into a file and taken out again."""

import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from core.catalog.folding import fold, other_forms, plain_words, separate
from core.catalog.index.schema import (
    HEAD_COLUMNS,
    TEXT_COLUMNS,
    UNKNOWN,
    number_after,
    read_fact,
    write_fact,
)
from core.catalog.models import BookDetail, BookSummary, name_id

_PRIOR_RATING, _PRIOR_COUNT = 3.5, 5
_WORD_LENGTHS = range(3, 31)
_BATCH = 500
TEXT_FIELDS = {"summary", "description"}
"""What is kept once, in the full text, and not again in a card or a detail."""
CARD_FIELDS = set(BookSummary.model_fields) - TEXT_FIELDS


class Document(BaseModel):
    """One line of a segment: a public book as its page shows it to anybody; None takes it out."""

    model_config = ConfigDict(frozen=True)

    id: str
    book: BookDetail | None


@dataclass(frozen=True)
class Term:
    """Something that many books share: a person, a series, a genre, a tag, a language, a publisher."""

    kind: str
    id: str
    name: str


def terms_of(book: BookDetail) -> list[Term]:
    """Return all that a book can be filtered by, in the book's order."""
    found = [Term("author", person.id, person.name) for person in book.authors]
    found += [Term("narrator", person.id, person.name) for person in book.narrators]
    if book.series is not None:
        found.append(Term("series", book.series.id, book.series.name))
    found += [Term("genre", name_id("genre", genre), genre) for genre in book.genres]
    named = [("tag", tag) for tag in book.tags]
    named += [("language", book.language or ""), ("publisher", book.publisher or "")]
    found += [Term(kind, name_key(name), name) for kind, name in named]
    return [term for term in dict.fromkeys(found) if term.id and term.name.strip()]


def name_key(name: str) -> str:
    """Return what two spellings of a tag, a language or a publisher have in common."""
    return " ".join(fold(name).split())


def title_key(title: str) -> str:
    """Return a title as it is sorted and compared: its words alone."""
    return " ".join(plain_words(title)) or fold(title).strip()


def shortened(word: str) -> set[str]:
    """Return a word, and the word without each of its letters: near words have one of these in common."""
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


def rating_of(book: BookDetail) -> float:
    """Return the average drawn to the middle while few have rated, so that one vote makes no best book."""
    total = (book.rating_average or 0) * book.rating_count + _PRIOR_RATING * _PRIOR_COUNT
    return round(total / (book.rating_count + _PRIOR_COUNT), 6)


def span_of(date: str | None) -> tuple[str | None, str | None]:
    """Return the first and the last day that an inexact date (2019, 2019-05) may mean."""
    if date is None or not re.fullmatch(r"\d{4}(-\d\d){0,2}", date, re.ASCII):
        return None, None
    return date + "-01-01"[len(date) - 4 :], date + "-12-31"[len(date) - 4 :]


def apply(database: sqlite3.Connection, documents: Iterable[Document], revision: int) -> None:
    """Fold documents into an index in one transaction, which ends at that revision."""
    change = Change(database)
    try:
        change.put_all(documents)
        change.finish(revision)
    except BaseException:
        database.execute("ROLLBACK")
        raise


class Change:
    """One transaction: begun here, ended by `finish`. Words and terms that it meets are looked up once."""

    def __init__(self, database: sqlite3.Connection) -> None:
        database.execute("BEGIN IMMEDIATE")
        self._database = database
        self._books = read_fact(database, "books")
        self._is_empty = self._books == 0
        self._terms: dict[tuple[str, str], int] = {}
        self._sizes: dict[int, int] = {}
        self._uses: dict[str, tuple[int, bool]] = {}

    def put_all(self, documents: Iterable[Document]) -> None:
        for document in documents:
            self._put(document)

    def _put(self, document: Document) -> None:
        row = None
        if not self._is_empty:
            row = self._database.execute("SELECT book FROM books WHERE id = ?", (document.id,)).fetchone()
        if row is not None:
            self._remove(row[0])
        if document.book is not None:
            self._insert(document.book, None if row is None else row[0])

    def finish(self, revision: int) -> None:
        run = self._database
        run.executemany(
            "UPDATE terms SET books = books + ? WHERE term = ?", ((n, t) for t, n in self._sizes.items())
        )
        emptied = [(term,) for term, change in self._sizes.items() if change < 0]
        for (term,) in emptied:
            gone = run.execute("DELETE FROM terms WHERE term = ? AND books <= 0", (term,)).rowcount
            if gone:
                run.execute("DELETE FROM names WHERE rowid = ?", (term,))
        self._write_words()
        write_fact(run, "books", self._books)
        write_fact(run, "revision", revision)
        run.execute("COMMIT")

    def _remove(self, book: int) -> None:
        run = self._database
        run.execute("DELETE FROM heads WHERE rowid = ?", (book,))  # reads what it takes out from `texts`
        run.execute("DELETE FROM texts WHERE rowid = ?", (book,))
        for (term,) in run.execute("SELECT term FROM book_terms WHERE book = ?", (book,)).fetchall():
            self._sizes[term] = self._sizes.get(term, 0) - 1
        run.execute("DELETE FROM book_terms WHERE book = ?", (book,))
        run.execute("DELETE FROM cards WHERE book = ?", (book,))
        run.execute("DELETE FROM details WHERE book = ?", (book,))
        run.execute("DELETE FROM books WHERE book = ?", (book,))
        self._books -= 1

    def _insert(self, book: BookDetail, number: int | None) -> None:
        run = self._database
        first, last = span_of(book.release_date)
        at = book.published_at or book.created_at
        number = run.execute(
            "INSERT INTO books VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                book.id,
                round(at.timestamp() * 1000),
                book.plays,
                rating_of(book),
                title_key(book.title),
                UNKNOWN if book.duration_seconds is None else book.duration_seconds,
                UNKNOWN if book.price is None else book.price.amount,
                book.rating_average or 0,
                first,
                last,
                book.work_id,
                book.series.position if book.series else None,
            ),
        ).lastrowid
        assert number is not None
        run.execute("INSERT INTO cards VALUES (?, ?)", (number, book.model_dump_json(include=CARD_FIELDS)))
        rest = book.model_dump_json(exclude=CARD_FIELDS | TEXT_FIELDS)
        run.execute("INSERT INTO details VALUES (?, ?)", (number, zlib.compress(rest.encode(), 6)))
        terms = terms_of(book)
        for key in {self._term(term) for term in terms}:
            run.execute("INSERT INTO book_terms VALUES (?, ?)", (key, number))
            self._sizes[key] = self._sizes.get(key, 0) + 1
        texts = texts_of(book)
        _insert_texts(run, "texts", TEXT_COLUMNS, number, texts)
        _insert_texts(run, "heads", HEAD_COLUMNS, number, texts[: len(HEAD_COLUMNS)])
        self._count_words(texts)
        self._books += 1

    def _term(self, term: Term) -> int:
        found = self._terms.get((term.kind, term.id))
        if found is not None:
            return found
        run = self._database
        row = run.execute("SELECT term, name FROM terms WHERE kind = ? AND id = ?", (term.kind, term.id))
        known = row.fetchone()
        if known is None:
            (last,) = run.execute("SELECT coalesce(max(term), 0) FROM terms").fetchone()
            number = number_after(last, term.kind)
            run.execute(
                "INSERT INTO terms VALUES (?, ?, ?, ?, ?, 0)",
                (number, term.kind, term.id, term.name, title_key(term.name)),
            )
            if term.kind in ("author", "narrator", "series", "genre"):
                self._name(number, term.name)
        else:
            number = int(known[0])
            if known[1] != term.name:
                run.execute(
                    "UPDATE terms SET name = ?, folded = ? WHERE term = ?",
                    (term.name, title_key(term.name), number),
                )
                if run.execute("DELETE FROM names WHERE rowid = ?", (number,)).rowcount:
                    self._name(number, term.name)
        self._terms[term.kind, term.id] = number
        return number

    def _name(self, number: int, name: str) -> None:
        self._database.execute(
            "INSERT INTO names (rowid, name, forms) VALUES (?, ?, ?)",
            (number, separate(name), " ".join(other_forms(name))),
        )

    # Words, for typos. Those of books that are gone stay until the next base: they only cost a suggestion.

    def _count_words(self, texts: tuple[str, ...]) -> None:
        head = set(plain_words(" ".join(texts[: len(HEAD_COLUMNS)])))
        for word in head | set(plain_words(" ".join(texts[len(HEAD_COLUMNS) :]))):
            uses, is_head = self._uses.get(word, (0, False))
            self._uses[word] = (uses + 1, is_head or word in head)

    def _write_words(self) -> None:
        run = self._database
        for batch in _batches(sorted(self._uses.items())):
            known = {
                text
                for (text,) in run.execute(
                    f"SELECT text FROM vocabulary WHERE text IN ({', '.join('?' * len(batch))})",
                    [word for word, _ in batch],
                )
            }
            run.executemany(
                "UPDATE vocabulary SET uses = uses + ?, is_head = max(is_head, ?) WHERE text = ?",
                [(uses, is_head, word) for word, (uses, is_head) in batch if word in known],
            )
            for word, (uses, is_head) in batch:
                if word in known:
                    continue
                number = run.execute(
                    "INSERT INTO vocabulary VALUES (NULL, ?, ?, ?)", (word, uses, is_head)
                ).lastrowid
                if len(word) in _WORD_LENGTHS and not word.isdigit():
                    run.executemany(
                        "INSERT INTO misspellings VALUES (?, ?)",
                        [(form, number) for form in sorted(shortened(word))],
                    )


def _insert_texts(
    database: sqlite3.Connection, table: str, columns: tuple[str, ...], book: int, texts: tuple[str, ...]
) -> None:
    marks = ", ?" * len(columns)
    database.execute(f"INSERT INTO {table} (rowid, {', '.join(columns)}) VALUES (?{marks})", (book, *texts))


def _batches(items: list[tuple[str, tuple[int, bool]]]) -> Iterator[list[tuple[str, tuple[int, bool]]]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def texts_of(book: BookDetail) -> tuple[str, ...]:
    """Return the columns of the full text, in the order of `TEXT_COLUMNS`."""
    authors = ", ".join(person.name for person in book.authors)
    narrators = ", ".join(person.name for person in book.narrators)
    series = book.series.name if book.series else ""
    tags = ", ".join([*book.tags, *book.genres])
    forms = other_forms(" ".join((book.title, book.subtitle or "", authors, narrators, series)))
    if book.isbn:
        forms.append(re.sub(r"\W", "", book.isbn))
    heads = (book.title, book.subtitle or "", authors, narrators, series, tags, " ".join(forms))
    texts = (*heads, book.summary or "", book.description or "")
    return tuple(separate(text) for text in texts)
