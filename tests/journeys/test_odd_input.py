"""Odd bodies, cookies, tags and messages: each gets a clear answer, none an error of ours."""

import asyncio
import io

import pytest

from tests.aloud import Aloud
from tests.audio import make_audio
from tests.journeys.test_drop import send


async def test_json_that_is_nested_without_end_is_no_json(aloud: Aloud) -> None:
    body, headers = io.BytesIO(b"[" * 200_000), {"Content-Type": "application/json"}
    status, _, _ = await aloud.call("POST", "/api/v1/auth/login", data=body, headers=headers)
    assert status == 400


@pytest.mark.parametrize("path", ["/", "/login", "/api/v1/audiobooks"])
@pytest.mark.parametrize(
    "cookie",
    [
        'aloud="\\377.b.c"',
        'aloud="a\\015\\012X: 1.b.c"',
        'aloud-form="a\\015\\012X: 1"',
        'aloud-form="x\\073 Domain=example.com"',
        "aloud=a.b.c",
        "aloud=..",
        "=;=,;\x7f",
    ],
)
async def test_no_cookie_breaks_a_page_or_comes_back_changed(aloud: Aloud, path: str, cookie: str) -> None:
    status, _, headers = await aloud.call("GET", path, token="", headers={"Cookie": cookie})
    assert status in (200, 401)
    assert "X" not in headers
    assert "Domain" not in headers.get("Set-Cookie", "")


async def test_files_are_served_without_asking_who_wants_them(aloud: Aloud) -> None:
    headers = {"Cookie": "aloud=a.b.c"}
    for path, expected in (("/static/site.css", 200), ("/static/", 404)):
        status, _, answer = await aloud.call("GET", path, token="", headers=headers)
        assert status == expected
        assert "Set-Cookie" not in answer
        assert '"0 calls in 0 rounds"' in answer["Server-Timing"]


async def test_a_title_with_line_breaks_fits_on_one_line_everywhere(aloud: Aloud) -> None:
    tags = {"title": "One\nTwo\r\nX-Header: 3", "artist": "Ada\nExample"}
    await aloud.upload("lines.flac", make_audio("flac", 5, sounds=[(1, 4)], tags=tags))
    assert (await aloud.settled("lines.flac"))["status"] == "ready"
    book = await aloud.book_of("lines.flac")
    assert book["title"] == "One Two X-Header: 3"
    assert [author["name"] for author in book["authors"]] == ["Ada Example"]
    path = f"/api/v1/audiobooks/{book['id']}/transcript?format=srt"
    status, _, headers = await aloud.call("GET", path)
    assert status == 200
    named = f"attachment; filename=\"{book['slug']}.srt\"; filename*=UTF-8''{book['slug']}.srt"
    assert headers["Content-Disposition"] == named


async def test_a_poison_message_of_any_bytes_is_told_once(aloud: Aloud) -> None:
    await send(aloud, "ingest-poison", "\x00\x01 no step")
    await aloud.upload("after the poison.flac", make_audio("flac", 5, sounds=[(1, 4)]))
    await aloud.settled("after the poison.flac")
    details = [alert["detail"] for alert in (await aloud.get("/api/v1/admin/alerts"))["items"]]
    assert sum("no step" in detail for detail in details) == 1


async def test_a_poison_message_about_a_chunk_that_is_not_there_is_told(aloud: Aloud) -> None:
    await aloud.upload("no such chunk.flac", make_audio("flac", 5, sounds=[(1, 4)]))
    job = await aloud.settled("no such chunk.flac")
    body = f'{{"job_id":"{job["id"]}","run":1,"chunk":77}}'
    await send(aloud, "transcribe-poison", body)
    async with asyncio.timeout(20):
        while not (await alerts_saying(aloud, body)):
            await asyncio.sleep(0.1)
    await send(aloud, "transcribe-poison", body)
    async with asyncio.timeout(20):
        while await alerts_saying(aloud, body) != 2:
            await asyncio.sleep(0.1)


async def alerts_saying(aloud: Aloud, detail: str) -> int:
    alerts = (await aloud.get("/api/v1/admin/alerts"))["items"]
    return sum(alert["detail"] == detail for alert in alerts)


async def test_a_reply_that_depends_on_the_caller_says_so(aloud: Aloud) -> None:
    await aloud.upload("etag.flac", make_audio("flac", 5, sounds=[(1, 4)]))
    job = await aloud.settled("etag.flac")
    path = f"/api/v1/audiobooks/{job['audiobook_id']}"
    async with asyncio.timeout(20):
        while (await aloud.get(path))["processing_status"] != "ready":
            await asyncio.sleep(0.05)  # the book follows its job
    status, book, headers = await aloud.call("GET", path)
    assert headers["ETag"] == f'"{book["revision"]}"'
    assert headers["Vary"] == "Authorization, Cookie"
    status, content, _ = await aloud.call("GET", path, headers={"If-None-Match": headers["ETag"]})
    assert (status, content) == (304, "")
