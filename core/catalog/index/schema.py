"""The tables of the index, and how a file of it is opened.

`FORMAT` is in the path of every blob: code never opens a file whose tables it does not know. Change it
with any change here or in what `documents` writes.
"""

import sqlite3
from pathlib import Path

FORMAT = "v3"
UNKNOWN = 2**53
"""Sorts what is not known (a length, a price) behind all that is."""

TERM_KINDS = ("genre", "author", "narrator", "series", "tag", "language", "publisher")
HEAD_COLUMNS = ("title", "subtitle", "authors", "narrators", "series", "tags", "forms")
TEXT_COLUMNS = (*HEAD_COLUMNS, "summary", "description")
_TOKENS = 'tokenize="unicode61 remove_diacritics 2"'

SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE books (
    book INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    newest INTEGER NOT NULL,
    popular INTEGER NOT NULL,
    rating REAL NOT NULL,
    title TEXT NOT NULL,
    duration REAL NOT NULL,
    price INTEGER NOT NULL,
    stars REAL NOT NULL,
    released_first TEXT,
    released_last TEXT,
    work TEXT,
    place REAL
);
CREATE INDEX books_newest ON books (newest, id);
CREATE INDEX books_popular ON books (popular, id);
CREATE INDEX books_rating ON books (rating, id);
CREATE INDEX books_title ON books (title, id);
CREATE INDEX books_duration ON books (duration, id);
CREATE INDEX books_price ON books (price, id);
CREATE TABLE cards (book INTEGER PRIMARY KEY, card TEXT NOT NULL);
CREATE TABLE details (book INTEGER PRIMARY KEY, rest BLOB NOT NULL);
CREATE TABLE terms (
    term INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,
    books INTEGER NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX terms_by_name ON terms (kind, folded, id);
CREATE INDEX terms_by_size ON terms (kind, books);
CREATE TABLE book_terms (term INTEGER, book INTEGER, PRIMARY KEY (term, book)) WITHOUT ROWID;
CREATE INDEX terms_of_book ON book_terms (book, term);
CREATE VIRTUAL TABLE texts USING fts5({", ".join(TEXT_COLUMNS)}, {_TOKENS}, prefix='3');
CREATE VIEW heads_source AS SELECT id AS rowid, {
    ", ".join(f"c{number} AS {name}" for number, name in enumerate(HEAD_COLUMNS))
} FROM texts_content;
CREATE VIRTUAL TABLE heads USING fts5(
    {", ".join(HEAD_COLUMNS)}, content='heads_source', content_rowid='rowid', {_TOKENS}, prefix='2 3');
CREATE VIRTUAL TABLE names USING fts5(name, forms, {_TOKENS}, prefix='2 3');
CREATE TABLE vocabulary (
    word INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, uses INTEGER NOT NULL, is_head INTEGER NOT NULL
);
CREATE TABLE misspellings (form TEXT, word INTEGER, PRIMARY KEY (form, word)) WITHOUT ROWID;
"""


def create(path: Path) -> sqlite3.Connection:
    """Make an empty index in a new file and return its writer."""
    database = connect_writer(path)
    database.executescript(SCHEMA)
    database.execute("INSERT INTO facts VALUES ('revision', 0), ('books', 0)")
    return database


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open a file of one's own to change it; what is lost with the machine can be had again."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA cache_size = -32000")
    return database


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a file to ask it, beside its writer; a transaction sees one state from its first question on."""
    database = sqlite3.connect(
        f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    database.execute("PRAGMA query_only = ON")
    database.execute("PRAGMA cache_size = -8000")  # mapped into memory it is no faster and counts as ours
    return database


def number_after(last: int, kind: str) -> int:
    """Return the number of a new term; its last three bits are the kind, which facets need of many."""
    return ((last >> 3) + 1 << 3) + TERM_KINDS.index(kind)


def kind_of(term: int) -> str:
    """Return the kind of the term with this number."""
    return TERM_KINDS[term & 7]


def read_fact(database: sqlite3.Connection, name: str) -> int:
    (value,) = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return int(value)


def write_fact(database: sqlite3.Connection, name: str, value: int) -> None:
    database.execute("UPDATE facts SET value = ? WHERE name = ?", (value, name))
