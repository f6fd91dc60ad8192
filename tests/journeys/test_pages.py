"""The pages, as a person meets them: in a real Chromium, against the whole product."""

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

import localhost.demo
from tests.aloud import Aloud
from tests.audio import make_audio
from tests.browser import OpenPage, sign_in
from tests.person import PASSWORD, Person

DEMO = Path(localhost.demo.__file__).parent / "books" / "The Saturday Piano.mp3"
LAST_CHAPTER = "An Open Window"
PLAYBACK_MS = 10_000


@dataclass(frozen=True)
class Shop:
    """The running product with one book in it."""

    aloud: Aloud
    book_id: str
    book_url: str

    def url(self, path: str) -> str:
        return f"{self.aloud.base_url}{path}"


@pytest_asyncio.fixture(scope="module")
async def shop(aloud: Aloud) -> Shop:
    await aloud.upload(DEMO.name, DEMO)
    job = await aloud.settled(DEMO.name)
    assert job["status"] == "ready", job["reason"]
    book_id = job["audiobook_id"]
    return Shop(aloud, book_id, f"{aloud.base_url}/books/the-saturday-piano-{book_id}")


@pytest_asyncio.fixture(scope="module")
async def admin_state(shop: Shop, browser: Browser) -> Any:
    """Cookies of a browser in which the administrator has signed in through the form."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(shop.url("/login"))
    await sign_in(page, shop.aloud.admin_email, shop.aloud.admin_password)
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    state = await context.storage_state()
    await context.close()
    return state


async def time_of(page: Page) -> float:
    return float(await page.evaluate("document.querySelector('audio').currentTime"))


async def wait_past(page: Page, seconds: float) -> None:
    await page.wait_for_function(
        "seconds => document.querySelector('audio').currentTime > seconds", arg=seconds, timeout=PLAYBACK_MS
    )


# Listening


async def test_a_visitor_hears_a_sample_signs_in_and_the_words_follow_the_voice(
    shop: Shop, open_page: OpenPage
) -> None:
    tab = await open_page(shop.book_url)
    page = tab.page
    seconds = "async (audio) => { audio.muted = true; await audio.play(); return audio.duration; }"
    assert 45 < await page.get_by_label("Listen to a sample").evaluate(seconds) < 75
    await wait_past(page, 0.3)
    await page.get_by_role("link", name="Sign in to listen").click()
    await sign_in(page, shop.aloud.admin_email, shop.aloud.admin_password)
    await page.wait_for_url(shop.book_url)

    await page.locator("[data-play]").click()
    await wait_past(page, 0.6)
    first = await spoken_word(page)
    await wait_past(page, 1.8)
    second = await spoken_word(page)
    assert first != second
    transcript = await page.evaluate(
        f"fetch('/api/v1/audiobooks/{shop.book_id}/transcript?format=json').then((answer) => answer.json())"
    )
    begun = [s for s in transcript["segments"] if s["start_seconds"] <= await time_of(page)]
    assert second["segment"] == begun[-1]["index"] or second["time"] - begun[-1]["start_seconds"] < 0.5
    await tab.check_quiet()


async def spoken_word(page: Page) -> dict[str, Any]:
    """The one highlighted word, and the time at which it was looked at."""
    found: dict[str, Any] = await page.evaluate(
        """() => {
          const [word, ...others] = document.querySelectorAll(".word.now");
          if (others.length) throw new Error("more than one word is marked");
          const segment = word.closest(".segment.now");
          return {
            text: word.textContent,
            word: Number(word.dataset.index),
            segment: Number(segment.dataset.index),
            time: document.querySelector("audio").currentTime,
          };
        }"""
    )
    return found


async def test_a_click_on_a_word_plays_from_there(shop: Shop, open_page: OpenPage, admin_state: Any) -> None:
    page = (await open_page(f"{shop.book_url}#t=0", state=admin_state)).page
    word = page.locator(".segment").nth(2).locator(".word").nth(1)
    await word.click()
    await wait_past(page, 0.1)
    await expect(page.locator("[data-play]")).to_have_attribute("aria-label", "Pause")
    assert (await spoken_word(page))["segment"] == 2
    assert (await spoken_word(page))["word"] >= 1


async def test_enter_on_a_word_plays_from_there(shop: Shop, open_page: OpenPage, admin_state: Any) -> None:
    page = (await open_page(f"{shop.book_url}#t=0", state=admin_state)).page
    await page.locator(".word").first.wait_for()
    await page.get_by_role("region", name="Transcript, follows the voice").focus()
    for key in ("Tab", "ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        await page.keyboard.press(key)
    await wait_past(page, 0.1)
    assert (await spoken_word(page))["segment"] == 1
    assert (await spoken_word(page))["word"] >= 2


async def test_keys_play_pause_skip_and_mute(shop: Shop, open_page: OpenPage, admin_state: Any) -> None:
    page = (await open_page(f"{shop.book_url}#t=2", state=admin_state)).page
    await page.wait_for_function("() => document.querySelector('audio').readyState > 1")
    assert await time_of(page) == pytest.approx(2, abs=0.2)
    await page.keyboard.press("ArrowRight")
    assert await time_of(page) == pytest.approx(7, abs=0.2)
    await page.keyboard.press("j")
    assert await time_of(page) == 0
    await page.keyboard.press("m")
    await page.keyboard.press(" ")
    await wait_past(page, 0.2)
    assert await page.evaluate("document.querySelector('audio').muted")
    await page.keyboard.press("k")
    assert await page.evaluate("document.querySelector('audio').paused")


async def test_a_book_in_two_files_is_played_as_one(
    shop: Shop, open_page: OpenPage, admin_state: Any
) -> None:
    for name, seconds in (("1 Before", 6), ("2 After", 60)):
        content = make_audio("mp3", seconds, sounds=[(0.5, seconds - 0.5)], rate=22_050)
        await shop.aloud.upload(f"two files/{name}.mp3", content)
    job = await shop.aloud.settled("two files/")
    book = await shop.aloud.get(f"/api/v1/audiobooks/{job['audiobook_id']}")
    boundary = book["parts"][1]["start_seconds"]
    page = (await open_page(shop.url(f"/books/{book['slug']}#t=4"), state=admin_state)).page
    await page.wait_for_function("() => document.querySelector('audio').readyState > 1")
    async with page.expect_response("**/stream?redirect=false&part=2"):
        await page.keyboard.press("k")  # and over the end of the first file
    position = page.get_by_role("slider", name="Position")
    later = "seconds => Number(document.querySelector('[data-seek]').value) >= seconds"
    await page.wait_for_function(later, arg=boundary + 1, timeout=PLAYBACK_MS)
    assert await time_of(page) < 10, "the second file has a time of its own"
    chapter = page.get_by_role("button", name=re.compile(book["chapters"][1]["title"]))
    await expect(chapter).to_have_attribute("aria-current", "true")
    async with page.expect_response("**/stream?redirect=false&part=1"):
        await page.get_by_role("button", name=re.compile(book["chapters"][0]["title"])).first.click()
    await page.wait_for_function("() => document.querySelector('audio').duration < 10")
    await page.keyboard.press("k")
    assert float(await position.input_value()) < boundary
    async with page.expect_response("**/stream?redirect=false&part=2"):
        await position.fill("40")
    await page.wait_for_function("() => document.querySelector('audio').currentTime > 30")
    assert await time_of(page) == pytest.approx(40 - boundary, abs=1)


async def test_a_chapter_is_a_place_to_go_and_is_shown_as_current(
    shop: Shop, open_page: OpenPage, admin_state: Any
) -> None:
    page = (await open_page(shop.book_url, state=admin_state)).page
    chapter = page.get_by_role("button", name=re.compile(LAST_CHAPTER))
    await chapter.click()
    await expect(chapter).to_have_attribute("aria-current", "true")
    start = float(await chapter.get_attribute("data-start") or 0)
    shown = await page.get_by_role("slider", name="Position").input_value()
    assert float(shown) == pytest.approx(start, abs=1)
    await page.wait_for_function(
        "seconds => document.querySelector('audio').currentTime >= seconds", arg=start
    )


async def test_scrolling_by_hand_stops_following_until_asked(
    shop: Shop, open_page: OpenPage, admin_state: Any
) -> None:
    page = (await open_page(shop.book_url, width=360, height=640, state=admin_state)).page
    await page.locator(".word").first.wait_for()
    follow = page.get_by_role("button", name="Follow the voice")
    await expect(follow).to_be_hidden()
    await page.evaluate("document.querySelector('.pane').style.setProperty('height', '6rem')")
    await page.get_by_role("region", name="Transcript, follows the voice").hover()
    await page.mouse.wheel(0, 200)
    await expect(follow).to_be_visible()
    await follow.click()
    await expect(follow).to_be_hidden()


async def show_transcript(shop: Shop, page: Page, second: int, **transcript: Any) -> None:
    """Open the book at a second, with a transcript other than its own."""
    whole = {
        "language": "en",
        "timing": "measured",
        "coverage": 1,
        "gaps": [],
        "duration_seconds": 230,
        **transcript,
    }
    await page.route("**/transcript?format=json", lambda route: route.fulfill(json=whole))
    await page.goto(f"{shop.book_url}#t={second}")
    await page.locator(".word.now").wait_for()


async def test_without_word_times_words_share_the_time_of_their_sentence_and_gaps_are_told(
    shop: Shop, open_page: OpenPage, admin_state: Any
) -> None:
    page = (await open_page(shop.url("/"), state=admin_state)).page
    await show_transcript(
        shop,
        page,
        2,
        timing="estimated",
        segments=[
            {
                "index": 0,
                "start_seconds": 0,
                "end_seconds": 4,
                "text": "One, two three four <i>.",
                "words": [],
            }
        ],
        gaps=[{"start_seconds": 60, "end_seconds": 75, "reason": "the model heard nothing"}],
    )
    assert (await spoken_word(page))["text"] == "three"
    await expect(
        page.get_by_text("1:00 to 1:15 is missing from the transcript: the model heard nothing")
    ).to_be_visible()
    await expect(page.get_by_text("The times of the single words are estimated")).to_be_visible()
    await expect(page.locator(".segment")).to_have_text("One, two three four <i>.")


async def test_a_very_long_transcript_is_all_there_but_split_into_words_only_near_the_view(
    shop: Shop, open_page: OpenPage, admin_state: Any
) -> None:
    page = (await open_page(shop.url("/"), state=admin_state)).page
    text = " ".join(["word"] * 25)
    segments = [
        {
            "index": i,
            "start_seconds": i * 0.03,
            "end_seconds": i * 0.03 + 0.03,
            "text": f"{i} {text}",
            "words": [],
        }
        for i in range(7000)
    ]
    await show_transcript(shop, page, 120, segments=segments)
    assert (await spoken_word(page))["segment"] == 4000
    assert await page.locator(".word.now").evaluate(
        """(word) => {
          const [inner, outer] = [word, word.closest(".pane")].map((box) => box.getBoundingClientRect());
          return inner.top >= outer.top && inner.bottom <= outer.bottom;
        }"""
    )
    assert await page.locator(".segment").count() == 7000
    assert await page.locator(".word").count() < 7000


async def test_a_recording_that_cannot_be_loaded_is_said_and_tried_again(
    shop: Shop, open_page: OpenPage, admin_state: Any
) -> None:
    page = (await open_page(shop.url("/"), state=admin_state)).page
    await page.route("**/stream?redirect=false", lambda route: route.fulfill(status=503))
    await page.goto(f"{shop.book_url}#t=0")
    await expect(page.get_by_role("alert")).to_have_text("The server cannot answer right now.")
    await page.unroute("**/stream?redirect=false")
    await page.keyboard.press(" ")
    await wait_past(page, 0.2)
    await expect(page.get_by_role("alert")).to_have_text("")


async def test_play_pressed_before_the_link_is_there_is_not_forgotten(
    shop: Shop, open_page: OpenPage, admin_state: Any
) -> None:
    page = (await open_page(shop.url("/"), state=admin_state)).page
    pressed = asyncio.Event()

    async def hold(route: Route) -> None:
        await pressed.wait()
        await route.continue_()

    await page.route("**/stream?redirect=false", hold)
    await page.goto(f"{shop.book_url}#t=0")
    await page.locator("[data-play]").click()
    pressed.set()
    await wait_past(page, 0.2)


async def test_a_link_that_ends_is_renewed_and_the_place_is_kept(
    shop: Shop, open_page: OpenPage, admin_state: Any
) -> None:
    page = (await open_page(shop.url("/"), state=admin_state)).page
    links = 0

    async def end_soon(route: Route) -> None:
        nonlocal links
        links += 1
        link = await (await route.fetch()).json()
        ends = datetime.now(UTC) + timedelta(seconds=61 if links == 1 else 3600)
        await route.fulfill(json=link | {"expires_at": ends.isoformat()})

    await page.route("**/stream?redirect=false", end_soon)
    await page.goto(f"{shop.book_url}#t=30")
    await page.locator("[data-play]").click()
    async with page.expect_response("**/stream?redirect=false"):
        pass
    await wait_past(page, 31.5)
    assert links == 2


async def test_a_book_plays_at_the_speed_of_the_profile_until_another_is_chosen(
    shop: Shop, open_page: OpenPage
) -> None:
    person = await Person.join(shop.aloud)
    await person.call("PUT", "/users/me", json={"playback_speed": 1.3})
    page = (await open_page(shop.url(f"/login?next=/books/x-{shop.book_id}"))).page
    await sign_in(page, person.email, PASSWORD)
    speed = page.get_by_role("combobox", name="Speed")
    await expect(speed).to_have_value("1.3")
    async with page.expect_response("**/users/me"):
        await speed.select_option("1.5")
    await page.reload()
    await expect(speed).to_have_value("1.5")
    await person.call("PUT", "/users/me", json={"playback_speed": 0.9})
    await page.reload()
    await expect(speed).to_have_value("0.9")


async def test_a_listener_goes_on_where_another_device_stopped_even_after_a_time_offline(
    shop: Shop, open_page: OpenPage
) -> None:
    person = await Person.join(shop.aloud)
    place = f"/progress/{shop.book_id}"
    await person.call("PUT", place, json={"position_seconds": 40, "device_id": "phone"})
    page = (await open_page(shop.url(f"/login?next=/books/x-{shop.book_id}"))).page
    await sign_in(page, person.email, PASSWORD)
    await page.wait_for_function("() => document.querySelector('audio')?.readyState > 1")
    assert await time_of(page) == pytest.approx(40, abs=0.2)

    async with page.expect_response("**/listening/sessions/*"):
        await page.locator("[data-play]").click()
    before = await person.get(place)
    assert before["position_seconds"] > 40.5
    await wait_past(page, before["position_seconds"] + 1)
    await page.context.set_offline(True)
    await page.keyboard.press("k")
    stopped = await time_of(page)
    assert await person.get(place) == before
    async with page.expect_response("**/listening/sessions/*"):
        await page.context.set_offline(False)
    saved = await person.get(place)
    assert saved["position_seconds"] == pytest.approx(stopped, abs=0.3)
    stats = await person.get("/users/me/stats")
    assert stats["seconds_listened"] == pytest.approx(stopped - 40, abs=0.6)
    assert (await person.get(f"/audiobooks/{shop.book_id}"))["plays"] >= 1

    await person.call("PUT", place, json={"position_seconds": 90, "device_id": "phone"})
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.get_by_role("slider", name="Position")).to_have_value("90")
    assert (await person.get(place))["position_seconds"] == 90

    await page.evaluate(
        "(audio => { audio.currentTime = audio.duration - 0.3 })(document.querySelector('audio'))"
    )
    async with page.expect_response(lambda answer: '"completed":true' in (answer.request.post_data or "")):
        await page.keyboard.press("k")
    assert (await person.get(place))["completed"]

    await page.goto(shop.url("/account"))
    listening = page.get_by_role("region", name="Listening")
    await expect(listening.get_by_role("img", name=re.compile("last twelve months"))).to_be_visible()
    await expect(listening.get_by_text("Days in a row")).to_be_visible()
    await listening.get_by_text("All months as a table").click()
    await expect(listening.get_by_role("row", name=re.compile(r"^\d{4}-\d\d"))).to_have_count(1)


# Every page


PAGES = (
    "/",
    "/login",
    "/register",
    "/reset",
    "/reset?token=a.b",
    "/verify",
    "/verify?token=a.b",
    "/verify/email",
    "/cart",
    "/docs",
    "/nowhere",
)
OWN_PAGES = (
    "/",
    "/cart",
    "/orders",
    "/library",
    "/tasks",
    "/account",
    "/manage/users",
    "/manage/orders",
    "/manage/vouchers",
    "/manage/pipeline",
    "/manage/audit",
)

CHECK_BASICS = Path(__file__).with_name("page_basics.js").read_text(encoding="utf-8")


async def faults_of(page: Page, path: str) -> list[str]:
    """What is wrong with a page; Swagger UI's own markup is not ours to judge."""
    if path == "/docs":
        await page.locator(".opblock").first.wait_for()
        await page.evaluate("document.querySelector('#api-docs').remove()")
    found: list[str] = await page.evaluate(CHECK_BASICS)
    return found


async def test_every_page_is_sound_on_a_phone(shop: Shop, open_page: OpenPage, admin_state: Any) -> None:
    book = shop.book_url.removeprefix(shop.aloud.base_url)
    for state, paths in ((None, (*PAGES, book)), (admin_state, (*OWN_PAGES, book))):
        tab = await open_page(shop.url("/"), width=320, height=640, state=state)
        for path in paths:
            await tab.page.goto(shop.url(path))
            assert await faults_of(tab.page, path) == [], path
            tab.complaints = [text for text in tab.complaints if path != "/nowhere" or "404" not in text]
            await tab.check_quiet()


async def test_the_book_is_on_the_front_page_and_the_first_tab_stop_skips_to_the_content(
    shop: Shop, open_page: OpenPage
) -> None:
    page = (await open_page(shop.url("/"))).page
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.get_by_role("link", name="The Saturday Piano").click()
    await page.wait_for_url(shop.book_url)
    cover = page.locator(".book .cover img")
    assert await cover.evaluate("image => image.decode().then(() => image.naturalWidth)") == 600


async def test_an_administrator_sees_why_a_drop_was_rejected(
    shop: Shop, open_page: OpenPage, admin_state: Any
) -> None:
    await shop.aloud.upload("pages/not a book.mp3", b"<!doctype html><p>Hello</p>" * 50)
    job = await shop.aloud.settled("pages/not a book.mp3")
    assert job["status"] == "rejected"
    page = (await open_page(shop.url("/"), state=admin_state)).page
    item = (
        page.get_by_role("region", name="In the works").get_by_role("listitem").filter(has_text=job["reason"])
    )
    await expect(item.first).to_be_visible()
    anonymous = (await open_page(shop.url("/"))).page
    assert await anonymous.get_by_text("In the works").count() == 0


# Forms


async def test_joining_tells_what_is_wrong_and_then_signs_in(shop: Shop, open_page: OpenPage) -> None:
    page = (await open_page(shop.url(f"/register?next=/books/x-{shop.book_id}"))).page
    await page.get_by_label("Your name").fill("<b>Ann</b>")
    await page.get_by_label("Email").fill("ann.of.pages@example.com")
    await page.get_by_label("Password").fill("password")
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("Your name")).to_have_value("<b>Ann</b>")
    await page.get_by_label("Password").fill("tea and toast")
    await page.get_by_role("button", name="Create account").click()
    await page.wait_for_url(shop.book_url)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    await page.goto(shop.book_url)
    await expect(page.get_by_role("link", name="Sign in to listen")).to_be_visible()


async def test_a_wrong_password_is_refused_and_next_never_leaves_the_site(
    shop: Shop, open_page: OpenPage
) -> None:
    page = (await open_page(shop.url("/login?next=//example.com/"))).page
    await sign_in(page, shop.aloud.admin_email, "not the password")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Email")).to_have_value(shop.aloud.admin_email)
    await sign_in(page, shop.aloud.admin_email, shop.aloud.admin_password)
    await page.wait_for_url(shop.url("/"))


async def test_a_form_from_elsewhere_is_refused(shop: Shop) -> None:
    form = {"email": shop.aloud.admin_email, "password": shop.aloud.admin_password, "csrf": "x", "next": "/"}
    async with aiohttp.ClientSession() as session:
        async with session.post(shop.url("/login"), data=form, allow_redirects=False) as answer:
            assert answer.status == 403
            assert "aloud=" not in answer.headers.get("Set-Cookie", "").split("-form")[0]
        async with session.get(shop.url("/login")) as answer:
            assert "HttpOnly" in answer.headers["Set-Cookie"]
            assert "SameSite=Lax" in answer.headers["Set-Cookie"]
        async with session.post(shop.url("/login"), data=form, allow_redirects=False) as answer:
            assert answer.status == 403


async def test_a_stale_session_cookie_is_ended_and_the_page_is_shown(shop: Shop) -> None:
    async with (
        aiohttp.ClientSession(cookies={"aloud": "no.such.session"}) as session,
        session.get(shop.url("/")) as answer,
    ):
        assert answer.status == 200
        assert answer.headers["Set-Cookie"].startswith("aloud=;")
        assert "Max-Age=0" in answer.headers["Set-Cookie"]


# Files


async def test_static_files_are_kept_under_their_version_and_nothing_else_is_served(shop: Shop) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(shop.url("/")) as answer:
            policy = answer.headers["Content-Security-Policy"]
            address = re.search(r'href="(/static/[^"]+/site.css)"', await answer.text())
        assert "unsafe-inline" not in policy
        assert "frame-ancestors 'none'" in policy
        assert address
        async with session.get(shop.url(address[1])) as answer:
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]
            tag = answer.headers["ETag"]
        async with session.get(shop.url("/static/site.css"), headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304
        for path in (
            "/static/%2e%2e/templates/home.html",
            "/static/..%2f..%2fhost.json",
            "/docs/assets/package.json",
        ):
            async with session.get(shop.url(path)) as answer:
                assert answer.status == 404, path


async def test_an_old_address_of_a_book_leads_to_the_present_one(shop: Shop) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(shop.url(f"/books/old-title-{shop.book_id}"), allow_redirects=False) as answer:
            assert answer.status == 301
            assert shop.book_url.endswith(answer.headers["Location"])
        async with session.get(shop.url(f"/books/{'0' * 26}")) as answer:
            assert answer.status == 404
            assert answer.content_type == "text/html"
