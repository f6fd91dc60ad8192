"""A catalog that fits in memory, built without a storage, for questions about what is found."""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.catalog.index import documents, query, schema
from core.catalog.index.documents import Document
from core.catalog.index.publish import to_document
from core.catalog.models import Book, Chapters, PersonName, SeriesPlace, name_id
from core.catalog.store import StoredBook
from tests.core.catalog.conftest import make_book


def document_of(book: Book) -> Document:
    return to_document(book.id, StoredBook(book, Chapters()))


def build(path: Path, books: Iterable[Book]) -> sqlite3.Connection:
    database = schema.create(path)
    documents.apply(database, [document_of(book) for book in books], 1)
    return database


def titles_of(page: query.Page) -> list[str]:
    return [json.loads(item)["title"] for item in page.items]


def ids_of(page: query.Page) -> list[str]:
    return [json.loads(item)["id"] for item in page.items]


def read_shelf() -> list[Book]:
    """Return the books of `shelf.txt`, one a line."""
    books = []
    for line in Path(__file__).with_name("shelf.txt").read_text("utf-8").splitlines():
        title, authors, narrator, series, genres, tags, summary = (part.strip() for part in line.split("|"))
        facts: dict[str, Any] = {}
        if series:
            name, _, position = series.partition("#")
            facts["series"] = SeriesPlace(
                id=name_id("series", name.strip()), name=name.strip(), position=float(position or 1)
            )
        books.append(
            make_book(
                title,
                authors=tuple(PersonName.of(name.strip()) for name in authors.split(",")),
                narrators=(PersonName.of(narrator),),
                genres=tuple(genre.strip() for genre in genres.split(",")),
                tags=tuple(tag.strip() for tag in tags.split(",")),
                summary=summary,
                **facts,
            )
        )
    return books
