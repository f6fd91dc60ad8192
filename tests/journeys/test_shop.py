"""Buying, as a person does it in a real Chromium: from a cart before sign-in to a book that plays."""

import asyncio
import re
from pathlib import Path

import pytest_asyncio
from playwright.async_api import expect

from core.catalog.models import Book, Money
from core.ids import new_id
from tests.aloud import Aloud
from tests.audio import make_audio
from tests.browser import OpenPage
from tests.functions.test_names import publish
from tests.person import PASSWORD

BASICS = (Path(__file__).parent / "page_basics.js").read_text()


@pytest_asyncio.fixture(scope="module")
async def sounding(aloud: Aloud) -> dict[str, str]:
    """A book with audio that costs something."""
    name = f"Sounding {new_id()[-6:]}.mp3"
    await aloud.upload(name, make_audio("mp3", 8, sounds=[(0, 8)]))
    await aloud.settled(name)
    book = await aloud.book_of(name)
    path = f"/api/v1/audiobooks/{book['id']}"
    assert (await aloud.call("PATCH", path, json={"price": {"amount": 1299}}))[0] == 200
    async with asyncio.timeout(20):  # who has not signed in sees what the index has
        while (await aloud.call("GET", path, token=""))[1]["price"]["amount"] != 1299:
            await asyncio.sleep(0.1)
    return {"id": book["id"], "slug": book["slug"], "title": book["title"]}


@pytest_asyncio.fixture(scope="module")
async def gone(aloud: Aloud) -> Book:
    """A book that is withdrawn while it is in somebody's cart."""
    return await publish(aloud, title="Soon gone", price=Money(amount=300))


async def test_a_cart_filled_before_sign_in_becomes_books_that_play(
    aloud: Aloud, open_page: OpenPage, sounding: dict[str, str], gone: Book
) -> None:
    tab = await open_page(f"{aloud.base_url}/books/{sounding['slug']}", width=360, height=740)
    page = tab.page
    cart = page.get_by_role("navigation", name="Site").get_by_role("link", name=re.compile("^Cart"))
    await page.get_by_role("button", name="Add to cart").click()
    await expect(page.get_by_role("link", name="In your cart")).to_be_focused()
    await expect(cart).to_have_accessible_name("Cart 1 in it")
    await page.goto(f"{aloud.base_url}/books/{gone.slug}")
    await page.get_by_role("button", name="Add to cart").click()
    await cart.click()
    await expect(page.get_by_role("listitem").filter(has_text="12.99 USD")).to_be_visible()
    await expect(page.locator("[data-basket-total]")).to_have_text("15.99 USD")
    assert await page.evaluate(BASICS) == []
    assert (await aloud.call("DELETE", f"/api/v1/audiobooks/{gone.id}"))[0] == 204

    await page.get_by_role("link", name="Create an account").click()
    await page.get_by_label("Your name").fill("Ann")
    await page.get_by_label("Email").fill(f"{new_id()}@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    news = page.get_by_role("status").filter(has_text="from this browser")
    await expect(news).to_have_text(
        "1 book from this browser is in your cart now. “Soon gone” was left out: not on sale any more."
    )
    await expect(news).to_be_focused()
    await expect(cart).to_have_accessible_name("Cart 1 in it")
    assert await page.evaluate("localStorage.getItem('aloud-cart')") is None

    await page.get_by_role("button", name="Go to checkout").click()
    await page.get_by_role("radio", name="Play money, on a page of its own").check()
    assert await page.evaluate(BASICS) == []
    await page.get_by_role("button", name="Buy for 12.99 USD").click()
    to_pay = await page.get_by_role("link", name="Pay 12.99 USD now").get_attribute("href")
    elsewhere = await page.context.new_page()
    await elsewhere.goto(str(to_pay))
    await elsewhere.get_by_role("button", name="Pay 12.99 USD").click()
    await expect(elsewhere.get_by_role("heading", name="Receipt")).to_be_visible()
    await elsewhere.close()
    await expect(page.get_by_role("heading", name="Receipt")).to_be_visible(timeout=20_000)  # by itself
    assert await page.evaluate(BASICS) == []
    await page.get_by_role("link", name="To your library").click()
    await expect(cart).to_have_accessible_name("Cart")
    await page.get_by_text("Download", exact=False).first.click()
    async with page.expect_download() as loading:
        await page.get_by_role("link", name="Recording", exact=True).click()
    assert (await (await loading.value).path()).stat().st_size > 1000
    await page.get_by_label("Into a ZIP").check()
    assert await page.evaluate(BASICS) == []
    await page.get_by_role("button", name="Make a ZIP").click()
    await expect(page.get_by_role("heading", name="It is ready")).to_be_visible(timeout=20_000)
    await page.get_by_role("link", name="Your library").click()
    await page.get_by_role("link", name=re.compile("^Listen")).click()
    await page.locator("[data-play]").click()
    await page.wait_for_function("() => document.querySelector('audio').currentTime > 0.3", timeout=10_000)
    await tab.check_quiet()
