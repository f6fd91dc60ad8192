"""Starts a program that must not outlive this process, not even when this process is killed."""

import asyncio
import logging
import re
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self

from localhost.errors import ChildError

log = logging.getLogger("localhost.child")

LONGEST_LINE_BYTES = 1024 * 1024
START_SECONDS = 60
STOP_SECONDS = 10


class Child:
    """A running program that ends when its standard input closes, which the operating system sees to."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.found: list[str] = []
        """What the `ready` pattern's first group matched, in order."""
        self.hear: Callable[[str], bool] = lambda _: False
        """Is given each line from now on; one that it takes (True) is neither logged nor kept."""
        self._process = process
        self._output: deque[str] = deque(maxlen=20)

    @classmethod
    @asynccontextmanager
    async def start(
        cls, name: str, command: Sequence[str], ready: re.Pattern[str], *, times: int = 1, inherit: int = -1
    ) -> AsyncIterator[Self]:
        """Run the command until the block ends; enter once its output matched `ready` so many times.

        `inherit` is a file descriptor that the program keeps open. Raises ChildError with its last line.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
            pass_fds=[inherit] if inherit >= 0 else [],
            limit=LONGEST_LINE_BYTES,
        )
        child = cls(name, process)
        drain: asyncio.Task[None] | None = None
        try:
            try:
                await asyncio.wait_for(child._wait_until_ready(ready, times), START_SECONDS)
            except TimeoutError as error:
                raise ChildError(f"{name} did not start within {START_SECONDS} s") from error
            drain = asyncio.create_task(child._log_output())
            yield child
        finally:
            await child._stop()
            if drain is not None:
                await drain

    async def wait(self) -> str:
        """Return the last line that it said when the program has ended by itself."""
        await self._process.wait()
        return self._last_words()

    async def _wait_until_ready(self, ready: re.Pattern[str], times: int) -> None:
        while len(self.found) < times:
            line = await self._read_line()
            if line is None:
                await self._process.wait()
                raise ChildError(f"{self.name} did not start: {self._last_words()}")
            if match := ready.search(line):
                self.found.append(match[1])

    def _last_words(self) -> str:
        return next((line for line in reversed(self._output) if line), "it said nothing")

    async def _log_output(self) -> None:
        while (line := await self._read_line()) is not None:
            log.debug("%s: %s", self.name, line)

    async def _read_line(self) -> str | None:
        """Return the next line that nobody else has taken; None at the end."""
        assert self._process.stdout is not None
        while line := (await self._process.stdout.readline()).decode(errors="replace"):
            if not self.hear(line.rstrip()):
                self._output.append(line.rstrip())
                return line.rstrip()
        return None

    async def _stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        for end in (None, self._process.terminate, self._process.kill):
            if self._process.returncode is None and end is not None:
                end()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                log.warning("%s does not stop", self.name)
            else:
                return
