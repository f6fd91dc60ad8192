"""The step `ingest`: copies a drop to where it cannot change, looks into it, and plans the cuts."""

import contextlib
from dataclasses import asdict, replace
from pathlib import PurePosixPath

from core.catalog.models import MediaFile
from core.errors import NotFoundError, RejectedAudioError, StaleError
from core.ids import now
from core.settings import Settings
from core.transcription.models import Chunk, Job, Step
from core.transcription.progress import Messages, Progress
from core.transcription.store import JobStore
from core.transcription.target import Recording, Targets
from core.transcription.workshop import Workshop


class Ingest:
    def __init__(
        self, settings: Settings, store: JobStore, progress: Progress, workshop: Workshop, targets: Targets
    ) -> None:
        self._max_hours = settings.max_audio_hours
        self._store = store
        self._progress = progress
        self._workshop = workshop
        self._targets = targets

    async def run(self, job: Job, _: Step) -> Messages:
        """Do the step; see `Steps.run`."""
        if job.status in ("uploaded", "planning"):
            try:
                if await self._progress.advance(job, "planning"):
                    await self.plan(job)
            except RejectedAudioError as error:
                await self.reject(job, error.detail)
            except (NotFoundError, StaleError):
                if await self._targets[job.target].drops.holds(job.blob_name, job.etag):
                    raise
                reason = "The file was removed or replaced before it was read."
                await self._progress.advance(job, "cancelled", reason)
        return await self._progress.calls_for(await self._store.job(job.id))

    async def plan(self, job: Job) -> None:
        """Copy the drop, look into it, and write down where it will be cut. Raises RejectedAudioError."""
        from core.transcription import audio

        target = self._targets[job.target]
        suffix = PurePosixPath(job.blob_name).suffix.lower()
        name = f"{target.folder(job)}audio{suffix if suffix.isascii() and len(suffix) <= 6 else ''}"
        copy = await target.media.copy_from(target.drops, job.blob_name, name, job.etag)
        reader = self._workshop.reader(target.media, name, copy.etag, copy.size)
        probe = await self._workshop.do_heavy(audio.probe, reader)
        self._check_length(probe.duration_seconds)
        length = job.chunk_seconds
        plan = await self._workshop.decode(probe, audio.plan, reader, probe, length, min(15, length / 4))
        self._check_length(plan.duration_seconds)
        facts = asdict(replace(probe, cover=None, chapters=(), tags={}))
        rows = [Chunk(index=cut.index, cut=asdict(cut), updated_at=now()) for cut in plan.cuts]
        await self._store.add_chunks(job.id, rows)

        if (await self._store.job(job.id)).status != "planning":
            return  # another worker was faster

        file = MediaFile(blob=name, content_type=probe.content_type, size=copy.size)
        title = await target.describe(job, Recording(file, probe, plan))
        await self._progress.advance(
            job,
            "transcribing",
            plan.shortfall,
            title=title,
            audio_blob=name,
            audio_etag=copy.etag,
            probe=facts,
            duration_seconds=round(plan.duration_seconds, 3),
            shortfall=plan.shortfall,
            total=len(rows),
        )

    def _check_length(self, seconds: float) -> None:
        if seconds > self._max_hours * 3600:
            raise RejectedAudioError(
                f"The recording is {seconds / 3600:.1f} hours long; the limit is {self._max_hours:g} hours."
            )

    async def reject(self, job: Job, reason: str) -> None:
        """End a job that has no usable recording, and remove what was copied for it."""
        if not await self._progress.advance(job, "rejected", reason):
            return
        target = self._targets[job.target]
        async for name in target.media.names(target.folder(job)):
            with contextlib.suppress(NotFoundError):
                await target.media.delete(name)
