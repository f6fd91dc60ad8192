"""Books as they are stored and as they are shown."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from core.catalog.folding import fold
from core.ids import derived_id, fingerprint

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


class AudioPart(MediaFile):
    """One of the files that a book's recording is in, and where it is on the book's one timeline, in seconds.

    `origin` is the same for files of the same bytes, whenever they were prepared.
    """

    title: str = ""
    origin: str | None = None
    start_seconds: float = 0
    duration_seconds: float = 0


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


Revisions = frozenset[str] | None
"""The revisions that a change may begin with; None: any."""

NameKind = Literal["person", "genre", "series"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def name_id(kind: NameKind, name: str) -> str:
    """Return the one id of a name, however it is accented or spaced, so that files and forms agree on it."""
    return derived_id(_EPOCH, kind, " ".join(fold(name).split()))


class PersonName(BaseModel):
    """An author or narrator as named by the book."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str

    @classmethod
    def of(cls, name: str) -> "PersonName":
        """Return the person of that name whom no form has given an id of their own."""
        return cls(id=name_id("person", name), name=name)


class SeriesPlace(BaseModel):
    """The series that a book belongs to, and its place there (1, 2, 2.5)."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    position: float | None = None


def _name_person(value: Any) -> Any:
    return PersonName.of(value) if isinstance(value, str) else value


Person = Annotated[PersonName, BeforeValidator(_name_person)]
"""A person in a row; rows of earlier versions hold the bare name."""


class Book(BaseModel):
    """Row `book`. `revision` grows by one with each change and is the book's ETag.

    `release_date` is as exact as it is known: 2019, 2019-05 or 2019-05-01. Editions of one work by
    by several narrators have the same `work_id`. How often it is played and how it is rated stands in the row
    `stats`: both are zero where the row `book` was read alone.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    owner_id: str | None = Field(None, description="The publisher; None: the administrators.")
    title: str
    subtitle: str | None = None
    authors: tuple[Person, ...] = ()
    narrators: tuple[Person, ...] = ()
    series: SeriesPlace | None = None
    work_id: str | None = None
    description: str | None = None
    summary: str | None = None
    tags: tuple[str, ...] = ()
    has_own_tags: bool = Field(False, description="A person has chosen the tags; the pipeline leaves them.")
    genres: tuple[str, ...] = ()
    publisher: str | None = None
    isbn: str | None = None
    language: str | None = None
    names: tuple[str, ...] = Field((), description="Names that the speech model shall spell so.")
    release_date: str | None = None
    duration_seconds: float | None = None
    price: Money | None = None
    other_prices: tuple[Money, ...] = Field((), description="In other currencies, each at most once.")
    sold: bool = Field(False, description="Somebody has bought it, or was about to: it is never deleted.")
    rating_average: float | None = Field(None, exclude=True)
    rating_count: int = Field(0, exclude=True)
    plays: int = Field(0, exclude=True)
    visibility: Visibility = "draft"
    processing_status: ProcessingStatus = "waiting"
    processing_reason: str | None = None
    job_id: str | None = None
    parts: tuple[AudioPart, ...] = Field((), description="The files to hear, in order; () without audio.")
    sample: MediaFile | None = Field(None, description="A short part of the recording, for everybody.")
    cover: MediaFile | None = None
    transcript_prefix: str | None = Field(None, description="Where in `media` the transcript's forms begin.")
    coverage: float | None = Field(None, description="Share of the audio that the transcript covers, 0 to 1.")
    revision: int = 1
    published_at: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def slug(self) -> str:
        """The book's part of an address: the title in ASCII, then the id."""
        ascii_title = unicodedata.normalize("NFKD", self.title).encode("ascii", "ignore").decode().lower()
        words = re.sub(r"[^a-z0-9]+", "-", ascii_title).strip("-")[:60].strip("-")
        return f"{words}-{self.id}" if words else self.id

    @property
    def is_free(self) -> bool:
        """Whether everyone who has signed in may hear it."""
        return self.visibility == "published" and self.price is not None and self.price.amount == 0

    def price_in(self, currency: str) -> Money | None:
        """Return what the book costs in a currency; what is free is so in all of them."""
        if self.price is not None and self.price.amount == 0:
            return Money(amount=0, currency=currency)
        prices = (self.price, *self.other_prices)
        return next((price for price in prices if price is not None and price.currency == currency), None)

    @property
    def has_own_cover(self) -> bool:
        """Whether a person has chosen the cover; otherwise it follows the book's file."""
        return self.cover is not None and self.cover.blob.startswith(f"{self.id}/covers/")


class Stats(BaseModel):
    """Row `stats`: what counts up beside a book, apart from it, so that its revision and its ETag stay.

    `recent` are the ids of the last plays: one that is told again is not counted again. `revision` is the
    row's own.
    """

    model_config = ConfigDict(frozen=True)

    plays: int = 0
    rating_sum: int = 0
    rating_count: int = 0
    recent: tuple[str, ...] = ()
    revision: int = 0

    @property
    def rating_average(self) -> float | None:
        return round(self.rating_sum / self.rating_count, 2) if self.rating_count else None


class BookPart(BaseModel):
    """One of the files that a recording is heard from; `?part=` takes its `index`, which begins at 1."""

    index: int
    title: str
    start_seconds: float
    duration_seconds: float
    content_type: str
    size_bytes: int


class BookSummary(BaseModel):
    """A book in a list. `rating_average` is null until somebody has rated it."""

    id: str
    slug: str
    title: str
    subtitle: str | None = None
    authors: list[PersonName]
    narrators: list[PersonName]
    series: SeriesPlace | None = None
    summary: str | None
    tags: list[str]
    genres: list[str]
    language: str | None
    release_date: str | None
    duration_seconds: float | None
    price: Money | None
    rating_average: float | None = None
    rating_count: int = 0
    plays: int = 0
    cover_url: str | None
    visibility: Visibility
    processing_status: ProcessingStatus
    published_at: datetime | None = None
    created_at: datetime


class BookDetail(BookSummary):
    """A book on its own page."""

    other_prices: list[Money] = []
    description: str | None
    publisher: str | None
    isbn: str | None = None
    work_id: str | None = None
    processing_reason: str | None
    coverage: float | None
    chapters: list[Chapter]
    parts: list[BookPart] = []
    has_sample: bool = Field(False, description="Whether there is an excerpt that anybody may hear.")
    owned: bool | None = Field(None, description="Whether the caller may listen; null for anonymous callers.")
    names: list[str] | None = Field(
        None, description="Names as the transcript shall spell them; null for who does not manage the book."
    )
    revision: int
    updated_at: datetime


PickKind = Literal["series", "listeners", "author", "narrator", "genre", "popular", "new"]
"""What a book was picked for; "new": nothing but that."""


@dataclass(frozen=True)
class Taste:
    """What is known of a listener, in ids of books and people and names of genres, the dearest first.

    Nothing of `known` is picked. `companions` are books that others own together with one of theirs.
    """

    known: frozenset[str] = frozenset()
    begun: tuple[str, ...] = ()
    companions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    people: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pick:
    """A book for a listener, as JSON, and the name of the series, book, person or genre that led to it."""

    kind: PickKind
    name: str
    card: str


_COUNTS = {"rating_average", "rating_count", "plays"}
_SUMMARY_FIELDS = set(BookSummary.model_fields) - {"slug", "authors", "narrators", "cover_url"} - _COUNTS
_DETAIL_FIELDS = (
    set(BookDetail.model_fields)
    - set(BookSummary.model_fields)
    - {"chapters", "parts", "has_sample", "owned", "names"}
)


def summarise(book: Book) -> BookSummary:
    """Return what a list shows of a book."""
    return BookSummary(
        **book.model_dump(include=_SUMMARY_FIELDS),
        **{name: getattr(book, name) for name in _COUNTS},
        slug=book.slug,
        authors=list(book.authors),
        narrators=list(book.narrators),
        cover_url=f"/covers/{book.id}?v={fingerprint(book.cover.blob)[:12]}" if book.cover else None,
    )


def show_parts(parts: Sequence[AudioPart]) -> list[BookPart]:
    """Return the files of a recording as they are shown."""
    return [
        BookPart(
            **part.model_dump(include={"title", "start_seconds", "duration_seconds", "content_type"}),
            index=index,
            size_bytes=part.size,
        )
        for index, part in enumerate(parts, 1)
    ]


def detail(book: Book, chapters: Chapters, owned: bool | None, *, manages: bool = False) -> BookDetail:
    """Return what a book's page shows."""
    return BookDetail(
        **summarise(book).model_dump(),
        **book.model_dump(include=_DETAIL_FIELDS),
        chapters=list(chapters.items),
        parts=show_parts(book.parts),
        has_sample=book.sample is not None,
        owned=owned,
        names=list(book.names) if manages else None,
    )
