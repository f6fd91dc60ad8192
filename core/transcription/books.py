"""Books as what jobs work for: the pipeline's findings on their way into the catalog."""

import logging
from collections.abc import Sequence
from typing import Any

from core.ai import Bill, Hints, Models
from core.catalog.models import Book, Chapter, MediaFile, Money
from core.catalog.service import Catalog
from core.errors import InvalidError, ModelFilteredError, UnavailableError
from core.settings import Settings
from core.storage.blobs import Container
from core.transcription.chapters import draw_up_chapters, keep_chapters, to_hear
from core.transcription.enrichment import Findings, enrich
from core.transcription.metadata import fill_from_tags, hints_of
from core.transcription.models import Job, Part
from core.transcription.revising import Revisions
from core.transcription.samples import write_sample
from core.transcription.storing import open_transcript
from core.transcription.target import Recording
from core.transcription.transcript import Transcript, read_lines
from core.transcription.versions import Version, VersionStore
from core.transcription.workshop import Workshop

_log = logging.getLogger("aloud.pipeline")

_TRIES = 5


class BookTarget:
    """Implements `Target`; a job's `target_id` is the book's id."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        models: Models,
        workshop: Workshop,
        drops: Container,
        media: Container,
        versions: VersionStore,
        revisions: Revisions,
    ) -> None:
        self._auto_publish = settings.auto_publish
        self._catalog = catalog
        self._models = models
        self._workshop = workshop
        self.drops = drops
        self.media = media
        self._versions = versions
        self._revisions = revisions

    def folder(self, job: Job) -> str:
        return f"{job.target_id}/{job.id}/"

    async def needed(self, job: Job) -> tuple[str, ...]:
        book = await self._catalog.book(job.target_id)
        if book.job_id == job.id:
            return (self.folder(job),)
        cover = (book.cover.blob.rpartition("/")[0],) if book.cover is not None else ()
        files = [file.blob for file in (*book.parts, book.sample) if file is not None]
        return (f"{self.folder(job)}transcript-", *cover, *files)

    async def follow(self, job: Job) -> bool:
        def adopt(book: Book) -> Book | None:
            if book.job_id not in (job.id, job.previous_job_id):
                return None
            return book.model_copy(update={"job_id": job.id, "processing_status": job.status})

        return (await self._catalog.update(job.target_id, adopt)).job_id == job.id

    async def show_status(self, job: Job) -> None:
        def follow(book: Book) -> Book | None:
            if book.job_id != job.id:
                return None
            return book.model_copy(update={"processing_status": job.status, "processing_reason": job.reason})

        await self._catalog.update(job.target_id, follow)

    async def payer(self, job: Job) -> str | None:
        return (await self._catalog.book(job.target_id)).owner_id

    async def describe(self, job: Job, recording: Recording) -> Job:
        """Show what is known as early as possible, but keep what a book has to hear and read already."""
        cover = await self._store_cover(job, recording.cover)
        job = job.model_copy(update={"cover": cover})
        tags = {
            name: text
            for name, text in recording.tags.items()
            if name != "title" or len(recording.parts) == 1
        }

        def fill(book: Book) -> Book | None:
            if book.job_id != job.id:
                return None
            filled = book if job.is_fresh else fill_from_tags(book, tags, job.title)
            return filled if book.transcript_prefix else _put_on(filled, job, recording.parts)

        book = await self._catalog.book(job.target_id)
        chapters = None if book.transcript_prefix else draw_up_chapters(recording.parts)
        book = await self._catalog.update(job.target_id, fill, chapters)
        return job.model_copy(update={"title": (await self._catalog.settle_names(book)).title})

    async def _store_cover(self, job: Job, picture: bytes | None) -> MediaFile | None:
        if picture is None:
            return None
        try:
            return await self._catalog.write_cover(f"{self.folder(job)}cover", picture)
        except InvalidError as error:
            _log.info("the file of job %s has a cover that is none: %s", job.id, error.fields)
            return None

    async def attach(
        self, job: Job, parts: Sequence[Part], prefix: str, transcript: Transcript
    ) -> str | None:
        """Put files, sample, chapters and transcript on the book, all in one write."""
        sample: MediaFile | None = None
        for attempt in range(_TRIES):
            book = await self._catalog.book(job.target_id)
            current = await self._versions.current(book)
            replaces = current is not None and current.job_id != job.id
            if book.job_id != job.id or (replaces and transcript.gaps):
                return None
            chapters: tuple[Chapter, ...] | None = None
            if replaces:
                known = await self._catalog.stored_chapters(book.id)
                chapters = keep_chapters(draw_up_chapters(parts), parts, known, book.parts)
            version = await self._revisions.take(book, job, to_hear(parts), prefix, transcript)
            if attempt == 0:
                name = f"{self.folder(job)}sample.mp3"
                sample = await write_sample(self.media, self._workshop, name, parts, transcript)
            if await self._attach(book, job, parts, sample, version, transcript.language, chapters):
                return version.note
        raise UnavailableError("The transcript is being changed by others too.", retry_after=1)

    async def _attach(
        self,
        seen: Book,
        job: Job,
        parts: Sequence[Part],
        sample: MediaFile | None,
        version: Version,
        language: str | None,
        chapters: tuple[Chapter, ...] | None,
    ) -> bool:
        """Attach a version, unless somebody has changed the transcript since the book was read."""

        def attach(book: Book) -> Book | None:
            if book.job_id != job.id or book.transcript_prefix != seen.transcript_prefix:
                return None
            found = {"transcript_prefix": version.prefix, "coverage": version.coverage, "sample": sample}
            book = _put_on(book, job, parts)
            return book.model_copy(update={**found, "language": book.language or language})

        after = await self._catalog.update(job.target_id, attach, chapters)
        return after.job_id != job.id or after.transcript_prefix == version.prefix

    async def hints(self, job: Job) -> Hints:
        return hints_of(await self._catalog.book(job.target_id))

    async def finish(self, job: Job, bill: Bill) -> str | None:
        """Write summary, tags and chapter titles, and publish the book where that is set.

        A book whose content the model's filter does not like is ready all the same, with what it had before.
        """
        book = await self._catalog.book(job.target_id)
        if book.job_id != job.id or book.transcript_prefix is None:
            return None
        async with open_transcript(self.media, self._workshop, book.transcript_prefix) as transcript:
            lines = await self._workshop.do_heavy(read_lines, transcript)
        chapters = await self._catalog.stored_chapters(book.id)
        note: str | None = None
        try:
            findings = await enrich(self._models.text, book.title, chapters, lines, bill)
        except ModelFilteredError as error:
            note = f"No summary was written: {error.detail}"
            findings = Findings(book.summary, book.tags, tuple(chapters))

        def finish(book: Book) -> Book | None:
            if book.job_id != job.id:
                return None
            found: dict[str, Any] = {"summary": findings.summary}
            if not book.has_own_tags:
                found["tags"] = findings.tags
            if self._auto_publish and book.owner_id is None and book.visibility == "draft":
                free = Money(amount=0, currency="USD")
                found |= {"visibility": "published", "price": book.price or free}
            return book.model_copy(update=found)

        await self._catalog.update(book.id, finish, findings.chapters)
        return note

    async def publish(self) -> None:
        revision = await self._catalog.publish()
        _log.info("the catalog is at revision %s", revision)


def _put_on(book: Book, job: Job, parts: Sequence[Part]) -> Book:
    """Return a book with the files of a job."""
    duration = round(sum(part.duration_seconds for part in parts), 3)
    cover = job.cover if job.cover is not None and not book.has_own_cover else book.cover
    return book.model_copy(update={"parts": to_hear(parts), "duration_seconds": duration, "cover": cover})
