"""Runs a function app through Microsoft's own worker library; a script for an interpreter that has it.

    python worker_conformance.py APP_FOLDER < invocations.json > result.json

Input: a list of {function, parameter, data, metadata}. Output: {functions: {name: bindings}, results: [...]}.
The worker speaks to its host in protocol-buffer messages that it is given from outside; plain objects do.
"""

import asyncio
import base64
import contextlib
import json
import os
import sys
from types import SimpleNamespace
from typing import Any


class StatusResult(SimpleNamespace):
    Success = 1
    Failure = 0


class BindingInfo(SimpleNamespace):
    undefined = 0
    out = 1
    inout = 2


MESSAGES = SimpleNamespace(
    StatusResult=StatusResult,
    BindingInfo=BindingInfo,
    WorkerInitResponse=SimpleNamespace,
    WorkerMetadata=SimpleNamespace,
    FunctionMetadataResponse=SimpleNamespace,
    RpcFunctionMetadata=SimpleNamespace,
    RpcException=SimpleNamespace,
)


async def run(folder: str, invocations: list[dict[str, Any]]) -> dict[str, Any]:
    from azure_functions_runtime import functions_metadata_request, worker_init_request
    from azure_functions_runtime.utils.threadpool import start_threadpool_executor

    init = SimpleNamespace(capabilities={}, function_app_directory=folder)
    request = SimpleNamespace(
        request=SimpleNamespace(worker_init_request=init),
        properties={"host": "127.0.0.1", "protos": MESSAGES},
    )
    response = await worker_init_request(request)
    if response.result.status != StatusResult.Success:
        raise RuntimeError(f"the worker refused the app: {response.result.exception}")
    start_threadpool_executor()
    indexed = (await functions_metadata_request(request)).function_metadata_results
    ids = {function.name: function.function_id for function in indexed}
    return {
        "functions": {
            function.name: [json.loads(text) for text in function.raw_bindings] for function in indexed
        },
        "results": [await invoke(ids[item["function"]], item) for item in invocations],
    }


async def invoke(function_id: str, invocation: dict[str, Any]) -> dict[str, Any]:
    from azure_functions_runtime.native_invocation import invocation_request_native

    inputs = [(invocation["parameter"], unpack(invocation["data"]))]
    metadata = {name: unpack(packed) for name, packed in invocation["metadata"].items()}
    succeeded, reply, *_ = await invocation_request_native("an id", function_id, inputs, metadata)
    return {"succeeded": succeeded, "reply": pack(reply) if reply is not None else None}


def unpack(packed: dict[str, Any]) -> Any:
    """The worker's own datum from its JSON form."""
    from azure_functions_runtime.bindings.datumdef import Datum

    kind, value = packed["type"], packed["value"]
    if kind == "bytes":
        return Datum(base64.b64decode(value), kind)
    if kind == "http":
        parts = {
            name: unpack(part) if "type" in part else {key: unpack(item) for key, item in part.items()}
            for name, part in value.items()
        }
        return Datum(parts, kind)
    if kind == "model_binding_data":
        return Datum(SimpleNamespace(**value), kind)
    return Datum(value, kind)


def pack(datum: Any) -> dict[str, Any]:
    """A datum of either side in its JSON form; a datum within is known by its `type` and `value`."""
    value: Any = datum.value
    if datum.type == "bytes":
        value = base64.b64encode(value).decode()
    elif datum.type == "http":
        value = {name: pack_part(part) for name, part in value.items()}
    elif datum.type == "model_binding_data":
        value = {**vars(value), "content": value.content.decode()}
    return {"type": datum.type, "value": value}


def pack_part(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: pack(item) for name, item in part.items()}
    if isinstance(part, list):
        return [cookie.output() for cookie in part]
    return pack(part) if part is not None else None


if __name__ == "__main__":
    app_folder = os.path.realpath(sys.argv[1])
    sys.path.insert(0, app_folder)
    os.chdir(app_folder)
    given = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        result = asyncio.run(run(app_folder, given))
    json.dump(result, sys.stdout)
