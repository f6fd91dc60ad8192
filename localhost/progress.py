"""Shows in the terminal how dropped files become books, stage by stage."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import aiohttp

STAGES = ("waiting", "planning", "transcribing", "assembling", "enriching", "ready")
FINAL = frozenset({"ready", "rejected", "transcription_failed", "cancelled"})
FAILED = FINAL - {"ready"}
POLL_SECONDS = 0.7
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=10)
BAR_WIDTH = 24
REFUSED = frozenset({400, 401, 403, 422})

GREEN, RED, BOLD, DIM = "32", "31", "1", "2"

Job = dict[str, Any]


class SignInRefusedError(Exception):
    """The server does not let this account look at jobs."""


async def follow(base_url: str, email: str, password: str, blob_names: list[str]) -> None:
    """Paint the progress of `blob_names` until each is a book or has failed for good.

    `base_url` is the app's root, without a slash at its end; the account must be an administrator's.
    A server that does not answer is asked again until it does. Raises SignInRefusedError.
    """
    board = Board([Row(name) for name in blob_names], sys.stdout)
    board.paint()
    async for jobs in watch(base_url, email, password):
        board.update(jobs)
        board.paint()
        if all(row.status in FINAL for row in board.rows):
            return


async def watch(base_url: str, email: str, password: str) -> AsyncIterator[list[Job] | None]:
    """The newest jobs, again and again; None when the server did not answer this time."""
    token: str | None = None
    async with aiohttp.ClientSession(timeout=REQUEST_TIMEOUT) as session:
        while True:
            jobs: list[Job] | None = None
            try:
                if token is None:
                    token = await sign_in(session, base_url, email, password)
                url, headers = f"{base_url}/api/v1/admin/jobs?limit=100", {"Authorization": f"Bearer {token}"}
                async with session.get(url, headers=headers) as answer:
                    if answer.status == 403:
                        raise SignInRefusedError(f"{email} is not an administrator")
                    if answer.status == 401:
                        token = None
                        continue
                    answer.raise_for_status()
                    jobs = (await answer.json())["items"]
            except (aiohttp.ClientError, TimeoutError):
                pass
            yield jobs
            await asyncio.sleep(POLL_SECONDS)


async def sign_in(session: aiohttp.ClientSession, base_url: str, email: str, password: str) -> str:
    """An access token; it lives for minutes only. Raises SignInRefusedError."""
    async with session.post(
        f"{base_url}/api/v1/auth/login", json={"email": email, "password": password}
    ) as answer:
        if answer.status in REFUSED:
            raise SignInRefusedError(f"{email} could not sign in")
        answer.raise_for_status()
        return str((await answer.json())["access_token"])


@dataclass
class Row:
    """What is known of one dropped file; `status` is None until the app has noticed it."""

    blob_name: str
    status: str | None = None
    reason: str = ""
    done: int = 0
    failed: int = 0
    total: int = 0
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def update(self, job: Job) -> None:
        self.status = job["status"]
        self.reason = job.get("reason") or ""
        chunks = job.get("chunks") or {}
        self.done, self.failed, self.total = (
            int(chunks.get(key) or 0) for key in ("done", "failed", "total")
        )
        if self.status not in FINAL:
            self.ended = None
        elif self.ended is None:
            self.ended = time.monotonic()

    @property
    def elapsed(self) -> str:
        """Minutes and seconds since the watch began, as `0:07`."""
        seconds = int((self.ended or time.monotonic()) - self.started)
        return f"{seconds // 60}:{seconds % 60:02d}"

    @property
    def stage(self) -> str:
        """The status as one of STAGES, or the bad end that it came to."""
        return "waiting" if self.status in {None, "uploaded"} else str(self.status)

    @property
    def progress(self) -> str:
        """The status and its chunk counts in one line, without the time."""
        if self.status is None:
            return "waiting to be noticed"
        words = self.stage.replace("_", " ")
        if self.status in FAILED:
            return f"{words}: {self.reason}" if self.reason else words
        if self.total:
            words += f", {self.done} of {self.total} chunks"
        if self.failed:
            words += f", {self.failed} failed"
        if self.status == "waiting" and self.reason:
            words += f" ({self.reason})"
        return words


class Board:
    """All rows on one output: repainted in place on a terminal, a line for each change elsewhere."""

    def __init__(self, rows: Sequence[Row], out: TextIO) -> None:
        self.rows = rows
        self.out = out
        self.live = out.isatty() and os.environ.get("TERM") != "dumb"
        self.colored = self.live and not os.environ.get("NO_COLOR")
        self.answering = True
        self.height = 0
        self.said: dict[str, str] = {}

    def update(self, jobs: list[Job] | None) -> None:
        """Take in the newest jobs, newest first; None means that the server did not answer."""
        self.answering = jobs is not None
        newest: dict[str, Job] = {}
        for job in jobs or ():
            newest.setdefault(within_uploads(job["blob_name"]), job)
        for row in self.rows:
            if found := newest.get(within_uploads(row.blob_name)):
                row.update(found)

    def paint(self) -> None:
        if self.live:
            lines = [line for row in self.rows for line in self.block(row)]
            if not self.answering:
                lines.append(self.color("  the server does not answer; trying again", RED))
            up = f"\x1b[{self.height}A" if self.height else ""
            self.out.write(f"\r{up}\x1b[J" + "".join(f"{line}\n" for line in lines))
            self.height = len(lines)
        else:
            for row in self.rows:
                self.say(row.blob_name, row.progress, f", {row.elapsed}")
            self.say("server", "answers" if self.answering else "does not answer; trying again")
        self.out.flush()

    def say(self, subject: str, words: str, suffix: str = "") -> None:
        """Write a line if it is news; that a server answers is none."""
        if self.said.get(subject, "answers") != words:
            self.out.write(f"{subject}: {words}{suffix}\n")
        self.said[subject] = words

    def block(self, row: Row) -> list[str]:
        """One book on a terminal: its name and time, its stages, its bar or its bad end."""
        width = max(shutil.get_terminal_size().columns - 1, 20)
        room = width - len(row.elapsed) - 1
        name = row.blob_name if len(row.blob_name) <= room else row.blob_name[: room - 1] + "…"
        lines = [f"{self.color(name, BOLD)} {' ' * (room - len(name))}{row.elapsed}"]
        if row.status in FAILED:
            return [*lines, self.color(f"  ✗ {row.progress}"[:width], RED)]
        reached = STAGES.index(row.stage) if row.stage in STAGES else 0
        if width >= 4 + len(" → ".join(STAGES)):
            lines.append(
                "  " + self.color(" → ", DIM).join(self.mark(i, reached) for i in range(len(STAGES)))
            )
        else:
            lines.append("  " + self.mark(reached, reached))
        parts = row.done + row.failed
        size = min(BAR_WIDTH, width // 4)
        filled = size if row.status == "ready" else size * parts // row.total if row.total else 0
        bar = self.color("█" * filled, GREEN) + self.color("░" * (size - filled), DIM)
        return [*lines, f"  {bar} {row.progress[: width - size - 3]}"]

    def mark(self, index: int, reached: int) -> str:
        """The name of a stage, shown as passed, current or still to come."""
        if index < reached or reached == len(STAGES) - 1:
            return self.color(STAGES[index], GREEN)
        return self.color(STAGES[index], BOLD if index == reached else DIM)

    def color(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colored and text else text


def within_uploads(blob_name: str) -> str:
    """The name without its container, so that both ways of writing it compare equal."""
    return blob_name.removeprefix("uploads/")
