"""Private recordings as they are stored: tasks, their versions, and the passages that were heard in them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from core.backoff import Tried
from core.catalog.models import AudioPart, BookPart, ProcessingStatus, show_parts
from core.ids import ID_PATTERN

MAX_BATCH = 45
"""A transaction takes 100 rows, and a task that changes takes two: its own and its new version's."""
MAX_PROMPTS = 50_000
MAX_TAGS = 20

TaskId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=40)]
Cause = Literal["created", "transcribed", "edited", "restored"]


class Prompt(BaseModel):
    """A transcribed passage, in seconds from the start of the recording."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int = Field(ge=0)
    start_seconds: float = Field(ge=0, allow_inf_nan=False)
    end_seconds: float = Field(ge=0, allow_inf_nan=False)
    text: Annotated[str, StringConstraints(max_length=10_000)]

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.end_seconds < self.start_seconds:
            raise ValueError("ends before it starts")
        return self


class Prompts(BaseModel):
    """All passages of one version of a task; a blob, since there may be very many."""

    model_config = ConfigDict(frozen=True)

    items: tuple[Prompt, ...] = ()


class TaskContent(BaseModel):
    """What a person says of a task; what is absent stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name | None = None
    prompts: Annotated[list[Prompt], Field(max_length=MAX_PROMPTS)] | None = None
    tags: Annotated[list[Tag], Field(max_length=MAX_TAGS)] | None = None

    @field_validator("prompts")
    @classmethod
    def _check_prompts(cls, prompts: list[Prompt] | None) -> list[Prompt] | None:
        for before, prompt in zip(prompts or (), (prompts or ())[1:], strict=False):
            if prompt.index <= before.index:
                raise ValueError("list the prompts by index, each index once")
        return prompts

    @field_validator("tags")
    @classmethod
    def _drop_repeated_tags(cls, tags: list[str] | None) -> list[str] | None:
        return None if tags is None else list(dict.fromkeys(tags))


class NewTask(TaskContent):
    """A task to be made."""

    name: Name


class TaskChange(TaskContent):
    """A change of one task of several."""

    id: TaskId


def _check_once(ids: Sequence[str]) -> None:
    repeated = {task_id for task_id in ids if ids.count(task_id) > 1}
    if repeated:
        raise ValueError(f"name each task once; {', '.join(sorted(repeated))} comes again")


class TaskChanges(BaseModel):
    """Changes of several tasks: all of them are made, or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: Annotated[list[TaskChange], Field(min_length=1, max_length=MAX_BATCH)]

    @field_validator("items")
    @classmethod
    def _check_items(cls, items: list[TaskChange]) -> list[TaskChange]:
        _check_once([item.id for item in items])
        return items


class TaskIds(BaseModel):
    """Several tasks: all of them are meant, or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: Annotated[list[TaskId], Field(min_length=1, max_length=MAX_BATCH)]

    @field_validator("ids")
    @classmethod
    def _check_ids(cls, ids: list[str]) -> list[str]:
        _check_once(ids)
        return ids


class Task(BaseModel):
    """Row `task_{inverted time}_{id}` of `tasks`, in its owner's partition.

    `version` grows by one with each change of name, tags or prompts, and is the ETag. `prompts_blob` is in
    the container `private`; None: there are none. `beginning` is how the text begins, for lists and filters.
    With `deleted_at` it is gone for its owner, and what belongs to it is being removed.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    owner_id: str
    name: str
    tags: tuple[str, ...] = ()
    status: ProcessingStatus = "waiting"
    reason: str | None = None
    job_id: str | None = None
    file_name: str | None = None
    parts: tuple[AudioPart, ...] = Field(
        (), description="The files to hear, in order; () without a recording."
    )
    duration_seconds: float | None = None
    language: str | None = None
    coverage: float | None = None
    prompts_blob: str | None = None
    prompts_count: int = 0
    beginning: str = ""
    transcript_prefix: str | None = Field(
        None, description="Where in `private` the forms of the transcript begin, while nobody has changed it."
    )
    heard_job_id: str | None = Field(None, description="The job whose words are in the history.")
    heard_prefix: str | None = Field(None, description="Where in `private` the forms of those words begin.")
    is_edited: bool = Field(False, description="A person has changed the prompts since they were heard.")
    version: int = 1
    kept_bytes: int = Field(0, description="Of the passages of all versions.")
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class TaskVersion(BaseModel):
    """Row `history_{task id}_{version}`: what a task was from then on, and who made it so."""

    model_config = ConfigDict(frozen=True)

    version: int
    at: datetime
    actor_id: str | None = Field(None, description="None: the transcription itself.")
    cause: Cause
    restored_from: int | None = None
    name: str
    tags: tuple[str, ...]
    prompts_blob: str | None
    prompts_count: int
    beginning: str
    transcript_prefix: str | None = None


class Heard(BaseModel):
    """What the transcription found in a recording."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    prompts: tuple[Prompt, ...]
    language: str | None
    coverage: float
    transcript_prefix: str


class TaskSummary(BaseModel):
    """A task in a list."""

    id: str
    name: str
    tags: list[str]
    status: ProcessingStatus
    reason: str | None
    file_name: str | None = Field(description="As it was called where it came from; of several, the first.")
    parts_count: int = Field(description="How many files the recording has.")
    duration_seconds: float | None
    language: str | None
    coverage: float | None = Field(description="Share of the audio that the prompts cover, 0 to 1.")
    prompts_count: int
    beginning: str = Field(description="How the text begins.")
    version: int
    created_at: datetime
    updated_at: datetime


class TaskDetail(TaskSummary):
    """A task with its files and all that was heard."""

    parts: list[BookPart]
    prompts: list[Prompt]


class VersionView(BaseModel):
    """A version in a task's history; `by_me` is false for what the transcription wrote."""

    version: int
    at: datetime
    cause: Cause
    by_me: bool
    restored_from: int | None
    name: str
    tags: list[str]
    prompts_count: int
    beginning: str


class Clear(Tried):
    """Message on `tasks-work`: remove what belongs to these tasks, if they are deleted."""

    owner_id: str
    ids: tuple[str, ...]


def summarise(task: Task) -> TaskSummary:
    """Return what a list shows of a task."""
    return TaskSummary(**task.model_dump(include=set(TaskSummary.model_fields)), parts_count=len(task.parts))


def detail(task: Task, prompts: Sequence[Prompt]) -> TaskDetail:
    """Return all that is shown of a task."""
    return TaskDetail(**summarise(task).model_dump(), parts=show_parts(task.parts), prompts=list(prompts))
