"""What a job works for, as the steps see it: whoever wants recordings transcribed implements `Target`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from core.ai import Bill, Hints
from core.storage.blobs import Container
from core.transcription.models import Job, Part, TargetKind

if TYPE_CHECKING:
    from core.transcription.transcript import Transcript


@dataclass(frozen=True)
class Recording:
    """What `ingest` has found: the files that are of use, and what the first of them say of the whole."""

    parts: Sequence[Part]
    tags: Mapping[str, str]
    cover: bytes | None

    @property
    def duration_seconds(self) -> float:
        """How long all parts take together."""
        return round(sum(part.duration_seconds for part in self.parts), 3)


class Target(Protocol):
    """The owner of jobs of one kind. Every method may be called twice, late, or for an outdated job.

    A target follows only its newest job: what others report changes nothing. Methods may raise
    UnavailableError, and the step is then tried again.
    """

    @property
    def drops(self) -> Container:
        """Where the files that start jobs are dropped; they are read once."""

    @property
    def media(self) -> Container:
        """Where the copies of recordings and the transcripts are kept."""

    def folder(self, job: Job) -> str:
        """Return where in `media` a job's own files are, with a slash at its end."""

    async def follow(self, job: Job) -> bool:
        """Follow this job instead of the one before it; False where another one has come between."""

    async def needed(self, job: Job) -> tuple[str, ...]:
        """Return the beginnings of the names in a job's folder that are in use, or will be kept.

        There are none where the target is gone.
        """

    async def show_status(self, job: Job) -> None:
        """Follow a job's status and reason."""

    async def payer(self, job: Job) -> str | None:
        """Return whose budget pays for a job besides that of all; None: nobody's."""

    async def describe(self, job: Job, recording: Recording) -> Job:
        """Take in what a recording says of itself; return the job with its title, and its cover if any."""

    async def attach(
        self, job: Job, parts: Sequence[Part], prefix: str, transcript: "Transcript"
    ) -> str | None:
        """Take the transcript, whose forms are in `media` under `prefix` + .json, .txt, .srt, .vtt.

        It is of all `parts`, on one timeline. One with gaps replaces none that is there. Returns what a
        person should know, if anything.
        """

    async def hints(self, job: Job) -> Hints:
        """Return what helps the speech model to hear right."""

    async def finish(self, job: Job, bill: Bill) -> str | None:
        """Do what is left once the transcript is there, before the job is ready; what it costs is billed.

        Returns what a person should know, if anything.
        """

    async def publish(self) -> None:
        """Show to others what has become ready."""


Targets = Mapping[TargetKind, Target]
