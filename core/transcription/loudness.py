"""How loud 16 kHz samples are over time, and when there is sound in them."""

import numpy as np
from numpy.typing import NDArray

from core.transcription.audio import SAMPLE_RATE

FRAME_SECONDS = 0.02
FRAME = round(FRAME_SECONDS * SAMPLE_RATE)
SILENCE_DB = -120.0

# Nobody speaks this softly; what is softer is the room or the microphone.
_FAINT_DB = -50.0
# Where the loud parts exceed the floor by less than this, there are no pauses to be told from speech.
_EVEN_DB = 8.0
_SHORT_PAUSE_SECONDS = 0.2
_CLICK_SECONDS = 0.08
_MARGIN_SECONDS = 0.04
_ONSET_FRAMES = 5
# A first word is at most this much softer than the loudest ones, and a click louder than all of them.
_SOFT_DB = 25.0
_CLICK_DB = 20.0


def mean_squares(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the mean square of each whole 20 ms frame; full scale is 1."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    sums: NDArray[np.float64] = np.einsum("ij,ij->i", frames, frames, dtype=np.float64)
    return sums / (FRAME * 32768.0**2)


def decibels(mean_square: NDArray[np.float64]) -> NDArray[np.float64]:
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(mean_square, 10 ** (SILENCE_DB / 10)))
    return levels


def level(samples: NDArray[np.int16], width: int) -> NDArray[np.float64]:
    """Return the level in dBFS of every `width` neighbouring frames."""
    means = mean_squares(samples)
    if len(means) < width:
        return np.empty(0)
    return decibels(np.convolve(means, np.full(width, 1 / width), "valid"))


def sound_spans(means: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return when there is sound, in seconds, from the mean squares of all frames.

    The threshold lies between the quiet and the loud parts of this very stretch, so that a noisy room is
    not taken for speech; only what is faint everywhere is never sound.
    """
    if not len(means):
        return []
    width = min(5, len(means))
    levels = decibels(np.convolve(means, np.full(width, 1 / width), "same"))
    floor, loud = (float(share) for share in np.percentile(levels, (5, 95)))
    peak = float(np.max(levels))
    if loud < peak - 20:
        # Little of the stretch is sound, such as one word in a long silence.
        loud = peak
    if peak < _FAINT_DB:
        return []
    threshold = _FAINT_DB if loud - floor < _EVEN_DB else max(_FAINT_DB - 10, floor + 0.35 * (loud - floor))
    threshold = max(threshold, loud - 40)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], levels > threshold, [False])).astype(np.int8)))
    spans: list[tuple[float, float]] = []
    for first, stop in edges.reshape(-1, 2).tolist():
        start, end = first * FRAME_SECONDS, stop * FRAME_SECONDS
        if spans and start - spans[-1][1] < _SHORT_PAUSE_SECONDS:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [
        (max(0.0, start - _MARGIN_SECONDS), min(end + _MARGIN_SECONDS, len(means) * FRAME_SECONDS))
        for start, end in spans
        if end - start >= _CLICK_SECONDS
    ]


def onset(samples: NDArray[np.int16]) -> float | None:
    """Return when sound begins that is no softer than speech beside the rest, in seconds; None: never."""
    levels = level(samples, _ONSET_FRAMES)
    if not len(levels) or float(np.max(levels)) < _FAINT_DB:
        return None
    loud = max(float(np.percentile(levels, 95)), float(np.max(levels)) - _CLICK_DB)
    first = int(np.argmax(levels > max(_FAINT_DB, loud - _SOFT_DB)))
    return max(0.0, first * FRAME_SECONDS - _MARGIN_SECONDS)


def long_silences(means: NDArray[np.float64], least_seconds: float) -> list[tuple[float, float]]:
    """Return the stretches of at least that length in which nobody can be speaking, however softly."""
    width = min(5, len(means))
    levels = decibels(np.convolve(means, np.full(width, 1 / width), "same")) if width else means
    edges = np.flatnonzero(np.diff(np.concatenate(([False], levels < _FAINT_DB, [False])).astype(np.int8)))
    return [
        (first * FRAME_SECONDS, stop * FRAME_SECONDS)
        for first, stop in edges.reshape(-1, 2).tolist()
        if (stop - first) * FRAME_SECONDS >= least_seconds
    ]
