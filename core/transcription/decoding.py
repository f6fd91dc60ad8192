"""Opens recordings with libav and decodes stretches of them to 16 kHz mono, exact in time."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import cast

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from numpy.typing import NDArray

from core.errors import RejectedAudioError
from core.transcription.audio import SAMPLE_RATE
from core.transcription.blocks import Source
from core.transcription.indexes import narrow

Samples = NDArray[np.int16]
Stretch = tuple[float, float]

CONTAINERS = {"mp3": "mp3", "mov,mp4,m4a,3gp,3g2,mj2": "mp4", "flac": "flac", "ogg": "ogg", "wav": "wav"}

# The decoders need some audio ahead of the wanted moment: mp3 for its bit reservoir, opus for 80 ms.
RUN_UP_SECONDS = 0.5
# Packets further apart than this have lost something between them.
_GAP_SECONDS = 0.005
_BATCH_SAMPLES = 16_384
# Of a thread's own time, which only files that are made to hurt need.
OPENING_SECONDS = 15.0
# Reading errors in a row, after which the rest of a file is taken for lost.
_MAX_FAILURES = 100

# An odd mp4's index, of which no part can be given, may take over 100 MB: only one is open in the process.
_one_mp4 = threading.Lock()


class UnreadableError(Exception):
    """libav cannot open the file, or finds no audio in it."""


class _Hurried:
    """A source that ends the opening of a file which takes too long, as thousands of tags or tables do."""

    def __init__(self, source: Source) -> None:
        self.seek, self.tell = source.seek, source.tell
        self.is_open = False
        self._read = source.read
        self._end = time.thread_time() + OPENING_SECONDS

    def read(self, size: int) -> bytes:
        """Raises RejectedAudioError."""
        if not self.is_open and time.thread_time() > self._end:
            raise RejectedAudioError("This file says more of itself than Aloud can read: remove its tags.")
        return self._read(size)


@contextmanager
def open_container(
    source: Source, container: str | None = None, within: Stretch | None = None
) -> Iterator[InputContainer]:
    """Open a file of the kinds that Aloud reads; without `container` libav tells the kind.

    What lies outside of `within`, in seconds of the listener's clock, may not be found. Raises
    UnreadableError.
    """
    source.seek(0)
    head = source.read(12)
    options = {
        # Playlists and the like would make libav open files and addresses that the upload names.
        "format_whitelist": "mp3,mov,flac,ogg,wav",
        "protocol_whitelist": "",
        # The full edit list doubles the memory of a long m4b.
        "advanced_editlist": "0",
    }
    is_mp4 = head[4:8] == b"ftyp"
    if is_mp4 and within is not None:
        source = narrow(source, *within)
    source.seek(0)
    hurried = _Hurried(source)
    with _one_mp4 if is_mp4 else nullcontext():
        try:
            opened = av.open(hurried, "r", format=container, options=options, metadata_errors="replace")
            hurried.is_open = True
        except av.error.FFmpegError as error:
            raise UnreadableError(str(error)) from error
        with opened:
            yield opened


@contextmanager
def open_audio(
    source: Source, container: str | None = None, within: Stretch | None = None
) -> Iterator[tuple[InputContainer, AudioStream]]:
    """Open a recording at its first audio stream; see `open_container`. Raises UnreadableError."""
    with open_container(source, container, within) as opened:
        if not opened.streams.audio or opened.streams.audio[0].codec_context is None:
            raise UnreadableError("no audio stream, or one that libav has no decoder for")
        yield opened, opened.streams.audio[0]


def packets(opened: InputContainer, *streams: Stream) -> "Iterator[Packet[Stream]]":
    """Yield packets to the end of what can be read; a damaged stretch is stepped over."""
    demuxer = opened.demux(*streams)
    failures = 0
    while failures < _MAX_FAILURES:
        try:
            packet = next(demuxer)
        except (StopIteration, av.error.EOFError):
            return
        except av.error.FFmpegError:
            failures += 1
            demuxer = opened.demux(*streams)
            continue
        failures = 0
        yield packet


def decode_packet(packet: "Packet[Stream]") -> list[AudioFrame]:
    """Decode what a packet of sound holds: nothing where it is damaged."""
    try:
        return cast(list[AudioFrame], packet.decode())
    except av.error.FFmpegError:
        return []


def frames(opened: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Yield what can be decoded from here on."""
    for packet in packets(opened, stream):
        yield from decode_packet(packet)


def origin_seconds(opened: InputContainer) -> float:
    """When, in libav's clock, the first sample that a listener hears is due."""
    return (opened.start_time or 0) / av.time_base


def seek(opened: InputContainer, seconds: float) -> None:
    """Go to the last packet at or before `seconds` of the listener's clock. Raises UnreadableError."""
    try:
        opened.seek(round((seconds + origin_seconds(opened)) * av.time_base), backward=True)
    except av.error.FFmpegError as error:
        raise UnreadableError(str(error)) from error


class _Run:
    """Turns an unbroken run of frames into mono of one rate; `due` is when its next frame should begin.

    Many frames are resampled at once: to begin costs more than the work on a single one.
    """

    def __init__(self, first: AudioFrame, seconds: float, rate: int) -> None:
        self._form = (first.format.name, first.layout.name, first.sample_rate)
        self._waiting = AudioFifo()
        self._resampler = AudioResampler("s16", "mono", rate)
        self.due = seconds

    def continues_with(self, frame: AudioFrame, seconds: float) -> bool:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        return form == self._form and abs(seconds - self.due) <= _GAP_SECONDS

    def feed(self, frame: AudioFrame) -> Iterator[Samples]:
        self.due += frame.samples / frame.sample_rate
        frame.pts = None
        self._waiting.write(frame)
        if self._waiting.samples >= _BATCH_SAMPLES:
            yield from self._resample_waiting()

    def finish(self) -> Iterator[Samples]:
        yield from self._resample_waiting()
        yield from self._resampled(None)

    def _resample_waiting(self) -> Iterator[Samples]:
        batch = self._waiting.read()
        if batch is not None:
            batch.pts = None
            yield from self._resampled(batch)

    def _resampled(self, frame: AudioFrame | None) -> Iterator[Samples]:
        try:
            resampled = self._resampler.resample(frame)
        except av.error.FFmpegError:
            # A damaged header can claim a form of sound that does not exist.
            return
        for part in resampled:
            yield part.to_ndarray()[0]


def _runs(
    source: Iterator[AudioFrame], origin: float, end: float, rate: int
) -> Iterator[tuple[float | None, Samples]]:
    """Yield blocks of samples, each with its time if it begins a new run, until past `end` seconds."""
    run: _Run | None = None
    for frame in source:
        if frame.time is None or not frame.samples or not frame.sample_rate:
            continue
        seconds = frame.time - origin
        if seconds >= end:
            break
        begins: float | None = None
        if run is None or not run.continues_with(frame, seconds):
            if run is not None:
                for block in run.finish():
                    yield None, block
            run, begins = _Run(frame, seconds, rate), seconds
            yield begins, np.empty(0, np.int16)
        for block in run.feed(frame):
            yield None, block
    if run is not None:
        for block in run.finish():
            yield None, block


def _place(
    source: Iterator[AudioFrame], origin: float, start: float, end: float, rate: int
) -> Iterator[Samples]:
    """Yield blocks of which the first sample is at `start`: gaps are filled, overlaps dropped."""
    total = round((end - start) * rate)
    written = position = 0
    for begins, block in _runs(source, origin, end, rate):
        if begins is not None:
            position = round((begins - start) * rate)
            continue
        if position > written:
            gap = min(position, total) - written
            yield np.zeros(gap, np.int16)
            written += gap
        new = block[max(0, written - position) :][: total - written]
        position += len(block)
        if len(new):
            yield new
            written += len(new)


def decode(
    opened: InputContainer, stream: AudioStream, start: float, end: float, rate: int = SAMPLE_RATE
) -> Iterator[Samples]:
    """Yield what lies between two times of the listener's clock, in blocks of mono samples.

    The first sample is at `start` to 0.1 ms; fewer samples than asked for come only where the recording
    ends. Not for mp3, in which libav cannot seek exactly. Raises UnreadableError.
    """
    seek(opened, max(0.0, start - RUN_UP_SECONDS))
    yield from _place(frames(opened, stream), origin_seconds(opened), start, end, rate)


def decode_slice(
    source: Source,
    byte_start: int,
    byte_end: int,
    byte_start_seconds: float,
    start: float,
    end: float,
    rate: int = SAMPLE_RATE,
) -> Iterator[Samples]:
    """Like `decode`, for a slice of an mp3 whose first frame begins at `byte_start_seconds`."""
    source.seek(byte_start)
    with open_audio(io.BytesIO(source.read(byte_end - byte_start)), "mp3") as (opened, stream):
        yield from _place(frames(opened, stream), -byte_start_seconds, start, end, rate)
