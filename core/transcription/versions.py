"""Every transcript that a book has had: heard by a model, changed by a person, or both."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.catalog.models import AudioPart, Book
from core.errors import ConflictError, UnavailableError
from core.ids import fingerprint
from core.storage.tables import Table

VersionKind = Literal["machine", "edited", "carried"]
_TRIES = 20


class Version(BaseModel):
    """Row `version_{000001}` of `transcripts`, a partition a book; never changed once it is there, but that
    its author is forgotten who leaves.

    `root` is the machine's version that has the same segments, and `job_id` the job that heard it.
    `timeline` tells recordings apart: a transcript fits only that of which it is. `changes` counts the
    segments that differ from `based_on`.
    """

    model_config = ConfigDict(frozen=True)

    number: int = 0
    kind: VersionKind
    author_id: str | None = None
    prefix: str
    job_id: str
    timeline: str
    coverage: float | None = None
    root: int = 0
    based_on: int | None = None
    changes: int = 0
    note: str | None = None
    created_at: datetime


class VersionView(BaseModel):
    """A version in the list of a book's transcripts."""

    version: int
    kind: VersionKind = Field(description="carried: a person's changes, put on what was heard later.")
    author_id: str | None
    created_at: datetime
    based_on: int | None
    changes: int
    is_current: bool
    fits: bool = Field(description="Whether it is of the recording that the book has now.")


class VersionStore:
    def __init__(self, transcripts: Table) -> None:
        self._transcripts = transcripts

    async def all(self, book_id: str) -> list[Version]:
        """Return a book's versions in order."""
        return [stored.value async for stored in self._transcripts.each(Version, book_id, "version_")]

    async def add(self, book_id: str, version: Version) -> Version:
        """Add a version under the next number, unless one with the same files is there; return it."""
        for _ in range(_TRIES):
            known = await self.all(book_id)
            for one in known:
                if one.prefix == version.prefix:
                    return one
            number = known[-1].number + 1 if known else 1
            numbered = version.model_copy(update={"number": number, "root": version.root or number})
            try:
                await self._transcripts.insert(numbered, book_id, _key(number))
            except ConflictError:
                continue
            return numbered
        raise UnavailableError("The transcript's versions change too often.", retry_after=1)

    async def forget_author(self, book_id: str, author_id: str) -> None:
        """Forget that these versions are of a person who leaves."""

        def forget(version: Version) -> Version:
            return version.model_copy(update={"author_id": None})

        for version in await self.all(book_id):
            if version.author_id == author_id:
                await self._transcripts.update(Version, book_id, _key(version.number), forget)

    async def current(self, book: Book) -> Version | None:
        """Return the version that a book has; one of which nobody took note is noted now."""
        if book.transcript_prefix is None:
            return None
        version = Version(
            kind="machine",
            prefix=book.transcript_prefix,
            job_id=book.transcript_prefix.split("/")[1],
            timeline=timeline_of(book.parts),
            coverage=book.coverage,
            created_at=book.updated_at,
        )
        return await self.add(book.id, version)


def _key(number: int) -> str:
    return f"version_{number:06d}"


def timeline_of(parts: Sequence[AudioPart]) -> str:
    """Return a key that is the same for the same files in the same order."""
    return fingerprint(*(f"{part.origin or part.blob} {part.duration_seconds}" for part in parts))


def show(version: Version, book: Book) -> VersionView:
    """Return a version as it is listed."""
    return VersionView(
        **version.model_dump(include={"kind", "author_id", "created_at", "based_on", "changes"}),
        version=version.number,
        is_current=version.prefix == book.transcript_prefix,
        fits=version.timeline == timeline_of(book.parts),
    )
