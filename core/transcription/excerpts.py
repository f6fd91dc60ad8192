"""Takes a short excerpt out of a recording: from the first word to a pause, as good as it sounds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from core.transcription.audio import SAMPLE_RATE, Cut, Probe
from core.transcription.blocks import Source
from core.transcription.cutting import encode, stretch
from core.transcription.loudness import onset
from core.transcription.planning import NOTHING, quietest

_RATE = 44_100
_BIT_RATE = 64_000
_REACH = 0.2
_LONGEST_SILENCE_SECONDS = 30.0


def excerpt(
    source: Source, probe: Probe, cuts: Sequence[Cut], begin: float, seconds: float, out: BinaryIO
) -> float:
    """See core.transcription.audio.excerpt."""
    reach = seconds * _REACH
    window = _join(cuts, begin, begin + _LONGEST_SILENCE_SECONDS + seconds + reach)
    samples = np.concatenate([*stretch(source, probe, window)] or [NOTHING])
    first = onset(samples)
    if first is None:
        return 0.0
    start, heard = window.start_seconds + first, len(samples) / SAMPLE_RATE
    aim = min(first + seconds, heard)
    earliest = max(0.0, aim - reach)
    around = slice(round(earliest * SAMPLE_RATE), round((aim + reach) * SAMPLE_RATE))
    end, _ = quietest(samples[around], earliest, aim)
    chosen = replace(window, start_seconds=start, end_seconds=window.start_seconds + end)
    encode(
        (block for block in stretch(source, probe, chosen, _RATE) if len(block)), out, "mp3", _RATE, _BIT_RATE
    )
    return chosen.end_seconds - chosen.start_seconds


def _join(cuts: Sequence[Cut], start: float, end: float) -> Cut:
    """Return one cut with a stretch that may lie in several; it ends where they do."""
    end = min(end, cuts[-1].end_seconds)
    inside = [cut for cut in cuts if cut.end_seconds > start and cut.start_seconds < end] or [cuts[-1]]
    return replace(inside[0], start_seconds=start, end_seconds=end, byte_end=inside[-1].byte_end)
