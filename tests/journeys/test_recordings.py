"""A person's recordings, in a real Chromium: sent, cut off and sent on, heard, searched, mended."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Request, expect

from tests.aloud import Aloud
from tests.audio import make_audio
from tests.browser import OpenPage, sign_in
from tests.journeys.test_pages import CHECK_BASICS, time_of, wait_past
from tests.person import PASSWORD, Person

BLOCK = 4 * 2**20
SLOW_MS = 60_000


@pytest.fixture
def talks(tmp_path: Path) -> list[Path]:
    """Two recordings, which are sent in three blocks and in one."""
    made = []
    for name, seconds in (("talk 1.wav", 60), ("talk 2.mp3", 6)):
        path = tmp_path / name
        kind = "wav" if path.suffix == ".wav" else "bare mp3"
        rate = 48_000 if kind == "wav" else 16_000
        path.write_bytes(make_audio(kind, seconds, sounds=[(0.2, 5.8)], rate=rate))
        made.append(path)
    assert 2 * BLOCK < made[0].stat().st_size < 3 * BLOCK
    return made


async def test_recordings_are_sent_on_after_a_cut_heard_found_and_mended(
    aloud: Aloud, open_page: OpenPage, talks: list[Path]
) -> None:
    person = await Person.join(aloud)
    tab = await open_page(f"{aloud.base_url}/login?next=/tasks")
    page = tab.page
    await sign_in(page, person.email, PASSWORD)
    await expect(page.get_by_role("heading", name="No recordings yet")).to_be_visible()

    sent: list[str] = []

    def note(request: Request) -> None:
        if request.method == "PUT" and "comp=" in request.url:
            sent.append(re.findall(r"comp=block\w*", request.url)[0])

    page.on("request", note)
    third = re.compile("blockid=MDAwMDAwMDI")  # base64 of 0000002
    await page.route(third, lambda route: route.abort())
    chooser = page.get_by_label("Choose a file")
    await chooser.set_input_files(__file__)
    await page.get_by_role("button", name="Transcribe").click()
    await expect(page.get_by_role("alert")).to_contain_text("test_recordings.py is none of .mp3")
    await chooser.set_input_files(talks[::-1])
    await expect(page.get_by_role("list", name="Chosen files").get_by_role("listitem").first).to_contain_text(
        "talk 1.wav"
    )
    await page.get_by_role("button", name="Transcribe").click()
    cut_off = page.get_by_text("No connection, trying again. 8.4 MB of 11.5 MB")
    await expect(cut_off).to_be_visible(timeout=SLOW_MS)
    bar = page.get_by_role("progressbar", name="Sent so far")
    assert float(await bar.get_attribute("value") or 0) >= 2 * BLOCK
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("button", name="Go on")).to_be_focused()
    assert "comp=blocklist" not in sent

    await page.unroute(third)
    await page.reload()
    await expect(page.get_by_role("link", name="talk", exact=True)).to_be_visible()
    await chooser.set_input_files(talks)
    sent.clear()
    await page.get_by_role("button", name="Go on where it stopped").click()
    await page.wait_for_url(re.compile("/tasks/[0-9a-z]{26}$"))
    assert sent == ["comp=block", "comp=blocklist"] * 2, "what had arrived is not sent again"
    assert len((await person.get("/tasks"))["items"]) == 1
    tab.complaints = [text for text in tab.complaints if "ERR_FAILED" not in text]

    await page.locator('[data-standing="ready"]').wait_for(state="attached", timeout=SLOW_MS)
    await expect(page.get_by_role("heading", name="talk", level=1)).to_be_visible()
    await expect(page.get_by_text("2 files")).to_be_visible()
    task_id = page.url.rpartition("/")[2]
    prompts = (await person.get(f"/tasks/{task_id}"))["prompts"]
    await page.get_by_role("button", name="Play", exact=True).click()
    await wait_past(page, 0.5)
    await expect(page.locator(".segment.now")).to_have_count(1)

    later = next(prompt for prompt in prompts if prompt["start_seconds"] > 59)
    words = " ".join(later["text"].upper().split()[:2])
    await page.get_by_label("Find in the transcript").fill(words)
    hit = page.get_by_role("search", name="").get_by_role("listitem").get_by_role("button")
    async with page.expect_response("**/audio?redirect=false&part=2"):
        await hit.first.click()
    await page.wait_for_function("() => document.querySelector('audio').duration < 10")
    assert await time_of(page) < 8, "the second file has a time of its own"
    await page.keyboard.press("k")

    mend = page.get_by_role("region", name="Mend a passage")
    place = prompts.index(later) + 1
    await expect(mend.get_by_text(f"Passage {place} of {len(prompts)}")).to_be_visible()
    await mend.get_by_label("To").fill("0:01")
    await mend.get_by_role("button", name="Save").click()
    await expect(mend.get_by_role("alert")).to_have_text("It ends before it begins.")
    await mend.get_by_role("button", name="Undo").click()
    await mend.get_by_label("Text").fill("What was really said.")
    await mend.get_by_label("Text").press("Control+Enter")
    await expect(page.get_by_role("region", name="Transcript, follows")).to_contain_text(
        "What was really said."
    )
    versions = page.get_by_role("region", name="Versions")
    await expect(versions.get_by_text("You have changed it")).to_have_count(2)
    mended = (await person.get(f"/tasks/{task_id}"))["prompts"]
    assert mended == [p if p != later else p | {"text": "What was really said."} for p in prompts]

    await person.call("PUT", f"/tasks/{task_id}", json={"name": "Elsewhere"})
    await mend.get_by_label("Text").fill("Too late.")
    await mend.get_by_role("button", name="Save").click()
    await expect(mend.get_by_role("alert")).to_contain_text("changed in another window")
    tab.complaints = [text for text in tab.complaints if "412" not in text]
    await mend.get_by_role("button", name="Undo").click()

    for width in (320, 1280):
        await page.set_viewport_size({"width": width, "height": 700})
        assert await page.evaluate(CHECK_BASICS) == []
    await tab.check_quiet()
