"""How a step is run: alone, again after a failure, and never twice at once.

Every step may run twice, late, or beside its own duplicate. Each looks at the rows first, does what is
missing, commits by one write, and then sends what follows. A transient failure puts the message back with a
growing delay; a permanent one, or the last try, sends it to the step's poison queue with the cause recorded.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from core.backoff import Backoff
from core.errors import ModelAccountError, ModelRefusedError, UnavailableError
from core.ids import now
from core.operations.service import Operations
from core.settings import Settings
from core.storage.queues import Queues
from core.transcription.causes import Cause, explain
from core.transcription.models import Job, QueueName, Step, Work
from core.transcription.progress import Messages, Progress
from core.transcription.store import JobStore
from core.transcription.workshop import begin_metering

_log = logging.getLogger("aloud.pipeline")

W = TypeVar("W", bound=Work)

Doers = Mapping[QueueName, Callable[[Job, Step], Awaitable[Messages]]]

_REASON_CHARACTERS = 1000
_CLAIMED_DELAY_SECONDS = 2
_PAUSED_DELAY_SECONDS = 5
_SENT_AT_ONCE = 8


class Steps:
    """Runs the steps that `doers` do: each takes a job and its message, and returns what follows."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        queues: Queues,
        progress: Progress,
        operations: Operations,
        doers: Doers,
    ) -> None:
        self._settings = settings
        self._backoff = Backoff(settings)
        self._store = store
        self._queues = queues
        self._progress = progress
        self._operations = operations
        self._doers = doers

    async def run(self, queue: QueueName, step: Step) -> None:
        """Do one step, alone. Raises only what nobody foresaw; the host then counts the tries."""
        if (queue == "transcribe") != (step.chunk is not None):
            _log.error("dropped a message on %s that names no work there: %s", queue, step)
            return
        job = await self._store.find(step.job_id)
        if job is None or job.run != step.run:
            _log.info("dropped a message on %s of an earlier run of job %s", queue, step.job_id)
            return
        switch = await self._operations.switch.look()
        if switch.is_paused:
            await self._queues.send(queue, step, switch.wait_seconds)
            return
        if job.is_final:
            await self._progress.show_status(job)  # its target may have missed the last change
        try:
            async with self._claimed(step) as free:
                following = await self._doers[queue](job, step) if free else []
            if not free:
                await self._queues.send(queue, step, _CLAIMED_DELAY_SECONDS)
            await self.send(following)
        except Exception as error:
            await self._settle_error(queue, step, error, explain(error, is_private=job.target == "task"))

    async def _settle_error(self, queue: QueueName, step: Step, error: Exception, cause: Cause) -> None:
        """See to it that a step that has failed is done later, or given up; raise what nobody foresaw."""
        match error:
            case UnavailableError():
                await self._put_back(queue, step, error, cause)
            case ModelAccountError():
                _log.error("%s of job %s: %s", queue, step.job_id, cause)
                await self._operations.switch.trip(cause.words)
                await self._queues.send(queue, step, _PAUSED_DELAY_SECONDS)
            case ModelRefusedError():
                await self._give_up(queue, step, cause)
            case _:
                await self._change(step, lambda _: _record(cause))
                raise error

    async def drive(self, job: Job) -> None:
        """Send the messages that this job's state calls for; harmless if they are under way already."""
        await self.send(await self._progress.calls_for(job))

    async def send(self, messages: Messages) -> None:
        """Send messages to the pipeline's queues."""
        for start in range(0, len(messages), _SENT_AT_ONCE):
            some = messages[start : start + _SENT_AT_ONCE]
            await asyncio.gather(*(self._queues.send(queue, step) for queue, step in some))

    # Alone, and again

    async def _change(self, step: Step, change: Callable[[Work], dict[str, Any] | None]) -> Work:
        """Change fields of the row that a step works on, its chunk or its job; None leaves it as it is."""

        def apply(row: W) -> W | None:
            fields = change(row)
            return None if fields is None else row.model_copy(update=fields)

        if step.chunk is None:
            return await self._store.update(step.job_id, apply)
        return await self._store.update_chunk(step.job_id, step.chunk, apply)

    @contextlib.asynccontextmanager
    async def _claimed(self, step: Step) -> AsyncIterator[bool]:
        """Keep other workers off the step's row for as long as the work goes on; False if one has it."""
        owner = secrets.token_hex(8)
        life = timedelta(seconds=self._settings.claim_seconds)

        def take(row: Work) -> dict[str, Any] | None:
            taken = row.running_until is not None and row.running_until > now()
            return None if taken else {"claimed_by": owner, "running_until": now() + life}

        def keep(row: Work) -> dict[str, Any] | None:
            return {"running_until": now() + life} if row.claimed_by == owner else None

        meter = begin_metering()

        def leave(row: Work) -> dict[str, Any] | None:
            if row.claimed_by != owner:
                return None
            used = round(row.cpu_seconds + spent, 3)
            return {"claimed_by": None, "running_until": None, "cpu_seconds": used}

        if (await self._change(step, take)).claimed_by != owner:
            yield False
            return

        async def renew() -> None:
            while True:
                await asyncio.sleep(life.total_seconds() / 3)
                with contextlib.suppress(UnavailableError):
                    await self._change(step, keep)

        renewal = asyncio.create_task(renew())
        try:
            yield True
        finally:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal
            spent = meter.take()
            await self._change(step, leave)

    async def _put_back(self, queue: QueueName, step: Step, error: UnavailableError, cause: Cause) -> None:
        """Send the step to its queue again, later each time, or give it up after the last try."""
        row = await self._change(step, lambda r: {**_record(cause), "attempts": r.attempts + 1})
        tries = step.attempt if step.chunk is None else row.attempts
        delay = self._backoff.delay(tries, error.retry_after)
        if delay is None:
            await self._give_up(queue, step, cause)
            return
        _log.warning("%s of job %s again in %.1f s: %s", queue, step.job_id, delay, cause)
        await self._queues.send(queue, step.model_copy(update={"attempt": tries + 1}), delay)

    async def _give_up(self, queue: QueueName, step: Step, cause: Cause) -> None:
        """Record why before the message that knows it is gone."""
        await self._change(step, lambda _: _record(cause))
        _log.error("%s of job %s goes to the poison queue: %s", queue, step.job_id, cause)
        await self._queues.send(f"{queue}-poison", step)

    async def settle_failure(self, queue: QueueName, step: Step) -> Job | None:
        """Settle a step that ended on its poison queue; return the job if a person has to know of it.

        The job's `error` is then the cause.
        """
        job = await self._store.find(step.job_id)
        if job is None or job.run != step.run:
            return None
        if queue == "index":
            return job
        if step.chunk is None:
            reason = job.error or f"The step {queue} failed too often."
            failed = await self._progress.advance(job, "transcription_failed", reason)
            return job if failed else None
        chunk = await self._store.update_chunk(
            step.job_id,
            step.chunk,
            lambda c: c.model_copy(update={"status": "failed"}) if c.status == "pending" else None,
        )
        await self.send(await self._progress.check(job))
        return job.model_copy(update={"error": chunk.error}) if chunk.status == "failed" else None


def _record(cause: Cause) -> dict[str, Any]:
    return {"error": cause.words[:_REASON_CHARACTERS], "evidence": cause.evidence}
