"""Halves a stretch of a recording at a pause, for a model that got lost in the whole of it."""

from dataclasses import replace

import numpy as np

from core.transcription.audio import Cut, Probe
from core.transcription.blocks import Source
from core.transcription.cutting import stretch
from core.transcription.planning import NOTHING, quietest

_WINDOW_SECONDS = 15.0


def halve(source: Source, probe: Probe, cut: Cut) -> tuple[Cut, Cut]:
    """See core.transcription.audio.halve."""
    middle = (cut.start_seconds + cut.end_seconds) / 2
    reach = min(_WINDOW_SECONDS, (cut.end_seconds - cut.start_seconds) / 4)
    start = middle - reach
    window = replace(cut, start_seconds=start, end_seconds=middle + reach)
    samples = np.concatenate([*stretch(source, probe, window)] or [NOTHING])
    moment, hard = quietest(samples, start, middle)
    # In an mp3 both halves are found in the bytes of the whole.
    return replace(cut, end_seconds=moment, hard=hard), replace(cut, start_seconds=moment)
