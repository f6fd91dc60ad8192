"""Parts that tests share for the whole session: a storage emulator, a scripted AI, and all of Aloud on it."""

import gc
import os
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from localhost.azurite import Azurite
from tests.aloud import Aloud
from tests.scripted_ai import ScriptedAi

# Kept, what is compiled (pytest's own rewriting of tests too) is not compiled again by each of the processes
# that a run starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# What is made while tests are collected stays to the end: nobody has to look through it for garbage.
gc.disable()

SLOWEST_FILES = (
    "test_chaos.py",
    "test_failures.py",
    "test_pages.py",
    "test_access.py",
    "test_account_pages.py",
    "test_drop.py",
    "test_crashes.py",
    "test_verified.py",
    "test_contract.py",
    "test_shop.py",
    "test_searching.py",
    "test_catalog_contract.py",
    "test_gifts.py",
    "test_races.py",
    "test_publishing.py",
    "test_long_book.py",
    "test_uploads.py",
    "test_editing.py",
    "test_offline.py",
    "test_host_process.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left alone with one at the end."""
    order = {name: place for place, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest_asyncio.fixture(scope="session")
async def azurite() -> AsyncIterator[Azurite]:
    async with Azurite.start(ephemeral=True) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def session_ai() -> AsyncIterator[ScriptedAi]:
    async with ScriptedAi.start() as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def aloud(session_ai: ScriptedAi) -> AsyncIterator[Aloud]:
    """All of Aloud, shared; tests that make its AI fail start one of their own."""
    async with Aloud.start(openai_base_url=session_ai.base_url) as running:
        yield running
