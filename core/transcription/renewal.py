"""Hears a recording anew, and removes what a newer job has made superfluous once no link to it is left."""

import logging
from contextlib import suppress
from datetime import timedelta

from core.catalog.service import STREAM_LIFE
from core.errors import ConflictError, NotFoundError
from core.ids import derived_id, now
from core.settings import Settings
from core.transcription.models import Job, Part
from core.transcription.store import JobStore
from core.transcription.target import Targets

_log = logging.getLogger("aloud.pipeline")

_KEPT = STREAM_LIFE + timedelta(hours=1)


class Renewal:
    def __init__(self, settings: Settings, store: JobStore, targets: Targets) -> None:
        self._chunk_seconds = settings.chunk_seconds
        self._store = store
        self._targets = targets

    async def begin(self, job: Job) -> Job:
        """Make the job that hears the files of a finished one anew; asked again, it is the same one.

        Raises ConflictError unless the job is ready.
        """
        if job.status != "ready":
            raise ConflictError(f"The job is {job.status}; only what is ready can be heard anew.")
        at = now()
        new = Job(
            id=derived_id(job.run_started_at, "again", job.id),
            target=job.target,
            target_id=job.target_id,
            container=job.container,
            blob_name=job.blob_name,
            size=job.size,
            previous_job_id=job.id,
            is_fresh=True,
            chunk_seconds=self._chunk_seconds,
            title=job.title,
            created_at=at,
            run_started_at=at,
            updated_at=at,
        )
        dropped = {"index", "blob_name", "file_name", "etag", "size", "digest", "modified", "mismatch"}
        parts = [Part(**part.model_dump(include=dropped)) for part in await self._store.parts(job.id)]
        return await self._store.create(new, parts)

    async def retire(self, job: Job) -> None:
        """Note that what the jobs before this one have kept can go, once no link to it works any more."""
        due = now() + _KEPT
        previous = job.previous_job_id
        while previous is not None:
            await self._store.note_removal(previous, due)
            earlier = await self._store.find(previous)
            was_ready = earlier is not None and earlier.status == "ready"
            previous = None if earlier is None or was_ready else earlier.previous_job_id

    async def remove_retired(self) -> None:
        """Delete what is due: recordings, covers and results of jobs that nothing shows any more.

        Transcripts stay: they are versions that a person can go back to. Of a job whose target is gone
        nothing stays, nor do its rows.
        """
        async for job_id, removal in self._store.removals(now()):
            job = await self._store.find(job_id)
            if job is not None:
                target = self._targets[job.target]
                needed = await target.needed(job)
                async for name in target.media.names(target.folder(job)):
                    if not name.startswith(needed):
                        with suppress(NotFoundError):
                            await target.media.delete(name)
                await self._store.forget_results(job.id)
                if not needed:
                    await self._store.erase(job.id)
                _log.info("job %s has been retired", job_id)
            await self._store.settle_removal(removal)
