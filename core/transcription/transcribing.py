"""The step `transcribe`: cuts one chunk out of a recording and has the speech model write it down."""

import asyncio
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO

from core.ai import NO_HINTS, AudioFormat, Bill, Models
from core.errors import UnavailableError
from core.transcription.costs import Costs
from core.transcription.languages import detect_language
from core.transcription.metadata import language_code
from core.transcription.models import Chunk, ChunkResult, Job, Step
from core.transcription.progress import Messages, Progress
from core.transcription.skipping import restore
from core.transcription.store import JobStore
from core.transcription.target import Targets
from core.transcription.transcript import Segment
from core.transcription.workshop import Workshop, current_meter

if TYPE_CHECKING:
    from core.transcription.audio import CutAudio, Probe
    from core.transcription.blocks import BlockReader


_MAX_GENERATION = 2
_SHORTEST_SPLIT_SECONDS = 30.0


class SuspectTextError(UnavailableError):
    """The model answered with text that cannot be what was said; another try may do better."""


@dataclass(frozen=True)
class _Heard:
    segments: Sequence[Segment] = ()
    language: str | None = None
    flag: str | None = None
    request_id: str | None = None


class Transcribe:
    def __init__(
        self,
        store: JobStore,
        progress: Progress,
        costs: Costs,
        workshop: Workshop,
        targets: Targets,
        models: Models,
    ) -> None:
        self._store = store
        self._progress = progress
        self._costs = costs
        self._workshop = workshop
        self._targets = targets
        self._models = models

    async def run(self, job: Job, step: Step) -> Messages:
        """Do the step; see `Steps.run`."""
        assert step.chunk is not None
        if job.status != "transcribing":
            return []
        chunk = await self._store.chunk(job.id, step.chunk)
        if chunk.status == "pending":
            await self._transcribe(job, chunk)
            chunk = await self._store.chunk(job.id, step.chunk)
        if chunk.status == "split":
            return await self._progress.asks_for(job, chunk.halves)
        return await self._progress.check(job)

    async def _transcribe(self, job: Job, chunk: Chunk) -> None:
        form = self._models.speech.capabilities.audio_format
        with tempfile.TemporaryFile() as file:
            piece = await self._cut(job, chunk, file, form)
            heard = _Heard()
            if not piece.silent:
                file.seek(0)
                speech = await self._listen(job, chunk, file, f"chunk_{chunk.index:04d}.{form}", piece)
                if speech is None:
                    return
                heard = speech
        await self._store.write_result(
            job.id,
            chunk.index,
            ChunkResult(
                start_seconds=piece.start_seconds,
                duration_seconds=piece.duration_seconds,
                language=heard.language,
                segments=tuple(heard.segments),
            ),
        )

        spent = current_meter().take()

        def finish(row: Chunk) -> Chunk | None:
            if row.status != "pending":
                return None
            done = {"status": "done", "attempts": row.attempts + 1, "flag": heard.flag}
            done |= {"error": None, "evidence": None}
            done |= {"claimed_by": None, "running_until": None, "request_id": heard.request_id}
            done |= {"cpu_seconds": round(row.cpu_seconds + spent, 3)}
            return row.model_copy(update=done)

        await self._store.update_chunk(job.id, chunk.index, finish)

    async def _listen(
        self, job: Job, chunk: Chunk, file: BinaryIO, name: str, piece: "CutAudio"
    ) -> "_Heard | None":
        """Have a piece written down; None where it was split instead.

        Raises SuspectTextError where it has to be tried again.
        """
        from core.transcription import gates, timing

        model = self._models.speech
        hints = await self._targets[job.target].hints(job)
        bill = Bill()
        try:
            speech = await model.transcribe(
                file, name, piece.sent_seconds, NO_HINTS if chunk.rejected else hints, bill
            )
        finally:
            await self._charge(job, chunk, bill)
        limit = model.capabilities.max_output_tokens
        doubt = await asyncio.to_thread(gates.find_doubt, speech, piece.spans, limit, hints.language)
        is_private = job.target == "task"
        if doubt and doubt.remedy == "split" and _may_be_split(chunk, piece):
            await self.split(job, chunk)
            return None
        if doubt and (doubt.remedy == "insist" or (doubt.remedy != "keep" and not chunk.rejected)):
            await self._store.update_chunk(
                job.id, chunk.index, lambda row: row.model_copy(update={"rejected": chunk.rejected + 1})
            )
            raise SuspectTextError(doubt.describe(is_private=is_private))
        segments = await asyncio.to_thread(
            timing.time_segments,
            speech.text,
            restore(speech.words, piece.sent),
            restore(speech.segments, piece.sent),
            piece.spans,
            piece.duration_seconds,
        )
        language = language_code(speech.language) or detect_language(speech.text)
        flag = doubt.describe(is_private=is_private) if doubt else None
        return _Heard(segments, language, flag, speech.request_id)

    async def _charge(self, job: Job, chunk: Chunk, bill: Bill) -> None:
        """Add what a call has used up to the chunk, whatever becomes of its answer."""
        charge = secrets.token_hex(8)

        def add(row: Chunk) -> Chunk | None:
            if row.charge_id == charge:
                return None
            return row.model_copy(
                update={
                    "calls": row.calls + bill.calls,
                    "latency_seconds": round((row.latency_seconds or 0) + bill.latency_seconds, 3),
                    "audio_seconds": round(row.audio_seconds + bill.usage.audio_seconds, 3),
                    "input_tokens": row.input_tokens + bill.usage.input_tokens,
                    "output_tokens": row.output_tokens + bill.usage.output_tokens,
                    "cost_microdollars": row.cost_microdollars + bill.usage.cost_microdollars,
                    "charge_id": charge,
                }
            )

        if bill.calls:
            await self._store.update_chunk(job.id, chunk.index, add)
            await self._costs.settle_late(job.id)

    async def split(self, job: Job, chunk: Chunk) -> list[Chunk]:
        """Replace a pending chunk by two halves, cut at the quietest moment near its middle; return them.

        They have no text and no tries yet; the step that split it sends the messages that they need. Safe
        to repeat. Raises ConflictError if the chunk is done or has failed meanwhile.
        """
        from core.transcription import audio

        probe, reader = await self._source(job, chunk)
        halves = await self._workshop.decode(probe, audio.halve, reader, probe, audio.Cut(**chunk.cut))
        return await self._store.split_chunk(job.id, chunk, [asdict(half) for half in halves])

    async def _cut(self, job: Job, chunk: Chunk, target: BinaryIO, form: AudioFormat) -> "CutAudio":
        from core.transcription import audio

        probe, reader = await self._source(job, chunk)
        cut = audio.Cut(**chunk.cut)
        return await self._workshop.decode(probe, audio.cut, reader, probe, cut, target, form)

    async def _source(self, job: Job, chunk: Chunk) -> tuple["Probe", "BlockReader"]:
        from core.transcription import audio

        part = await self._store.part(job.id, chunk.part)
        assert part.audio is not None and part.audio_etag is not None and part.probe is not None
        media = self._targets[job.target].media
        reader = self._workshop.reader(media, part.audio.blob, part.audio_etag, part.audio.size)
        return audio.Probe(**part.probe), reader


def _may_be_split(chunk: Chunk, piece: "CutAudio") -> bool:
    return chunk.generation < _MAX_GENERATION and piece.duration_seconds >= _SHORTEST_SPLIT_SECONDS
