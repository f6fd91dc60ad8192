"""Jobs, their chunks, the messages that drive them, and how they are shown."""

from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from core.catalog.models import FINAL_STATUSES, Chapter, MediaFile, ProcessingStatus
from core.transcription.transcript import Segment

ChunkStatus = Literal["pending", "done", "failed", "split"]
_ORDER: dict[ProcessingStatus, int] = {
    "waiting": 0,
    "uploaded": 1,
    "planning": 2,
    "transcribing": 3,
    "assembling": 4,
    "enriching": 5,
}
QueueName = Literal["ingest", "transcribe", "assemble", "enrich", "index"]
QUEUE_NAMES: tuple[QueueName, ...] = get_args(QueueName)
TargetKind = Literal["book", "task"]


class Source(BaseModel):
    """Row `source` under the fingerprint of a path, of a blob or a folder: its book, and its newest job.

    `digest` and `size` tell whether the same bytes have come again; without a digest nobody knows.
    """

    model_config = ConfigDict(frozen=True)

    audiobook_id: str
    job_id: str | None = None
    size: int = 0
    digest: str | None = None


class PartFile(BaseModel):
    """Row `file_{0003}` under a book: which file somebody has uploaded as that part of it, and when."""

    model_config = ConfigDict(frozen=True)

    part: int
    blob_name: str
    modified: datetime


class Work(BaseModel):
    """What rows that a worker works on have in common.

    `claimed_by` alone may work until `running_until`; `attempts` counts tries, `error` says why the last
    one failed, in words for everybody, and `evidence` what administrators should know of that.
    """

    model_config = ConfigDict(frozen=True)

    attempts: int = 0
    error: str | None = None
    evidence: str | None = None
    claimed_by: str | None = None
    running_until: datetime | None = None
    cpu_seconds: float = Field(0, description="Processor time of reading, cutting and joining.")
    updated_at: datetime


class ChunkCounts(BaseModel):
    """How many chunks a job has, and how many of them ended well or badly."""

    model_config = ConfigDict(frozen=True)

    total: int
    done: int
    failed: int


class Settled(ChunkCounts):
    """The same, with the number of tries that it took."""

    attempts: int


class TextCosts(BaseModel):
    """What a job's text calls have used up together, those with answers of no use included."""

    model_config = ConfigDict(frozen=True)

    text_calls: int = 0
    text_latency_seconds: float = 0
    text_input_tokens: int = 0
    text_output_tokens: int = 0
    text_cost_microdollars: int = 0


class Job(Work, TextCosts):
    """Row `job`: one run of the pipeline over one version of a recording, for what `target` and its id name.

    The recording is one file or several, each with a row `Part`. `blob_name` names the file, or the folder
    of several with a slash at its end. What `previous_job_id` has done of unchanged files is taken over,
    unless the job shall hear everything anew (`is_fresh`).

    `run` counts an admin's retries; messages of an earlier run are dropped. `total` counts chunks, and
    `settled` how they ended, once all have. `attempts` counts the failed tries of steps that are not a
    chunk's.
    """

    id: str
    target: TargetKind = "book"
    target_id: str
    container: str
    blob_name: str
    size: int
    previous_job_id: str | None = None
    is_fresh: bool = False
    status: ProcessingStatus = "uploaded"
    reason: str | None = None
    run: int = 1
    chunk_seconds: float
    cover: MediaFile | None = None
    duration_seconds: float | None = None
    shortfall: str | None = None
    title: str
    total: int = 0
    settled: Settled | None = None
    coverage: float | None = Field(None, description="Share of the sound that the transcript covers, 0 to 1.")
    gaps: int = Field(0, description="Stretches without a transcript.")
    finished_at: datetime | None = None
    reserved_at: datetime | None = Field(None, description="When its run reserved what it may cost.")
    billed_microdollars: int = Field(0, description="What earlier runs have cost, of the sums of all chunks.")
    billed_seconds: float = 0
    charge_id: str | None = Field(None, description="The last bill that was added, so that none is twice.")
    woken_at: datetime | None = Field(None, description="When the watchdog last started it again.")
    traceparent: str | None = None
    created_at: datetime
    run_started_at: datetime

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_STATUSES

    def may_become(self, status: ProcessingStatus) -> bool:
        """Tell whether a run can go from its status to another: forward, never back."""
        if self.is_final:
            return False
        if status in ("rejected", "waiting"):
            return self.status in ("uploaded", "planning")
        return status in FINAL_STATUSES or _ORDER[status] > _ORDER[self.status]


class Part(BaseModel):
    """Row `part_0001`: one file of a recording, in their order from 1.

    All but the first fields are what `ingest` finds, in seconds from the part's own beginning but for
    `start_seconds`. A file with a `flaw` is left out; with a `mismatch` it is not what was announced. What
    was found stands once `read_in` is the job's run: the part's chunks are there then.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    blob_name: str
    file_name: str
    etag: str
    size: int
    digest: str | None
    modified: datetime
    mismatch: str | None = None
    read_in: int = 0
    flaw: str | None = None
    has_tags: bool = False
    has_cover: bool = False
    audio: MediaFile | None = None
    audio_etag: str | None = None
    probe: dict[str, Any] | None = None
    title: str | None = Field(None, description="As its tags have it.")
    start_seconds: float = 0
    duration_seconds: float = 0
    shortfall: str | None = None
    cuts: tuple[dict[str, Any], ...] = ()
    chapters: tuple[Chapter, ...] = ()
    origin: str | None = Field(None, description="The copy of the same bytes that was the first of all.")

    @property
    def marks(self) -> list[tuple[str, str | int]]:
        """What files of the same bytes have in common, as far as one knows without reading them."""
        version: tuple[str, str | int] = (self.blob_name, self.etag)
        return [version] if self.digest is None else [(self.digest, self.size), version]


_GENERATION = 100_000  # more than there are chunks in the longest recording


class Chunk(Work):
    """Row `chunk_0007`: one stretch of a part. Its `cut` is in the part's own time.

    One that was `split` stands for nothing any more: its two halves, rows of their own, do. An index tells
    whose half a chunk is, so that two workers who split the same chunk write the same rows.
    """

    index: int
    part: int = 1
    cut: dict[str, Any]
    status: ChunkStatus = "pending"
    flag: str | None = Field(None, description="What is odd about a text that was kept all the same.")
    rejected: int = Field(0, description="How many texts were not taken.")
    calls: int = Field(0, description="Replies of the model, of use or not; what follows is theirs together.")
    latency_seconds: float | None = None
    audio_seconds: float = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microdollars: int = 0
    charge_id: str | None = Field(None, description="The last call that was added, so that none is twice.")
    request_id: str | None = None

    @property
    def generation(self) -> int:
        """How often the planned chunk was halved to get this one."""
        return (self.index // _GENERATION + 1).bit_length() - 1

    @property
    def halves(self) -> tuple[int, int]:
        """The indexes of its halves: of the planned chunk 7 they are 100007 and 200007."""
        place, planned = divmod(self.index, _GENERATION)
        first = 2 * (place + 1) - 1
        return first * _GENERATION + planned, (first + 1) * _GENERATION + planned


class ChunkState(BaseModel):
    """What of a chunk's row tells how far its job has come."""

    model_config = ConfigDict(frozen=True)

    status: ChunkStatus
    attempts: int
    updated_at: datetime


class Removal(BaseModel):
    """Row `{time}_{job id}` of `removals`: when what that job has kept can be deleted."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    due: datetime


class OpenRun(BaseModel):
    """Row `{job id}_{run}` of `open`: that run of that job is perhaps not over; so the watchdog finds it."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    run: int
    noted_at: datetime


class Place(BaseModel):
    """Row `open` of `watch`: where in the list of open jobs the watchdog goes on; None: at its beginning."""

    model_config = ConfigDict(frozen=True)

    after: str | None = None


class Pointer(BaseModel):
    """Row of a month's list of jobs, the newest first."""

    model_config = ConfigDict(frozen=True)

    job_id: str


class Step(BaseModel):
    """Message on the pipeline's queues: do this step of that job. `attempt` counts tries of this message."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    run: int = 1
    chunk: int | None = None
    attempt: int = 1
    traceparent: str | None = None


class ChunkResult(BaseModel):
    """Blob of a finished chunk: its segments, in seconds from the chunk's own start, which is the part's."""

    model_config = ConfigDict(frozen=True)

    start_seconds: float
    duration_seconds: float
    language: str | None
    segments: tuple[Segment, ...]


class JobView(BaseModel):
    """A job in the administrators' list."""

    id: str
    audiobook_id: str
    title: str
    blob_name: str
    status: ProcessingStatus
    reason: str | None
    duration_seconds: float | None
    created_at: datetime
    updated_at: datetime
    attempts: int = Field(
        description="Tries so far, of chunks and of the other steps, that failed or succeeded."
    )
    chunks: ChunkCounts


class ChunkView(BaseModel):
    """A chunk in the administrators' view of a job; its times are the whole recording's."""

    index: int
    part: int
    start_seconds: float
    end_seconds: float
    status: ChunkStatus
    attempts: int
    error: str | None
    evidence: str | None = Field(description="What the service itself said of the error, without secrets.")
    flag: str | None
    rejected: int
    calls: int
    latency_seconds: float | None
    audio_seconds: float
    input_tokens: int
    output_tokens: int
    cost_microdollars: int


class Card(BaseModel):
    """What a job has cost and how good it is, over all its runs; answers that were of no use included."""

    audio_minutes: float = Field(description="Of sound that was sent to the model.")
    calls: int = Field(description="Replies of the models, for speech and text.")
    input_tokens: int
    output_tokens: int
    cost_microdollars: int
    attempts: int
    rejected: int = Field(description="Texts that were not taken.")
    flagged: int = Field(description="Texts that are odd and were kept.")
    gaps: int
    coverage: float | None = Field(description="Share of the sound that the transcript covers, 0 to 1.")
    wall_seconds: float = Field(description="Since the run began; once it is over, how long it took.")
    cpu_seconds: float = Field(description="Processor time of reading, cutting and joining.")


class JobProgress(JobView):
    """A job with its card."""

    card: Card


class JobDetail(JobProgress, TextCosts):
    """A job with each of its chunks and what they cost."""

    run: int
    size_bytes: int
    error: str | None = Field(description="Why the last step that is not a chunk's failed.")
    evidence: str | None = Field(description="What the service itself said of that, without secrets.")
    cost_microdollars: int = Field(description="Of speech and text, rejected answers included.")
    parts: list[ChunkView]
