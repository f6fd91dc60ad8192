"""The last steps: `enrich` finishes what the job works for, `index` shows it to others."""

from core.transcription.models import Job, Step
from core.transcription.progress import Messages, Progress
from core.transcription.store import JobStore
from core.transcription.target import Targets


class Finish:
    def __init__(self, store: JobStore, progress: Progress, targets: Targets) -> None:
        self._store = store
        self._progress = progress
        self._targets = targets

    async def enrich(self, job: Job, _: Step) -> Messages:
        """Do the step `enrich`; see `Steps.run`."""
        if job.status == "enriching":
            await self._targets[job.target].finish(job)
            await self._progress.advance(job, "ready", job.shortfall)
            job = await self._store.job(job.id)
        return await self._progress.calls_for(job) if job.status == "ready" else []

    async def index(self, job: Job, _: Step) -> Messages:
        """Do the step `index`; see `Steps.run`."""
        await self._targets[job.target].publish()
        return []
