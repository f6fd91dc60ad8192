"""How long it takes from nothing to a first answer: the whole product on this machine, and the app alone."""

import asyncio
import re
import signal
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from bench.fresh import environment
from bench.rows import Row
from localhost.azurite import STORAGE, build_connection_string
from tests.aloud import ROOT

_SERVED = re.compile(r"served at (http://\S+)")
_GIVE_UP_SECONDS = 60
# What the host does at a cold start: import, index, run the function; it answers without any storage.
_APP_ALONE = """
import asyncio
import azure.functions as func
import function_app
handlers = {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}
request = func.HttpRequest("GET", "http://localhost/health", body=b"")
print(asyncio.run(handlers["health"](request)).status_code, flush=True)
"""


async def measure(quick: bool) -> AsyncIterator[Row]:
    """Each start is a new process; a first one, which fills caches, does not count."""
    count = 3 if quick else 5
    alone = [await _start_app_alone() for _ in range(count + 1)][1:]
    yield Row("start of the app alone, to its first 200", *_median(alone))
    whole = [await _start_product() for _ in range(count + 1)][1:]
    yield Row("python -m localhost, to its first 200", *_median([first for first, _ in whole]))
    yield Row("python -m localhost, to its ready file", *_median([ready for _, ready in whole]))


def _median(times: list[float]) -> tuple[float, str, None, str]:
    return statistics.median(times), "s", None, f"median of {len(times)}, slowest {max(times):.2f} s"


async def _start_app_alone() -> float:
    settings = {STORAGE: build_connection_string([f"http://127.0.0.1:{port}" for port in (1, 2, 3)])}
    settings["JWT_SIGNING_KEY"] = "x" * 32
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _APP_ALONE, cwd=ROOT, env=environment() | settings, stdout=PIPE
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    seconds = time.perf_counter() - started
    await process.wait()
    if line.strip() != b"200":
        raise RuntimeError(f"the app alone answered {line.decode().strip() or 'nothing'}")
    return seconds


async def _start_product() -> tuple[float, float]:
    """Return the seconds to the first 200 of /health, and to the ready file."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "ready.json")
        command = [sys.executable, "-m", "localhost", "--ephemeral", "--no-demo", "--ready-file", str(file)]
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environment(), stdout=DEVNULL, stderr=PIPE
        )
        try:
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                await _get_health(await _read_address(process))
                first = time.perf_counter() - started
                while not file.exists():
                    await asyncio.sleep(0.005)
                return first, time.perf_counter() - started
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.communicate()


async def _read_address(process: asyncio.subprocess.Process) -> str:
    """Return where the product says that it serves."""
    assert process.stderr is not None
    said = ""
    async for line in process.stderr:
        said += line.decode()
        if match := _SERVED.search(said):
            return match[1]
    raise RuntimeError(f"localhost ended early: {said[-300:]}")


async def _get_health(address: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{address}/health") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.005)
