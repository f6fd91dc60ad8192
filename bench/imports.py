"""How long `function_app` takes to import, which every cold start waits for; the peer is the SDK alone."""

import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator

from bench.fresh import environment
from bench.rows import Peer, Row
from tests.aloud import ROOT

APP, PEER = "function_app", "azure.functions"
_PROGRAM = """
import json, pathlib, sys, time
started = time.perf_counter()
__import__(sys.argv[1])
seconds = time.perf_counter() - started
status = pathlib.Path("/proc/self/status")
kilobytes = status.read_text().split("VmRSS:")[1].split()[0] if status.exists() else None
print(json.dumps([seconds, kilobytes and int(kilobytes) * 1024 / 1e6, len(sys.modules)]))
"""


async def measure(quick: bool) -> AsyncIterator[Row]:
    """Both take turns, each time in a new interpreter; the first turn fills caches and does not count."""
    found: dict[str, list[tuple[float, float | None, int]]] = {APP: [], PEER: []}
    for _ in range(1 + (3 if quick else 7)):
        for module, turns in found.items():
            turns.append(await _import_fresh(module))
    app, peer = (turns[1:] for turns in found.values())

    def milliseconds(turns: list[tuple[float, float | None, int]]) -> float:
        return statistics.median(seconds for seconds, _, _ in turns) * 1000

    slowest = max(seconds for seconds, _, _ in app) * 1000
    yield Row(
        f"import {APP}",
        milliseconds(app),
        "ms",
        Peer(f"import {PEER}", milliseconds(peer)),
        f"median of {len(app)}, slowest {slowest:.0f} ms; {app[0][2]} modules",
    )
    memory, peer_memory = app[0][1], peer[0][1]
    yield Row(
        f"memory after import {APP}",
        memory,
        "MB",
        None if peer_memory is None else Peer(f"after import {PEER}", peer_memory),
        "resident",
    )


async def _import_fresh(module: str) -> tuple[float, float | None, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, module, cwd=ROOT, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{module} cannot be imported")
    seconds, megabytes, modules = json.loads(output)
    return seconds, megabytes, modules
