"""Chooses where a recording is cut: at pauses, without decoding more of it than a window around each."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.index import IndexEntry

from core.errors import RejectedAudioError
from core.transcription.audio import SAMPLE_RATE, Cut, Plan, Probe
from core.transcription.blocks import Source
from core.transcription.decoding import (
    RUN_UP_SECONDS,
    Samples,
    UnreadableError,
    decode,
    decode_slice,
    frames,
    open_audio,
    origin_seconds,
    packets,
    seek,
)
from core.transcription.loudness import FRAME_SECONDS, level

Open = Callable[[float, float], AbstractContextManager[tuple[InputContainer, AudioStream]]]

_SMOOTHING_SECONDS = 0.3
_DB_PER_SECOND_AWAY = 0.15
# A pause lies this far below the speech around it.
_PAUSE_DB = 12.0
_ALL_QUIET_DB = -50.0
_MARK_SECONDS = 1.0
# Of so few packets libav, which remembers some 40,000, forgets every other at most.
_LEAP_SECONDS = 300
_TAIL_SECONDS = 5.0
# The speech models take nothing shorter.
_MIN_SECONDS = 0.1


@dataclass(frozen=True)
class _Mark:
    """Frame of an mp3: where it is in the file and when it is due."""

    seconds: float
    byte: int


class _Mp3:
    """Every second of an mp3 with its place in the file, from one pass over all of it."""

    def __init__(self, source: Source, progress: Callable[[float], None]) -> None:
        self._source = source
        self._size = source.seek(0, 2)
        self._due = -math.inf
        self.marks: list[_Mark] = []
        with open_audio(source, "mp3") as (opened, stream):
            origin = origin_seconds(opened)
            base = float(stream.time_base or 0)
            for place in _leap(opened, stream):
                self._mark(place.timestamp * base - origin, place.pos)
                progress(place.pos / self._size)
            end = -math.inf
            for packet in packets(opened, stream):
                if packet.pts is None or not packet.size:
                    continue
                seconds = packet.pts * base - origin
                end = seconds + (packet.duration or 0) * base
                if packet.pos is not None:
                    self._mark(seconds, packet.pos)
            # The header of a whole file tells how much padding its end has, in less than two frames.
            declared = (opened.duration or 0) / av.time_base
            self.seconds = declared if 0 <= end - declared < 0.1 else end
        if not self.marks:
            raise UnreadableError("no packets")

    def _mark(self, seconds: float, byte: int) -> None:
        if seconds >= self._due:
            self.marks.append(_Mark(seconds, byte))
            self._due = seconds + _MARK_SECONDS

    def around(self, start: float, end: float) -> tuple[int, int, float]:
        """Return the bytes that hold a stretch with a margin, and when the first of them is due."""
        first = max(0, bisect_right(self.marks, start - RUN_UP_SECONDS, key=lambda mark: mark.seconds) - 1)
        last = bisect_right(self.marks, end + RUN_UP_SECONDS, key=lambda mark: mark.seconds)
        stop = self.marks[last].byte if last < len(self.marks) else self._size
        return self.marks[first].byte, stop, self.marks[first].seconds

    def window(self, start: float, end: float) -> Iterator[Samples]:
        byte_start, byte_end, seconds = self.around(start, end)
        return decode_slice(self._source, byte_start, byte_end, seconds, start, end)


def _leap(opened: InputContainer, stream: AudioStream) -> Iterator[IndexEntry]:
    """Have libav read an mp3 to its end by itself, and yield about each second which packet it found where.

    That takes a quarter of the time that it takes to be given the packets. The last ones are left to be read,
    or as many as follow where libav cannot go on.
    """
    second = round(_MARK_SECONDS / stream.time_base) if stream.time_base else 0
    places = stream.index_entries
    target, due = 0, -(2**62)
    while second:
        target += _LEAP_SECONDS * second
        try:
            opened.seek(target, stream=stream)
        except av.error.FFmpegError:
            return
        while (at := places.search_timestamp(due, backward=False)) >= 0:
            yield places[at]
            due = places[at].timestamp + second
        if not len(places) or places[-1].timestamp < target:
            return


def plan(
    source: Source,
    probe: Probe,
    target: float,
    tolerance: float,
    on_progress: Callable[[float], None] | None,
) -> Plan:
    """See core.transcription.audio.plan."""
    progress = on_progress or (lambda _: None)
    try:
        if probe.container == "mp3":
            mp3 = _Mp3(source, lambda fraction: progress(fraction / 2))
            ends = _choose(mp3.window, mp3.seconds, target, tolerance, lambda f: progress(0.5 + f / 2))
            cuts = _cuts(ends, mp3)
            declared = probe.duration_seconds if _declares_length(source) else mp3.seconds
        else:
            with _opener(source, probe.container) as open_at:
                seconds = _find_end(open_at, probe.duration_seconds)

                def window(start: float, end: float) -> Iterator[Samples]:
                    with open_at(start, end) as (opened, stream):
                        yield from decode(opened, stream, start, end)

                cuts = _cuts(_choose(window, seconds, target, tolerance, progress), None)
            declared = probe.duration_seconds or seconds
    except UnreadableError as error:
        raise RejectedAudioError("There is no sound in this file that can be played.") from error
    duration = cuts[-1].end_seconds
    if duration < _MIN_SECONDS:
        raise RejectedAudioError("There is less than a tenth of a second of sound in this file.")
    return Plan(duration, declared, cuts, describe_shortfall(duration, declared))


def describe_shortfall(duration: float, declared: float) -> str | None:
    """Say how much of a recording is missing; None where nothing worth mentioning is."""
    if declared - duration <= max(2.0, declared * 0.005):
        return None
    there, whole = _say(duration), _say(declared)
    if there.endswith("minutes") and whole.endswith("minutes"):
        there = there.removesuffix(" minutes")
    return f"The recording ends after {there} of {whole}: the file seems to be cut off or damaged."


def _say(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{math.floor(seconds / 60)} minutes"


def _cuts(ends: list[tuple[float, bool]], mp3: _Mp3 | None) -> tuple[Cut, ...]:
    cuts = []
    start = 0.0
    for index, (end, hard) in enumerate(ends):
        first, stop, due = mp3.around(start, end) if mp3 else (None, None, None)
        cuts.append(Cut(index, start, end, first, stop, due, hard))
        start = end
    return tuple(cuts)


def _choose(
    window: Callable[[float, float], Iterator[Samples]],
    duration: float,
    target: float,
    tolerance: float,
    progress: Callable[[float], None],
) -> list[tuple[float, bool]]:
    """Return the end of each stretch, and whether it had to be cut where there is no pause."""
    longest = target + 2 * tolerance
    ends = []
    position = 0.0
    while (rest := duration - position) > longest:
        # What is left for the last two is halved, so that the last is never tiny.
        aim = position + (target if rest > 2 * target else rest / 2)
        start = max(position, aim - tolerance)
        position, hard = quietest(np.concatenate([*window(start, aim + tolerance)] or [NOTHING]), start, aim)
        ends.append((position, hard))
        progress(position / duration)
    ends.append((duration, False))
    progress(1.0)
    return ends


NOTHING: Samples = np.empty(0, np.int16)


def quietest(samples: Samples, start: float, aim: float) -> tuple[float, bool]:
    """Return the quietest moment of a window that begins at `start`, the nearer to `aim` the better."""
    width = round(_SMOOTHING_SECONDS / FRAME_SECONDS)
    levels = level(samples, width)
    if not len(levels):
        return aim, True
    # Frame i of the smoothed levels has its middle half a width further on.
    moments = start + (np.arange(len(levels)) + width / 2) * FRAME_SECONDS
    best = int(np.argmin(levels + _DB_PER_SECOND_AWAY * np.abs(moments - aim)))
    loud = float(np.percentile(levels, 90))
    hard = loud > _ALL_QUIET_DB and float(levels[best]) > loud - _PAUSE_DB
    return round(float(moments[best]) * SAMPLE_RATE) / SAMPLE_RATE, hard


@contextmanager
def _opener(source: Source, container: str) -> Iterator[Open]:
    """Give what opens a recording for a stretch of it: an mp4 each time, to have only a part of its index."""
    if container == "mp4":
        yield lambda start, end: open_audio(source, container, (start, end))
    else:
        with open_audio(source, container) as opened:
            yield lambda start, end: nullcontext(opened)


def _find_end(open_at: Open, declared: float) -> float:
    """Return when the last sample that can be decoded ends, by trying ever earlier moments."""
    if not declared:
        with open_at(0, math.inf) as (opened, stream):
            base = float(stream.time_base or 0)
            ends = [(p.pts + (p.duration or 0)) * base for p in packets(opened, stream) if p.pts is not None]
            if not ends:
                raise UnreadableError("no packets")
            return ends[-1] - origin_seconds(opened)
    good, bad = 0.0, declared
    moment = max(0.0, declared - _TAIL_SECONDS)
    while True:
        if _plays(open_at, moment):
            good = moment
        else:
            bad = moment
        if bad - good <= _TAIL_SECONDS:
            break
        moment = (good + bad) / 2
    with open_at(good, bad) as (opened, stream):
        seek(opened, good)
        origin = origin_seconds(opened)
        heard = (
            f.time - origin + f.samples / f.sample_rate for f in frames(opened, stream) if f.time is not None
        )
        end = max(heard, default=0.0)
    if end <= 0:
        raise UnreadableError("no frames")
    # Beyond what is declared is only padding, or the times in a damaged table.
    return min(end, declared)


def _plays(open_at: Open, moment: float) -> bool:
    with open_at(moment, moment + _TAIL_SECONDS) as (opened, stream):
        try:
            seek(opened, moment)
        except UnreadableError:
            return False
        origin = origin_seconds(opened)
        late = (f for f in frames(opened, stream) if f.time is not None and f.time - origin >= moment - 1)
        return next(late, None) is not None


def _declares_length(source: Source) -> bool:
    """Tell whether an mp3 has a Xing, Info or VBRI header; without, its length is only a guess."""
    source.seek(0)
    head = source.read(10)
    skip = 0
    if head[:3] == b"ID3":
        skip = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
    source.seek(skip)
    first = source.read(2_048)
    return any(name in first for name in (b"Xing", b"Info", b"VBRI"))
