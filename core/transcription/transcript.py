"""What was said in a recording, and when: the transcript as it is stored and shown."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from sys import intern
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple

import ijson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SkipValidation

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

    `segments` may be gone through again and again. Those of a long recording take too much memory to be there
    all at once: they are in a file then, and none is kept. `coverage` is the share of the recording outside
    `gaps`, from 0 to 1.
    """

    model_config = ConfigDict(frozen=True)

    language: str | None
    duration_seconds: Seconds
    timing: Literal["model", "estimated", "mixed"]
    coverage: float
    gaps: tuple[Gap, ...]
    segments: SkipValidation[Iterable[Segment]]


class Line(NamedTuple):
    """A segment without its words."""

    start_seconds: float
    text: str


def sum_up(timings: Collection[Timing]) -> Literal["model", "estimated", "mixed"]:
    """Return how a transcript is timed whose segments are timed so."""
    return "mixed" if len(timings) > 1 else next(iter(timings), "estimated")


def read_lines(transcript: Transcript) -> list[Line]:
    """Return what is said in a transcript, without the words' times."""
    return [Line(segment.start_seconds, segment.text) for segment in transcript.segments]


def to_json(transcript: Transcript) -> Iterator[str]:
    """Yield a transcript as JSON, bit by bit; the segments come last."""
    head = transcript.model_dump_json(exclude={"segments"})
    yield head.removesuffix("}")
    yield from _segments_to_json(transcript.segments, ",")


def _segments_to_json(segments: Iterable[Segment], before: str) -> Iterator[str]:
    yield f'{before}"segments":['
    for place, segment in enumerate(segments):
        yield f"{',' if place else ''}{segment.model_dump_json()}"
    yield "]}"


def from_json(file: BinaryIO) -> Transcript:
    """Return a transcript from what `to_json` has written; it is read from the file whenever it is used."""
    file.seek(0)
    names = Transcript.model_fields.keys() - {"segments"}
    head: dict[str, Any] = {}
    for name, value in ijson.kvitems(file, "", use_float=True):
        head[name] = value
        if head.keys() >= names:
            break
    return Transcript(**head, segments=_Stored(file))


def store(segments: Iterable[Segment], file: BinaryIO) -> Iterable[Segment]:
    """Write segments into an empty file; return them as they are read from it whenever they are used."""
    file.writelines(part.encode() for part in _segments_to_json(segments, "{"))
    return _Stored(file)


class _Stored:
    """Segments in a JSON file; they are gone through one time after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __iter__(self) -> Iterator[Segment]:
        self._file.seek(0)
        for raw in ijson.items(self._file, "segments.item", use_float=True):
            yield Segment.model_validate(raw)
