"""What parallel work gains where time is spent waiting for the model; the peer is one worker."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench.rows import Limit, Peer, Row
from tests.aloud import Aloud
from tests.audio import make_audio
from tests.scripted_ai import ScriptedAi

# Cut every 10 s, at the pauses that each even second has, this is a book of 20 chunks.
SECONDS = 203
CHUNK_SECONDS = 10
LEAST_IN_FLIGHT = 8
_QUEUES = "AzureFunctionsJobHost__extensions__queues__"
ONE_WORKER = {f"{_QUEUES}batchSize": "1", f"{_QUEUES}newBatchThreshold": "0"}


@dataclass(frozen=True)
class Outcome:
    """Times in seconds: from the drop to `ready`, and from the first call of the model to its last answer."""

    chunks: int
    whole: float
    transcribing: float
    most_in_flight: int


async def measure(quick: bool) -> AsyncIterator[Row]:
    latency = 0.5 if quick else 2.0
    sounds = [(start + 0.4, start + 1.6) for start in range(0, SECONDS, 2)]
    book = make_audio("flac", SECONDS, sounds=sounds)
    many = await _process(book, latency, {})
    one = await _process(book, latency, ONE_WORKER)
    what = f"{many.chunks} chunks at {latency:g} s a call"
    yield Row(
        f"{what}: transcribing",
        many.transcribing,
        "s",
        Peer("one worker", one.transcribing),
        "first call to last answer",
    )
    yield Row(
        f"{what}: drop to ready", many.whole, "s", Peer("one worker", one.whole), "with plan and enrichment"
    )
    yield Row(
        f"{what}: speed-up over one worker",
        one.transcribing / many.transcribing,
        "×",
        note=f"{one.whole / many.whole:.1f} × from drop to ready",
    )
    yield Row(
        f"{what}: calls in flight at once",
        many.most_in_flight,
        "",
        Limit("≥", LEAST_IN_FLIGHT),
        f"one worker: {one.most_in_flight}",
    )


async def _process(book: bytes, latency: float, settings: dict[str, str]) -> Outcome:
    async with (
        ScriptedAi.start(latency) as ai,
        Aloud.start(openai_base_url=ai.base_url, CHUNK_SECONDS=str(CHUNK_SECONDS), **settings) as aloud,
    ):
        await aloud.token()
        started = time.perf_counter()
        await aloud.upload("book.flac", book)
        job = await aloud.settled("book.flac", seconds=300)
        whole = time.perf_counter() - started
        if job["status"] != "ready":
            raise RuntimeError(f"the book ended as {job['status']}: {job['reason']}")
        calls = [call.arrived for call in ai.transcriptions]
        return Outcome(
            chunks=job["chunks"]["total"],
            whole=whole,
            transcribing=max(calls) + latency - min(calls),
            most_in_flight=ai.max_in_flight,
        )
