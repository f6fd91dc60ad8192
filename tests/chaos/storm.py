"""A storm over Aloud: the host is killed, the storage stops, events and messages come twice and in disorder.

The seed decides what is done in which order; how threads and sockets meet, it cannot.
"""

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TypeVar

from tests.aloud import Aloud
from tests.chaos.recordings import CHUNK_SECONDS, Recording
from tests.chaos.storage import Storage, newest_jobs
from tests.scripted_ai import ScriptedAi

log = logging.getLogger("chaos")

T = TypeVar("T")

_BATCH, _THRESHOLD = 4, 2
IN_FLIGHT = _BATCH + _THRESHOLD
"""So many chunks a host works on at once: what one cut can have paid for in vain."""
_HOST = "AzureFunctionsJobHost__extensions__queues__"
SETTINGS = {
    "CHUNK_SECONDS": str(CHUNK_SECONDS),
    "CLAIM_SECONDS": "2",
    "MAX_ATTEMPTS": "30",
    "BACKOFF_SECONDS": "0.3",
    "MAX_BACKOFF_SECONDS": "2",
    "AI_TIMEOUT_SECONDS": "4",
    f"{_HOST}batchSize": str(_BATCH),
    f"{_HOST}newBatchThreshold": str(_THRESHOLD),
    f"{_HOST}maxPollingInterval": "00:00:01",
}
_LEASE = ("--lease", "3")
_STEPS = ("ingest", "assemble", "enrich", "index")
_LONGEST_LULL_SECONDS = 6.0


@dataclass(frozen=True)
class Acts:
    """How often what happens: kills of the host, restarts and standstills of the storage, messages sent
    again in disorder, files dropped again as they are."""

    kill: int
    restart_storage: int
    freeze_storage: int
    duplicate: int
    drop_again: int

    def shuffled(self, chance: random.Random) -> list[str]:
        """Return the name of each act as often as it happens, in an order of chance."""
        acts = [name for name, times in asdict(self).items() for _ in range(times)]
        chance.shuffle(acts)
        return acts


class Storm:
    """One host after the other on the same data; use it as `async with Storm.start(...)`."""

    def __init__(self, ai: ScriptedAi, data: Path, chance: random.Random) -> None:
        self.chance = chance
        self.cuts = 0
        """How often work may have been torn from the hands of a host."""
        self.torn = 0
        """How many calls of the AI were under way at those moments."""
        self._ai = ai
        self._data = data
        self._running = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def start(cls, ai: ScriptedAi, data: Path, chance: random.Random) -> AsyncIterator[Self]:
        storm = cls(ai, data, chance)
        await storm._start()
        try:
            yield storm
        finally:
            await storm._running.aclose()

    async def _start(self) -> None:
        arguments = ("--data", str(self._data), "--port", "0", *_LEASE)
        self.aloud = await self._running.enter_async_context(
            Aloud.start(*arguments, openai_base_url=self._ai.base_url, **SETTINGS)
        )
        self.storage = Storage(self.aloud.connection_string)
        self._running.push_async_callback(self.storage.close)

    async def drop(self, recordings: Sequence[Recording]) -> None:
        """Drop all files, those of different books among each other."""
        files = [file for recording in recordings for file in recording.files.items()]
        self.chance.shuffle(files)
        for name, content in files:
            await self.aloud.upload(name, content)

    async def rage(self, acts: Acts, recordings: Sequence[Recording], most_calls: int) -> None:
        """Do all acts, each after up to `most_calls` more calls of the AI, or after a lull."""
        for act in acts.shuffled(self.chance):
            await self._wait_for_calls(self.chance.randint(1, most_calls))
            if self.chance.random() < 0.5:  # else while that call is under way
                await asyncio.sleep(self.chance.uniform(0, 1))
            log.info("%s", act.replace("_", " "))
            match act:
                case "kill":
                    await self.kill()
                case "restart_storage":
                    await self.restart_storage()
                case "freeze_storage":
                    await self.freeze_storage()
                case "duplicate":
                    await self.duplicate()
                case "drop_again":
                    await self.drop([self.chance.choice(recordings)])

    async def _wait_for_calls(self, count: int) -> None:
        until = time.monotonic() + _LONGEST_LULL_SECONDS
        calls = self._ai.calls + count
        while self._ai.calls < calls and time.monotonic() < until:
            await asyncio.sleep(0.02)

    def _count_cut(self) -> None:
        self.cuts += 1
        self.torn += self._ai.in_flight

    async def kill(self) -> None:
        """End the host by SIGKILL, and start another."""
        self._count_cut()
        if self.aloud.process.returncode is None:
            os.kill(self.aloud.pid, signal.SIGKILL)
        await self.aloud.process.wait()
        await self._running.aclose()
        await self._start()

    async def restart_storage(self) -> None:
        """End the storage; the host sees calls fail, is killed as well, and both start again."""
        os.kill(await self._find_storage(), signal.SIGTERM)
        await asyncio.sleep(self.chance.uniform(0, 1.5))
        await self.kill()

    async def freeze_storage(self) -> None:
        """Have the storage answer nothing, perhaps for longer than claims and leases last."""
        self._count_cut()
        pid = await self._find_storage()
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(self.chance.uniform(1, 4))
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _find_storage(self) -> int:
        """Return the process of the emulator, the host's only child."""
        process = await asyncio.create_subprocess_exec(
            "pgrep", "-P", str(self.aloud.pid), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        (pid,) = output.split()
        return int(pid)

    async def duplicate(self) -> None:
        """Tell of some drops again, and send some steps of some jobs again, in disorder."""
        rows = await self.storage.rows("jobs")
        jobs = list(newest_jobs(rows).values())
        chunks = [row for row in rows if row["RowKey"].startswith("chunk_")]
        parts = [row for row in rows if row["RowKey"].startswith("part_")]
        for row in self._some(chunks, 6):
            body = {"job_id": row["PartitionKey"], "run": 1, "chunk": row["index"]}
            await self.storage.send("transcribe", body, self.chance.randint(0, 2))
        for job in self._some(jobs, 3):
            for queue in self._some(_STEPS, 3):
                body = {"job_id": job["id"], "run": 1}
                await self.storage.send(queue, body, self.chance.randint(0, 2))
        for row in self._some(parts, 4):
            await self.storage.tell_drop(row["blob_name"], self.chance.randint(0, 2))

    def _some(self, of: Sequence[T], count: int) -> list[T]:
        return self.chance.sample(of, min(count, len(of)))
