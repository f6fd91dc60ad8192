"""Chromium as a test sees it: pages, and everything that they complained about."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

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


@asynccontextmanager
async def run_chromium() -> AsyncIterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "These tests need a Chromium; on Debian: apt-get install chromium"
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield running
        await running.close()


async def sign_in(page: Page, email: str, password: str) -> None:
    """Fill in the form to sign in, and send it."""
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("main").get_by_role("button", name="Sign in").click()
