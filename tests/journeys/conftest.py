"""A browser that all journeys through pages share."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser

from tests.browser import OpenPage, Profile, Tab, run_chromium


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with run_chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def profiles() -> dict[bool, Profile]:
    """Those that tests share, with and without scripts."""
    return {}


@pytest_asyncio.fixture
async def open_page(browser: Browser, profiles: dict[bool, Profile]) -> AsyncIterator[OpenPage]:
    """Opens an address in an empty browser profile."""
    more = []

    async def open_empty(
        url: str,
        width: int = 1280,
        height: int = 860,
        state: Any = None,
        cookie: Any = None,
        scripts: bool = True,
    ) -> Tab:
        profile = profiles.get(scripts)
        if profile is None or profile.is_taken:
            profile = await Profile.make(browser, scripts=scripts)
            if profiles.setdefault(scripts, profile) is not profile:
                more.append(profile)
        return await profile.open(url, width, height, state, cookie)

    yield open_empty
    for profile in more:
        await profile.context.close()
    for profile in profiles.values():
        if profile.is_taken:
            await profile.leave()
