"""What was said in a recording, and when: the transcript as it is stored and shown."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from sys import intern
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_SEGMENTS = '"segments":['

Timing = Literal["model", "estimated"]
Token = Annotated[str, AfterValidator(intern)]
Seconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3))]


@dataclass(frozen=True, slots=True)
class Word:
    """A spoken word, in seconds from the start of the recording; a long book has 200,000 of them."""

    start_seconds: float
    end_seconds: float
    text: Token


class Segment(BaseModel):
    """A sentence or a line of one; `words` is empty where the model does not tell when each was said.

    `timing` is "model" where the model heard the times, "estimated" where they were laid over the sound.
    `speaker` is there where the model tells voices apart: `2.A` is one voice throughout the second stretch
    of the recording that the model heard, and nobody knows whether it is `1.A` again.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    start_seconds: Seconds
    end_seconds: Seconds
    text: str
    timing: Timing
    words: tuple[Word, ...] = ()
    speaker: str | None = Field(None, exclude_if=lambda speaker: speaker is None)


class Gap(BaseModel):
    """A stretch that has no transcript though something may be said in it, and why."""

    model_config = ConfigDict(frozen=True)

    start_seconds: Seconds
    end_seconds: Seconds
    reason: str


class Transcript(BaseModel):
    """A whole recording. Segments follow each other in time and never overlap, nor do their words.

    `coverage` is the share of the recording outside `gaps`, from 0 to 1.
    """

    model_config = ConfigDict(frozen=True)

    language: str | None
    duration_seconds: Seconds
    timing: Literal["model", "estimated", "mixed"]
    coverage: float
    gaps: tuple[Gap, ...]
    segments: tuple[Segment, ...]


class Line(BaseModel):
    """A segment without its words."""

    model_config = ConfigDict(frozen=True)

    start_seconds: float
    text: str


class Reading(BaseModel):
    """A stored transcript as those need it who only read it, without the words' times."""

    model_config = ConfigDict(frozen=True)

    segments: tuple[Line, ...]


def to_json(transcript: Transcript) -> bytes:
    """Return a transcript as JSON, without a copy of it as text."""
    return pydantic_core.to_json(transcript)


def from_json(content: bytes) -> Transcript:
    """Return a transcript from what `to_json` has written; segment by segment, which takes little memory."""
    text = content.decode()
    segments = tuple(Segment.model_validate(raw) for raw in _raw_segments(text))
    rest = json.loads(text[: text.index(_SEGMENTS) + len(_SEGMENTS)] + "]}")
    return Transcript.model_validate({**rest, "segments": segments})


def reading_from_json(content: bytes) -> Reading:
    """Return what is said in a transcript that `to_json` has written."""
    lines = (
        Line(start_seconds=raw["start_seconds"], text=raw["text"]) for raw in _raw_segments(content.decode())
    )
    return Reading(segments=tuple(lines))


def _raw_segments(text: str) -> Iterator[dict[str, Any]]:
    """Yield the segments, which come last; within a string the quotes of their name would be escaped."""
    decode = json.JSONDecoder().raw_decode
    at = text.index(_SEGMENTS) + len(_SEGMENTS)
    while text[at] != "]":
        raw, at = decode(text, at)
        yield raw
        at += text[at] == ","
