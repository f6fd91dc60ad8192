"""What a job works for, as the steps see it: whoever wants recordings transcribed implements `Target`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from core.ai import Bill, Hints
from core.catalog.models import MediaFile
from core.storage.blobs import Container
from core.transcription.models import Job, TargetKind

if TYPE_CHECKING:
    from core.transcription.audio import Plan, Probe
    from core.transcription.transcript import Transcript


@dataclass(frozen=True)
class Recording:
    """What ingest has found: the copy of the file, what it says of itself, and where it will be cut."""

    audio: MediaFile
    probe: "Probe"
    plan: "Plan"


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

    async def show_status(self, job: Job) -> None:
        """Follow a job's status and reason."""

    async def describe(self, job: Job, recording: Recording) -> str:
        """Take in what a recording says of itself, and return the title that the job is listed under."""

    async def attach(self, job: Job, prefix: str, transcript: "Transcript") -> None:
        """Take the transcript, whose forms are in `media` under `prefix` + .json, .txt, .srt, .vtt."""

    async def hints(self, job: Job) -> Hints:
        """Return what helps the speech model to hear right."""

    async def finish(self, job: Job, bill: Bill) -> None:
        """Do what is left once the transcript is there, before the job is ready; what it costs is billed."""

    async def publish(self) -> None:
        """Show to others what has become ready."""


Targets = Mapping[TargetKind, Target]
