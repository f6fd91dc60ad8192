"""Microsoft's own worker library indexes and runs the same apps, and comes to the same results."""

import asyncio
import base64
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.functions.meta import Datum

from localhost.azurite import ROOT, Azurite
from localhost.host.app import Function
from localhost.host.invoke import Invoker
from tests.localhost.sample import FOLDER, Sample, StartHost
from tests.localhost.worker_conformance import pack

WORKER_PYTHON = ROOT / ".venv-3.13" / "bin" / "python"
WORKER = Path(__file__).with_name("worker_conformance.py")
INDEX = """
import json, pathlib, sys
from localhost.host.app import load_functions
functions = load_functions(pathlib.Path(sys.argv[1]))
print(json.dumps({function.name: function.bindings for function in functions}))
"""
DEFERRED = FOLDER.with_name("deferred_app")

pytestmark = pytest.mark.skipif(
    not WORKER_PYTHON.exists(),
    reason="needs a Python 3.13 with azure-functions-runtime in .venv-3.13; `make test` makes it",
)


async def run_json(command: list[str], given: object, **environment: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**os.environ, **environment}, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate(json.dumps(given).encode())
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


async def run_worker(folder: Path, given: list[dict[str, Any]], **environment: str) -> Any:
    return await run_json([str(WORKER_PYTHON), str(WORKER), str(folder)], given, **environment)


@pytest.mark.parametrize("folder", [DEFERRED, ROOT], ids=["deferred", "aloud"])
async def test_the_worker_indexes_the_same_functions(sample: Sample, folder: Path) -> None:
    if not (folder / "function_app.py").exists():
        pytest.skip(f"{folder} has no function_app.py yet")
    ours, theirs = await asyncio.gather(
        run_json([sys.executable, "-c", INDEX, str(folder)], None), run_worker(folder, [])
    )
    assert ours == theirs["functions"]


async def test_the_worker_comes_to_the_same_results(
    start_host: StartHost, sample: Sample, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every invocation that the host makes is repeated by the worker, with the very same data."""
    given: list[dict[str, Any]] = []
    ours: list[dict[str, Any]] = []
    invoke = Invoker.invoke

    async def invoke_and_record(
        self: Invoker, function: Function, data: Datum, metadata: Mapping[str, Datum], **more: Any
    ) -> Any:
        packed = {name: pack(datum) for name, datum in metadata.items()}
        given.append(
            {
                "function": function.name,
                "parameter": function.trigger["name"],
                "data": pack(data),
                "metadata": packed,
            }
        )
        outcome: dict[str, Any] = {"succeeded": False, "reply": None}
        ours.append(outcome)
        reply = await invoke(self, function, data, metadata, **more)
        outcome.update(succeeded=True, reply=pack(reply) if reply is not None else None)
        return reply

    monkeypatch.setattr(Invoker, "invoke", invoke_and_record)
    async with start_host() as host, aiohttp.ClientSession(host.base_url) as session:
        for path in ("/", "/books/a%20b?x=1&x=2&y=", "/items/7/x/y", "/nothing", "/mapping"):
            await session.get(path)
        await session.post("/echo", data=b"caf\xc3\xa9", headers={"X-Thing": "1"})
        await session.post("/admin/functions/yearly", json={})
        await sample.send("work", {"id": 1, "fail": 1})
        await sample.upload("uploads", "only/é 1.mp3", "hello")
        await sample.wait_for_seen("done")
        await sample.wait_for_seen("upload")
        await sample.wait_for_seen("timer")

    prefix = f"{sample.prefix}w"
    worker = await run_worker(FOLDER, given, SAMPLE_PREFIX=prefix)
    assert worker["functions"] == {name: list(function.bindings) for name, function in host.functions.items()}
    assert {"home", "nothing", "mapping", "echo", "yearly", "work", "on_upload"} <= {
        item["function"] for item in given
    }
    assert [without_thread(result) for result in ours] == [
        without_thread(result) for result in worker["results"]
    ]
    async with Sample(azurite.connection_string, prefix) as worked:
        for kind in ("started", "done", "upload", "timer"):
            assert sort_records(await worked.seen(kind)) == sort_records(await sample.seen(kind))


def sort_records(records: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(record) for record in records)


def without_thread(result: dict[str, Any]) -> dict[str, Any]:
    """The echo function tells the name of its thread, which is the only thing that may differ."""
    if result["reply"] is None or result["reply"]["type"] != "http":
        return result
    body = result["reply"]["value"]["body"]
    text = base64.b64decode(body["value"]).decode()
    if text.startswith("{"):
        body["value"] = {name: fact for name, fact in json.loads(text).items() if name != "thread"}
    return result
