"""Speech to words with pocketsphinx, several pieces of one recording at a time."""

import asyncio
import functools
import multiprocessing
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

RATE = 16_000
FRAME = RATE // 100
SHORTEST_PIECE = 3.0
LONGEST_PIECE = 12.0
# A frame counts as sound above -50 dB of full scale: below it the engine invents words.
SOUND_LEVEL = 32_768 * 10 ** (-50 / 20)
SHORTEST_SOUND = 0.15
SEGMENT_PAUSE = 0.25
LONGEST_SEGMENT = 12.0


class UnreadableAudioError(Exception):
    """The bytes are no recording that can be decoded."""


@dataclass(frozen=True, slots=True)
class Word:
    """A lower-case word; times in seconds; confidence from 0 to 1, the engine's own opinion."""

    start: float
    end: float
    text: str
    confidence: float


def decode_audio(file: IO[bytes]) -> Samples:
    """The whole recording as 16 kHz mono; damaged packets are left out.

    Raises UnreadableAudioError where not one frame can be decoded.
    """
    import av

    blocks: list[Samples] = []
    try:
        with av.open(file, "r", metadata_errors="replace") as container:
            resampler = av.AudioResampler("s16", "mono", RATE)
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    continue
                for frame in frames:
                    blocks.extend(part.to_ndarray()[0] for part in resampler.resample(frame))
            if blocks:
                blocks.extend(part.to_ndarray()[0] for part in resampler.resample(None))
    except (av.error.FFmpegError, IndexError) as error:
        if not blocks:
            raise UnreadableAudioError(str(error)) from error
    if not blocks:
        raise UnreadableAudioError("no sound in it")
    return np.concatenate(blocks)


def split_at_pauses(samples: Samples) -> Iterator[tuple[float, Samples]]:
    """Pieces of 3 to 12 s, cut where it is quietest, with their starts in seconds; silence is left out."""
    count = len(samples) // FRAME
    frames = samples[: count * FRAME].astype(np.float32).reshape(count, FRAME)
    power = np.mean(frames * frames, axis=1)
    smooth = np.convolve(power, np.full(30, 1 / 30, np.float32), "same")
    shortest, longest = int(SHORTEST_PIECE * 100), int(LONGEST_PIECE * 100)
    start = 0
    while start < count:
        end = count
        if count - start > longest:
            first, last = start + shortest, min(start + longest, count - shortest)
            end = first + int(np.argmin(smooth[first:last]))
        if np.count_nonzero(power[start:end] > SOUND_LEVEL**2) >= SHORTEST_SOUND * 100:
            yield start / 100, samples[start * FRAME : end * FRAME]
        start = end


def group_words(words: list[Word]) -> list[list[Word]]:
    """Segments: a new one after a pause, or when one gets long."""
    groups: list[list[Word]] = []
    for word in words:
        if (
            groups
            and word.start - groups[-1][-1].end < SEGMENT_PAUSE
            and word.end - groups[-1][0].start < LONGEST_SEGMENT
        ):
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


class Recogniser:
    """A pool of decoders, one to a process; they start with the first recording."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = self._make_pool()

    def _make_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
        )

    async def recognise(self, samples: Samples) -> list[Word]:
        """All words of a recording, in order.

        Raises BrokenProcessPool where a worker was killed; the next recording gets a new pool.
        """
        loop = asyncio.get_running_loop()
        pool = self._pool
        pieces = list(await asyncio.to_thread(list, split_at_pauses(samples)))
        try:
            found = await asyncio.gather(
                *(loop.run_in_executor(pool, _recognise_piece, piece.tobytes()) for _, piece in pieces)
            )
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = self._make_pool()
            raise
        return [
            Word(round(offset + start, 2), round(offset + end, 2), text, confidence)
            for (offset, _), words in zip(pieces, found, strict=True)
            for start, end, text, confidence in words
        ]

    def close(self) -> None:
        """End the workers, even in the middle of a piece."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()


def _start_worker() -> None:
    """Load the models, and make sure not to outlive the server."""

    def follow_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os._exit(0)

    threading.Thread(target=follow_parent, daemon=True).start()
    _decoder()


@functools.cache
def _decoder() -> Any:
    """Without its second pass and with bounded search it is half again as fast, and no worse by the word."""
    from pocketsphinx import Decoder

    return Decoder(loglevel="FATAL", samprate=float(RATE), fwdflat=False, maxhmmpf=5000, maxwpf=20)


def _recognise_piece(pcm: bytes) -> list[tuple[float, float, str, float]]:
    """Words of one piece; a decoder learns from what it hears, so the same piece may vary a little."""
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    return [
        # "was(2)" is the second way to say "was"; <s>, <sil> and [NOISE] are no words.
        (
            part.start_frame / 100,
            (part.end_frame + 1) / 100,
            re.sub(r"\(\d+\)$", "", part.word),
            round(part.prob, 3),
        )
        for part in decoder.seg() or ()
        if not part.word.startswith(("<", "["))
    ]
