"""Recordings: what a file is, where to cut it, and one stretch of it as the speech model wants it.

All functions work for seconds on one core and block: call them in a worker thread. The decoder is
loaded at the first call, not with this module.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from core.ai import AudioFormat
from core.transcription.blocks import Source

SAMPLE_RATE = 16_000
TARGET_SECONDS = 330.0
TOLERANCE_SECONDS = 15.0


@dataclass(frozen=True)
class Chapter:
    """A chapter as the file tells it, perhaps past its end; chapters are in order and never overlap."""

    title: str | None
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Probe:
    """What a file says of itself; its audio has been decoded for a moment, its length is only declared.

    `container` is mp3, mp4, flac, ogg or wav; the keys of `tags` are lower case, and may be title, artist,
    album, album_artist, composer, genre, date, comment, publisher, language and others. `bit_rate` is
    in bits per second. `duration_seconds` is 0 where the file tells none.
    """

    duration_seconds: float
    container: str
    codec: str
    sample_rate: int
    channels: int
    bit_rate: int
    chapters: tuple[Chapter, ...]
    tags: dict[str, str]
    cover: bytes | None
    cover_type: str | None
    content_type: str


@dataclass(frozen=True)
class Cut:
    """One stretch of a recording, from the previous cut to the next.

    In an mp3 the bytes from `byte_start` to `byte_end` hold it with a margin on both sides, and the first
    frame in them begins at `byte_start_seconds`; elsewhere these are None. `hard` means that no pause was
    found for its end. Neighbours never overlap, not even there: to join an overlap takes word times,
    which the default model does not give, and without them sentences would double or vanish.
    """

    index: int
    start_seconds: float
    end_seconds: float
    byte_start: int | None
    byte_end: int | None
    byte_start_seconds: float | None
    hard: bool


@dataclass(frozen=True)
class Plan:
    """Where to cut. `duration_seconds` can be decoded; `shortfall` says so where that is too little."""

    duration_seconds: float
    declared_seconds: float
    cuts: tuple[Cut, ...]
    shortfall: str | None


@dataclass(frozen=True)
class CutAudio:
    """A stretch that was cut. `spans` are the times with sound in it, in seconds from its own start.

    `loudness_dbfs` is the mean power, -120 for digital silence; `silent` means nobody can be speaking.
    `sent` are the times of what was written for the model: all but long silences.
    """

    start_seconds: float
    duration_seconds: float
    spans: tuple[tuple[float, float], ...]
    loudness_dbfs: float
    silent: bool
    sent: tuple[tuple[float, float], ...]

    @property
    def sent_seconds(self) -> float:
        return sum(end - start for start, end in self.sent)


def probe(source: Source) -> Probe:
    """Read what `source` is, from a small part of its bytes; it is believed once some of it was decoded.

    Raises RejectedAudioError with a reason for the person who brought the file.
    """
    from core.transcription import probing

    return probing.probe(source)


def plan(
    source: Source,
    probe: Probe,
    target_seconds: float = TARGET_SECONDS,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    on_progress: Callable[[float], None] | None = None,
) -> Plan:
    """Choose cuts about `target_seconds` apart, each at the quietest moment within `tolerance_seconds`.

    `on_progress` gets the fraction done, from 0 to 1. Raises RejectedAudioError if nothing can be decoded.
    """
    from core.transcription import planning

    return planning.plan(source, probe, target_seconds, tolerance_seconds, on_progress)


def halve(source: Source, probe: Probe, cut: Cut) -> tuple[Cut, Cut]:
    """Divide one stretch at the quietest moment near its middle, into two that follow each other exactly."""
    from core.transcription import halving

    return halving.halve(source, probe, cut)


def cut(source: Source, probe: Probe, cut: Cut, out: BinaryIO, form: AudioFormat = "flac") -> CutAudio:
    """Write one stretch to `out` (which must be seekable), 16 kHz, mono, 16 bits.

    It is as long as the cut to a sample, but as mp3 to a frame: what cannot be decoded is silence in it. Of
    silences of ten seconds and more only a second is written at each side.
    """
    from core.transcription import cutting

    return cutting.cut(source, probe, cut, out, form)


def excerpt(
    source: Source, probe: Probe, cuts: Sequence[Cut], begin: float, seconds: float, out: BinaryIO
) -> float:
    """Write about so many `seconds` of a recording from `begin` on to `out`, as an mp3 for listeners.

    It begins with the first sound and ends at the quietest moment within a fifth of its length, and lies
    within the `cuts`, which follow each other. Returns its length; 0, and nothing is written, where there is
    no sound.
    """
    from core.transcription import excerpts

    return excerpts.excerpt(source, probe, cuts, begin, seconds, out)
