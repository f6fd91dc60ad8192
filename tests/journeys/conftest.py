"""A browser that all journeys through pages share."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser

from tests.browser import WATCH_POLICY, OpenPage, Tab, run_chromium


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with run_chromium() as running:
        yield running


@pytest_asyncio.fixture
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens an address in a fresh browser profile."""
    contexts = []

    async def open_fresh(
        url: str,
        width: int = 1280,
        height: int = 860,
        state: Any = None,
        cookie: Any = None,
        scripts: bool = True,
    ) -> Tab:
        context = await browser.new_context(
            viewport={"width": width, "height": height}, storage_state=state, java_script_enabled=scripts
        )
        contexts.append(context)
        if cookie is not None:
            await context.add_cookies([cookie])
        await context.add_init_script(WATCH_POLICY)
        tab = Tab(await context.new_page())
        tab.page.on("console", tab.note)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        await tab.page.goto(url)
        return tab

    yield open_fresh
    for context in contexts:
        await context.close()
