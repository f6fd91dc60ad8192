"""People's changes to transcripts: each a version that stays, whatever a model hears later."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.caller import Caller, Origin
from core.catalog.models import AudioPart, Book
from core.catalog.service import Catalog
from core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from core.ids import new_id, now
from core.operations.service import Operations
from core.storage.blobs import Container
from core.transcription.carrying import carry, find_changes, rewrite
from core.transcription.models import Job
from core.transcription.storing import open_transcript, write_forms
from core.transcription.transcript import Transcript, read_lines
from core.transcription.versions import Version, VersionStore, VersionView, show, timeline_of
from core.transcription.workshop import Workshop

_TRIES = 5


SegmentWords = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class SegmentText(BaseModel):
    """What a segment says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int = Field(ge=0)
    text: SegmentWords


class TranscriptPatch(BaseModel):
    """Other texts for some segments of the transcript; with `version` only if that is the current one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segments: list[SegmentText] = Field(min_length=1, max_length=1000)
    version: int | None = None


class Revisions:
    def __init__(
        self,
        store: VersionStore,
        catalog: Catalog,
        workshop: Workshop,
        media: Container,
        operations: Operations,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._workshop = workshop
        self._media = media
        self._operations = operations

    async def list(self, book_id: str, caller: Caller) -> list[VersionView]:
        """Return all versions of a book's transcript, the newest first. Raises as `check_manages` does."""
        book, _ = await self._managed(book_id, caller)
        return [show(version, book) for version in reversed(await self._store.all(book_id))]

    async def read(self, book_id: str, number: int, caller: Caller) -> bytes:
        """Return a version as JSON. Raises NotFoundError, and as `check_manages` does."""
        await self._managed(book_id, caller)
        return await self._media.read(f"{(await self._version(book_id, number)).prefix}.json")

    async def edit(self, book_id: str, patch: TranscriptPatch, caller: Caller, origin: Origin) -> VersionView:
        """Make a new version with other texts in some segments, and make it the current one.

        Raises InvalidError naming segments that there are not, ConflictError where `patch` names a version
        that is not the current one any more, and as `check_manages` does.
        """
        for _ in range(_TRIES):
            book, current = await self._managed(book_id, caller)
            if patch.version is not None and patch.version != current.number:
                raise ConflictError(f"The current version is {current.number}; read it and change that one.")
            async with self._open(current) as transcript:
                lines = await self._workshop.do_heavy(read_lines, transcript)
                texts = _texts_of(patch, len(lines))
                changes = sum(lines[place].text != text for place, text in texts.items())
                if not changes:
                    return show(current, book)
                version = await self._write(
                    book,
                    rewrite(transcript, texts),
                    current.model_copy(
                        update={
                            "kind": "edited",
                            "author_id": caller.user_id,
                            "prefix": f"{book.id}/transcripts/{new_id()}",
                            "based_on": current.number,
                            "changes": changes,
                            "note": None,
                            "created_at": now(),
                        }
                    ),
                )
            await self._operations.record(
                "transcript.edited", caller.user_id, book_id, origin, f"version {version.number}: {changes}"
            )
            if await self._switch(book, version):
                return show(version, await self._catalog.book(book_id))
        raise UnavailableError("The transcript is being changed by others too.", retry_after=1)

    async def restore(self, book_id: str, number: int, caller: Caller, origin: Origin) -> VersionView:
        """Make an older version the current one again, or one that a model has heard anew.

        Raises NotFoundError, ConflictError for one of another recording, and as `check_manages` does.
        """
        for _ in range(_TRIES):
            book, _current = await self._managed(book_id, caller)
            version = await self._version(book_id, number)
            if version.timeline != timeline_of(book.parts):
                raise ConflictError("That version is of another recording than the book has now.")
            await self._operations.record(
                "transcript.restored", caller.user_id, book_id, origin, f"version {number}"
            )
            if await self._switch(book, version):
                return show(version, await self._catalog.book(book_id))
        raise UnavailableError("The transcript is being changed by others too.", retry_after=1)

    async def take(
        self, book: Book, job: Job, parts: Sequence[AudioPart], prefix: str, transcript: Transcript
    ) -> Version:
        """Keep what a job has heard as a version; return the one that the book shall have now.

        That is what was heard, unless a person has changed what the book has. Changes of segments that were
        heard again as they were are carried over. Where a change has no place in the same recording any more,
        the person's version stays until one chooses; `note` says so.
        """
        current = await self._store.current(book)
        heard = await self._store.add(
            book.id,
            Version(
                kind="machine",
                prefix=prefix,
                job_id=job.id,
                timeline=timeline_of(parts),
                coverage=round(transcript.coverage, 4),
                created_at=now(),
            ),
        )
        if current is None or current.kind == "machine":
            return heard
        if current.root == heard.number:
            return current
        root = await self._version(book.id, current.root)
        async with self._open(root) as before, self._open(current) as edited:
            changes = await self._workshop.do_heavy(find_changes, before, edited)
        carried, kept = await self._workshop.do_heavy(carry, changes, book.parts, transcript, parts)
        lost = len(changes) - kept
        if lost and current.timeline == heard.timeline:
            note = f"The text that people have changed stays; what was heard anew is version {heard.number}."
            return current.model_copy(update={"note": note})
        note = f"{lost} changed sentences were in files that are gone: see version {current.number}."
        if not kept:
            return heard.model_copy(update={"note": note})
        return await self._write(
            book,
            carried,
            heard.model_copy(
                update={
                    "kind": "carried",
                    "author_id": current.author_id,
                    "prefix": f"{book.id}/transcripts/{job.id}-{job.run}-{current.number}",
                    "root": heard.number,
                    "based_on": current.number,
                    "changes": kept,
                    "note": note if lost else None,
                }
            ),
        )

    async def _managed(self, book_id: str, caller: Caller) -> tuple[Book, Version]:
        book = await self._catalog.managed(book_id, caller)
        current = await self._store.current(book)
        if current is None:
            raise ConflictError("This book has no transcript yet.")
        return book, current

    async def _version(self, book_id: str, number: int) -> Version:
        for version in await self._store.all(book_id):
            if version.number == number:
                return version
        raise NotFoundError("There is no such version.")

    def _open(self, version: Version) -> AbstractAsyncContextManager[Transcript]:
        return open_transcript(self._media, self._workshop, version.prefix)

    async def _write(self, book: Book, transcript: Transcript, version: Version) -> Version:
        await write_forms(self._media, self._workshop, version.prefix, transcript)
        return await self._store.add(book.id, version)

    async def _switch(self, seen: Book, version: Version) -> bool:
        """Give a book another transcript, unless it has got one since it was read."""

        def point(book: Book) -> Book | None:
            if book.transcript_prefix != seen.transcript_prefix:
                return None
            return book.model_copy(update={"transcript_prefix": version.prefix, "coverage": version.coverage})

        return (await self._catalog.update(seen.id, point)).transcript_prefix == version.prefix


def _texts_of(patch: TranscriptPatch, segments: int) -> dict[int, str]:
    """Raises InvalidError for segments that there are not, or that are named twice."""
    texts: dict[int, str] = {}
    wrong = []
    for place, segment in enumerate(patch.segments):
        if segment.index >= segments:
            wrong.append((f"segments.{place}.index", f"There are {segments} segments."))
        elif segment.index in texts:
            wrong.append((f"segments.{place}.index", "This segment is named twice."))
        texts[segment.index] = " ".join(segment.text.split())
    if wrong:
        raise InvalidError("Check the segments.", tuple(wrong[:20]))
    return texts
