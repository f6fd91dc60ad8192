"""Suggestions while typing, in a real Chromium, with the keyboard alone."""

import asyncio

from playwright.async_api import expect

from core.ids import new_id
from tests.aloud import Aloud
from tests.browser import OpenPage
from tests.functions.test_names import publish


async def test_a_suggestion_is_chosen_with_the_keyboard(aloud: Aloud, open_page: OpenPage) -> None:
    word = f"Kq{new_id()[-8:]}"
    book = await publish(aloud, title=f"{word} Harbour", authors=(f"Dee {word}",))
    async with asyncio.timeout(20):
        while (await aloud.get(f"/api/v1/audiobooks/search?q={word}"))["total"] < 1:
            await asyncio.sleep(0.1)
    tab = await open_page(f"{aloud.base_url}/")
    page = tab.page
    box = page.get_by_role("combobox", name="Search the books")
    await box.press_sequentially(word[:-1].lower())
    options = page.get_by_role("option")
    await expect(options).to_have_count(2)
    await expect(box).to_have_attribute("aria-expanded", "true")
    await box.press("Escape")
    await expect(options).to_have_count(0)
    await box.press_sequentially(word[-1])
    await expect(options).to_have_count(2)
    for _ in range(2):
        await box.press("ArrowDown")
    await expect(page.get_by_role("option", name=f"{word} Harbour")).to_have_attribute(
        "aria-selected", "true"
    )
    await box.press("Enter")
    await expect(page).to_have_url(f"{aloud.base_url}/books/{book.slug}")
    await expect(page.get_by_role("link", name=f"Dee {word}")).to_be_visible()
    tab.complaints.clear()  # of covers that books of other tests, on the same shelf, name and do not have
    await page.goto(f"{aloud.base_url}/search?q={word}")
    await page.set_viewport_size({"width": 360, "height": 740})
    overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, "nothing hangs over the edge of a phone"
    await expect(page.get_by_role("heading", name=f"{word} Harbour")).to_be_visible()
    await tab.check_quiet()
