"""What of a chunk is sent to the model where silence is left out, and when that was in the chunk's time."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from core.ai import TimedText

Stretches = Sequence[tuple[float, float]]

SILENCE_SECONDS = 10.0
_MARGIN_SECONDS = 1.0


def leave_out(silences: Stretches, duration: float) -> tuple[tuple[float, float], ...]:
    """Return the stretches around silences, with a second of these on each side; all, if that is nothing."""
    sent: list[tuple[float, float]] = []
    begin = 0.0
    for start, end in silences:
        inner = start + _MARGIN_SECONDS if start > 0 else 0.0
        outer = end - _MARGIN_SECONDS if end < duration else duration
        if inner > begin:
            sent.append((begin, inner))
        begin = outer
    if begin < duration:
        sent.append((begin, duration))
    return tuple(sent) or ((0.0, duration),)


def restore(timed: Sequence[TimedText], sent: Stretches) -> tuple[TimedText, ...]:
    """Turn times in what was sent into times in the chunk; nothing begins in what was left out."""
    starts = [0.0, *accumulate(end - start for start, end in sent)]
    last = len(sent) - 1

    def shift(seconds: float, stretch: int) -> float:
        place = max(0, min(stretch, last))
        return sent[place][0] + seconds - starts[place]

    return tuple(
        replace(
            part,
            start=shift(part.start, bisect_right(starts, part.start) - 1),
            end=shift(part.end, bisect_left(starts, part.end) - 1),
        )
        for part in timed
    )
