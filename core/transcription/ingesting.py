"""The step `ingest`: copies what was dropped to where it cannot change, looks into it, and plans the cuts."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from core.catalog.models import MediaFile
from core.errors import NotFoundError, RejectedAudioError, StaleError
from core.ids import now
from core.settings import Settings
from core.storage.blobs import BlobFacts
from core.transcription.costs import Costs
from core.transcription.metadata import chapters_of
from core.transcription.models import Chunk, Job, Part, Step
from core.transcription.progress import Messages, Progress
from core.transcription.reuse import Donor, Reuse
from core.transcription.store import JobStore
from core.transcription.target import Recording, Target, Targets
from core.transcription.workshop import Workshop

if TYPE_CHECKING:
    from core.transcription.audio import Probe


_STEP_SECONDS = 120.0  # a fifth of what the host allows; one file more may come on top


class Ingest:
    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        progress: Progress,
        workshop: Workshop,
        targets: Targets,
        costs: Costs,
    ) -> None:
        self._max_hours = settings.max_audio_hours
        self._store = store
        self._progress = progress
        self._reuse = Reuse(store, progress)
        self._workshop = workshop
        self._targets = targets
        self._costs = costs

    async def run(self, job: Job, _: Step) -> Messages:
        """Do the step; see `Steps.run`."""
        if job.status == "waiting" and job.total:
            await self._begin(job, await self._store.all_chunks(job.id), job.shortfall)
        elif job.status in ("waiting", "uploaded", "planning"):
            try:
                if await self._progress.advance(job, "planning"):
                    await self.plan(job)
            except RejectedAudioError as error:
                await self.reject(job, error.detail)
            except (NotFoundError, StaleError):
                if await self._is_there(job):
                    raise
                reason = "The file was removed or replaced before it was read."
                await self._progress.advance(job, "cancelled", reason, only_from=["uploaded", "planning"])
        return await self._progress.calls_for(await self._store.job(job.id))

    async def _is_there(self, job: Job) -> bool:
        drops = self._targets[job.target].drops
        parts = await self._store.parts(job.id)
        return all(await asyncio.gather(*(drops.holds(part.blob_name, part.etag) for part in parts)))

    async def plan(self, job: Job) -> None:
        """Copy the files, look into them, and write down where they will be cut.

        Each file is a row of its own, so that another try begins where this one was cut off, and the next
        step where this one has stopped because its time is over. Files that are no recordings are left out
        as long as one is left. Raises RejectedAudioError.
        """
        until = time.monotonic() + _STEP_SECONDS
        ancestors = await self._reuse.ancestors(job)
        await self._reuse.stop(ancestors)
        donors = await self._reuse.donors(ancestors, job)
        parts = await self._store.parts(job.id)
        for place, part in enumerate(parts):
            if part.read_in == job.run:
                continue
            if not await self._is_planning(job):
                return  # another worker was faster, or somebody has ended it
            parts[place] = await self._take_in(job, part, donors.find(part), _usable(parts[:place]))
            if time.monotonic() >= until:
                break
        if all(part.read_in == job.run for part in parts):
            await self._conclude(job, parts)

    async def _is_planning(self, job: Job) -> bool:
        current = await self._store.job(job.id)
        return (current.status, current.run) == ("planning", job.run)

    async def _take_in(self, job: Job, part: Part, donor: Donor | None, before: Sequence[Part]) -> Part:
        """Read a file that comes after those `before`, and write down what it is, its chunks first."""
        try:
            if part.mismatch is not None:
                await self._refuse(job, part)
                raise RejectedAudioError(part.mismatch)
            found = (await self._read(job, part, donor)).model_copy(
                update={"start_seconds": _length(before), "read_in": job.run}
            )
        except RejectedAudioError as error:
            found = part.model_copy(update={"flaw": error.detail, "read_in": job.run})
        else:
            self._check_length(_length([*before, found]))
            first = sum(len(earlier.cuts) for earlier in before)
            await self._store.add_chunks(job.id, await self._chunks(job, found, donor, first))
        await self._store.set_part(job.id, found)
        return found

    async def _conclude(self, job: Job, found: Sequence[Part]) -> None:
        """Have a job transcribed whose files have all been read."""
        parts = _usable(found)
        if not parts:
            raise RejectedAudioError(next(part.flaw for part in found if part.flaw))
        tagged = next((part for part in parts if part.has_tags), None)
        covered = next((part for part in parts if part.has_cover), None)
        tags = {} if tagged is None else (await self._probe(job, tagged)).tags
        cover = None if covered is None else (await self._probe(job, covered)).cover
        if not await self._is_planning(job):
            return
        recording = Recording(parts, tags, cover)
        described = await self._targets[job.target].describe(job, recording)
        shortfall = _describe_shortfall(found, is_private=job.target == "task")
        chunks = await self._store.all_chunks(job.id)
        facts: dict[str, Any] = {
            "title": described.title,
            "cover": described.cover,
            "duration_seconds": recording.duration_seconds,
            "shortfall": shortfall,
            "total": sum(chunk.status != "split" for chunk in chunks),
        }
        await self._begin(job, chunks, shortfall, **facts)

    async def _refuse(self, job: Job, part: Part) -> None:
        """Delete a file that is not what was announced: it may be of any size, and nobody reads it."""
        with contextlib.suppress(NotFoundError, StaleError):
            await self._targets[job.target].drops.delete(part.blob_name, if_etag=part.etag)

    async def _begin(self, job: Job, chunks: Sequence[Chunk], reason: str | None, **facts: Any) -> None:
        """Reserve what a planned job may cost and have it transcribed; without the money, it waits."""
        at = now()
        lacks = await self._costs.reserve(job.model_copy(update=facts), chunks, at)
        if lacks is None:
            await self._progress.advance(job, "transcribing", reason, **facts, reserved_at=at)
        elif job.status != "waiting" or facts:
            await self._progress.advance(job, "waiting", lacks, **facts)

    async def _probe(self, job: Job, part: Part) -> "Probe":
        """Look again into a file that has been read."""
        from core.transcription import audio

        assert part.audio is not None and part.audio_etag is not None
        media = self._targets[job.target].media
        reader = self._workshop.reader(media, part.audio.blob, part.audio_etag, part.audio.size)
        return await self._workshop.do_heavy(audio.probe, reader)

    async def _read(self, job: Job, part: Part, donor: Donor | None) -> Part:
        """Return a file as it was found, and planned unless it was before. Raises RejectedAudioError."""
        from core.transcription import audio

        target = self._targets[job.target]
        copy = await self._copy(target, job, part, donor)
        reader = self._workshop.reader(target.media, copy.name, copy.etag, copy.size)
        probe = await self._workshop.do_heavy(audio.probe, reader)
        if not part.cuts and donor is not None:
            known = ("duration_seconds", "shortfall", "cuts", "chapters", "origin")
            part = part.model_copy(update={name: getattr(donor.part, name) for name in known})
        elif not part.cuts:
            self._check_length(probe.duration_seconds)
            length = job.chunk_seconds
            plan = await self._workshop.decode(probe, audio.plan, reader, probe, length, min(15, length / 4))
            part = part.model_copy(
                update={
                    "duration_seconds": round(plan.duration_seconds, 3),
                    "shortfall": plan.shortfall,
                    "cuts": tuple(asdict(cut) for cut in plan.cuts),
                    "chapters": chapters_of(probe.chapters, plan.cuts, plan.duration_seconds)
                    if probe.chapters
                    else (),
                    "origin": copy.name,
                }
            )
        found = {
            "audio": MediaFile(blob=copy.name, content_type=probe.content_type, size=copy.size),
            "audio_etag": copy.etag,
            "flaw": None,
            "probe": asdict(replace(probe, cover=None, chapters=(), tags={})),
            "title": probe.tags.get("title"),
            "has_tags": bool(probe.tags),
            "has_cover": probe.cover is not None,
        }
        return part.model_copy(update=found)

    async def _copy(self, target: Target, job: Job, part: Part, donor: Donor | None) -> BlobFacts:
        """Copy a file, from the job that had it before where there is one: the drop may be gone by now."""
        suffix = PurePosixPath(part.blob_name).suffix.lower()
        suffix = suffix if suffix.isascii() and len(suffix) <= 6 else ""
        name = f"{target.folder(job)}audio-{part.index:04d}{suffix}"
        if donor is not None and donor.part.audio is not None and donor.part.audio_etag is not None:
            with contextlib.suppress(NotFoundError, StaleError):
                return await target.media.copy_from(
                    target.media, donor.part.audio.blob, name, donor.part.audio_etag
                )
        return await target.media.copy_from(target.drops, part.blob_name, name, part.etag)

    async def _chunks(self, job: Job, part: Part, donor: Donor | None, first: int) -> list[Chunk]:
        if donor is not None and not job.is_fresh:
            taken = await self._reuse.take_over(donor, job, part, first)
            if taken:
                return taken
        return [
            Chunk(index=index, part=part.index, cut={**cut, "index": index}, updated_at=now())
            for index, cut in enumerate(part.cuts, first)
        ]

    def _check_length(self, seconds: float) -> None:
        if seconds > self._max_hours * 3600:
            raise RejectedAudioError(
                f"The recording is {seconds / 3600:.1f} hours long; the limit is {self._max_hours:g} hours."
            )

    async def reject(self, job: Job, reason: str) -> None:
        """End a job that has no usable recording, and remove what was copied for it."""
        if await self._progress.advance(job, "rejected", reason):
            target = self._targets[job.target]
            await target.media.delete_prefix(target.folder(job))


def _usable(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if part.flaw is None]


def _length(parts: Sequence[Part]) -> float:
    return round(sum(part.duration_seconds for part in parts), 3)


def _describe_shortfall(parts: Sequence[Part], *, is_private: bool) -> str | None:
    """Say what is missing of a recording; of several files each by its name, of private ones by its number.

    Logs and administrators are told, too.
    """
    if len(parts) == 1:
        return parts[0].shortfall
    said = [
        f"{f'File {part.index}' if is_private else part.file_name}: {part.flaw or part.shortfall}"
        for part in parts
        if part.flaw or part.shortfall
    ]
    return " ".join(said)[:1000] or None
