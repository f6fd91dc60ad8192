"""Makes books of many hours in seconds: encodes one minute, and repeats their packets."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from tests.audio import make_audio

PIECE_SECONDS = 60.0
MARKERS = (7.3, PIECE_SECONDS - 2.5)
_MULTIPLEXERS = {"mp3": "mp3", "m4b": "mp4"}


@dataclass(frozen=True)
class Recording:
    """A file, and when each of its tones begins for who plays it; times in seconds."""

    path: Path
    size_bytes: int
    seconds: float
    markers: Sequence[float]


def make_piece(kind: str) -> bytes:
    """Return one minute of noise that pauses like a reader, with two tones in silence."""
    sounds = [(start + 0.5, start + 5.5) for start in range(0, int(PIECE_SECONDS), 6)]
    apart = [(a, b) for a, b in sounds if not any(a - 1 < marker < b + 1 for marker in MARKERS)]
    return make_audio(kind, PIECE_SECONDS, markers=MARKERS, sounds=apart)


def repeat_piece(piece: bytes, kind: str, hours: float, path: Path) -> Recording:
    """Write a book of about so many hours; `kind` is mp3 or m4b."""
    times = round(hours * 3600 / PIECE_SECONDS)
    with av.open(io.BytesIO(piece), "r") as source:
        stream = source.streams.audio[0]
        base = stream.time_base
        assert base is not None
        packets = [
            (packet.pts, packet.duration, bytes(packet)) for packet in source.demux(stream) if packet.size
        ]
        delay = source.start_time or 0
        due, duration, _ = packets[0]
        assert due is not None and duration is not None
        with av.open(path, "w", format=_MULTIPLEXERS[kind]) as out:
            copy = out.add_stream_from_template(stream)
            for _ in range(times):
                for _, _, content in packets:
                    packet: Any = av.Packet(content)
                    packet.stream, packet.time_base = copy, base
                    packet.pts = packet.dts = due
                    packet.duration = duration
                    out.mux(packet)
                    due += duration
    with av.open(path, "r") as written:
        # A multiplexer may declare less of the encoder's delay than the piece did.
        shift = (delay - (written.start_time or 0)) / av.time_base
    each = float(len(packets) * duration * base)
    markers = [again * each + marker + shift for again in range(times) for marker in MARKERS]
    return Recording(path, path.stat().st_size, times * each, markers)
