"""The step `assemble`: joins what was heard in the chunks into one transcript, in all its forms."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from core.transcription.models import Chunk, ChunkResult, Job, Part, Step
from core.transcription.progress import Messages, Progress, count
from core.transcription.store import JobStore
from core.transcription.storing import write_forms
from core.transcription.target import Targets
from core.transcription.transcript import Transcript
from core.transcription.workshop import Workshop

_AT_ONCE = 8


class Assemble:
    def __init__(self, store: JobStore, progress: Progress, workshop: Workshop, targets: Targets) -> None:
        self._store = store
        self._progress = progress
        self._workshop = workshop
        self._targets = targets

    async def run(self, job: Job, _: Step) -> Messages:
        """Do the step; see `Steps.run`."""
        if job.status in ("transcribing", "assembling"):
            chunks = await self._store.chunks(job.id)
            if any(chunk.status == "pending" for chunk in chunks):
                return []
            if await self._progress.advance(job, "assembling", job.shortfall, settled=count(chunks)):
                await self._write_transcript(job, chunks)
            job = await self._store.job(job.id)
        return await self._progress.calls_for(job) if job.status == "enriching" else []

    async def _write_transcript(self, job: Job, chunks: list[Chunk]) -> None:
        failed = [chunk for chunk in chunks if chunk.status == "failed"]
        parts = await self._store.parts(job.id)
        target = self._targets[job.target]
        prefix = f"{target.folder(job)}transcript-{job.run}"
        with TemporaryFile() as file:
            transcript = await self._join(job, parts, chunks, file)
            await write_forms(target.media, self._workshop, prefix, transcript)
            if (await self._store.job(job.id)).run != job.run:
                return
            note = await target.attach(job, [part for part in parts if part.cuts], prefix, transcript)
        quality: dict[str, Any] = {"coverage": round(transcript.coverage, 4), "gaps": len(transcript.gaps)}
        if failed:
            causes = _summarise(chunk.error for chunk in failed)
            await self._progress.advance(
                job,
                "transcription_failed",
                f"{len(failed)} of {len(chunks)} parts could not be transcribed: {causes}",
                **quality,
            )
            return
        said = [sentence for sentence in (job.shortfall, note) if sentence]
        shortfall = " ".join(dict.fromkeys(said)) or None
        await self._progress.advance(job, "enriching", shortfall, shortfall=shortfall, **quality)

    async def _join(self, job: Job, parts: list[Part], chunks: list[Chunk], file: BinaryIO) -> Transcript:
        from core.transcription import timing

        loop = asyncio.get_running_loop()
        begins = {part.index: part.start_seconds for part in parts}

        async def fetch(chunk: Chunk) -> bytes:
            return await self._store.result(job.id, chunk.index) if chunk.status == "done" else b""

        async def fetch_some(some: Sequence[Chunk]) -> list[bytes]:
            return await asyncio.gather(*(fetch(chunk) for chunk in some))

        def contents() -> Iterator[bytes]:
            """Yield the results, a few at a time: all together they take as much as the transcript."""
            for start in range(0, len(chunks), _AT_ONCE):
                some = fetch_some(chunks[start : start + _AT_ONCE])
                yield from asyncio.run_coroutine_threadsafe(some, loop).result()

        def texts() -> Iterator[timing.ChunkText]:
            for number, (chunk, content) in enumerate(zip(chunks, contents(), strict=True), 1):
                begin = begins[chunk.part]
                start, end = chunk.cut["start_seconds"], chunk.cut["end_seconds"]
                if content:
                    found = ChunkResult.model_validate_json(content)
                    start, length = begin + found.start_seconds, found.duration_seconds
                    voices = f"{number}." if len(chunks) > 1 else ""
                    yield timing.ChunkText(start, length, found.segments, found.language, voices=voices)
                else:
                    cause = chunk.error or "unknown cause"
                    yield timing.ChunkText(begin + start, end - start, None, None, cause)

        return await self._workshop.do_heavy(timing.join, texts(), job.duration_seconds or 0.0, file)


def _summarise(errors: Iterable[str | None]) -> str:
    """Return the most frequent causes."""
    causes = Counter((error or "unknown cause")[:300] for error in errors)
    return "; ".join(cause for cause, _ in causes.most_common(3))
