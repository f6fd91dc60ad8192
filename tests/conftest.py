"""Parts that tests share for the whole session: a storage emulator, a scripted AI, and all of Aloud on it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from localhost.azurite import Azurite
from tests.aloud import Aloud
from tests.scripted_ai import ScriptedAi


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
