"""The pages of private recordings with forms alone, as a browser without scripts sends them."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from core.ids import new_id, now
from core.tasks.models import Task
from core.transcription.models import ChunkCounts
from functions.task_pages import describe_standing
from tests.aloud import Aloud
from tests.audio import make_audio
from tests.functions.test_shop_pages import Buyer, form_of, joined
from tests.person import form_with_file
from tests.scripted_ai import ScriptedAi, status


@pytest_asyncio.fixture
async def ann(aloud: Aloud) -> AsyncIterator[Buyer]:
    async with joined(aloud) as one:
        yield one


@pytest.fixture(scope="module")
def sound() -> bytes:
    return make_audio("bare mp3", 6, sounds=[(0.2, 5.8)], rate=16_000)


async def send(ann: Buyer, content: bytes, name: str = "talk.mp3", **fields: str) -> tuple[int, str, str]:
    """Send the form of a new recording; returns the status, the page, and where it leads."""
    csrf = form_of(await ann.read("/tasks"), "/tasks")["csrf"]
    form = form_with_file(content, name, **{"csrf": csrf, **fields})
    async with ann.http.post("/tasks", data=form, allow_redirects=False) as answer:
        return answer.status, await answer.text(), answer.headers.get("Location", "").partition("?")[0]


async def wait_for(ann: Buyer, path: str, standing: str) -> str:
    async with asyncio.timeout(30):
        while f'data-standing="{standing}"' not in (page := await ann.read(path)):
            await asyncio.sleep(0.1)
    return page


async def test_a_recording_is_sent_read_named_restored_and_deleted(ann: Buyer, sound: bytes) -> None:
    assert "No recordings yet" in await ann.read("/tasks")
    code, _, path = await send(ann, sound, tags="Work, <b>, work")
    assert (code, path[:7]) == (303, "/tasks/")
    page = await wait_for(ann, path, "ready")
    assert "&lt;b&gt;" in page
    for form in ("txt", "srt", "vtt", "json"):
        assert f"/api/v1{path}/transcript?format={form}" in page
    assert f'data-audio-address="/api/v1{path}/audio"' in page

    fields = form_of(page, path)
    assert (await ann.post(path, **fields, name=" ", tags=""))[0] == 422
    code, _, back = await ann.post(path, **fields, name="Monday’s talk", tags="home")
    assert (code, back.partition("?")[0]) == (303, path)
    page = await ann.read(path)
    assert "<h1>Monday’s talk</h1>" in page
    assert 'href="/tasks?tag=home"' in page
    restore = f"{path}/restore"
    code, page, _ = await ann.post(restore, csrf=fields["csrf"], version="99")
    assert code == 404
    await ann.post(restore, csrf=fields["csrf"], version="3")
    page = await ann.read(path)
    assert "<h1>talk</h1>" in page
    assert "Restored from 3" in " ".join(page.split())

    code, page, _ = await ann.post(f"{path}/delete", csrf=fields["csrf"])
    assert code == 409
    assert "Nothing was deleted" in page
    code, _, back = await ann.post(f"{path}/delete", csrf=fields["csrf"], sure="yes")
    assert (code, back.partition("?")[0]) == (303, "/tasks")
    assert (await ann.get(path))[0] == 404
    assert "“talk” is deleted" in await ann.read(back)


async def test_nobody_else_finds_it_and_forms_need_our_token(aloud: Aloud, ann: Buyer, sound: bytes) -> None:
    _, _, path = await send(ann, sound)
    posts = {path: {"name": "x"}, f"{path}/restore": {"version": "1"}, f"{path}/retry": {}}
    posts[f"{path}/delete"] = {"sure": "yes"}
    async with joined(aloud) as ben:
        csrf = form_of(await ben.read("/tasks"), "/tasks")["csrf"]
        assert path not in await ben.read("/tasks")
        assert (await ben.get(path))[0] == 404
        for at, fields in posts.items():
            assert (await ben.post(at, csrf=csrf, **fields))[0] == 404, at
    for at, fields in posts.items():
        assert (await ann.post(at, csrf="not.ours.atall", **fields))[0] == 403, at
    assert (await send(ann, sound, csrf="not.ours.atall"))[0] == 403
    assert (await ann.get(path))[0] == 200
    async with aiohttp.ClientSession(aloud.base_url) as stranger:
        for at in ("/tasks", path):
            async with stranger.get(at, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, f"/login?next={at}")
    async with ann.http.get(path) as answer:
        assert answer.headers["Cache-Control"] == "no-store"


async def test_what_went_wrong_is_said_with_what_to_do_next(
    ann: Buyer, sound: bytes, session_ai: ScriptedAi
) -> None:
    code, page, _ = await send(ann, b"", "")
    assert code == 422
    assert "Choose a recording" in page
    code, page, _ = await send(ann, b"words", "notes.pdf")
    assert code == 415
    assert "Send a recording" in page
    code, page, _ = await send(ann, sound, tags=",".join(map(str, range(21))))
    assert (code, "Use at most 20" in page) == (422, True)
    assert "No recordings yet" in await ann.read("/tasks"), "nothing of these was kept"

    _, _, path = await send(ann, b"words " * 100)
    page = await wait_for(ann, path, "rejected")
    assert "This is not a recording" in page
    assert "Send another file" in page

    session_ai.fail_with(status(400))
    try:
        _, _, path = await send(ann, make_audio("bare mp3", 7, sounds=[(0.2, 6.8)], rate=16_000))
        page = await wait_for(ann, path, "transcription_failed")
    finally:
        session_ai.heal()
    retry = f"{path}/retry"
    code, _, back = await ann.post(retry, **form_of(page, retry))
    assert (code, back.partition("?")[0]) == (303, path)
    page = await wait_for(ann, path, "ready")
    assert f'action="{retry}"' not in page
    csrf = form_of(page, path)["csrf"]
    code, page, _ = await ann.post(retry, csrf=csrf)
    assert (code, "only one that has failed" in page) == (409, True)


async def test_lists_are_narrowed_and_go_on_on_another_page(ann: Buyer) -> None:
    csrf = form_of(await ann.read("/tasks"), "/tasks")["csrf"]

    async def add(number: int) -> None:
        prompts = [{"index": 0, "start_seconds": 0, "end_seconds": 2, "text": f"The words of {number}."}]
        content: dict[str, Any] = {"name": f"Talk {number}", "tags": ["odd" if number % 2 else "even"]}
        headers = {"X-CSRF-Token": csrf}
        async with ann.http.post(
            "/api/v1/tasks", json=content | {"prompts": prompts}, headers=headers
        ) as made:
            assert made.status == 201

    for number in range(1, 23):
        await add(number)
    found = re.compile(r'<h3><a href="(/tasks/\w+)">([^<]+)</a>')
    first = await ann.read("/tasks")
    assert [name for _, name in found.findall(first)] == [f"Talk {n}" for n in range(22, 2, -1)]
    more = re.findall(r'href="(/tasks\?after=[^"]+)">More', first)[0]
    assert [name for _, name in found.findall(await ann.read(more))] == ["Talk 2", "Talk 1"]
    odd = await ann.read("/tasks?tag=odd&text=talk+2")
    assert [name for _, name in found.findall(odd)] == ["Talk 21"]
    assert "Nothing fits" in await ann.read("/tasks?status=ready")
    assert (await ann.get("/tasks?status=lost"))[0] == 422
    assert (await ann.get("/tasks?after=not.signed"))[0] == 404
    path = found.findall(odd)[0][0]
    page = await ann.read(path)
    assert "The words of 21." in page
    assert "data-player" not in page, "there is nothing to hear"


def task(**fields: Any) -> Task:
    at = now()
    return Task(id=new_id(at), owner_id=new_id(at), name="Talk", created_at=at, updated_at=at, **fields)


def test_a_standing_tells_what_is_done_and_what_its_owner_can_do() -> None:
    counts = ChunkCounts(total=4, done=2, failed=1)
    hearing = describe_standing(task(status="transcribing", job_id="j"), counts)
    assert hearing.goes_on
    assert hearing.share == pytest.approx(0.7)
    assert "2 of 4" in hearing.words
    broke = describe_standing(task(status="waiting", job_id="j", reason="Your budget is used up."), None)
    assert (broke.goes_on, "next month" in broke.advice, broke.is_bad) == (True, True, False)
    cut_off = describe_standing(task(status="waiting", file_name="a.mp3"), None)
    assert "goes on where it stopped" in cut_off.advice
    assert not describe_standing(task(), None).goes_on, "made by hand, it waits for nothing"
    over = describe_standing(task(status="cancelled", job_id="j"), None)
    assert (over.goes_on, over.can_retry, over.share) == (False, True, None)
