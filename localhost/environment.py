"""Fills the environment with what the app needs on one machine; what is set already always wins."""

import json
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from localhost.child import Child
from localhost.errors import HostConfigError

READY = re.compile(r"listening on (\S+)")
_CONFIGURED = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT")
_MODELS = ("SPEECH", "TEXT")
# All calls under way share this machine's cores, so each asks for little and may wait for long.
_OFFLINE_PACE = {"CHUNK_SECONDS": "120", "AI_TIMEOUT_SECONDS": "540"}


def load_local_settings(folder: Path) -> None:
    """Take the values of local.settings.json, the file that the Functions tools use, where it exists."""
    path = folder / "local.settings.json"
    if not path.exists():
        return
    try:
        values = json.loads(path.read_text("utf-8")).get("Values", {})
        for name, value in values.items():
            os.environ.setdefault(name, str(value))
    except (OSError, ValueError, AttributeError) as error:
        raise HostConfigError(f"{path} cannot be read: {error}") from error


def set_defaults(port: int, data: Path | None, *, with_demo: bool) -> None:
    """Set what is unset; `data` is None for a run that keeps nothing."""
    defaults = {
        "JWT_SIGNING_KEY": new_development_key() if data is None else _keep_key(data / "jwt.key"),
        "ADMIN_EMAILS": "admin@aloud.example",
        "DATA_KEY": new_development_key() if data is None else _keep_key(data / "data.key"),
        "PUBLIC_BASE_URL": f"http://localhost:{port}",
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "AzureWebJobsDisableHomepage": "true",
        # a person who waits at this machine wants to hear of a failure within a minute
        "BACKOFF_SECONDS": "1.5",
        "QUIET_SECONDS": "5",
        "MAX_ATTEMPTS": "6",
        "CATALOG_REFRESH_SECONDS": "1",
        "CLAIM_SECONDS": "15",
        "SERVER_TIMING": "true",
    }
    if with_demo:
        defaults["AUTO_PUBLISH"] = "true"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # A local.settings.json made for `func start` asks for the container scan, which this host has not.
    os.environ["BLOB_TRIGGER_SOURCE"] = "EventGrid"


@asynccontextmanager
async def choose_ai(base_url: str | None) -> AsyncIterator[Child | None]:
    """Point the app at an AI until the block ends: the given, else the configured, else the offline one."""
    if base_url is not None:
        os.environ["OPENAI_BASE_URL"] = base_url
        os.environ.setdefault("OPENAI_API_KEY", "local")
        yield None
    elif any(os.environ.get(name) for name in _CONFIGURED) or all(map(_has_address, _MODELS)):
        yield None
    else:
        command = [sys.executable, "-m", "localhost.ai", "--port", "0"]
        async with Child.start("the offline AI", command, READY) as child:
            os.environ["OPENAI_BASE_URL"] = child.found[0]
            os.environ["OPENAI_API_KEY"] = "offline"
            for name, value in _OFFLINE_PACE.items():
                os.environ.setdefault(name, value)
            for model in _MODELS:
                if not _has_address(model):
                    os.environ.setdefault(f"{model}_MODEL", f"offline-{model.lower()}")
            for name in ("BUDGET_HOURS", "USER_BUDGET_HOURS"):  # it costs nothing
                os.environ.setdefault(name, "unlimited")
            yield child


def _has_address(model: str) -> bool:
    return bool(os.environ.get(f"{model}_BASE_URL"))


def new_development_key() -> str:
    """A key whose name keeps it out of the cloud: there the app refuses to start with it."""
    return f"development-{secrets.token_hex(32)}"


def _keep_key(path: Path) -> str:
    """Made once, readable by the owner only, so that what it signs or seals survives a restart."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(new_development_key())
    return path.read_text("utf-8").strip()
