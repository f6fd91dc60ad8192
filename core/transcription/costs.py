"""What jobs may cost and have cost: reserved in the month's budgets before the AI is asked, settled after."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from core.ai import Models
from core.ids import now
from core.operations.models import Amount, Claim
from core.operations.service import Operations
from core.transcription.models import Chunk, Job
from core.transcription.store import JobStore
from core.transcription.target import Targets

_TOKENS_A_SECOND = 4  # a fast reader's 180 words a minute; twice over, since summaries are read again
_TOKENS_WRITTEN = 4000


class Costs:
    def __init__(self, operations: Operations, store: JobStore, targets: Targets, models: Models) -> None:
        self._budgets = operations.budgets
        self._store = store
        self._targets = targets
        self._models = models

    async def reserve(self, job: Job, chunks: Sequence[Chunk], at: datetime) -> str | None:
        """Reserve what is still to be heard; return None, or why the job has to wait.

        It is the run's one reservation: again reserves nothing more.
        """
        seconds = sum(
            chunk.cut["end_seconds"] - chunk.cut["start_seconds"]
            for chunk in chunks
            if chunk.status == "pending"
        )
        whole = job.duration_seconds or seconds
        speech = self._models.speech.capabilities.cost(seconds)
        text = self._models.text.capabilities.cost(int(whole * _TOKENS_A_SECOND), _TOKENS_WRITTEN)
        claim = await self._claim(job, at)
        return await self._budgets.reserve(claim, Amount(speech + text, round(seconds)))

    async def settle(self, job: Job) -> None:
        """Replace what a run has reserved by what it has cost; nothing for a run that never began."""
        if job.reserved_at is None:
            return
        billed = await self.bill(job)
        spent = Amount(
            int(billed["billed_microdollars"] - job.billed_microdollars),
            round(billed["billed_seconds"] - job.billed_seconds),
        )
        await self._budgets.settle(await self._claim(job, job.reserved_at), spent)

    async def settle_late(self, job_id: str) -> None:
        """Settle again a run that ended while an answer of the AI was on its way."""
        job = await self._store.find(job_id)
        if job is not None and job.is_final:
            await self.settle(job)

    async def bill(self, job: Job) -> dict[str, float]:
        """Return what all runs of a job have cost so far, as fields of the job."""
        rows = await self._store.all_chunks(job.id)
        return {
            "billed_microdollars": sum(row.cost_microdollars for row in rows) + job.text_cost_microdollars,
            "billed_seconds": round(sum(row.audio_seconds for row in rows), 3),
        }

    async def settle_all(self) -> None:
        """Settle what a crash has left reserved for runs that are over, of this month and the one before."""
        at = now()
        for month in {at.replace(day=1), at.replace(day=1) - timedelta(days=1)}:
            async for reservation in self._budgets.unsettled(month):
                job = await self._store.find(reservation.job_id)
                if job is None:  # its task is gone, and its rows with it
                    claim = Claim(reservation.job_id, reservation.run, None, month)
                    await self._budgets.settle(claim, Amount(reservation.microdollars, reservation.seconds))
                elif job.run == reservation.run and job.is_final:
                    begun = job.reserved_at
                    if begun is not None and (begun.year, begun.month) == (month.year, month.month):
                        await self.settle(job)
                    else:  # it was ended, or asked again, before it knew of this one
                        await self._budgets.settle(await self._claim(job, month), Amount(0, 0))
                elif job.run != reservation.run:  # what it has cost is not known any more
                    claim = replace(await self._claim(job, month), run=reservation.run)
                    await self._budgets.settle(claim, Amount(reservation.microdollars, reservation.seconds))

    async def _claim(self, job: Job, at: datetime) -> Claim:
        payer = await self._targets[job.target].payer(job)
        return Claim(job_id=job.id, run=job.run, owner_id=payer, at=at)
