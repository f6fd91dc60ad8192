"""What dropped files start: a book, or a new version of one, and a job that works for it."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from core.backoff import Tried
from core.catalog.models import Book
from core.catalog.service import Catalog
from core.errors import ConflictError, NotFoundError, StaleError
from core.ids import derived_id, fingerprint, now
from core.settings import Settings
from core.storage.blobs import BlobFacts, Container
from core.storage.queues import Queues
from core.transcription.folders import folder_of, is_companion
from core.transcription.metadata import title_from_folder, title_from_name
from core.transcription.models import Job, Part, PartFile, Source
from core.transcription.steps import Steps
from core.transcription.store import JobStore
from core.transcription.uploads import MORE_MAY_COME, BookUpload, Uploads, draft_of

_log = logging.getLogger("aloud.pipeline")

GATHER = "gather"
MAX_PARTS = 1000


class Gathering(Tried):
    """Message on `gather`, delayed: make one recording of these files, unless one after `newest` has come.

    `path` is a folder of `container` with a slash at its end, or names the parts of `audiobook_id`.
    """

    container: str = "uploads"
    path: str
    audiobook_id: str | None = None
    newest: datetime
    traceparent: str | None = None


@dataclass(frozen=True)
class Dropped:
    """A file that was dropped, what its owner calls it, and how it differs from what was announced."""

    facts: BlobFacts
    file_name: str
    mismatch: str | None = None


class Drops:
    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        steps: Steps,
        queues: Queues,
        catalog: Catalog,
        uploads: Container,
        announced: Uploads,
    ) -> None:
        self._chunk_seconds = settings.chunk_seconds
        self._quiet_seconds = settings.quiet_seconds
        self._store = store
        self._steps = steps
        self._queues = queues
        self._catalog = catalog
        self._uploads = uploads
        self._announced = announced

    async def forget(self, job: Job) -> None:
        """Delete the files of a job, unless others have come to their places."""
        for part in await self._store.parts(job.id):
            with suppress(NotFoundError, StaleError):
                await self._uploads.delete(part.blob_name, if_etag=part.etag)

    async def accept(self, container: str, name: str, traceparent: str | None = None) -> Job | None:
        """Start the work on a dropped file; the same drop seen again does no harm.

        A book belongs to a path: that of a file at the top level, or of a folder, whose files are one book
        once it has been quiet. The file of an upload that was announced becomes that upload's book, or a
        part of it. Returns the job, or None if there is nothing to do, or not yet.
        """
        if container != self._uploads.name:
            _log.warning("ignored a drop in %s, which is not watched", container)
            return None
        try:
            facts = await self._uploads.facts(name)
        except NotFoundError:
            _log.info("ignored the drop of %s, which is gone", name)
            return None
        upload = await self._announced.of_drop(name)
        folder = None if upload else folder_of(name)
        if upload is not None:
            return await self._accept_upload(upload, facts, traceparent)
        if folder is not None:
            await self._await_more(folder, facts, traceparent)
            return None
        source = await self.claim(name, facts.modified)
        draft = draft_at(source, name, facts.modified)
        return await self.begin(name, source, draft, [Dropped(facts, name)], traceparent)

    async def _accept_upload(
        self, upload: BookUpload, facts: BlobFacts, traceparent: str | None
    ) -> Job | None:
        book_id, draft = upload.audiobook_id, draft_of(upload)
        row = PartFile(
            part=1 if upload.part is None else upload.part, blob_name=facts.name, modified=facts.modified
        )
        if upload.part is not None:
            await self._store.note_part(book_id, row)
            await self._create(draft)
            path = f"parts of {book_id}"
            await self.claim(path, facts.modified, book_id)
            await self._send(
                Gathering(path=path, audiobook_id=book_id, newest=facts.modified, traceparent=traceparent)
            )
            return None
        await self._store.replace_parts(book_id, row)
        source = await self.claim(facts.name, facts.modified, book_id)
        file = Dropped(facts, upload.file_name, await self._announced.examine(upload, facts))
        return await self.begin(facts.name, source, draft, [file], traceparent)

    async def _await_more(self, folder: str, facts: BlobFacts, traceparent: str | None) -> None:
        """Show that something has come, and look again when the folder may have been quiet."""
        if is_companion(facts.name):
            _log.info("%s comes along with recordings and is none", facts.name)
            return
        source = await self.claim(folder, facts.modified)
        draft = draft_at(source, folder, facts.modified)
        await self._create(draft.model_copy(update={"processing_reason": MORE_MAY_COME}))
        await self._send(Gathering(path=folder, newest=facts.modified, traceparent=traceparent))

    async def _send(self, message: Gathering) -> None:
        await self._queues.send(GATHER, message, self._quiet_seconds)

    async def _create(self, draft: Book) -> None:
        try:
            await self._catalog.create(draft)
        except ConflictError:
            _log.debug("book %s exists", draft.id)

    async def claim(self, path: str, at: datetime, book_id: str | None = None) -> Source:
        """Return what is known of a path, which belongs to a book from its first file on."""
        book_id = book_id or derived_id(at, "book", self._uploads.name, path)
        return await self._store.claim_source(self._uploads.name, path, Source(audiobook_id=book_id))

    async def begin(
        self, path: str, source: Source, draft: Book, files: Sequence[Dropped], traceparent: str | None
    ) -> Job | None:
        """Start a job for the files that are at a path now; None if it is under way, or has been done.

        The job's id comes from the files' names and versions and the time of the newest. Equal bytes (by
        size and MD5) are no news.
        """
        newest = max(file.facts.modified for file in files)
        job_id = job_id_of(self._uploads, files)
        new = source.model_copy(
            update={
                "job_id": job_id,
                "size": sum(file.facts.size for file in files),
                "digest": _digest(files),
            }
        )
        if source.job_id != job_id and await self._is_repeat(source, new):
            _log.info("ignored the drop of %s: the same bytes again", path)
            return None
        await self._create(draft.model_copy(update={"job_id": job_id}))
        book = await self._catalog.book(source.audiobook_id)
        job = await self._store.create(
            Job(
                id=job_id,
                target_id=book.id,
                container=self._uploads.name,
                blob_name=files[0].facts.name if len(files) == 1 else path,
                size=new.size,
                previous_job_id=book.job_id if book.job_id != job_id else None,
                chunk_seconds=self._chunk_seconds,
                title=draft.title,
                traceparent=traceparent,
                created_at=newest,
                run_started_at=newest,
                updated_at=now(),
            ),
            rows_of(files),
        )
        if job.status != "uploaded" or not await hold(self._uploads, files):
            return None  # it is under way, or a newer version has come, which is told of by itself
        await self._store.set_source(self._uploads.name, path, new)
        await self._catalog.update(
            book.id, lambda book: book.model_copy(update={"job_id": job_id, "processing_status": "uploaded"})
        )
        await self._steps.drive(job)
        return job

    async def _is_repeat(self, source: Source, new: Source) -> bool:
        if (
            source.job_id is None
            or new.digest is None
            or (source.digest, source.size) != (new.digest, new.size)
        ):
            return False
        job = await self._store.find(source.job_id)
        return job is not None and job.status == "ready"


def draft_at(source: Source, path: str, at: datetime) -> Book:
    """Return the book of a path as it is before anything is known of its files."""
    title = title_from_folder(path) if path.endswith("/") else title_from_name(path)
    return Book(id=source.audiobook_id, title=title, created_at=at, updated_at=now())


def _digest(files: Sequence[Dropped]) -> str | None:
    digests = [file.facts.digest for file in files]
    if len(digests) == 1 or None in digests:
        return digests[0] if len(digests) == 1 else None
    return fingerprint(*(digest or "" for digest in digests))


def job_id_of(container: Container, files: Sequence[Dropped]) -> str:
    """Return the id of the job for these versions of these files: asked again, it is the same."""
    newest = max(file.facts.modified for file in files)
    versions = [said for file in files for said in (file.facts.name, file.facts.etag)]
    return derived_id(newest, "job", container.name, *versions)


async def hold(container: Container, files: Sequence[Dropped]) -> bool:
    """Tell whether a container still has these versions of all of these files."""
    held = (container.holds(file.facts.name, file.facts.etag) for file in files)
    return all(await asyncio.gather(*held))


def rows_of(files: Sequence[Dropped]) -> list[Part]:
    """Return the rows of files that were dropped, in their order."""
    return [
        Part(
            index=index,
            blob_name=file.facts.name,
            file_name=file.file_name,
            etag=file.facts.etag,
            size=file.facts.size,
            digest=file.facts.digest,
            modified=file.facts.modified,
            mismatch=file.mismatch,
        )
        for index, file in enumerate(files, 1)
    ]
