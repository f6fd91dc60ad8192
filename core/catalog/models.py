"""Books as they are stored and as they are shown."""

import re
import unicodedata
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Visibility = Literal["draft", "published", "withdrawn"]
ProcessingStatus = Literal[
    "waiting",
    "uploaded",
    "planning",
    "transcribing",
    "assembling",
    "enriching",
    "ready",
    "transcription_failed",
    "rejected",
    "cancelled",
]
FINAL_STATUSES: frozenset[ProcessingStatus] = frozenset(
    {"ready", "transcription_failed", "rejected", "cancelled"}
)


class Money(BaseModel):
    """`amount` in minor units of an ISO 4217 currency."""

    model_config = ConfigDict(frozen=True)

    amount: int = Field(ge=0)
    currency: str = Field("USD", pattern="^[A-Z]{3}$")


class MediaFile(BaseModel):
    """A blob in the `media` container; `size` in bytes."""

    model_config = ConfigDict(frozen=True)

    blob: str
    content_type: str
    size: int


class Chapter(BaseModel):
    """A stretch of a book, in seconds."""

    model_config = ConfigDict(frozen=True)

    index: int
    title: str
    start_seconds: float
    end_seconds: float


class Chapters(BaseModel):
    """Row `chapters`: all of a book's chapters, so that a replacement is one write."""

    model_config = ConfigDict(frozen=True)

    items: tuple[Chapter, ...] = ()


class Book(BaseModel):
    """Row `book`. `revision` grows by one with each change and is the book's ETag."""

    model_config = ConfigDict(frozen=True)

    id: str
    owner_id: str | None = Field(None, description="The publisher; None: the administrators.")
    title: str
    authors: tuple[str, ...] = ()
    narrators: tuple[str, ...] = ()
    description: str | None = None
    summary: str | None = None
    tags: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()
    publisher: str | None = None
    language: str | None = None
    release_date: str | None = None
    duration_seconds: float | None = None
    price: Money | None = None
    visibility: Visibility = "draft"
    processing_status: ProcessingStatus = "waiting"
    processing_reason: str | None = None
    job_id: str | None = None
    audio: MediaFile | None = None
    cover: MediaFile | None = None
    transcript_prefix: str | None = Field(None, description="Where in `media` the transcript's forms begin.")
    coverage: float | None = Field(None, description="Share of the audio that the transcript covers, 0 to 1.")
    revision: int = 1
    created_at: datetime
    updated_at: datetime

    @property
    def slug(self) -> str:
        """The book's part of an address: the title in ASCII, then the id."""
        ascii_title = unicodedata.normalize("NFKD", self.title).encode("ascii", "ignore").decode().lower()
        words = re.sub(r"[^a-z0-9]+", "-", ascii_title).strip("-")[:60].strip("-")
        return f"{words}-{self.id}" if words else self.id


class PersonName(BaseModel):
    """An author or narrator as named by the book."""

    name: str


class BookSummary(BaseModel):
    """A book in a list."""

    id: str
    slug: str
    title: str
    authors: list[PersonName]
    narrators: list[PersonName]
    summary: str | None
    tags: list[str]
    genres: list[str]
    language: str | None
    duration_seconds: float | None
    price: Money | None
    cover_url: str | None
    visibility: Visibility
    processing_status: ProcessingStatus
    created_at: datetime


class BookDetail(BookSummary):
    """A book on its own page."""

    description: str | None
    publisher: str | None
    release_date: str | None
    processing_reason: str | None
    coverage: float | None
    chapters: list[Chapter]
    owned: bool | None = Field(None, description="Whether the caller may listen; null for anonymous callers.")
    revision: int
    updated_at: datetime


def summarise(book: Book) -> BookSummary:
    """Return what a list shows of a book."""
    return BookSummary(
        **book.model_dump(
            include={
                "id",
                "title",
                "summary",
                "genres",
                "tags",
                "language",
                "duration_seconds",
                "visibility",
                "processing_status",
                "created_at",
            }
        ),
        slug=book.slug,
        price=book.price,
        authors=[PersonName(name=name) for name in book.authors],
        narrators=[PersonName(name=name) for name in book.narrators],
        cover_url=f"/covers/{book.id}?v={book.job_id}" if book.cover else None,
    )


def detail(book: Book, chapters: Chapters, owned: bool | None) -> BookDetail:
    """Return what a book's page shows."""
    return BookDetail(
        **summarise(book).model_dump(),
        **book.model_dump(
            include={
                "description",
                "publisher",
                "release_date",
                "processing_reason",
                "coverage",
                "revision",
                "updated_at",
            }
        ),
        chapters=list(chapters.items),
        owned=owned,
    )
