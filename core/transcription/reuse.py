"""What an earlier job has done already: a new one takes it over for each file that has stayed the same."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass

from core.errors import UnavailableError
from core.ids import now
from core.transcription.models import Chunk, Job, Part
from core.transcription.progress import Progress
from core.transcription.store import JobStore

_ANCESTORS = 5
_WAIT_SECONDS = 30
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Donor:
    """A file of an earlier job, which has been read and cut, and its chunks, whatever became of them."""

    job: Job
    part: Part
    chunks: list[Chunk]


class Donors:
    """Files of earlier jobs, found by what tells that another has the same bytes; the first added counts."""

    def __init__(self) -> None:
        self._by_mark: dict[tuple[str, str | int], Donor] = {}

    def add(self, donor: Donor) -> None:
        for mark in donor.part.marks:
            self._by_mark.setdefault(mark, donor)

    def find(self, part: Part) -> Donor | None:
        """Return the newest earlier reading of the same file."""
        known = (self._by_mark.get(mark) for mark in part.marks)
        return next((donor for donor in known if donor is not None), None)


class Reuse:
    def __init__(self, store: JobStore, progress: Progress) -> None:
        self._store = store
        self._progress = progress

    async def ancestors(self, job: Job) -> list[Job]:
        """Return the earlier jobs that may have what this one needs, the newest first."""
        found: list[Job] = []
        previous = job.previous_job_id
        while previous is not None and len(found) < _ANCESTORS:
            earlier = await self._store.find(previous)
            if earlier is None:
                break
            found.append(earlier)
            previous = None if earlier.status == "ready" else earlier.previous_job_id
        return found

    async def stop(self, ancestors: list[Job]) -> None:
        """End the earlier jobs that are still under way, and wait until none of their calls is.

        What is being paid for is thus not paid for again. Raises UnavailableError where that takes long.
        """
        for job in ancestors:
            if not job.is_final:
                reason = "A newer version of the recording has come."
                await self._progress.advance(job, "cancelled", reason)
            for _ in range(round(_WAIT_SECONDS / _LOOK_SECONDS)):
                chunks = await self._store.chunks(job.id)
                if not any(chunk.running_until and chunk.running_until > now() for chunk in chunks):
                    break
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                raise UnavailableError("Calls for the version before this one are still under way.")

    async def donors(self, ancestors: list[Job], job: Job) -> "Donors":
        """Return what the earlier jobs know of files, cut as this job would cut them."""
        found = Donors()
        for earlier in ancestors:
            if earlier.chunk_seconds != job.chunk_seconds:
                continue
            chunks: dict[int, list[Chunk]] = defaultdict(list)
            for chunk in await self._store.all_chunks(earlier.id):
                chunks[chunk.part].append(chunk)
            for part in await self._store.parts(earlier.id):
                if part.cuts:
                    found.add(Donor(earlier, part, chunks[part.index]))
        return found

    async def take_over(self, donor: Donor, job: Job, part: Part, first: int) -> list[Chunk]:
        """Copy what was heard in a file, and return its chunks as this job has them, from number `first`.

        What has failed or was never heard is asked for again.
        """
        if not donor.chunks:
            return []
        offset = first - min(chunk.index for chunk in donor.chunks)
        gate = asyncio.Semaphore(8)

        async def take(chunk: Chunk) -> Chunk:
            index = chunk.index + offset
            status = chunk.status
            if status == "done":
                async with gate:
                    copied = await self._store.copy_result(donor.job.id, chunk.index, job.id, index)
                status = "done" if copied else "pending"
            elif status == "failed":
                status = "pending"
            new = Chunk(index=index, part=part.index, cut=chunk.cut, status=status, updated_at=now())
            return new.model_copy(update={"flag": chunk.flag}) if status == "done" else new

        return list(await asyncio.gather(*(take(chunk) for chunk in donor.chunks)))
