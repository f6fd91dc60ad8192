"""Runs one function once: argument, context, thread or event loop, and the two log lines of the real host."""

import asyncio
import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from azure.functions.meta import Datum

from localhost.host.app import RAW, Function, find_converter

log = logging.getLogger("localhost.host")


@dataclass(frozen=True)
class ModelBindingData:
    """What an SDK-type parameter is built from: a reference, as the real host sends it."""

    content: bytes
    version: str = "1.0"
    source: str = "AzureStorageBlobs"
    content_type: str = "application/json"


@dataclass(frozen=True)
class _TraceContext:
    trace_parent: str
    trace_state: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _RetryContext:
    retry_count: int = 0
    max_retry_count: int = 0
    exception: None = None


@dataclass(frozen=True)
class Context:
    """The `context` argument: what azure.functions.Context promises."""

    invocation_id: str
    function_name: str
    function_directory: str
    thread_local_storage: Any
    trace_context: _TraceContext
    retry_context: _RetryContext = _RetryContext()


class Invoker:
    """Runs functions: coroutines on the event loop, plain ones in a pool of threads."""

    def __init__(self) -> None:
        workers = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT")
        self._pool = ThreadPoolExecutor(int(workers) if workers else None, thread_name_prefix="function")
        self._thread_local = threading.local()

    async def invoke(
        self,
        function: Function,
        data: Datum,
        metadata: Mapping[str, Datum],
        *,
        reason: str,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Run the function; what it raises is logged and raised again. HTTP ones return the encoded reply."""
        invocation_id = str(uuid.uuid4())
        log.info("Executing 'Functions.%s' (Reason='%s', Id=%s)", function.name, reason, invocation_id)
        started = time.perf_counter()
        try:
            arguments = {function.trigger["name"]: decode_argument(function, data, metadata)}
            if function.wants_context:
                arguments["context"] = self._build_context(function, invocation_id, headers or {})
            if function.is_async:
                result = await function.call(**arguments)
            else:
                result = await self._run_in_thread(function, arguments, invocation_id)
            if function.trigger["type"] == "httpTrigger":
                result = _encode_reply(result)
            elif result is not None:
                raise RuntimeError(f"function {function.name} without a $return binding returned a value")
        except BaseException as error:
            spent = (time.perf_counter() - started) * 1000
            text = "Executed 'Functions.%s' (Failed, Id=%s, Duration=%.0fms)"
            log.error(
                text,
                function.name,
                invocation_id,
                spent,
                exc_info=None if isinstance(error, asyncio.CancelledError) else error,
            )
            raise
        spent = (time.perf_counter() - started) * 1000
        log.info(
            "Executed 'Functions.%s' (Succeeded, Id=%s, Duration=%.0fms)", function.name, invocation_id, spent
        )
        return result

    def close(self) -> None:
        """Take no more work; threads that still run are left to the end of the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run_in_thread(
        self, function: Function, arguments: Mapping[str, Any], invocation_id: str
    ) -> Any:
        def run() -> Any:
            self._thread_local.invocation_id = invocation_id
            try:
                return function.call(**arguments)
            finally:
                self._thread_local.invocation_id = None

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def _build_context(self, function: Function, invocation_id: str, headers: Mapping[str, str]) -> Context:
        self._thread_local.invocation_id = invocation_id
        trace = _TraceContext(headers.get("traceparent", ""), headers.get("tracestate", ""))
        return Context(invocation_id, function.name, function.directory, self._thread_local, trace)


def decode_argument(function: Function, data: Datum, metadata: Mapping[str, Datum]) -> Any:
    """Turn the trigger's data into what the parameter's annotation asks for, by the library's converter."""
    binding_type = function.trigger["type"]
    if function.pytype in RAW:
        return data.value
    converter = find_converter(binding_type, function.is_deferred)
    if function.is_deferred:
        return converter.decode(data, trigger_metadata=metadata, pytype=function.pytype)
    return converter.decode(data, trigger_metadata=metadata)


def _encode_reply(result: Any) -> Datum:
    """Encode as the worker does; None, a dict and the like are the function's fault."""
    try:
        encoded: Datum = find_converter("http", False).encode(result, expected_type=None)
    except NotImplementedError:
        raise TypeError(f"returned {type(result).__name__}, not an HttpResponse or str") from None
    return encoded
