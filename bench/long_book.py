"""A long book whose time goes by waiting for the model: beside the ideal, and beside one Celery worker."""

import asyncio
import json
import math
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web

from bench.postgres import PEER_PYTHON, PEERS
from bench.recordings import make_piece, repeat_piece
from bench.rows import Limit, Peer, Row
from tests.aloud import Aloud
from tests.scripted_ai import Call, Reply, ScriptedAi, say_default

CONCURRENCY = 8
CHUNK_SECONDS = 360
IDEAL_LIMIT = 1.3
_PEER_CHUNKS = 10
_QUEUES = "AzureFunctionsJobHost__extensions__queues__"
_EIGHT = {f"{_QUEUES}batchSize": str(CONCURRENCY), f"{_QUEUES}newBatchThreshold": "0"}


async def measure(quick: bool) -> AsyncIterator[Row]:
    """Ten hours (quick: two) with a model that takes a twentieth of the sound's time."""
    hours, speed = 2 if quick else 10, 20
    with TemporaryDirectory() as folder:
        piece = await asyncio.to_thread(make_piece, "m4b")
        book = await asyncio.to_thread(repeat_piece, piece, "m4b", hours, Path(folder, "book.m4b"))
        async with ScriptedAi.start() as ai:
            ai.choose(at_speed(speed))
            chunks, seconds = await _process(ai, book.path)
            called, in_flight = [call.arrived for call in ai.transcriptions], ai.max_in_flight
            a_call = CHUNK_SECONDS / speed
            heard = max(called) + a_call - min(called)
            ideal = math.ceil(chunks / CONCURRENCY) * a_call
            what = f"{hours} h m4b at {speed} × real time a call"
            yield Row(
                f"{what}: transcribing, in parts of the ideal",
                heard / ideal,
                "×",
                Limit("<", IDEAL_LIMIT),
                f"{heard:.0f} s for {chunks} chunks, {CONCURRENCY} at once; ideal {ideal:.0f} s; at most "
                f"{in_flight} in flight",
            )
            peer = await _process_with_celery(ai, book.path, Path(folder))
        if peer is None:
            note = "needs redis-server (Debian) and .venv-peers"
            yield Row(f"{what}: speed-up over one Celery worker", None, "×", note=note)
            return
        done, took = peer
        yield Row(
            f"{what}: drop to ready",
            seconds,
            "s",
            Peer("one Celery worker", took / done * chunks),
            f"{took / done * chunks / seconds:.1f} × as fast; the worker's first {done} chunks were measured",
        )


def at_speed(speed: float) -> Callable[[Call, bytes], Reply | None]:
    """Answer as usual, after the sound's length divided by `speed`."""

    async def reply(request: web.Request, call: Call) -> web.StreamResponse:
        await asyncio.sleep(call.audio_seconds / speed)
        return await say_default(request, call)

    return lambda call, _: reply if call.audio_sha256 else None


async def _process(ai: ScriptedAi, book: Path) -> tuple[int, float]:
    """Return chunks, and seconds from the drop to `ready`."""
    async with Aloud.start(openai_base_url=ai.base_url, SPEECH_MODEL="whisper-1", **_EIGHT) as aloud:
        await aloud.token()
        started = time.perf_counter()
        await aloud.upload(book.name, book)
        job = await aloud.settled(book.name, seconds=3600)
        if job["status"] != "ready":
            raise RuntimeError(f"the book ended as {job['status']}: {job['reason']}")
        return job["chunks"]["total"], time.perf_counter() - started


async def _process_with_celery(ai: ScriptedAi, book: Path, folder: Path) -> tuple[int, float] | None:
    """Return chunks and seconds of the peer's first chunks; None without what it needs."""
    if shutil.which("redis-server") is None or not PEER_PYTHON.exists():
        return None
    async with _redis(folder) as url:
        environment = {
            **os.environ,
            "REDIS_URL": url,
            "OPENAI_BASE_URL": ai.base_url,
            "CHUNKS": str(_PEER_CHUNKS),
        }
        options = ("-A", "worker", "worker", "--concurrency", "1", "--loglevel", "ERROR")
        worker = await asyncio.create_subprocess_exec(
            PEER_PYTHON, "-m", "celery", *options, cwd=PEERS, env=environment
        )
        try:
            asking = await asyncio.create_subprocess_exec(
                PEER_PYTHON, "worker.py", book, cwd=PEERS, env=environment, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await asking.communicate()
        finally:
            worker.terminate()
            await worker.wait()
    outcome = json.loads(output)
    return outcome["chunks"], outcome["seconds"]


@asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator[str]:
    """Run a Redis that keeps nothing, on a socket."""
    socket = folder / "redis.sock"
    options = ("--port", "0", "--save", "", "--appendonly", "no", "--loglevel", "warning")
    server = await asyncio.create_subprocess_exec(
        "redis-server", "--unixsocket", socket, *options, cwd=folder
    )
    try:
        while not socket.exists():
            await asyncio.sleep(0.05)
        yield f"redis+socket://{socket}"
    finally:
        server.terminate()
        await server.wait()
