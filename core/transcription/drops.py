"""What a dropped file starts: a book, or a new version of one, and a job that works for it."""

import logging
from contextlib import suppress

from core.catalog.models import Book
from core.catalog.service import Catalog
from core.errors import ConflictError, NotFoundError, StaleError
from core.ids import derived_id, now
from core.settings import Settings
from core.storage.blobs import Container
from core.transcription.metadata import title_from_name
from core.transcription.models import Job, Source
from core.transcription.progress import Progress
from core.transcription.steps import Steps
from core.transcription.store import JobStore
from core.transcription.uploads import Uploads, draft_of, find_mismatch

_log = logging.getLogger("aloud.pipeline")


class Drops:
    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        steps: Steps,
        progress: Progress,
        catalog: Catalog,
        uploads: Container,
        announced: Uploads,
    ) -> None:
        self._chunk_seconds = settings.chunk_seconds
        self._store = store
        self._steps = steps
        self._progress = progress
        self._catalog = catalog
        self._uploads = uploads
        self._announced = announced

    async def forget(self, job: Job) -> None:
        """Delete the file of a job, unless another has come to its place."""
        with suppress(NotFoundError, StaleError):
            await self._uploads.delete(job.blob_name, if_etag=job.etag)

    async def accept(self, container: str, name: str, traceparent: str | None = None) -> Job | None:
        """Start the work on a dropped file; the same drop seen again does no harm.

        The job's id comes from the blob's name, version and time. A book belongs to a path: new bytes at
        the same path are a new job of the same book, equal bytes (by size and MD5) are none. The file of an
        upload that was announced becomes that upload's book, whatever its path was before.
        Returns the job, or None if there is nothing to do.
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
        job_id = derived_id(facts.modified, "job", container, name, facts.etag)
        new = Source(
            audiobook_id=upload.audiobook_id
            if upload
            else derived_id(facts.modified, "book", container, name),
            job_id=job_id,
            size=facts.size,
            digest=facts.digest,
        )
        source = await self._store.claim_source(container, name, new)
        if source.job_id != job_id and await self._is_repeat(source, new):
            _log.info("ignored the drop of %s: the same bytes again", name)
            return None
        at = now()
        title = title_from_name(upload.file_name if upload else name)
        draft = Book(id=source.audiobook_id, title=title, created_at=facts.modified, updated_at=at)
        try:
            await self._catalog.create(
                (draft_of(upload) if upload else draft).model_copy(update={"job_id": job_id})
            )
        except ConflictError:
            _log.debug("book %s exists", source.audiobook_id)
        job = await self._store.create(
            Job(
                id=job_id,
                target_id=source.audiobook_id,
                container=container,
                blob_name=name,
                file_name=upload.file_name if upload else None,
                etag=facts.etag,
                size=facts.size,
                chunk_seconds=self._chunk_seconds,
                title=title,
                traceparent=traceparent,
                created_at=facts.modified,
                run_started_at=facts.modified,
                updated_at=at,
            )
        )
        if job.status != "uploaded" or not await self._uploads.holds(name, facts.etag):
            return None  # it is under way, or a newer version has come, which is told of by itself
        await self._store.set_source(
            container, name, source.model_copy(update=new.model_dump(exclude={"audiobook_id"}))
        )
        await self._catalog.update(
            job.target_id,
            lambda book: book.model_copy(update={"job_id": job_id, "processing_status": "uploaded"}),
        )
        mismatch = find_mismatch(upload, facts.size)
        if mismatch is not None:
            await self._progress.advance(job, "rejected", mismatch)
            return job
        await self._steps.drive(job)
        return job

    async def _is_repeat(self, source: Source, new: Source) -> bool:
        if new.digest is None or (source.digest, source.size) != (new.digest, new.size):
            return False
        job = await self._store.find(source.job_id)
        return job is not None and job.status == "ready"
