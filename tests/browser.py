"""Chromium as a test sees it: pages, and everything that they complained about."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    StorageState,
    async_playwright,
)

# The first that is there: the build without windows takes a third less of the processor.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--renderer-process-limit=1",  # each context still has a renderer of its own, but none is kept in reserve
)
WATCH_POLICY = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""

OpenPage = Callable[..., Awaitable["Tab"]]


@dataclass
class Tab:
    """A page and everything that it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    async def check_quiet(self) -> None:
        assert await self.page.evaluate("window.violations") == []
        assert self.complaints == []


@dataclass
class Profile:
    """A browser profile that is emptied and used again: a new one costs more than most tests do in it."""

    context: BrowserContext
    is_taken: bool = False

    @classmethod
    async def make(cls, browser: Browser, *, scripts: bool) -> Self:
        context = await browser.new_context(java_script_enabled=scripts)
        await context.add_init_script(WATCH_POLICY)
        return cls(context)

    async def open(self, url: str, width: int, height: int, state: Any, cookie: Any) -> Tab:
        """Open a first page, with nothing in the profile but this state and this cookie."""
        self.is_taken = True
        before = self.context.pages
        await self.context.set_storage_state(state or StorageState(cookies=[], origins=[]))
        if cookie is not None:
            await self.context.add_cookies([cookie])
        tab = Tab(await self.context.new_page())
        await tab.page.set_viewport_size({"width": width, "height": height})
        tab.page.on("console", tab.note)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        await tab.page.goto(url)
        for page in before:
            await page.close()
        return tab

    async def leave(self) -> None:
        """Close all pages but one, which keeps the process that draws them, and empty the cache."""
        last, *others = self.context.pages
        for page in others:
            await page.close()
        await last.goto("about:blank")
        devtools = await self.context.new_cdp_session(last)
        await devtools.send("Network.clearBrowserCache")
        await devtools.detach()
        self.is_taken = False


@asynccontextmanager
async def run_chromium() -> AsyncIterator[Browser]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program, "These tests need a Chromium; on Debian: apt-get install chromium-headless-shell"
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield running
        await running.close()


async def sign_in(page: Page, email: str, password: str) -> None:
    """Fill in the form to sign in, and send it."""
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("main").get_by_role("button", name="Sign in").click()
