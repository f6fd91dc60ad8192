"""The real command: how it starts, how it refuses to, and that nothing survives it, however it ends."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from localhost.azurite import ROOT
from localhost.host import open_port
from tests.localhost.sample import FOLDER, PATIENCE_SECONDS, Sample

PREFIX = "proc"
DEFERRED = FOLDER.with_name("deferred_app")


@dataclass
class Run:
    """One running `python -m localhost`."""

    process: Process
    ready: dict[str, Any]

    async def end(self, how: signal.Signals) -> str:
        """Send the signal, wait for the end, return the log."""
        self.process.send_signal(how)
        _, log = await asyncio.wait_for(self.process.communicate(), PATIENCE_SECONDS)
        return log.decode()

    def connect(self) -> Sample:
        return Sample(self.ready["storage_connection_string"], PREFIX)

    async def wait_until_storage_is_gone(self) -> None:
        """Azurite's three services listen no more."""
        parts = self.ready["storage_connection_string"].split(";")
        for address in (part.partition("=")[2] for part in parts if "Endpoint=" in part):
            url = urlsplit(address)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await is_open(url.hostname or "", url.port or 0):
                    await asyncio.sleep(0.05)


async def is_open(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def start(*arguments: str, **environment: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "localhost", "--no-demo", "--openai-base-url", "http://127.0.0.1:9/v1", *arguments),
        cwd=ROOT,
        env={**os.environ, "SAMPLE_PREFIX": PREFIX, **environment},
        stdout=PIPE,
        stderr=PIPE,
    )


@asynccontextmanager
async def run(folder: Path, *arguments: str, app: Path = FOLDER) -> AsyncIterator[Run]:
    ready_file = folder / "ready.json"
    ready_file.unlink(missing_ok=True)
    process = await start("--app", str(app), "--ready-file", str(ready_file), *arguments)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not ready_file.exists():
                assert process.returncode is None, (await process.communicate())[1].decode()
                await asyncio.sleep(0.05)
        yield Run(process, json.loads(ready_file.read_text()))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_killed_it_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    arguments = ("--data", str(tmp_path / "data"), "--port", "0", "--lease", "2")
    async with run(tmp_path, *arguments) as first, first.connect() as sample:
        await sample.send("work", {"id": "running", "seconds": 600})
        await sample.wait_for_seen("started")
        await first.end(signal.SIGKILL)
        await first.wait_until_storage_is_gone()
    async with run(tmp_path, *arguments) as second, second.connect() as sample:
        assert await sample.wait_for_seen("done") == [{"id": "running", "dequeue_count": 2}]
        await sample.send("work", {"id": "short", "seconds": 1})
        await sample.wait_for_seen("started", 3)
        log = await second.end(signal.SIGTERM)
        await second.wait_until_storage_is_gone()
        assert second.process.returncode == 0
    assert log.count("Executed 'Functions.work' (Succeeded") == 2


async def test_the_ready_file_and_a_blob_given_by_name(tmp_path: Path) -> None:
    async with run(tmp_path, "--ephemeral", app=DEFERRED) as running:
        ready = running.ready
        assert ready["base_url"].startswith("http://localhost:")
        assert ready["openai_base_url"] == "http://127.0.0.1:9/v1"
        assert ready["admin"] == {"email": "admin@aloud.example", "password": "read-aloud-admin"}
        assert ready["pid"] == running.process.pid
        async with running.connect() as sample:
            await sample.blobs.get_blob_client("drop", "a/b.mp3").upload_blob(b"x")
            told = sample.blobs.get_blob_client("told", "told")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await told.exists():
                    await asyncio.sleep(0.05)
            text = await (await told.download_blob()).readall()
        assert text == b"AzureWebJobsStorage drop a/b.mp3 AzureStorageBlobs"
        await running.end(signal.SIGINT)
        await running.wait_until_storage_is_gone()


async def refuse(*arguments: str, **environment: str) -> list[str]:
    """Start what cannot start; returns the lines on standard error."""
    process = await start(*arguments, **environment)
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode not in (0, None)
    return errors.decode().splitlines()


async def test_a_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    with open_port(0) as taken:
        port = str(taken.getsockname()[1])
        [line] = await refuse("--data", str(tmp_path), "--port", port)
    assert f"port {port}: Address already in use" in line


async def test_a_missing_node_is_one_clear_line(tmp_path: Path) -> None:
    [line] = await refuse("--ephemeral", PATH=str(tmp_path))
    assert "Node.js is not installed" in line


async def test_a_data_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    [line] = await refuse("--data", str(tmp_path / "file"), "--port", "0")
    assert str(tmp_path / "file") in line


async def test_a_damaged_data_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "azurite").mkdir()
    (tmp_path / "azurite" / "__azurite_db_blob__.json").write_text("{{{")
    [line] = await refuse("--data", str(tmp_path), "--port", "0")
    assert "move the data folder away" in line


async def test_an_import_error_shows_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text("import absent_module\n")
    lines = await refuse("--ephemeral", "--app", str(tmp_path))
    assert any("function_app.py" in line and "line 1" in line for line in lines)
    assert "ModuleNotFoundError" in lines[-1]


@pytest.mark.parametrize("text", ["{", "[]"])
async def test_a_broken_local_settings_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "local.settings.json").write_text(text)
    [line] = await refuse("--ephemeral", "--app", str(tmp_path))
    assert "local.settings.json" in line
