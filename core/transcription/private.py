"""Private recordings: how what is heard in them goes to their owners' tasks, and what owners ask for."""

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta

from core.ai import Bill, Hints
from core.catalog.models import FINAL_STATUSES
from core.catalog.service import TranscriptForm
from core.errors import ConflictError, NotFoundError
from core.ids import now
from core.storage.blobs import Container, Link
from core.tasks.models import Heard, Prompt, Task, TaskDetail
from core.tasks.service import LATE, Tasks
from core.transcription.chapters import to_hear
from core.transcription.metadata import language_code
from core.transcription.models import Job, Part
from core.transcription.progress import Progress
from core.transcription.store import JobStore
from core.transcription.target import Recording
from core.transcription.transcript import Transcript
from core.transcription.uploads import Uploads
from core.transcription.workshop import Workshop

_LINK_LIFE = timedelta(minutes=30)
_LOOK_SECONDS = 0.5


def _owner_and_task(job: Job) -> tuple[str, str]:
    owner_id, _, task_id = job.target_id.partition("/")
    return owner_id, task_id


class TaskTarget:
    """Implements `Target`; a job's `target_id` is `{owner's id}/{task's id}`, and so is its folder."""

    def __init__(self, tasks: Tasks, drops: Container, private: Container) -> None:
        self._tasks = tasks
        self.drops = drops
        self.media = private

    def folder(self, job: Job) -> str:
        return f"{job.target_id}/{job.id}/"

    async def follow(self, job: Job) -> bool:
        known = (job.id, job.previous_job_id)
        return await self._tasks.adopt(*_owner_and_task(job), job.id, known, job.status)

    async def needed(self, job: Job) -> tuple[str, ...]:
        """Transcripts stay for the versions that name them, the recording as long as it is the newest."""
        try:
            parts = (await self._tasks.task(*_owner_and_task(job))).parts
        except NotFoundError:
            return ()
        return (f"{self.folder(job)}transcript", *(part.blob for part in parts))

    async def show_status(self, job: Job) -> None:
        await self._tasks.note(*_owner_and_task(job), job.id, status=job.status, reason=job.reason)

    async def payer(self, job: Job) -> str | None:
        return _owner_and_task(job)[0]

    async def describe(self, job: Job, recording: Recording) -> Job:
        parts, seconds = to_hear(recording.parts), recording.duration_seconds
        await self._tasks.note(*_owner_and_task(job), job.id, parts=parts, duration_seconds=seconds)
        return job

    async def attach(self, job: Job, parts: Sequence[Part], prefix: str, transcript: Transcript) -> None:
        heard = Heard(
            job_id=job.id,
            prompts=await asyncio.to_thread(_prompts_of, transcript),
            language=language_code(transcript.language),
            coverage=round(transcript.coverage, 4),
            transcript_prefix=prefix,
        )
        await self._tasks.hear(*_owner_and_task(job), heard)

    async def hints(self, job: Job) -> Hints:
        """Nothing is known beforehand of a private recording."""
        return Hints()

    async def finish(self, job: Job, bill: Bill) -> str | None:
        """There is nothing left: what was heard is all that is wanted."""
        return None

    async def publish(self) -> None:
        """There is nobody to show it to."""


def _prompts_of(transcript: Transcript) -> tuple[Prompt, ...]:
    return tuple(
        Prompt(index=s.index, start_seconds=s.start_seconds, end_seconds=s.end_seconds, text=s.text)
        for s in transcript.segments
    )


class Recordings:
    def __init__(
        self,
        store: JobStore,
        progress: Progress,
        tasks: Tasks,
        announced: Uploads,
        private: Container,
        workshop: Workshop,
    ) -> None:
        self._store = store
        self._progress = progress
        self._tasks = tasks
        self._announced = announced
        self._private = private
        self._workshop = workshop

    # What owners ask

    async def audio(self, owner_id: str, task_id: str, part: int = 1) -> Link:
        """Return a link to one of a task's files, which are numbered from 1.

        Raises NotFoundError; ConflictError while there is no recording.
        """
        task = await self._tasks.task(owner_id, task_id)
        if not task.parts:
            raise ConflictError("This task has no recording yet.")
        if not 1 <= part <= len(task.parts):
            raise NotFoundError(f"This recording has {len(task.parts)} parts.")
        file = task.parts[part - 1]
        return await self._private.link(file.blob, _LINK_LIFE, file.content_type)

    async def transcript(self, owner_id: str, task_id: str, form: TranscriptForm) -> tuple[bytes, str]:
        """Return the passages in one of the forms of a transcript, and the task's name.

        As the model gave it, with the times of words where it has them; of what a person has changed, only
        what has stayed the same. Raises NotFoundError; ConflictError while there is none.
        """
        task = await self._tasks.task(owner_id, task_id)
        if task.transcript_prefix is not None:
            return await self._private.read(f"{task.transcript_prefix}.{form}"), task.name
        if task.prompts_blob is None:
            reason = f": {task.reason}" if task.reason else "."
            raise ConflictError(f"This task has no transcript yet{reason}")
        from core.transcription.passages import write_passages

        prompts = (await self._tasks.show(owner_id, task_id)).prompts
        heard = None if task.heard_prefix is None else await self._private.read(f"{task.heard_prefix}.json")
        return await self._workshop.do_heavy(write_passages, task, prompts, heard, form), task.name

    async def delete(self, owner_id: str, ids: Sequence[str]) -> None:
        """Delete tasks, and end what is under way for them. Raises NotFoundError naming one not there."""
        jobs = [(await self._tasks.task(owner_id, task_id)).job_id for task_id in ids]
        await self._tasks.delete(owner_id, ids)
        for job_id in jobs:
            job = None if job_id is None else await self._store.find(job_id)
            if job is not None and not job.is_final:
                await self._progress.advance(job, "cancelled", "The task was deleted.")

    async def forget(self, task: Task) -> None:
        """End all jobs of a task that is over, and delete what they have heard and how its file was called.

        What a call that is under way still writes goes a while later, with the rows of the jobs. Safe to
        repeat.
        """
        await self._announced.forget_task(task.id)
        job = None if task.job_id is None else await self._store.find(task.job_id)
        while job is not None:
            if not job.is_final:
                await self._progress.advance(job, "cancelled", "The task was deleted.")
            await self._store.note_removal(job.id, now() + LATE)
            await self._store.forget_results(job.id)
            job = None if job.previous_job_id is None else await self._store.find(job.previous_job_id)

    async def wait(self, owner_id: str, task_id: str, seconds: float) -> TaskDetail:
        """Return a task once its recording has been dealt with, or as it is after so many seconds."""
        for _ in range(math.ceil(seconds / _LOOK_SECONDS)):
            if (await self._tasks.task(owner_id, task_id)).status in FINAL_STATUSES:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return await self._tasks.show(owner_id, task_id)
