"""What the host needs to know: host.json as the real host reads it, and what only this host has."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localhost.errors import FunctionLoadError, HostConfigError

ENVIRONMENT_PREFIX = "AzureFunctionsJobHost__"
TIMESPAN = re.compile(r"(?:(?P<d>\d+)\.)?(?P<h>\d{1,2}):(?P<m>\d{1,2}):(?P<s>\d{1,2}(?:\.\d+)?)")
SETTING = re.compile(r"%([^%]+)%")


@dataclass(frozen=True)
class HostOptions:
    """How this host differs from the real one, in seconds; the folder holds function_app.py and host.json."""

    folder: Path
    connection_string: str
    port: int = 7071
    """0 picks a free one."""
    host_id: str = "localhost"
    """Names the internal queue and the timers' status, so that hosts can share one storage account."""
    lease_seconds: float = 30
    """How long a message stays with a dead host: 600 in the cloud, where nobody waits for a laptop."""
    bridge_seconds: float = 1
    """How often the stand-in for Event Grid looks into the watched containers."""
    rest_seconds: float | None = None
    """With a storage that tells of messages and blobs (`Host.expect_message`, `Host.expect_blob`): how long
    to ask for nothing while it is silent."""
    drain_seconds: float = 10
    """How long running functions may go on after a stop was asked for."""


@dataclass(frozen=True)
class QueueSettings:
    """The `queues` section of host.json; times in seconds."""

    batch_size: int
    new_batch_threshold: int
    max_polling_seconds: float
    max_dequeue_count: int
    visibility_seconds: float
    is_base64: bool = True


@dataclass(frozen=True)
class HostConfig:
    """host.json with its defaults filled in."""

    route_prefix: str
    queues: QueueSettings
    blobs: QueueSettings
    """The blob triggers' shared internal queue: no delay between tries."""


def read_host_config(folder: Path) -> HostConfig:
    """Read host.json; `AzureFunctionsJobHost__a__b` in the environment overrides a.b, as in the cloud."""
    path = folder / "host.json"
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HostConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("version") != "2.0":
        raise HostConfigError(f'{path} must be an object with "version": "2.0"')
    for name, value in os.environ.items():
        if name.startswith(ENVIRONMENT_PREFIX):
            _override(document, name.removeprefix(ENVIRONMENT_PREFIX).split("__"), value)
    extensions = document.get("extensions", {})
    try:
        queues = _read_queues(extensions.get("queues", {}))
        parallel = int(extensions.get("blobs", {}).get("maxDegreeOfParallelism", 8 * (os.cpu_count() or 1)))
        tries = int(extensions.get("blobs", {}).get("poisonBlobThreshold", 5))
        prefix = str(extensions.get("http", {}).get("routePrefix", "api")).strip("/")
    except (AttributeError, TypeError, ValueError) as error:
        raise HostConfigError(f"{path}: {error}") from error
    batch = max(1, min(32, parallel // 2))
    blobs = QueueSettings(batch, max(0, parallel - batch), queues.max_polling_seconds, tries, 0)
    return HostConfig(prefix, queues, blobs)


def resolve_settings(function: str, binding: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each `%NAME%` in a binding's texts by that app setting; a missing one refuses the function."""

    def replace(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise FunctionLoadError(function, f"the app setting {match[1]} of {match[0]} is not set")
        return value

    return {
        key: SETTING.sub(replace, value) if isinstance(value, str) and key != "route" else value
        for key, value in binding.items()
    }


def _read_queues(section: Mapping[str, Any]) -> QueueSettings:
    batch = int(section.get("batchSize", 16))
    if not 1 <= batch <= 32:
        raise ValueError(f"queues.batchSize is {batch}, it must be 1 to 32")
    is_development = os.environ.get("AZURE_FUNCTIONS_ENVIRONMENT", "").lower() == "development"
    encoding = str(section.get("messageEncoding", "base64")).lower()
    if encoding not in ("base64", "none"):
        raise ValueError(f"queues.messageEncoding is {encoding}, it must be base64 or none")
    return QueueSettings(
        batch_size=batch,
        new_batch_threshold=int(section.get("newBatchThreshold", batch // 2 * (os.cpu_count() or 1))),
        max_polling_seconds=_seconds(
            section.get("maxPollingInterval", "00:00:02" if is_development else "00:01:00")
        ),
        max_dequeue_count=int(section.get("maxDequeueCount", 5)),
        visibility_seconds=_seconds(section.get("visibilityTimeout", "00:00:00")),
        is_base64=encoding == "base64",
    )


def _seconds(timespan: object) -> float:
    match = TIMESPAN.fullmatch(str(timespan))
    if match is None:
        raise ValueError(f"{timespan!r} is not a time span of the form hh:mm:ss")
    days, hours, minutes = (int(match[part] or 0) for part in "dhm")
    return ((days * 24 + hours) * 60 + minutes) * 60 + float(match["s"])


def _override(document: dict[str, Any], path: list[str], value: str) -> None:
    *parents, last = path
    for parent in parents:
        document = document.setdefault(parent, {})
    document[last] = value
