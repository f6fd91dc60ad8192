"""Where the pipeline's state is kept: `jobs`, one partition a job, and the results of chunks in `work`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from core.errors import ConflictError, NotFoundError
from core.ids import fingerprint, now
from core.storage.blobs import Container
from core.storage.tables import MAX_OPERATIONS, Insert, Stored, Table
from core.transcription.models import (
    Chunk,
    ChunkResult,
    ChunkState,
    Job,
    OpenRun,
    Part,
    PartFile,
    Place,
    Pointer,
    Removal,
    Source,
)

_LIST = "list"
_REMOVALS = "removals"
_OPEN = "open"
_PLACE = ("watch", "open")
_AT_ONCE = 50
# A row is written before its job is there, or has that run: what has not come after so long never will.
_NEVER = timedelta(days=1)


def _chunk_key(index: int) -> str:
    return f"chunk_{index:04d}"


def _part_key(index: int) -> str:
    return f"part_{index:04d}"


class JobStore:
    def __init__(self, jobs: Table, work: Container) -> None:
        self._jobs = jobs
        self._work = work

    async def claim_source(self, container: str, name: str, source: Source) -> Source:
        """Return what is known of a path; `source` where it is new."""
        partition = f"source_{fingerprint(container, name)}"
        found = await self._jobs.find(Source, partition, "source")
        if found is not None:
            return found.value
        try:
            await self._jobs.insert(source, partition, "source")
        except ConflictError:
            return (await self._jobs.get(Source, partition, "source")).value
        return source

    async def set_source(self, container: str, name: str, source: Source) -> None:
        await self._jobs.put(source, f"source_{fingerprint(container, name)}", "source")

    async def note_part(self, book_id: str, file: PartFile) -> None:
        """Note a file as a part of a book, unless a newer one is."""
        partition, key = f"files_{book_id}", f"file_{file.part:04d}"

        def take(known: PartFile) -> PartFile | None:
            return file if known.modified <= file.modified else None

        try:
            await self._jobs.insert(file, partition, key)
        except ConflictError:
            await self._jobs.update(PartFile, partition, key, take)

    async def replace_parts(self, book_id: str, file: PartFile) -> None:
        """Note a file as all of a book: what was noted of earlier parts is forgotten."""
        async for stored in self._jobs.each(PartFile, f"files_{book_id}"):
            if stored.value.part != file.part and stored.value.modified < file.modified:
                await self._jobs.delete_unchanged(stored)
        await self.note_part(book_id, file)

    async def part_files(self, book_id: str) -> list[PartFile]:
        """Return what is noted as the parts of a book, in order."""
        return [stored.value async for stored in self._jobs.each(PartFile, f"files_{book_id}", "file_")]

    async def create(self, job: Job, parts: Sequence[Part]) -> Job:
        """Add a job to the lists and to the table; return it, or the one that is there already."""
        await self.note_open(job.id, job.run)
        await self._jobs.put_in_month(Pointer(job_id=job.id), _LIST, job.created_at, job.id)
        await self._add(job.id, [Insert(_part_key(part.index), part) for part in parts])
        try:
            await self._jobs.insert(job, job.id, "job")
        except ConflictError:
            return await self.job(job.id)
        return job

    async def find(self, job_id: str) -> Job | None:
        found = await self._jobs.find(Job, job_id, "job")
        return None if found is None else found.value

    async def job(self, job_id: str) -> Job:
        """Raises NotFoundError."""
        found = await self.find(job_id)
        if found is None:
            raise NotFoundError("There is no such job.")
        return found

    async def update(self, job_id: str, change: Callable[[Job], Job | None]) -> Job:
        """Apply a pure change. Raises NotFoundError."""

        def stamp(job: Job) -> Job | None:
            changed = change(job)
            if changed is None or changed == job:
                return None
            return changed.model_copy(update={"updated_at": now()})

        return await self._jobs.update(Job, job_id, "job", stamp)

    async def newest(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[Job], tuple[str, str] | None]:
        """Return jobs, newest first, and where the next page begins."""
        pointers, following = await self._jobs.newest(Pointer, _LIST, limit, after)
        found = await asyncio.gather(*(self.find(pointer.job_id) for pointer in pointers))
        return [job for job in found if job is not None], following

    async def add_chunks(self, job_id: str, chunks: Sequence[Chunk]) -> None:
        """Insert the rows of a plan; the rows of an earlier try stay as they are."""
        await self._add(job_id, [Insert(_chunk_key(chunk.index), chunk) for chunk in chunks])

    async def _add(self, job_id: str, inserts: Sequence[Insert]) -> None:
        for start in range(0, len(inserts), MAX_OPERATIONS):
            try:
                await self._jobs.transact(job_id, inserts[start : start + MAX_OPERATIONS])
            except ConflictError:
                continue

    async def parts(self, job_id: str) -> list[Part]:
        """Return the files of a job in their order."""
        return [stored.value async for stored in self._jobs.each(Part, job_id, "part_")]

    async def part(self, job_id: str, index: int) -> Part:
        """Raises NotFoundError."""
        return (await self._jobs.get(Part, job_id, _part_key(index))).value

    async def set_part(self, job_id: str, part: Part) -> None:
        """Write down what was found in a file."""
        await self._jobs.put(part, job_id, _part_key(part.index))

    async def chunk(self, job_id: str, index: int) -> Chunk:
        """Raises NotFoundError."""
        return (await self._jobs.get(Chunk, job_id, _chunk_key(index))).value

    async def chunks(self, job_id: str) -> list[Chunk]:
        """Return all chunks of a job in the order of their time, without those that were split."""
        return in_order(await self.all_chunks(job_id))

    async def all_chunks(self, job_id: str) -> list[Chunk]:
        """Return the chunks of a job, those that were split too, whose calls have been paid as well."""
        return [stored.value async for stored in self._jobs.each(Chunk, job_id, "chunk_")]

    async def chunk_states(self, job_id: str) -> list[ChunkState]:
        """Return how the chunks of a job stand, without those that were split."""
        columns = tuple(ChunkState.model_fields)
        rows = self._jobs.each(ChunkState, job_id, "chunk_", columns=columns)
        return [stored.value async for stored in rows if stored.value.status != "split"]

    async def has_pending(self, job_id: str) -> bool:
        """Tell whether there is a chunk of a job that is still to be heard, without reading the others."""
        is_pending = {"condition": "status eq @status", "status": "pending"}
        async for _ in self._jobs.each(Chunk, job_id, "chunk_", rows=1, **is_pending):
            return True
        return False

    async def split_chunk(self, job_id: str, chunk: Chunk, cuts: Sequence[dict[str, Any]]) -> list[Chunk]:
        """Replace a pending chunk by its halves, all in one write, and return them.

        Returns the halves as they are now if the chunk was split before. Raises ConflictError if it is done
        or has failed meanwhile.
        """
        key, at = _chunk_key(chunk.index), now()
        halves = [
            Chunk(index=index, part=chunk.part, cut=cut, updated_at=at)
            for index, cut in zip(chunk.halves, cuts, strict=True)
        ]
        inserts = [Insert(_chunk_key(half.index), half) for half in halves]

        def retire(row: Chunk) -> Chunk | None:
            if row.status != "pending":
                return None
            return row.model_copy(update={"status": "split", "updated_at": at})

        row = await self._jobs.update(Chunk, job_id, key, retire, also=inserts)
        if row.status != "split":
            raise ConflictError(f"The chunk is {row.status} and cannot be split any more.")
        return [await self.chunk(job_id, index) for index in chunk.halves]

    async def update_chunk(self, job_id: str, index: int, change: Callable[[Chunk], Chunk | None]) -> Chunk:
        """Apply a pure change. Raises NotFoundError."""

        def stamp(chunk: Chunk) -> Chunk | None:
            changed = change(chunk)
            return None if changed is None else changed.model_copy(update={"updated_at": now()})

        return await self._jobs.update(Chunk, job_id, _chunk_key(index), stamp)

    async def write_result(self, job_id: str, index: int, result: ChunkResult) -> None:
        await self._work.write(
            f"{job_id}/{_chunk_key(index)}.json", result.model_dump_json().encode(), "application/json"
        )

    async def forget_results(self, job_id: str) -> None:
        """Delete the results of all chunks; none is fine."""
        await self._work.delete_prefix(f"{job_id}/")

    async def copy_result(self, job_id: str, index: int, to_job_id: str, to_index: int) -> bool:
        """Give a chunk the result of another one; tell whether there was any."""
        try:
            content = await self.result(job_id, index)
        except NotFoundError:
            return False
        await self._work.write(f"{to_job_id}/{_chunk_key(to_index)}.json", content, "application/json")
        return True

    async def result(self, job_id: str, index: int) -> bytes:
        """Return a ChunkResult as JSON, for whoever has many to take them in one by one.

        Raises NotFoundError.
        """
        return await self._work.read(f"{job_id}/{_chunk_key(index)}.json")

    async def forget_plan(self, job_id: str) -> None:
        """Remove the chunks of a job that was not planned to its end."""
        await self._jobs.erase(job_id, keep=lambda key: not key.startswith("chunk_"))

    async def erase(self, job_id: str) -> None:
        """Remove all rows of a job."""
        await self._jobs.erase(job_id)

    async def note_removal(self, job_id: str, due: datetime) -> None:
        """Note when what a job has kept can go."""
        await self._jobs.put(Removal(job_id=job_id, due=due), _REMOVALS, f"{due:%Y%m%d%H%M%S}_{job_id}")

    async def removals(self, until: datetime) -> AsyncIterator[tuple[str, Stored[Removal]]]:
        """Yield the jobs whose removal is due, and the rows that say so."""
        async for stored in self._jobs.each(Removal, _REMOVALS):
            if stored.value.due > until:
                return
            yield stored.value.job_id, stored

    async def settle_removal(self, stored: Stored[Removal]) -> None:
        await self._jobs.delete_unchanged(stored)

    async def note_open(self, job_id: str, run: int) -> None:
        """Note that a run of a job begins; ahead of the write that lets it begin."""
        row = OpenRun(job_id=job_id, run=run, noted_at=now())
        await self._jobs.put(row, _OPEN, _open_key(job_id, run))

    async def note_end(self, job: Job) -> None:
        """Note that a job's run is over."""
        await self._jobs.delete(_OPEN, _open_key(job.id, job.run))

    async def open_jobs(self, most: int) -> AsyncIterator[Job]:
        """Yield jobs that are not over, however old: the oldest first, and at most so many.

        With more than that, the next call goes on where this one has ended, and after the last begins anew.
        """
        place = await self._jobs.find(Place, *_PLACE)
        after = None if place is None else place.value.after
        rows: list[Stored[OpenRun]] = []
        async for stored in self._jobs.each(OpenRun, _OPEN, after=after, rows=most):
            rows.append(stored)
            if len(rows) == most:
                break
        following = rows[-1].key if len(rows) == most else None
        if following != after:
            await self._jobs.put(Place(after=following), *_PLACE)
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            jobs = await asyncio.gather(*(self.find(stored.value.job_id) for stored in some))
            for stored, job in zip(some, jobs, strict=True):
                row = stored.value
                if job is not None and job.run == row.run and not job.is_final:
                    yield job
                elif (job is not None and job.run >= row.run) or row.noted_at < now() - _NEVER:
                    await self._jobs.delete_unchanged(stored)

    async def has_news(self, job: Job, since: datetime) -> bool:
        """Tell whether anything has been written of a job or its chunks since then."""
        if job.updated_at >= since:
            return True
        return any(state.updated_at >= since for state in await self.chunk_states(job.id))


def _open_key(job_id: str, run: int) -> str:
    return f"{job_id}_{run}"


def in_order(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return chunks in the order of their time, without those that were split."""
    whole = [chunk for chunk in chunks if chunk.status != "split"]
    return sorted(whole, key=lambda chunk: (chunk.part, chunk.cut["start_seconds"]))
