"""How a job moves on: its status, its target's, and the messages that its state calls for."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from core.catalog.models import FINAL_STATUSES, ProcessingStatus
from core.ids import now
from core.transcription.costs import Costs
from core.transcription.models import Chunk, ChunkState, Job, QueueName, Settled, Step
from core.transcription.store import JobStore
from core.transcription.target import Targets

_log = logging.getLogger("aloud.pipeline")

Messages = list[tuple[QueueName, Step]]

_QUEUES: dict[ProcessingStatus, QueueName] = {
    "uploaded": "ingest",
    "planning": "ingest",
    "assembling": "assemble",
    "enriching": "enrich",
    "ready": "index",
}


class Progress:
    def __init__(self, store: JobStore, targets: Targets, costs: Costs) -> None:
        self._store = store
        self._targets = targets
        self._costs = costs

    async def calls_for(self, job: Job) -> Messages:
        """Return the messages that a job's state calls for; harmless if they are under way already."""
        step = _step(job)
        if job.status == "transcribing":
            chunks = await self._store.chunks(job.id)
            pending = [chunk.index for chunk in chunks if chunk.status == "pending"]
            if not pending:
                return [("assemble", step)]
            return _ask(job, pending)
        queue = _QUEUES.get(job.status)
        return [(queue, step)] if queue else []

    def first_call(self, job: Job) -> Messages:
        """Return the message that has a job begin, again where it had to wait."""
        return [("ingest", _step(job))]

    async def asks_for(self, job: Job, chunks: Sequence[int]) -> Messages:
        """Return the messages for those of the given chunks that have no text yet."""
        found = await asyncio.gather(*(self._store.chunk(job.id, index) for index in chunks))
        return _ask(job, [chunk.index for chunk in found if chunk.status == "pending"])

    async def check(self, job: Job) -> Messages:
        """Fan in: if every chunk is final, they can be joined. Done after every chunk, whoever did it."""
        if job.status == "transcribing" and await self._store.has_pending(job.id):
            return []
        following = await self.calls_for(job)
        return following if following and following[0][0] == "assemble" else []

    async def advance(
        self,
        job: Job,
        status: ProcessingStatus,
        reason: str | None = None,
        only_from: Sequence[ProcessingStatus] = (),
        **changes: Any,
    ) -> bool:
        """Move a job on, and its target too; tell whether the job has that status now.

        A run never goes back, whatever a late duplicate asks, and what came with the first move stays. With
        `only_from` it moves from these statuses alone.
        """

        def move(now_: Job) -> Job | None:
            if now_.run != job.run or not now_.may_become(status):
                return None
            if only_from and now_.status not in only_from:
                return None
            ended = {"finished_at": now()} if status in FINAL_STATUSES else {}
            return now_.model_copy(update={"status": status, "reason": reason, **ended, **changes})

        moved = await self._store.update(job.id, move)
        if moved.run != job.run or moved.status != status:
            return False
        await self.show_status(moved)
        if moved.is_final:
            await self._costs.settle(moved)
            await self._store.note_end(moved)
        _log.info("job %s is %s%s", job.id, status, f": {reason}" if reason else "")
        return True

    async def show_status(self, job: Job) -> None:
        """Have the target follow its job."""
        await self._targets[job.target].show_status(job)


def _step(job: Job) -> Step:
    return Step(job_id=job.id, run=job.run, traceparent=job.traceparent)


def _ask(job: Job, chunks: Sequence[int]) -> Messages:
    return [("transcribe", _step(job).model_copy(update={"chunk": index})) for index in chunks]


def count(chunks: Sequence[Chunk] | Sequence[ChunkState]) -> Settled:
    """Return how chunks have ended so far."""
    return Settled(
        total=len(chunks),
        done=sum(chunk.status == "done" for chunk in chunks),
        failed=sum(chunk.status == "failed" for chunk in chunks),
        attempts=sum(chunk.attempts for chunk in chunks),
    )
