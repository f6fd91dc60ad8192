"""The terminal shows a drop's way to a book, against a real HTTP server that tells a scripted story."""

import io
import os
import pty
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from localhost import progress

Answer = list[dict[str, Any]] | int


def job(
    status: str, done: int = 0, total: int = 0, reason: str | None = None, blob: str = "Tale.mp3"
) -> dict[str, Any]:
    return {
        "id": "j1",
        "audiobook_id": "b1",
        "blob_name": blob,
        "status": status,
        "reason": reason,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "attempts": 1,
        "chunks": {"total": total, "done": done, "failed": 0},
    }


class Story:
    """Answers each poll with the next of `answers`: jobs, or the status code of a failure."""

    def __init__(self, answers: list[Answer], password: str = "right") -> None:
        self.answers = answers
        self.password = password
        self.logins = 0

    async def log_in(self, request: web.Request) -> web.Response:
        if (await request.json())["password"] != self.password:
            return web.json_response({"title": "no"}, status=401)
        self.logins += 1
        return web.json_response({"access_token": f"token-{self.logins}"})

    async def list_jobs(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer token-{self.logins}":
            return web.json_response({"title": "no"}, status=401)
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            return web.json_response({"title": "no"}, status=answer)
        return web.json_response({"items": answer, "next_cursor": None})

    @asynccontextmanager
    async def told(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/api/v1/auth/login", self.log_in)
        app.router.add_get("/api/v1/admin/jobs", self.list_jobs)
        async with TestServer(app) as server:
            yield str(server.make_url("/")).rstrip("/")


@pytest.fixture(autouse=True)
def _poll_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_SECONDS", 0)


async def follow(story: Story, *names: str) -> None:
    async with story.told() as base_url:
        await progress.follow(base_url, "admin@example.com", "right", list(names or ["Tale.mp3"]))


async def test_a_plain_output_gets_one_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    await follow(
        Story(
            [
                [],
                [job("uploaded")],
                [job("planning")],
                [job("transcribing", 0, 4)],
                [job("transcribing", 0, 4)],
                [job("transcribing", 3, 4)],
                [job("assembling", 4, 4)],
                [job("enriching", 4, 4)],
                [job("ready", 4, 4)],
            ]
        )
    )
    lines = [
        line.removeprefix("Tale.mp3: ").rpartition(",")[0] for line in capsys.readouterr().out.splitlines()
    ]
    assert lines == [
        "waiting to be noticed",
        "waiting",
        "planning",
        "transcribing, 0 of 4 chunks",
        "transcribing, 3 of 4 chunks",
        "assembling, 4 of 4 chunks",
        "enriching, 4 of 4 chunks",
        "ready, 4 of 4 chunks",
    ]


async def test_it_ends_when_every_drop_has_ended_and_tells_why_one_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rejected = job("rejected", reason="This file holds no audio.", blob="uploads/page.mp3")
    await follow(Story([[rejected, job("planning")], [rejected, job("ready", 1, 1)]]), "Tale.mp3", "page.mp3")
    out = capsys.readouterr().out
    assert "page.mp3: rejected: This file holds no audio." in out
    assert "Tale.mp3: ready" in out


async def test_only_the_newest_job_of_a_file_counts(capsys: pytest.CaptureFixture[str]) -> None:
    await follow(
        Story([[job("planning"), job("transcription_failed")], [job("ready"), job("transcription_failed")]])
    )
    assert "failed" not in capsys.readouterr().out


async def test_an_expired_token_is_renewed() -> None:
    story = Story([[job("planning")], 401, [job("ready")]])
    await follow(story)
    assert story.logins == 2
    assert story.answers == []


async def test_a_server_that_goes_away_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    await follow(Story([[job("planning")], 503, 503, [job("ready")]]))
    lines = re.sub(r", \d+:\d\d$", "", capsys.readouterr().out, flags=re.MULTILINE).splitlines()
    assert lines == [
        "Tale.mp3: waiting to be noticed",
        "Tale.mp3: planning",
        "server: does not answer; trying again",
        "Tale.mp3: ready",
        "server: answers",
    ]


@pytest.mark.parametrize("story", [Story([], password="other"), Story([403])])
async def test_an_account_that_may_not_look_is_told_so(story: Story) -> None:
    with pytest.raises(progress.SignInRefusedError):
        await follow(story)


async def follow_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, story: Story, *names: str, columns: int = 100
) -> str:
    """All that `follow` writes when standard output is a real terminal."""
    ours, theirs = pty.openpty()
    out = io.TextIOWrapper(os.fdopen(theirs, "wb", 0), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    await follow(story, *names)
    out.write("\x04")
    written = b""
    while not written.endswith(b"\x04"):
        written += os.read(ours, 65536)
    out.close()
    os.close(ours)
    return written.decode().removesuffix("\x04")


async def test_a_terminal_gets_one_live_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = await follow_on_a_terminal(monkeypatch, Story([[job("transcribing", 1, 4)], [job("ready", 4, 4)]]))
    frames = out.split("\x1b[J")[1:]
    plain = [re.sub(r"\x1b\[[0-9;]*[mA]|\r", "", frame) for frame in frames]
    assert "waiting → planning → transcribing → assembling → enriching → ready" in plain[1]
    assert f"{'█' * 6}{'░' * 18} transcribing, 1 of 4 chunks" in plain[1]
    assert f"{'█' * 24} ready, 4 of 4 chunks" in plain[2]
    assert all(frame.count("\n") == 3 for frame in plain)
    assert all("\x1b[3A" in frame for frame in frames[:-1])
    assert "\x1b[32m" in out


async def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = await follow_on_a_terminal(monkeypatch, Story([[job("ready", 4, 4)]]))
    assert not re.search(r"\x1b\[[0-9;]*m", out)


@pytest.mark.parametrize("columns", [30, 60, 100])
async def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    name = "A tale with a very long name that goes on and on.mp3"
    rejected = job("rejected", reason="This file holds no audio at all.", blob="b.mp3")
    story = Story([[job("ready", 4, 4, blob=name), rejected]])
    out = await follow_on_a_terminal(monkeypatch, story, name, "b.mp3", columns=columns)
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\r", "", out)
    assert max(map(len, plain.splitlines())) < columns
