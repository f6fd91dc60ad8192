"""Writes a transcript as JSON, SubRip, WebVTT or plain text, bit by bit."""

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import merge

from core.catalog.service import TranscriptForm
from core.transcription.transcript import Gap, Segment, Transcript, to_json

MAX_LINE = 42
MAX_LINES = 2
MAX_CUE_SECONDS = 7.0

_PARAGRAPH_PAUSE_SECONDS = 1.5
_PARAGRAPH_CHARACTERS = 1_200

_NO_CONTROLS = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029), " ")
# SubRip has no escapes, and players read tags and braces in it.
_SRT_LOOK_ALIKES = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")"})
_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class _Cue:
    start: int
    end: int
    lines: tuple[str, ...]
    speaker: str | None


def to_srt(transcript: Transcript) -> Iterator[str]:
    """Yield SubRip, a cue at a time."""
    for number, cue in enumerate(_cues(transcript), 1):
        apart = "\n" if number > 1 else ""
        yield f"{apart}{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n" + "".join(
            f"{line.translate(_SRT_LOOK_ALIKES)}\n" for line in cue.lines
        )


def to_vtt(transcript: Transcript) -> Iterator[str]:
    """Yield WebVTT, a cue at a time, with the speakers as voices."""
    yield "WEBVTT\n"
    for cue in _cues(transcript):
        yield (
            f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n"
            + (f"<v {_clean(cue.speaker).translate(_VTT_ESCAPES)}>" if cue.speaker else "")
            + "".join(f"{line.translate(_VTT_ESCAPES)}\n" for line in cue.lines)
        )


def to_txt(transcript: Transcript) -> Iterator[str]:
    """Yield plain text: a new paragraph after a long pause, a line in brackets for what is missing."""
    gaps = [(gap.start_seconds, _describe(gap)) for gap in transcript.gaps]
    paragraphs = merge(_paragraphs(transcript), gaps, key=lambda paragraph: paragraph[0])
    apart = ""
    for _, text in paragraphs:
        if text:
            yield f"{apart}{text}\n"
            apart = "\n"


WRITERS: dict[TranscriptForm, Callable[[Transcript], Iterator[str]]] = {
    "json": to_json,
    "txt": to_txt,
    "srt": to_srt,
    "vtt": to_vtt,
}


def _describe(gap: Gap) -> str:
    return f"[No transcript from {_say(gap.start_seconds)} to {_say(gap.end_seconds)}: {_clean(gap.reason)}]"


def _paragraphs(transcript: Transcript) -> Iterator[tuple[float, str]]:
    breaks = [gap.start_seconds for gap in transcript.gaps]
    held: list[Segment] = []
    for segment in transcript.segments:
        if held:
            last = held[-1]
            pause = segment.start_seconds - last.end_seconds
            long = sum(len(s.text) for s in held) > _PARAGRAPH_CHARACTERS
            gap = any(last.start_seconds < start <= segment.start_seconds for start in breaks)
            if pause >= _PARAGRAPH_PAUSE_SECONDS or long or gap:
                yield held[0].start_seconds, _clean(" ".join(s.text for s in held))
                held = []
        held.append(segment)
    if held:
        yield held[0].start_seconds, _clean(" ".join(s.text for s in held))


def _cues(transcript: Transcript) -> Iterator[_Cue]:
    """Yield cues of two short lines and seven seconds at most; none starts before the last one ends."""
    latest = 0
    for segment in transcript.segments:
        for start, end, text in _split(segment):
            begin = max(latest, round(start * 1000))
            latest = max(begin + 1, min(round(end * 1000), begin + round(MAX_CUE_SECONDS * 1000)))
            yield _Cue(begin, latest, tuple(_wrap(text)), segment.speaker)


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, MAX_LINE, break_on_hyphens=False)


def _split(segment: Segment) -> Iterator[tuple[float, float, str]]:
    """Split a segment between words wherever a cue is full: its lines or its time."""
    held: list[tuple[float, float, str]] = []
    for word in _timed_words(segment):
        text = " ".join([*(token for _, _, token in held), word[2]])
        full = len(text) > MAX_LINE and len(_wrap(text)) > MAX_LINES
        if held and (full or word[1] - held[0][0] > MAX_CUE_SECONDS):
            yield held[0][0], held[-1][1], " ".join(token for _, _, token in held)
            held = []
        held.append(word)
    if held:
        yield held[0][0], held[-1][1], " ".join(token for _, _, token in held)


def _timed_words(segment: Segment) -> Iterator[tuple[float, float, str]]:
    """Yield (start, end, word): the model's times, or shares of the segment by length."""
    if segment.words:
        for word in segment.words:
            yield from _timed_parts(word.start_seconds, word.end_seconds, _clean(word.text))
    else:
        yield from _timed_parts(segment.start_seconds, segment.end_seconds, _clean(segment.text))


def _timed_parts(start: float, end: float, text: str) -> Iterator[tuple[float, float, str]]:
    """Share a time among words by length; a word longer than a line is broken, as where no spaces are."""
    parts = [word[at : at + MAX_LINE] for word in text.split() for at in range(0, len(word), MAX_LINE)]
    total = sum(len(part) for part in parts)
    position = 0
    for part in parts:
        begin = start + (end - start) * position / total
        position += len(part)
        yield begin, start + (end - start) * position / total, part


def _clean(text: str) -> str:
    return " ".join(text.translate(_NO_CONTROLS).split())


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}{point}{rest:03d}"


def _say(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"
