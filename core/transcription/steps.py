"""The steps that turn a dropped file into a book: ingest, transcribe, assemble, enrich, index.

Every step may run twice, late, or beside its own duplicate. Each looks at the rows first, does what is
missing, commits by one write, and then sends what follows. A transient failure puts the message back with a
growing delay; a permanent one, or the last try, sends it to the step's poison queue with the cause recorded.
"""

import asyncio
import contextlib
import logging
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from core.ai import Models, Speech
from core.backoff import Backoff
from core.catalog.models import Book, MediaFile, Money, ProcessingStatus
from core.catalog.service import Catalog
from core.errors import (
    InvalidError,
    ModelRefusedError,
    NotFoundError,
    RejectedAudioError,
    StaleError,
    UnavailableError,
)
from core.ids import now
from core.settings import Settings
from core.storage.blobs import Container
from core.storage.queues import Queues
from core.transcription.blocks import BlockCache, BlockReader
from core.transcription.enrichment import enrich
from core.transcription.metadata import chapters_of, fill_from_tags, language_code
from core.transcription.models import Chunk, ChunkResult, Job, QueueName, Settled, Step, Work
from core.transcription.store import JobStore
from core.transcription.transcript import Reading, Segment, Transcript, to_json

if TYPE_CHECKING:
    from core.transcription.audio import CutAudio, Probe

_log = logging.getLogger("aloud.pipeline")

W = TypeVar("W", bound=Work)
R = TypeVar("R")

Messages = list[tuple[QueueName, Step]]

_QUEUES: dict[ProcessingStatus, QueueName] = {
    "uploaded": "ingest",
    "planning": "ingest",
    "assembling": "assemble",
    "enriching": "enrich",
    "ready": "index",
}

_DECODERS = 2
_REASON_CHARACTERS = 1000
_CLAIMED_DELAY_SECONDS = 2
_FORMS = {
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


class SuspectTextError(UnavailableError):
    """The model answered with text that cannot be what was said; another try may do better."""


class Steps:
    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        queues: Queues,
        catalog: Catalog,
        models: Models,
        uploads: Container,
        media: Container,
    ) -> None:
        self._settings = settings
        self._backoff = Backoff(settings)
        self._store = store
        self._queues = queues
        self._catalog = catalog
        self._models = models
        self._uploads = uploads
        self._media = media
        # A thread keeps the memory that it once needed, so one thread does all that needs much of it.
        self._heavy = ThreadPoolExecutor(1, "heavy")
        self._decoders = ThreadPoolExecutor(_DECODERS, "audio")
        self._blocks: BlockCache | None = None

    def close(self) -> None:
        """Give back the threads and the blocks of audio on disk."""
        for executor in (self._heavy, self._decoders):
            executor.shutdown(wait=False, cancel_futures=True)
        if self._blocks is not None:
            self._blocks.close()

    async def run(self, queue: QueueName, step: Step) -> None:
        """Do one step, alone. Raises only what nobody foresaw; the host then counts the tries."""
        work = {
            "ingest": self._ingest,
            "transcribe": self._transcribe,
            "assemble": self._assemble,
            "enrich": self._enrich,
            "index": self._index,
        }[queue]
        if (queue == "transcribe") != (step.chunk is not None):
            _log.error("dropped a message on %s that names no work there: %s", queue, step)
            return
        job = await self._store.find(step.job_id)
        if job is None or job.run != step.run:
            _log.info("dropped a message on %s of an earlier run of job %s", queue, step.job_id)
            return
        if job.is_final:
            await self.show_status(job)  # its book may have missed the last change
        try:
            async with self._claimed(step) as free:
                following = await work(job, step) if free else []
            if not free:
                await self._queues.send(queue, step, _CLAIMED_DELAY_SECONDS)
            for name, message in following:
                await self._queues.send(name, message)
        except UnavailableError as error:
            await self._put_back(queue, step, error)
        except ModelRefusedError as error:
            await self._give_up(queue, step, error.detail)
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS]
            await self._change(step, lambda _: {"error": cause})
            raise

    async def drive(self, job: Job) -> None:
        """Send the messages that this job's state calls for; harmless if they are under way already."""
        for queue, step in await self._calls_for(job):
            await self._queues.send(queue, step)

    async def _calls_for(self, job: Job) -> Messages:
        step = Step(job_id=job.id, run=job.run, traceparent=job.traceparent)
        if job.status == "transcribing":
            chunks = await self._store.chunks(job.id)
            pending = [chunk.index for chunk in chunks if chunk.status == "pending"]
            if not pending:
                return [("assemble", step)]
            return [("transcribe", step.model_copy(update={"chunk": index})) for index in pending]
        queue = _QUEUES.get(job.status)
        return [(queue, step)] if queue else []

    async def advance(
        self, job: Job, status: ProcessingStatus, reason: str | None = None, **changes: Any
    ) -> bool:
        """Move a job on, and its book too; tell whether the job has that status now.

        A run never goes back, whatever a late duplicate asks, and what came with the first move stays. A
        book follows only its newest job.
        """

        def move(now_: Job) -> Job | None:
            if now_.run != job.run or not now_.may_become(status):
                return None
            return now_.model_copy(update={"status": status, "reason": reason, **changes})

        moved = await self._store.update(job.id, move)
        if moved.run != job.run or moved.status != status:
            return False
        await self.show_status(moved)
        _log.info("job %s is %s%s", job.id, status, f": {reason}" if reason else "")
        return True

    async def show_status(self, job: Job) -> None:
        """Copy the status of a job to its book, if this is the book's newest job."""

        def follow(book: Book) -> Book | None:
            if book.job_id != job.id:
                return None
            return book.model_copy(update={"processing_status": job.status, "processing_reason": job.reason})

        await self._catalog.update(job.audiobook_id, follow)

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

        def leave(row: Work) -> dict[str, Any] | None:
            return {"claimed_by": None, "running_until": None} if row.claimed_by == owner else None

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
            await self._change(step, leave)

    async def _put_back(self, queue: QueueName, step: Step, error: UnavailableError) -> None:
        """Send the step to its queue again, later each time, or give it up after the last try."""
        row = await self._change(
            step, lambda r: {"error": error.detail[:_REASON_CHARACTERS], "attempts": r.attempts + 1}
        )
        tries = step.attempt if step.chunk is None else row.attempts
        delay = self._backoff.delay(tries, error.retry_after)
        if delay is None:
            await self._give_up(queue, step, error.detail)
            return
        _log.warning("%s of job %s again in %.1f s: %s", queue, step.job_id, delay, error.detail)
        await self._queues.send(queue, step.model_copy(update={"attempt": tries + 1}), delay)

    async def _give_up(self, queue: QueueName, step: Step, cause: str) -> None:
        """Record why before the message that knows it is gone."""
        await self._change(step, lambda _: {"error": cause[:_REASON_CHARACTERS]})
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
            failed = await self.advance(job, "transcription_failed", reason)
            return job if failed else None
        chunk = await self._store.update_chunk(
            step.job_id,
            step.chunk,
            lambda c: c.model_copy(update={"status": "failed"}) if c.status == "pending" else None,
        )
        for name, message in await self._check(job):
            await self._queues.send(name, message)
        return job.model_copy(update={"error": chunk.error}) if chunk.status == "failed" else None

    # Ingest

    async def _ingest(self, job: Job, _: Step) -> Messages:
        if job.status in ("uploaded", "planning"):
            try:
                if await self.advance(job, "planning"):
                    await self._plan(job)
            except RejectedAudioError as error:
                await self._reject(job, error.detail)
            except (NotFoundError, StaleError):
                if await self._uploads.holds(job.blob_name, job.etag):
                    raise
                await self.advance(job, "cancelled", "The file was removed or replaced before it was read.")
        return await self._calls_for(await self._store.job(job.id))

    async def _plan(self, job: Job) -> None:
        """Copy the drop to where it cannot change, look into it, and write down where it will be cut."""
        from core.transcription import audio

        suffix = PurePosixPath(job.blob_name).suffix.lower()
        name = f"{job.audiobook_id}/{job.id}/audio{suffix if suffix.isascii() and len(suffix) <= 6 else ''}"
        copy = await self._media.copy_from(self._uploads, job.blob_name, name, job.etag)
        reader = self._reader(name, copy.etag, copy.size)
        probe = await _in(self._heavy, audio.probe, reader)
        self._check_length(probe.duration_seconds)
        target = job.chunk_seconds
        plan = await _in(self._decoder(probe), audio.plan, reader, probe, target, min(15, target / 4))
        self._check_length(plan.duration_seconds)
        cover = await self._store_cover(job, probe)
        facts = asdict(replace(probe, cover=None, chapters=(), tags={}))
        rows = [Chunk(index=cut.index, cut=asdict(cut), updated_at=now()) for cut in plan.cuts]
        await self._store.add_chunks(job.id, rows)

        if (await self._store.job(job.id)).status != "planning":
            return  # another worker was faster

        def describe(book: Book) -> Book | None:
            if book.job_id != job.id:
                return None
            found = {
                "audio": MediaFile(blob=name, content_type=probe.content_type, size=copy.size),
                "duration_seconds": round(plan.duration_seconds, 3),
            }
            if cover is not None and not book.has_own_cover:
                found["cover"] = cover
            return fill_from_tags(book, probe.tags, job.file_name or job.blob_name).model_copy(update=found)

        chapters = chapters_of(probe.chapters, plan.cuts, plan.duration_seconds)
        book = await self._catalog.update(job.audiobook_id, describe, chapters)
        title = (await self._catalog.settle_names(book)).title
        await self.advance(
            job,
            "transcribing",
            plan.shortfall,
            title=title,
            audio_blob=name,
            audio_etag=copy.etag,
            probe=facts,
            duration_seconds=round(plan.duration_seconds, 3),
            shortfall=plan.shortfall,
            total=len(rows),
        )

    def _check_length(self, seconds: float) -> None:
        limit = self._settings.max_audio_hours
        if seconds > limit * 3600:
            raise RejectedAudioError(
                f"The recording is {seconds / 3600:.1f} hours long; the limit is {limit:g} hours."
            )

    async def _store_cover(self, job: Job, probe: "Probe") -> MediaFile | None:
        if probe.cover is None:
            return None
        try:
            return await self._catalog.write_cover(f"{job.audiobook_id}/{job.id}/cover", probe.cover)
        except InvalidError as error:
            _log.info("the file of job %s has a cover that is none: %s", job.id, error.fields)
            return None

    async def _reject(self, job: Job, reason: str) -> None:
        if not await self.advance(job, "rejected", reason):
            return
        async for name in self._media.names(f"{job.audiobook_id}/{job.id}/"):
            with contextlib.suppress(NotFoundError):
                await self._media.delete(name)

    def _reader(self, name: str, etag: str, size: int) -> BlockReader:
        """Return a file that fetches the audio in blocks, which this process shares and keeps for a while."""
        if self._blocks is None:
            self._blocks = BlockCache()
        loop = asyncio.get_running_loop()

        def fetch(offset: int, length: int) -> bytes:
            return asyncio.run_coroutine_threadsafe(
                self._media.read_range(name, offset, length, etag), loop
            ).result()

        return BlockReader(fetch, size, self._blocks, (name, etag))

    # Transcribe

    async def _transcribe(self, job: Job, step: Step) -> Messages:
        assert step.chunk is not None
        if job.status != "transcribing":
            return []
        chunk = await self._store.chunk(job.id, step.chunk)
        if chunk.status == "pending":
            await self._transcribe_chunk(job, chunk)
        return await self._check(job)

    async def _check(self, job: Job) -> Messages:
        """Fan in: if every chunk is final, they can be joined. Done after every chunk, whoever did it."""
        following = await self._calls_for(job)
        return following if following and following[0][0] == "assemble" else []

    async def _transcribe_chunk(self, job: Job, chunk: Chunk) -> None:
        from core.transcription import timing

        usage: dict[str, Any] = {}
        with tempfile.TemporaryFile() as flac:
            piece = await self._cut(job, chunk, flac)
            segments: Sequence[Segment] = ()
            language = flag = None
            if not piece.silent:
                flac.seek(0)
                speech = await self._models.speech.transcribe(
                    flac, f"chunk_{chunk.index:04d}.flac", piece.duration_seconds
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

    async def _cut(self, job: Job, chunk: Chunk, target: BinaryIO) -> "CutAudio":
        from core.transcription import audio

        assert job.audio_blob is not None and job.audio_etag is not None and job.probe is not None
        probe = audio.Probe(**job.probe)
        reader = self._reader(job.audio_blob, job.audio_etag, job.size)
        return await _in(self._decoder(probe), audio.cut, reader, probe, audio.Cut(**chunk.cut), target)

    def _decoder(self, probe: "Probe") -> ThreadPoolExecutor:
        return self._heavy if probe.container == "mp4" else self._decoders

    # Assemble

    async def _assemble(self, job: Job, _: Step) -> Messages:
        if job.status in ("transcribing", "assembling"):
            chunks = await self._store.chunks(job.id)
            if any(chunk.status == "pending" for chunk in chunks):
                return []
            if await self.advance(job, "assembling", job.shortfall, settled=count(chunks)):
                await self._write_transcript(job, chunks)
            job = await self._store.job(job.id)
        return await self._calls_for(job) if job.status == "enriching" else []

    async def _write_transcript(self, job: Job, chunks: list[Chunk]) -> None:
        from core.transcription import formats

        failed = [chunk for chunk in chunks if chunk.status == "failed"]
        transcript = await self._join(job, chunks)
        prefix = f"{job.audiobook_id}/{job.id}/transcript-{job.run}"
        makers: dict[str, Callable[[Transcript], bytes]] = {
            "json": to_json,
            "txt": lambda t: formats.to_txt(t).encode(),
            "srt": lambda t: formats.to_srt(t).encode(),
            "vtt": lambda t: formats.to_vtt(t).encode(),
        }
        for form, make in makers.items():
            content = await _in(self._heavy, make, transcript)
            await self._media.write(f"{prefix}.{form}", content, _FORMS[form])
        if (await self._store.job(job.id)).run != job.run:
            return

        def attach(book: Book) -> Book | None:
            if book.job_id != job.id:
                return None
            found = {"transcript_prefix": prefix, "coverage": round(transcript.coverage, 4)}
            return book.model_copy(update={**found, "language": book.language or transcript.language})

        await self._catalog.update(job.audiobook_id, attach)
        if failed:
            causes = _summarise(chunk.error for chunk in failed)
            await self.advance(
                job,
                "transcription_failed",
                f"{len(failed)} of {len(chunks)} parts could not be transcribed: {causes}",
            )
            return
        await self.advance(job, "enriching", job.shortfall)

    async def _join(self, job: Job, chunks: list[Chunk]) -> Transcript:
        from core.transcription import timing

        gate = asyncio.Semaphore(8)

        async def fetch(chunk: Chunk) -> bytes:
            async with gate:
                return await self._store.result(job.id, chunk.index) if chunk.status == "done" else b""

        contents = await asyncio.gather(*(fetch(chunk) for chunk in chunks))

        def texts() -> Iterator[timing.ChunkText]:
            for chunk, content in zip(chunks, contents, strict=True):
                start, end = chunk.cut["start_seconds"], chunk.cut["end_seconds"]
                if content:
                    found = ChunkResult.model_validate_json(content)
                    start, length = found.start_seconds, found.duration_seconds
                    yield timing.ChunkText(start, length, found.segments, found.language)
                else:
                    yield timing.ChunkText(start, end - start, None, None, chunk.error or "unknown cause")

        return await _in(self._heavy, timing.join, texts(), job.duration_seconds or 0.0)

    # Enrich and index

    async def _enrich(self, job: Job, _: Step) -> Messages:
        if job.status == "enriching":
            book = await self._catalog.book(job.audiobook_id)
            if book.job_id == job.id and book.transcript_prefix is not None:
                await self._describe(job, book, f"{book.transcript_prefix}.json")
            await self.advance(job, "ready", job.shortfall)
            job = await self._store.job(job.id)
        return await self._calls_for(job) if job.status == "ready" else []

    async def _describe(self, job: Job, book: Book, transcript_blob: str) -> None:
        content = await self._media.read(transcript_blob)
        reading = await _in(self._heavy, Reading.model_validate_json, content)
        chapters = await self._catalog.stored_chapters(book.id)
        findings = await enrich(self._models.text, book.title, chapters, reading)

        def finish(book: Book) -> Book | None:
            if book.job_id != job.id:
                return None
            found: dict[str, Any] = {"summary": findings.summary}
            if not book.has_own_tags:
                found["tags"] = findings.tags
            if self._settings.auto_publish and book.owner_id is None and book.visibility == "draft":
                free = Money(amount=0, currency="USD")
                found |= {"visibility": "published", "price": book.price or free}
            return book.model_copy(update=found)

        await self._catalog.update(book.id, finish, findings.chapters)

    async def _index(self, _: Job, __: Step) -> Messages:
        revision = await self._catalog.publish()
        _log.info("the catalog is at revision %s", revision)
        return []


async def _in(executor: ThreadPoolExecutor, work: Callable[..., R], *arguments: Any) -> R:
    return await asyncio.get_running_loop().run_in_executor(executor, work, *arguments)


def count(chunks: Sequence[Chunk]) -> Settled:
    """Return how chunks have ended so far."""
    return Settled(
        total=len(chunks),
        done=sum(chunk.status == "done" for chunk in chunks),
        failed=sum(chunk.status == "failed" for chunk in chunks),
        attempts=sum(chunk.attempts for chunk in chunks),
    )


def _summarise(errors: Iterable[str | None]) -> str:
    """Return the most frequent causes, without the request ids that make each one different."""
    causes = Counter(re.sub(r" \[[^\]]*\]$", "", error or "unknown cause")[:300] for error in errors)
    return "; ".join(cause for cause, _ in causes.most_common(3))
