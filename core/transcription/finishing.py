"""The last steps: `enrich` finishes what the job works for, `index` shows it to others."""

import secrets

from core.ai import Bill
from core.transcription.costs import Costs
from core.transcription.models import Job, Step
from core.transcription.progress import Messages, Progress
from core.transcription.renewal import Renewal
from core.transcription.store import JobStore
from core.transcription.target import Targets


class Finish:
    def __init__(
        self, store: JobStore, progress: Progress, costs: Costs, targets: Targets, renewal: Renewal
    ) -> None:
        self._store = store
        self._progress = progress
        self._costs = costs
        self._targets = targets
        self._renewal = renewal

    async def enrich(self, job: Job, _: Step) -> Messages:
        """Do the step `enrich`; see `Steps.run`."""
        if job.status == "enriching":
            bill = Bill()
            try:
                note = await self._targets[job.target].finish(job, bill)
            finally:
                await self._charge(job, bill)
            said = " ".join(filter(None, (job.shortfall, note))) or None
            await self._progress.advance(job, "ready", said)
            job = await self._store.job(job.id)
        if job.status != "ready":
            return []
        await self._renewal.retire(job)
        return await self._progress.calls_for(job)

    async def _charge(self, job: Job, bill: Bill) -> None:
        """Add what text calls have used up to the job, whatever became of their answers."""
        charge = secrets.token_hex(8)

        def add(row: Job) -> Job | None:
            if row.charge_id == charge:
                return None
            return row.model_copy(
                update={
                    "text_calls": row.text_calls + bill.calls,
                    "text_latency_seconds": round(row.text_latency_seconds + bill.latency_seconds, 3),
                    "text_input_tokens": row.text_input_tokens + bill.usage.input_tokens,
                    "text_output_tokens": row.text_output_tokens + bill.usage.output_tokens,
                    "text_cost_microdollars": row.text_cost_microdollars + bill.usage.cost_microdollars,
                    "charge_id": charge,
                }
            )

        if bill.calls:
            await self._store.update(job.id, add)
            await self._costs.settle_late(job.id)

    async def index(self, job: Job, _: Step) -> Messages:
        """Do the step `index`; see `Steps.run`."""
        await self._targets[job.target].publish()
        return []
