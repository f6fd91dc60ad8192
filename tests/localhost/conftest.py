"""One sample app for each test, and a host that runs it in this process."""

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from localhost.azurite import STORAGE, Azurite
from localhost.host import Host, HostOptions
from tests.localhost.sample import FOLDER, Sample, StartHost


@pytest_asyncio.fixture
async def sample(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sample]:
    prefix = f"s{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("SAMPLE_PREFIX", prefix)
    monkeypatch.setenv("AzureWebJobsDisableHomepage", "true")
    monkeypatch.setenv(STORAGE, azurite.connection_string)
    async with Sample(azurite.connection_string, prefix) as driver:
        yield driver


@pytest.fixture
def start_host(azurite: Azurite, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> StartHost:
    """Start a host in this process: `async with start_host(lease_seconds=2) as host`."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "function_app", raising=False)

    @asynccontextmanager
    async def start(folder: Path = FOLDER, **options: Any) -> AsyncIterator[Host]:
        settings = {"port": 0, "host_id": sample.prefix, "bridge_seconds": 0.1, **options}
        async with Host.start(
            HostOptions(folder=folder, connection_string=azurite.connection_string, **settings)
        ) as host:
            yield host
        sys.modules.pop("function_app", None)

    return start
