"""Says when each sentence was spoken: by the model's own times, or laid over where the sound is."""

import difflib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from sys import intern
from typing import BinaryIO

from core.ai.speech import TimedText
from core.transcription.sentences import (
    MAX_LINE_WORDS,
    MIN_LINE_WORDS,
    ends_sentence,
    plain_word,
    split_sentences,
)
from core.transcription.transcript import Gap, Segment, Timing, Transcript, Word, store, sum_up

Spans = Sequence[tuple[float, float]]
# A segment without number: start, end, text, timing, words, speaker.
_Line = tuple[float, float, str, Timing, tuple[Word, ...], str | None]
# A word of the text with its start and end.
_Timed = tuple[str, float, float]

_PAUSE_SECONDS = 0.15
# How far a sentence's end may be from where its share of the text puts it.
_REACH_SECONDS = 8.0
_FULL_PAUSE_SECONDS = 0.8
_PAUSE_WORTH = 3.0
_IMPOSSIBLE = 1e9
_LONG_PAUSE_SECONDS = 0.6


@dataclass(frozen=True)
class ChunkText:
    """What is known of one chunk: its segments, timed from its own start, or the reason why it has none.

    `voices` goes before the names of its speakers, which are the model's for this chunk alone.
    """

    start_seconds: float
    duration_seconds: float
    segments: Sequence[Segment] | None
    language: str | None = None
    reason: str = "This part could not be transcribed."
    voices: str = ""


def spread(text: str, spans: Spans, duration: float) -> list[Segment]:
    """Lay sentences over the stretches that have sound, each as long as its share of the text.

    Sentences end at pauses where these are near enough. Times are from the chunk's start.
    """
    sentences = split_sentences(text)
    if not sentences or duration <= 0:
        return []
    clock = _SoundClock(spans, duration)
    weights = [0, *accumulate(len(sentence) + 1 for sentence in sentences)]
    bounds = [clock.total * weight / weights[-1] for weight in weights]
    bounds = _move_to_pauses(bounds, clock.pauses)
    lines: Iterator[_Line] = (
        (clock.after(start), clock.before(end), sentence, "estimated", (), None)
        for sentence, (start, end) in zip(sentences, pairwise(bounds), strict=True)
    )
    return list(_number(lines))


@dataclass(frozen=True)
class _Bound:
    """A choice for the end of a sentence, at a count of seconds with sound; `cost` is that of all so far."""

    cost: float
    count: float
    previous: "_Bound | None"


def _move_to_pauses(bounds: Sequence[float], pauses: Sequence[tuple[float, float]]) -> list[float]:
    """Choose for each inner bound its place or a pause near it, so that all sentences fit best together.

    A sentence that becomes longer or shorter than its share costs, a pause pays by its length.
    """
    choices = [_Bound(0.0, bounds[0], None)]
    for start, end in pairwise(bounds):
        share = end - start
        ends = [(end, 0.0)]
        if end < bounds[-1]:
            ends += [(count, pause) for count, pause in pauses if abs(count - end) <= _REACH_SECONDS]
        choices = [
            min(
                (
                    _Bound(
                        before.cost
                        + _strain(count - before.count, share)
                        - _PAUSE_WORTH * min(pause, _FULL_PAUSE_SECONDS),
                        count,
                        before,
                    )
                    for before in choices
                ),
                key=lambda bound: bound.cost,
            )
            for count, pause in ends
        ]
    chosen: list[float] = []
    bound: _Bound | None = choices[0]
    while bound is not None:
        chosen.append(bound.count)
        bound = bound.previous
    return chosen[::-1]


def _strain(length: float, share: float) -> float:
    if length <= 0:
        return _IMPOSSIBLE
    return float(((length - share) / (0.25 * share + 0.2)) ** 2)


class _SoundClock:
    """Counts only the seconds with sound: turns such a count into a time.

    `pauses` are (count, length in seconds).
    """

    def __init__(self, spans: Spans, duration: float) -> None:
        inside = [(max(0.0, start), min(duration, end)) for start, end in spans]
        self._spans = [(start, end) for start, end in inside if end > start] or [(0.0, duration)]
        self._begins = [0.0, *accumulate(end - start for start, end in self._spans)]
        self.total = self._begins.pop()
        self.pauses = [
            (begin, start - end)
            for begin, ((_, end), (start, _)) in zip(self._begins[1:], pairwise(self._spans), strict=True)
            if start - end >= _PAUSE_SECONDS
        ]

    def after(self, count: float) -> float:
        """Return when the sound goes on after `count` seconds of it."""
        index = max(0, bisect_right(self._begins, count + 1e-9) - 1)
        return min(self._spans[index][0] + count - self._begins[index], self._spans[index][1])

    def before(self, count: float) -> float:
        """Return when the first `count` seconds of sound are over."""
        index = max(0, bisect_right(self._begins, count - 1e-9) - 1)
        return min(self._spans[index][0] + count - self._begins[index], self._spans[index][1])


def time_segments(
    text: str,
    words: Sequence[TimedText],
    segments: Sequence[TimedText],
    spans: Spans,
    duration: float,
) -> list[Segment]:
    """Time a chunk by the best that there is: the model's words, its segments, or where the sound is."""
    if words:
        return from_words(text, words, duration)
    if segments:
        return from_segments(segments, duration)
    return spread(text, spans, duration)


def from_words(text: str, words: Sequence[TimedText], duration: float) -> list[Segment]:
    """Build sentences from words with times; `text` has the punctuation that the words may lack."""
    spoken = [word for word in words if word.text.strip()]
    timed = _pair(text.split(), spoken) or [(word.text.strip(), word.start, word.end) for word in spoken]
    lines: list[list[_Timed]] = []
    rest = timed
    for sentence in split_sentences(" ".join(token for token, _, _ in timed)):
        size = len(sentence.split())
        lines.append(rest[:size])
        rest = rest[size:]
    if not any(ends_sentence(token) for token, _, _ in timed):
        lines = _split_at_pauses(timed)
    timed_lines: Iterator[_Line] = (
        (
            _inside(line[0][1], duration),
            _inside(line[-1][2], duration),
            " ".join(token for token, _, _ in line),
            "model",
            tuple(
                Word(start_seconds=_inside(s, duration), end_seconds=_inside(e, duration), text=t)
                for t, s, e in line
            ),
            None,
        )
        for line in lines
        if line
    )
    return list(_number(timed_lines))


def from_segments(segments: Sequence[TimedText], duration: float) -> list[Segment]:
    """Take a model's segments as they are."""
    lines: Iterator[_Line] = (
        (
            _inside(part.start, duration),
            _inside(part.end, duration),
            part.text.strip(),
            "model",
            (),
            part.speaker,
        )
        for part in sorted(segments, key=lambda part: part.start)
        if part.text.strip()
    )
    return list(_number(lines))


def _pair(tokens: list[str], words: Sequence[TimedText]) -> list[_Timed]:
    """Give each token of the text the time of its word; those without one share the time around them."""
    if len(tokens) == len(words):
        return [(token, word.start, word.end) for token, word in zip(tokens, words, strict=True)]
    left, right = [plain_word(token) for token in tokens], [plain_word(word.text) for word in words]
    paired: list[_Timed] = []
    for _, i, j, k, m in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if j - i == m - k:
            paired += [(tokens[i + n], words[k + n].start, words[k + n].end) for n in range(j - i)]
        elif j > i:
            previous = words[k - 1].end if k else 0.0
            start, end = (
                (words[k].start, words[m - 1].end)
                if m > k
                else (previous, words[k].start if k < len(words) else previous)
            )
            step = (end - start) / (j - i)
            paired += [(tokens[i + n], start + n * step, start + (n + 1) * step) for n in range(j - i)]
    return paired


def _split_at_pauses(timed: list[_Timed]) -> list[list[_Timed]]:
    """Break words without punctuation into lines of 8 to 16, at the longest pause that allows it."""
    lines = []
    while len(timed) > 1:
        long = (
            n for n in range(2, min(len(timed), MAX_LINE_WORDS)) if _pause(timed, n) >= _LONG_PAUSE_SECONDS
        )
        at = next(long, None)
        if at is None:
            if len(timed) <= MAX_LINE_WORDS:
                break
            choices = range(MIN_LINE_WORDS, min(MAX_LINE_WORDS, len(timed) - 2) + 1)
            at = max(choices, key=lambda n: _pause(timed, n))
        lines.append(timed[:at])
        timed = timed[at:]
    return [*lines, timed] if timed else lines


def _pause(timed: list[_Timed], at: int) -> float:
    return timed[at][1] - timed[at - 1][2]


def _inside(seconds: float, duration: float) -> float:
    return min(max(0.0, seconds), duration)


def _number(parts: Iterable[_Line]) -> Iterator[Segment]:
    """Make segments, each starting no earlier than the one before it ends; words likewise."""
    latest = 0.0
    for index, (start, end, text, timing, words, speaker) in enumerate(parts):
        begin = max(latest, round(start, 3))
        inner, latest = _order(words, begin)
        latest = max(latest, begin, round(end, 3))
        yield Segment(
            index=index,
            start_seconds=begin,
            end_seconds=latest,
            text=text,
            timing=timing,
            words=inner,
            speaker=speaker,
        )


def _order(words: Iterable[Word], latest: float) -> tuple[tuple[Word, ...], float]:
    ordered = []
    for word in words:
        start = max(latest, round(word.start_seconds, 3))
        latest = max(start, round(word.end_seconds, 3))
        ordered.append(Word(start_seconds=start, end_seconds=latest, text=intern(word.text)))
    return tuple(ordered), latest


def join(chunks: Iterable[ChunkText], duration_seconds: float, file: BinaryIO) -> Transcript:
    """Join chunks by the times at which they were really cut; what is missing becomes a gap.

    They come in order, and each is let go of before the next is taken. The segments are kept in `file`, which
    is empty and has to stay open as long as the transcript is used.
    """
    gaps: list[Gap] = []
    languages: Counter[str] = Counter()
    timings: set[Timing] = set()

    def lines() -> Iterator[_Line]:
        for chunk in chunks:
            if chunk.segments is None:
                end = chunk.start_seconds + chunk.duration_seconds
                gaps.append(Gap(start_seconds=chunk.start_seconds, end_seconds=end, reason=chunk.reason))
            if chunk.language:
                languages[chunk.language] += 1
            timings.update(segment.timing for segment in chunk.segments or ())
            yield from _shift(chunk)

    segments = store(_number(lines()), file)
    missing = sum(gap.end_seconds - gap.start_seconds for gap in gaps)
    return Transcript(
        language=languages.most_common(1)[0][0] if languages else None,
        duration_seconds=duration_seconds,
        timing=sum_up(timings),
        coverage=round(max(0.0, 1 - missing / duration_seconds), 4) if duration_seconds else 0.0,
        gaps=tuple(gaps),
        segments=segments,
    )


def _shift(chunk: ChunkText) -> Iterator[_Line]:
    """Yield a chunk's segments in the recording's time, none later than the chunk's end."""

    def shifted(seconds: float) -> float:
        return chunk.start_seconds + min(seconds, chunk.duration_seconds)

    for segment in chunk.segments or ():
        words = tuple(
            Word(
                start_seconds=shifted(word.start_seconds),
                end_seconds=shifted(word.end_seconds),
                text=word.text,
            )
            for word in segment.words
        )
        yield (
            shifted(segment.start_seconds),
            shifted(segment.end_seconds),
            segment.text,
            segment.timing,
            words,
            segment.speaker and f"{chunk.voices}{segment.speaker}",
        )
