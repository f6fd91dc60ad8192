"""Makes real recordings of every kind that Aloud reads, with tones at known times to measure by."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.stream import Disposition
from numpy.typing import NDArray

MARKER_SECONDS = 0.1

# Kind: multiplexer, encoder, sampling rate, layout, options of the multiplexer.
KINDS: dict[str, tuple[str, str, int, str, dict[str, str]]] = {
    "mp3": ("mp3", "libmp3lame", 44_100, "mono", {}),
    "bare mp3": ("mp3", "libmp3lame", 44_100, "mono", {"write_xing": "0", "id3v2_version": "0"}),
    "m4b": ("mp4", "aac", 44_100, "stereo", {}),
    "faststart m4b": ("mp4", "aac", 44_100, "mono", {"movflags": "faststart"}),
    "alac": ("mp4", "alac", 44_100, "mono", {}),
    "flac": ("flac", "flac", 44_100, "stereo", {}),
    "opus": ("ogg", "libopus", 48_000, "mono", {}),
    "vorbis": ("ogg", "vorbis", 44_100, "stereo", {}),
    "wav": ("wav", "pcm_s16le", 22_050, "stereo", {}),
}


def make_audio(
    kind: str,
    seconds: float,
    markers: Sequence[float] = (),
    sounds: Sequence[tuple[float, float]] = (),
    tags: Mapping[str, str] | None = None,
    chapters: Sequence[tuple[str, float, float]] = (),
    cover: bytes | None = None,
    variable: bool = False,
    rate: int | None = None,
) -> bytes:
    """Return a file of one of KINDS: 1 kHz at each of `markers`, noise during `sounds`, else silence.

    With `variable` an mp3 has a variable bit rate; `rate` is another sampling rate than usual.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder, "audio")
        rate = rate or KINDS[kind][2]
        samples = draw(seconds, rate, markers, sounds)
        _write(path, kind, rate, samples, tags or {}, chapters, cover, variable)
        return path.read_bytes()


def _write(
    path: Path,
    kind: str,
    rate: int,
    samples: NDArray[np.int16],
    tags: Mapping[str, str],
    chapters: Sequence[tuple[str, float, float]],
    cover: bytes | None,
    variable: bool,
) -> None:
    form, codec, _, layout, options = KINDS[kind]
    with av.open(path, "w", format=form, options=options) as out:
        out.metadata.update(tags)
        out.set_chapters(
            [
                {
                    "id": index,
                    "start": round(start * 1000),
                    "end": round(end * 1000),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for index, (title, start, end) in enumerate(chapters, 1)
            ]
        )
        settings = {"strict": "experimental"} if codec == "vorbis" else {}
        stream: Any = out.add_stream(codec, rate=rate, layout=layout, options=settings)
        if variable:
            stream.codec_context.options = {"compression_level": "7"}
            stream.codec_context.qscale = True
            stream.codec_context.global_quality = 6 * 118
        if cover is not None:
            picture: Any = out.add_mux_stream("png", width=2, height=2)
            picture.disposition = Disposition.attached_pic
            out.start_encoding()
            packet: Any = av.Packet(cover)
            packet.stream, packet.pts, packet.dts = picture, 0, 0
            packet.time_base = Fraction(1, 90_000)
            out.mux(packet)
        for frame in _frames(samples, rate, layout):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def draw(
    seconds: float, rate: int, markers: Sequence[float], sounds: Sequence[tuple[float, float]]
) -> NDArray[np.int16]:
    samples = np.zeros(round(seconds * rate))
    noise = np.random.default_rng(1)
    for start, end in sounds:
        part = samples[round(start * rate) : round(end * rate)]
        part += noise.normal(0, 0.04, len(part))
    tone = 0.5 * np.cos(2 * np.pi * 1000 * np.arange(round(MARKER_SECONDS * rate)) / rate)
    for marker in markers:
        at = round(marker * rate)
        part = samples[at : at + len(tone)]
        part[:] = tone[: len(part)]
    return (samples * 32_000).astype(np.int16)


def _frames(samples: NDArray[np.int16], rate: int, layout: str) -> Iterator[AudioFrame]:
    for start in range(0, len(samples), rate):
        block = samples[start : start + rate]
        packed = np.repeat(block, 2) if layout == "stereo" else block
        frame = AudioFrame.from_ndarray(packed[np.newaxis], "s16", layout)
        frame.sample_rate, frame.pts = rate, start
        yield frame


def repeat_m4b(once: bytes, times: int) -> bytes:
    """Return a long m4b made of the packets of a short one."""
    target = io.BytesIO()
    with av.open(io.BytesIO(once), "r") as source, av.open(target, "w", format="mp4") as out:
        stream = source.streams.audio[0]
        packets = [(bytes(p), p.duration) for p in source.demux(stream) if p.size]
        copy = out.add_stream_from_template(stream)
        due = 0
        for _ in range(times):
            for content, duration in packets:
                packet: Any = av.Packet(content)
                packet.stream, packet.time_base = copy, stream.time_base
                packet.pts = packet.dts = due
                packet.duration = duration
                out.mux(packet)
                due += duration or 0
    return target.getvalue()


def make_png(width: int = 2, height: int = 2) -> bytes:
    """Return a picture of 2 by 2 pixels, whatever size it says to have."""

    def part(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    pixels = zlib.compress((b"\0" + b"\x90\x30\x20" * 2) * 2)
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + part(b"IDAT", pixels)
        + part(b"IEND", b"")
    )


def find_markers(samples: NDArray[np.int16]) -> list[float]:
    """Return when each tone begins in 16 kHz samples."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 8_000)
    if not len(loud):
        return []
    first = np.concatenate(([True], np.diff(loud) > 1_600))
    return [float(at) / 16_000 for at in loud[first]]


def read_flac(content: bytes) -> NDArray[np.int16]:
    """Decode a chunk as it goes to the speech model."""
    with av.open(io.BytesIO(content), "r") as source:
        stream = source.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.layout.name) == ("flac", 16_000, "mono")
        return np.concatenate([frame.to_ndarray()[0] for frame in source.decode(stream)])
