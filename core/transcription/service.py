"""Transcription as the rest of the house sees it: drops, jobs, retries, failures."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from core.catalog.models import ProcessingStatus
from core.errors import ConflictError, NotFoundError
from core.ids import now
from core.operations.service import Operations
from core.settings import Settings
from core.transcription.costs import Costs
from core.transcription.drops import Drops
from core.transcription.models import (
    Card,
    Chunk,
    ChunkCounts,
    ChunkView,
    Job,
    JobDetail,
    JobProgress,
    JobView,
    QueueName,
    Step,
    TextCosts,
)
from core.transcription.private_drops import PrivateDrops
from core.transcription.progress import Progress, count
from core.transcription.renewal import Renewal
from core.transcription.steps import Steps
from core.transcription.store import JobStore, in_order
from core.transcription.target import Targets
from core.transcription.workshop import Workshop

_log = logging.getLogger("aloud.pipeline")

_JOBS_A_LOOK = 500


class Transcription:
    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        steps: Steps,
        progress: Progress,
        workshop: Workshop,
        costs: Costs,
        drops: Drops,
        renewal: Renewal,
        targets: Targets,
        private_drops: PrivateDrops,
        operations: Operations,
    ) -> None:
        self._stalled = timedelta(seconds=settings.stalled_seconds)
        self._store = store
        self._steps = steps
        self._progress = progress
        self._workshop = workshop
        self._costs = costs
        self._drops = drops
        self._renewal = renewal
        self._targets = targets
        self._private_drops = private_drops
        self._operations = operations

    def close(self) -> None:
        """Give back what the steps hold."""
        self._workshop.close()

    async def accept_drop(self, container: str, name: str, traceparent: str | None = None) -> Job | None:
        """Start the work on a dropped file; see `Drops.accept` and `PrivateDrops.accept`.

        A name with dots for a folder is not followed: on its way to the storage it would become another's.
        """
        if not {".", ".."}.isdisjoint(name.split("/")):
            _log.warning("ignored a drop in %s whose name leads elsewhere", container)
            return None
        if container == self._private_drops.container:
            return await self._private_drops.accept(name, traceparent)
        return await self._drops.accept(container, name, traceparent)

    async def forget(self, job_id: str) -> None:
        """Delete the file that a book's job was made of, and the text of its chunks; again does nothing."""
        job = await self._store.find(job_id)
        if job is not None and job.target == "book":
            await self._store.forget_results(job.id)
            await self._drops.forget(job)

    async def run(self, queue: QueueName, step: Step) -> None:
        """Do one step of the pipeline; see `Steps.run`."""
        await self._steps.run(queue, step)

    async def settle_poison(self, queue: QueueName, body: str) -> None:
        """Settle a message that failed too often: the job ends as failed, and a person is told."""
        try:
            job = await self._steps.settle_failure(queue, Step.model_validate_json(body))
        except (ValidationError, NotFoundError):  # nothing of ours that it could be about
            await self.alert_poison(f"{queue}-poison", body)
            return
        if job is None:
            return
        await self._operations.raise_alert(
            "transcription-failed" if queue != "index" else "index-failed",
            f"{job.title}: the step {queue} failed",
            f"{job.error or 'No cause was recorded.'}\nFile: {_place(job)}\nJob: {job.id}",
            f"{job.id}/{job.run}",
            job.run_started_at,
        )

    async def alert_poison(self, queue: str, body: str) -> None:
        """Tell a person of a message that could not be dealt with; of whose recording it is they do not."""
        private = f'"{self._private_drops.container}"' in body
        await self._operations.raise_alert(
            "poison-message",
            f"A message on {queue} could not be dealt with",
            "It is about a private recording." if private else body[:2000],
            queue,
            now(),
        )

    async def wake_stalled(self) -> int:
        """Start again the jobs that have had no news for a long time; return how many.

        Those that wait for a budget ask for it again, the oldest first, once what crashes have left reserved
        is given back. While the pipeline rests, its messages wait and none is added to them. At most
        `_JOBS_A_LOOK` are looked at, the others the next times.
        """
        await self._costs.settle_all()
        if (await self._operations.switch.look()).is_paused:
            return 0
        count = 0
        before = now() - self._stalled
        async for job in self._store.open_jobs(_JOBS_A_LOOK):
            if job.status == "waiting":
                await self._steps.send(self._progress.first_call(job))
            elif not await self._store.has_news(job, before):
                _log.warning("job %s has had no news since %s and is started again", job.id, job.updated_at)
                await self._targets[job.target].follow(job)  # whoever made it may not have come that far
                await self._store.update(job.id, lambda j: j.model_copy(update={"woken_at": now()}))
                await self._steps.drive(job)
                count += 1
        return count

    # What administrators ask

    async def jobs(
        self, limit: int, after: tuple[str, str] | None = None
    ) -> tuple[list[JobView], tuple[str, str] | None]:
        """Return jobs, newest first, and where the next page begins."""
        jobs, following = await self._store.newest(limit, after)
        return list(await asyncio.gather(*(self._view(job) for job in jobs))), following

    async def job(self, job_id: str) -> JobDetail:
        """Raises NotFoundError."""
        job = await self._store.job(job_id)
        rows = await self._store.all_chunks(job.id)
        chunks = in_order(rows)
        begins = {part.index: part.start_seconds for part in await self._store.parts(job.id)}
        view = await self._view(job, chunks)
        card = draw_card(job, rows, view.attempts)
        return JobDetail(
            **view.model_dump(),
            card=card,
            run=job.run,
            size_bytes=job.size,
            error=job.error,
            evidence=job.evidence,
            **job.model_dump(include=set(TextCosts.model_fields)),
            cost_microdollars=card.cost_microdollars,
            parts=[
                ChunkView(
                    **chunk.model_dump(include=set(ChunkView.model_fields)),
                    start_seconds=begins[chunk.part] + chunk.cut["start_seconds"],
                    end_seconds=begins[chunk.part] + chunk.cut["end_seconds"],
                )
                for chunk in chunks
            ],
        )

    async def progress(self, job_id: str) -> JobProgress | None:
        """Return how far a job has come, with its card; None if there is no such job."""
        job = await self._store.find(job_id)
        if job is None:
            return None
        rows = await self._store.all_chunks(job.id)
        view = await self._view(job, in_order(rows))
        return JobProgress(**view.model_dump(), card=draw_card(job, rows, view.attempts))

    async def cancel(self, job_id: str) -> JobDetail:
        """End a job; calls that are under way are the last. Raises NotFoundError, ConflictError."""
        job = await self._store.job(job_id)
        reason = "An administrator has ended it."
        if job.is_final or not await self._progress.advance(job, "cancelled", reason):
            raise ConflictError(f"The job is {job.status} already.")
        return await self.job(job_id)

    async def retry_for(self, job_id: str | None) -> JobDetail:
        """Retry a book's newest job. Raises ConflictError where nothing has failed."""
        if job_id is None:
            raise ConflictError("This book has no audio yet.")
        return await self.retry(job_id)

    async def retry(self, job_id: str) -> JobDetail:
        """Run a failed job again from where it stopped; what is done stays done.

        Raises NotFoundError, and ConflictError unless the job has failed or has had no news for a long time,
        and where a newer one has taken its place.
        """
        job = await self._store.job(job_id)
        is_stuck = not job.is_final and job.updated_at < now() - self._stalled
        if job.status not in ("transcription_failed", "cancelled", "rejected") and not is_stuck:
            raise ConflictError(f"The job is {job.status}; only one that has failed can be retried.")
        if not await self._targets[job.target].follow(job):
            raise ConflictError("A newer version of the recording has taken its place; retry that one.")
        chunks = await self._store.chunks(job_id)
        at = now()
        begun: dict[str, Any] = {"run": job.run + 1, "reserved_at": None}
        if job.total:
            asked = [_ask_again(chunk) if chunk.status == "failed" else chunk for chunk in chunks]
            lacks = await self._costs.reserve(job.model_copy(update=begun), asked, at)
            if lacks is not None:
                raise ConflictError(f"{lacks} Try again when there is more.")
            begun |= {"reserved_at": at, **await self._costs.bill(job)}
        else:
            await self._store.forget_plan(job_id)  # the next one may number its chunks otherwise
        missing = any(chunk.status != "done" for chunk in chunks)
        status: ProcessingStatus = (
            "uploaded" if not job.total else "transcribing" if missing else "assembling"
        )
        for chunk in chunks:
            if chunk.status == "failed":
                await self._store.update_chunk(job_id, chunk.index, _ask_again)
        start = {**begun, "run_started_at": at, "status": status, "settled": None}
        start |= {"reason": None, "error": None, "evidence": None}
        await self._store.note_open(job_id, begun["run"])
        job = await self._store.update(
            job_id, lambda j: j.model_copy(update=start) if j.run == job.run else None
        )
        await self._progress.show_status(job)
        await self._steps.drive(job)
        return await self.job(job_id)

    async def hear_anew(self, job_id: str | None) -> JobDetail:
        """Hear a book's files anew, with the model that is set now; its transcript stays until then.

        While that is under way, asking again changes nothing. Raises ConflictError unless what the book has
        is ready.
        """
        if job_id is None:
            raise ConflictError("This book has no audio yet.")
        job = await self._store.job(job_id)
        if job.is_fresh and not job.is_final:
            return await self.job(job.id)
        job = await self._renewal.begin(job)
        if not await self._targets[job.target].follow(job):
            raise ConflictError("Another version of the recording has just come.")
        await self._steps.drive(job)
        return await self.job(job.id)

    async def remove_retired(self) -> None:
        """Delete what newer jobs have made superfluous, once no link to it is left."""
        await self._renewal.remove_retired()

    async def revive(self, body: str) -> None:
        """Run the job again that a message was about, if it has failed and not been run again since.

        Raises ConflictError for a message that cannot be read, and where the budget is used up.
        """
        try:
            step = Step.model_validate_json(body)
        except ValidationError:
            raise ConflictError("A message of the pipeline cannot be read.") from None
        job = await self._store.find(step.job_id)
        if job is not None and job.run == step.run and job.status == "transcription_failed":
            await self.retry(job.id)

    async def _view(self, job: Job, chunks: Sequence[Chunk] | None = None) -> JobView:
        updated_at, counts = job.updated_at, job.settled
        if counts is None:
            states = chunks or (await self._store.chunk_states(job.id) if job.total else [])
            updated_at = max([updated_at, *(state.updated_at for state in states)])
            counts = count(states)
        return JobView(
            **job.model_dump(include={"id", "title", "status", "duration_seconds"}),
            blob_name=_place(job),
            audiobook_id=job.target_id,
            reason=job.reason or (None if job.is_final else job.error),
            created_at=job.created_at,
            updated_at=updated_at,
            attempts=job.attempts + counts.attempts,
            chunks=ChunkCounts(**counts.model_dump(exclude={"attempts"})),
        )


def _place(job: Job) -> str:
    """Return where a job's recording is, for administrators; of a private one not how its owner calls it."""
    return job.blob_name if job.target == "book" else "a task's folder"


def draw_card(job: Job, rows: Sequence[Chunk], attempts: int) -> Card:
    """Sum up what a job has cost and how good it is; `rows` are all its chunks, split ones too."""
    ended = job.finished_at if job.is_final and job.finished_at is not None else now()
    return Card(
        audio_minutes=round(sum(row.audio_seconds for row in rows) / 60, 2),
        calls=sum(row.calls for row in rows) + job.text_calls,
        input_tokens=sum(row.input_tokens for row in rows) + job.text_input_tokens,
        output_tokens=sum(row.output_tokens for row in rows) + job.text_output_tokens,
        cost_microdollars=sum(row.cost_microdollars for row in rows) + job.text_cost_microdollars,
        attempts=attempts,
        rejected=sum(row.rejected for row in rows),
        flagged=sum(row.flag is not None for row in in_order(rows)),
        gaps=job.gaps,
        coverage=job.coverage,
        wall_seconds=round((ended - job.run_started_at).total_seconds(), 1),
        cpu_seconds=round(job.cpu_seconds + sum(row.cpu_seconds for row in rows), 2),
    )


def _ask_again(chunk: Chunk) -> Chunk:
    anew = {"status": "pending", "attempts": 0, "rejected": 0, "error": None, "evidence": None}
    return chunk.model_copy(update=anew)
