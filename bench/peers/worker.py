"""The peer of bench/long_book.py: one Celery worker that transcribes a book chunk by chunk, with Redis.

A task per book, as in the designs that Aloud replaces: decode, cut every six minutes, ask the model, go on.
`python worker.py BOOK` queues one, and prints what became of it as JSON; the worker itself is
`celery -A worker worker --concurrency 1`. REDIS_URL and OPENAI_BASE_URL say where things are, CHUNKS how many
chunks are done before it stops.
"""

import io
import json
import os
import sys
import time
from collections.abc import Iterator

import av
from celery import Celery  # type: ignore[import-not-found]
from openai import OpenAI

CHUNK_SECONDS = 360
RATE = 16_000
app = Celery("worker", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])


@app.task  # type: ignore[untyped-decorator]
def transcribe(path: str) -> dict[str, float]:
    """Return how many chunks were done, of how much sound, and in how many seconds."""
    client = OpenAI(api_key="none", max_retries=0)
    started, done, heard = time.perf_counter(), 0, 0.0
    for chunk, seconds in cut(path):
        client.audio.transcriptions.create(
            file=(f"chunk_{done:04d}.flac", chunk), model="whisper-1", response_format="verbose_json"
        )
        done += 1
        heard += seconds
        if done == int(os.environ["CHUNKS"]):
            break
    return {"chunks": done, "heard_seconds": heard, "seconds": time.perf_counter() - started}


class Chunk:
    """FLAC in memory, 16 kHz mono."""

    def __init__(self) -> None:
        self.samples = 0
        self._content = io.BytesIO()
        self._out = av.open(self._content, "w", format="flac")
        self._stream = self._out.add_stream("flac", rate=RATE, layout="mono")

    def add(self, frame: av.AudioFrame) -> None:
        frame.pts = None
        self._out.mux(self._stream.encode(frame))
        self.samples += frame.samples

    def close(self) -> bytes:
        self._out.mux(self._stream.encode(None))
        self._out.close()
        return self._content.getvalue()


def cut(path: str) -> Iterator[tuple[bytes, float]]:
    """Yield a recording in chunks of six minutes, each with its length in seconds."""
    with av.open(path) as source:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        chunk = Chunk()
        for frame in source.decode(audio=0):
            for piece in resampler.resample(frame):
                chunk.add(piece)
                if chunk.samples >= CHUNK_SECONDS * RATE:
                    yield chunk.close(), chunk.samples / RATE
                    chunk = Chunk()
        if chunk.samples:
            yield chunk.close(), chunk.samples / RATE


if __name__ == "__main__":
    print(json.dumps(transcribe.delay(sys.argv[1]).get()))
