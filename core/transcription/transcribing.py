"""The step `transcribe`: cuts one chunk out of a recording and has the speech model write it down."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO

from core.ai import AudioFormat, Models, Speech
from core.errors import UnavailableError
from core.transcription.metadata import language_code
from core.transcription.models import Chunk, ChunkResult, Job, Step
from core.transcription.progress import Messages, Progress
from core.transcription.store import JobStore
from core.transcription.target import Targets
from core.transcription.transcript import Segment
from core.transcription.workshop import Workshop

if TYPE_CHECKING:
    from core.transcription.audio import CutAudio, Probe
    from core.transcription.blocks import BlockReader


class SuspectTextError(UnavailableError):
    """The model answered with text that cannot be what was said; another try may do better."""


class Transcribe:
    def __init__(
        self, store: JobStore, progress: Progress, workshop: Workshop, targets: Targets, models: Models
    ) -> None:
        self._store = store
        self._progress = progress
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
        from core.transcription import timing

        usage: dict[str, Any] = {}
        form = self._models.speech.capabilities.audio_format
        with tempfile.TemporaryFile() as file:
            piece = await self._cut(job, chunk, file, form)
            segments: Sequence[Segment] = ()
            language = flag = None
            if not piece.silent:
                file.seek(0)
                speech = await self._models.speech.transcribe(
                    file, f"chunk_{chunk.index:04d}.{form}", piece.duration_seconds
                )
                flag = self._check_text(speech, piece, chunk)
                segments = await asyncio.to_thread(
                    timing.time_segments,
                    speech.text,
                    speech.words,
                    speech.segments,
                    piece.spans,
                    piece.duration_seconds,
                )
                language = language_code(speech.language)
                usage = {
                    "latency_seconds": round(speech.latency_seconds, 3),
                    "input_tokens": speech.usage.input_tokens,
                    "output_tokens": speech.usage.output_tokens,
                    "cost_microdollars": speech.usage.cost_microdollars,
                    "request_id": speech.request_id,
                }
        await self._store.write_result(
            job.id,
            chunk.index,
            ChunkResult(
                start_seconds=piece.start_seconds,
                duration_seconds=piece.duration_seconds,
                language=language,
                segments=tuple(segments),
            ),
        )
        await self._store.update_chunk(
            job.id,
            chunk.index,
            lambda c: (
                c.model_copy(
                    update={
                        "status": "done",
                        "attempts": c.attempts + 1,
                        "error": None,
                        "flag": flag,
                        "claimed_by": None,
                        "running_until": None,
                        **usage,
                    }
                )
                if c.status == "pending"
                else None
            ),
        )

    def _check_text(self, speech: Speech, piece: "CutAudio", chunk: Chunk) -> str | None:
        """Return what is odd about a text that is kept all the same: an odd one is asked for once more.

        Raises SuspectTextError where it has to be tried again, for an empty text on sound every time.
        """
        from core.transcription import timing

        flaw = timing.find_flaw(
            speech.text,
            piece.duration_seconds,
            speech.usage.output_tokens,
            self._models.speech.capabilities.max_output_tokens,
        )
        if flaw is not None and (chunk.attempts == 0 or not speech.text.strip()):
            raise SuspectTextError(flaw)
        return flaw or timing.find_sparseness(speech.text, piece.spans)

    async def split(self, job: Job, chunk: Chunk) -> list[Chunk]:
        """Replace a pending chunk by two halves, cut at the quietest moment near its middle; return them.

        They have no text and no tries yet; the step that split it sends the messages that they need. Safe
        to repeat. Raises ConflictError if the chunk is done or has failed meanwhile.
        """
        from core.transcription import audio

        probe, reader = self._source(job)
        halves = await self._workshop.decode(probe, audio.halve, reader, probe, audio.Cut(**chunk.cut))
        return await self._store.split_chunk(job.id, chunk, [asdict(half) for half in halves])

    async def _cut(self, job: Job, chunk: Chunk, target: BinaryIO, form: AudioFormat) -> "CutAudio":
        from core.transcription import audio

        probe, reader = self._source(job)
        cut = audio.Cut(**chunk.cut)
        return await self._workshop.decode(probe, audio.cut, reader, probe, cut, target, form)

    def _source(self, job: Job) -> tuple["Probe", "BlockReader"]:
        from core.transcription import audio

        assert job.audio_blob is not None and job.audio_etag is not None and job.probe is not None
        media = self._targets[job.target].media
        reader = self._workshop.reader(media, job.audio_blob, job.audio_etag, job.size)
        return audio.Probe(**job.probe), reader
