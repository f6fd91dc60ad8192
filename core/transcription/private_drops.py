"""How private recordings come in: the files in `tasks/{owner}/{task}/` are one recording of that task."""

import logging
from datetime import timedelta
from pathlib import PurePosixPath

from core.errors import ConflictError, NotFoundError
from core.ids import is_id, now
from core.settings import Settings
from core.storage.blobs import BlobFacts, Container
from core.storage.queues import Queues
from core.tasks.models import NewTask
from core.tasks.service import LATE, Tasks
from core.transcription.drops import (
    GATHER,
    MAX_PARTS,
    Dropped,
    Gathering,
    hold,
    job_id_of,
    rows_of,
)
from core.transcription.folders import is_companion, natural_key
from core.transcription.metadata import title_from_name
from core.transcription.models import Job
from core.transcription.progress import Progress
from core.transcription.steps import Steps
from core.transcription.store import JobStore
from core.transcription.uploads import MORE_MAY_COME, TaskUpload, Uploads

_log = logging.getLogger("aloud.pipeline")

_PATIENCE = timedelta(minutes=15)


class PrivateDrops:
    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        steps: Steps,
        progress: Progress,
        queues: Queues,
        tasks: Tasks,
        announced: Uploads,
        drops: Container,
    ) -> None:
        self._chunk_seconds = settings.chunk_seconds
        self._quiet_seconds = settings.quiet_seconds
        self._store = store
        self._steps = steps
        self._progress = progress
        self._queues = queues
        self._tasks = tasks
        self._announced = announced
        self._drops = drops
        self.container = drops.name

    async def accept(self, name: str, traceparent: str | None = None) -> Job | None:
        """Start the work on a file in `tasks/{owner}/{task}/`; the same drop seen again does no harm.

        All files of the folder are one recording once it has been quiet, at once with one that was announced
        as all of it. A task that is not there is made, unless something was announced for it: then its owner
        has deleted it since, and the files go too. Returns the job, or None if there is nothing to do, or
        not yet.
        """
        owner_id, task_id, rest = (*PurePosixPath(name).parts, "", "", "")[:3]
        if not (is_id(owner_id) and is_id(task_id) and rest):
            _log.warning("ignored a drop in %s: it is in no task's folder", self.container)
            return None
        try:
            facts = await self._drops.facts(name)
        except NotFoundError:
            return None
        announced = await self._announced.of_task(task_id)
        if announced and not await self._tasks.is_there(owner_id, task_id):
            await self._drops.delete_prefix(f"{owner_id}/{task_id}/")
            return None
        upload = next((upload for upload in announced if upload.blob_name == name), None)
        if upload is not None and upload.part is None:
            files, _ = await self._files(owner_id, task_id)
            return await self._begin(owner_id, task_id, files, traceparent)
        if upload is None and is_companion(name):
            _log.info("a file comes along with private recordings and is none")
            return None
        if not announced:
            await self._make_task(owner_id, task_id, PurePosixPath(name).name)
        await self._tasks.await_files(owner_id, task_id, MORE_MAY_COME)
        message = Gathering(
            container=self.container,
            path=f"{owner_id}/{task_id}/",
            newest=facts.modified,
            traceparent=traceparent,
        )
        await self._queues.send(GATHER, message, self._quiet_seconds)
        return None

    async def gather(self, message: Gathering) -> None:
        """Begin a job for all files of a task, unless a newer one has its own message under way.

        Parts that were announced and are still on their way are waited for, as long as others keep coming.
        """
        owner_id, task_id = message.path.strip("/").split("/")
        files, missing = await self._files(owner_id, task_id)
        if not files:
            _log.info("nothing is left of a private recording")
        elif max(file.facts.modified for file in files) > message.newest:
            _log.debug("a private recording has not been quiet")
        elif len(files) > MAX_PARTS:
            reason = f"It has {len(files)} files; a recording may have {MAX_PARTS}."
            await self._tasks.await_files(owner_id, task_id, reason)
        elif missing and message.newest > now() - _PATIENCE:
            reason = f"{len(files)} of {len(files) + missing} files have arrived."
            await self._tasks.await_files(owner_id, task_id, reason)
            await self._queues.send(GATHER, message, self._quiet_seconds)
        else:
            await self._begin(owner_id, task_id, files, message.traceparent)

    async def _begin(
        self, owner_id: str, task_id: str, files: list[Dropped], traceparent: str | None
    ) -> Job | None:
        if not files:
            return None
        job_id = job_id_of(self._drops, files)
        newest = await self._tasks.newest_job(owner_id, task_id)
        at = max(file.facts.modified for file in files)
        job = await self._store.create(
            Job(
                id=job_id,
                target="task",
                target_id=f"{owner_id}/{task_id}",
                container=self.container,
                blob_name=files[0].facts.name if len(files) == 1 else f"{owner_id}/{task_id}/",
                size=sum(file.facts.size for file in files),
                previous_job_id=newest if newest != job_id else None,
                chunk_seconds=self._chunk_seconds,
                title="A private recording",
                traceparent=traceparent,
                created_at=at,
                run_started_at=at,
                updated_at=now(),
            ),
            rows_of(files),
        )
        if job.status != "uploaded" or not await hold(self._drops, files):
            return None  # it is under way, or a newer version has come, which is told of by itself
        if not await self._tasks.take_recording(owner_id, task_id, job_id, files[0].file_name):
            await self._progress.advance(job, "cancelled", "The task was deleted.")
            await self._store.note_removal(job.id, now() + LATE)
            await self._drops.delete_prefix(f"{owner_id}/{task_id}/")
            return None
        await self._steps.drive(job)
        return job

    async def _make_task(self, owner_id: str, task_id: str, file_name: str) -> None:
        try:
            await self._tasks.create(
                owner_id, NewTask(name=title_from_name(file_name)[:200]), task_id, file_name
            )
        except ConflictError:
            _log.debug("task %s exists", task_id)

    async def _files(self, owner_id: str, task_id: str) -> tuple[list[Dropped], int]:
        """Return the files of a task: those that were announced by their places, then the others by name.

        Of two that were announced for one place, the later one counts. And how many places have none yet.
        """
        folder = f"{owner_id}/{task_id}/"
        announced = {upload.blob_name: upload for upload in await self._announced.of_task(task_id)}
        placed: dict[int, tuple[TaskUpload, BlobFacts]] = {}
        others: list[BlobFacts] = []
        async for facts in self._drops.facts_under(folder):
            upload = announced.get(facts.name)
            if upload is not None:
                place = 1 if upload.part is None else upload.part
                if place not in placed or placed[place][0].id < upload.id:
                    placed[place] = (upload, facts)
            elif not is_companion(facts.name):
                others.append(facts)
        others.sort(key=lambda facts: natural_key(facts.name))
        examined = [
            Dropped(facts, upload.file_name, await self._announced.examine(upload, facts))
            for _, (upload, facts) in sorted(placed.items())
        ]
        places = {upload.part for upload in announced.values() if upload.part is not None}
        files = examined + [Dropped(facts, PurePosixPath(facts.name).name) for facts in others]
        return files, len(places - set(placed))
