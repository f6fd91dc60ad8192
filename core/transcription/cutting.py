"""Cuts one stretch out of a recording, as the speech model takes it, and listens where sound is in it."""

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame

from core.ai import AudioFormat
from core.transcription.audio import SAMPLE_RATE, Cut, CutAudio, Probe
from core.transcription.blocks import Source
from core.transcription.decoding import Samples, UnreadableError, decode, decode_slice, open_audio
from core.transcription.loudness import FRAME, decibels, long_silences, mean_squares, sound_spans
from core.transcription.skipping import SILENCE_SECONDS, Stretches, leave_out

_BLOCK = FRAME * 50
_CODECS: dict[AudioFormat, str] = {"flac": "flac", "mp3": "libmp3lame", "wav": "pcm_s16le"}
_MP3_BIT_RATE = 48_000
_SAMPLE_BYTES = 2


def cut(source: Source, probe: Probe, cut: Cut, out: BinaryIO, form: AudioFormat = "flac") -> CutAudio:
    """See core.transcription.audio.cut."""
    total = round((cut.end_seconds - cut.start_seconds) * SAMPLE_RATE)
    duration = total / SAMPLE_RATE
    means = []
    with tempfile.TemporaryFile() as raw:
        for block in _blocks(stretch(source, probe, cut), total):
            means.append(mean_squares(block))
            raw.write(block.tobytes())
        levels = np.concatenate(means)
        sent = leave_out(long_silences(levels, SILENCE_SECONDS), duration)
        encode(_sent(raw, sent), out, form, SAMPLE_RATE, _MP3_BIT_RATE)
    spans = tuple((round(start, 3), round(min(end, duration), 3)) for start, end in sound_spans(levels))
    loudness = float(decibels(np.array([np.mean(levels)]))[0]) if len(levels) else -120.0
    return CutAudio(cut.start_seconds, duration, spans, round(loudness, 1), not spans, sent)


def _sent(raw: IO[bytes], stretches: Stretches) -> Iterator[Samples]:
    for start, end in stretches:
        first, stop = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        raw.seek(first * _SAMPLE_BYTES)
        for at in range(first, stop, _BLOCK):
            yield np.frombuffer(raw.read(min(_BLOCK, stop - at) * _SAMPLE_BYTES), np.int16)


def encode(blocks: Iterable[Samples], out: BinaryIO, form: AudioFormat, rate: int, mp3_bit_rate: int) -> None:
    """Write mono samples to a file, which must be seekable."""
    with av.open(out, "w", format=form) as target:
        stream: Any = target.add_stream(_CODECS[form], rate=rate, layout="mono")
        if form == "mp3":
            stream.bit_rate = mp3_bit_rate
        for block in blocks:
            frame = AudioFrame.from_ndarray(block[np.newaxis], "s16", "mono")
            frame.sample_rate = rate
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


def stretch(source: Source, probe: Probe, cut: Cut, rate: int = SAMPLE_RATE) -> Iterator[Samples]:
    """Yield what can be decoded of a cut; what its packets do not let us reach stays silence."""
    start, end = cut.start_seconds, cut.end_seconds
    try:
        if cut.byte_start is not None and cut.byte_end is not None and cut.byte_start_seconds is not None:
            place = (cut.byte_start, cut.byte_end, cut.byte_start_seconds)
            yield from decode_slice(source, *place, start, end, rate)
        else:
            with open_audio(source, probe.container, (start, end)) as (opened, stream):
                yield from decode(opened, stream, start, end, rate)
    except UnreadableError:
        return


def _blocks(parts: Iterator[Samples], total: int) -> Iterator[Samples]:
    """Yield exactly `total` samples in blocks of one second, silence after the end of `parts`."""
    waiting: list[Samples] = []
    held = written = 0
    for part in parts:
        waiting.append(part)
        held += len(part)
        if held >= _BLOCK:
            joined = np.concatenate(waiting)
            whole = held // _BLOCK * _BLOCK
            for start in range(0, whole, _BLOCK):
                yield joined[start : start + _BLOCK]
            written += whole
            waiting = [joined[whole:]]
            held -= whole
    if rest := total - written:
        last = np.zeros(rest, np.int16)
        if waiting:
            last[:held] = np.concatenate(waiting)
        for start in range(0, rest, _BLOCK):
            yield last[start : start + _BLOCK]
