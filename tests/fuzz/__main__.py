"""`python -m tests.fuzz` takes many variants of each format through the pipeline, and tells how they ended.

The variants are ingested by a worker with a limit of memory, which this process watches: one that takes too
long, or ends, is a fault of the variant it was at, and another worker goes on with the next.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import asdict

from bench.process import read_peak_mb
from localhost.azurite import Azurite
from tests.fuzz.ingest import End, Intake
from tests.fuzz.variants import KINDS, make_variant

# A variant is made by the worker too, and other work may have the machine: so it hangs only after minutes.
LONGEST_SECONDS = 300.0
MOST_CPU_SECONDS = 20.0
MOST_MEGABYTES = 400.0
_ADDRESS_SPACE = 4 * 1024**3


async def work(connection_string: str, seed: int) -> None:
    """Ingest the variants that are named on standard input, and say how each ended."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    async with Intake.start(connection_string) as intake:
        while line := await asyncio.to_thread(sys.stdin.readline):
            kind, number = json.loads(line)
            print(json.dumps(asdict(await intake.take(make_variant(kind, number, seed)))), flush=True)


class Watched:
    """A worker at one storage, replaced when it dies or hangs."""

    def __init__(self, connection_string: str, seed: int) -> None:
        self._connection_string = connection_string
        self._seed = seed
        self._process: Process | None = None
        self.peak_mb = 0.0

    async def take(self, kind: str, number: int) -> End:
        process = self._process or await self._start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([kind, number]).encode() + b"\n")
        try:
            line = await asyncio.wait_for(process.stdout.readline(), LONGEST_SECONDS)
            fault = None if line else f"the worker ended with {await process.wait()}"
        except TimeoutError:
            line, fault = b"", f"took longer than {LONGEST_SECONDS:g} s"
        peak = read_peak_mb(process.pid) or 0.0
        self.peak_mb = max(self.peak_mb, peak)
        if peak > MOST_MEGABYTES:
            fault = f"the worker took {peak:.0f} MB"
        if line and not fault:
            return End(**json.loads(line))
        await self.stop()
        variant = make_variant(kind, number, self._seed)
        return End(variant.name, variant.what, "no end", None, fault, LONGEST_SECONDS, 0.0)

    async def _start(self) -> Process:
        command = [sys.executable, "-m", "tests.fuzz", "--worker", self._connection_string]
        self._process = await asyncio.create_subprocess_exec(
            *command, "--seed", str(self._seed), stdin=PIPE, stdout=PIPE, stderr=subprocess.DEVNULL
        )
        return self._process

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


async def fuzz(number: int, seed: int) -> int:
    """Print a line for each format, and each fault; return how many faults there were."""
    faults = 0
    for kind in KINDS:
        started, ends, slowest = time.monotonic(), Counter[str](), 0.0
        async with AsyncExitStack() as parts:  # a storage for each: it keeps all in memory
            azurite = await parts.enter_async_context(Azurite.start(ephemeral=True))
            worker = Watched(azurite.connection_string, seed)
            parts.push_async_callback(worker.stop)
            for index in range(number):
                end = await worker.take(kind, index)
                ends[end.status] += 1
                slowest = max(slowest, end.cpu_seconds)
                fault = end.fault
                if fault is None and end.cpu_seconds > MOST_CPU_SECONDS:
                    fault = f"took {end.cpu_seconds:.1f} seconds of processor time"
                if fault:
                    faults += 1
                    print(f"  {end.variant} ({end.what}): {fault}", flush=True)
        counts = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
        print(
            f"{kind:<14} {counts}; slowest {slowest:.1f} CPU s, worker at most {worker.peak_mb:.0f} MB, "
            f"{time.monotonic() - started:.0f} s",
            flush=True,
        )
    print(f"{number * len(KINDS)} variants, seed {seed}: {faults} faults")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Ingest damaged, disguised and absurd recordings."
    )
    parser.add_argument("--number", type=int, default=500, help="variants of each format (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="other variants (default 1)")
    parser.add_argument("--worker", metavar="CONNECTION", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(work(options.worker, options.seed))
        return 0
    return bool(asyncio.run(fuzz(options.number, options.seed)))


if __name__ == "__main__":
    sys.exit(main())
