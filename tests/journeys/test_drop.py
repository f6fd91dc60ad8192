"""A file is dropped and becomes a book: what people then see, hear and read."""

import asyncio
import io
import json
import re
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient
from PIL import Image

from tests.aloud import ROOT, Aloud
from tests.audio import make_audio, make_png
from tests.person import Person
from tests.scripted_ai import ScriptedAi

READING = ROOT / "tests" / "data" / "librivox-0870.wav"
LIST = "/api/v1/audiobooks?limit=100"
SPOKEN = [(1.0, 5.0), (6.0, 11.5)]


def cue_times(text: str) -> list[tuple[float, float]]:
    """Return start and end of every cue of an SRT or WebVTT file, in seconds."""

    def seconds(clock: str) -> float:
        hours, minutes, rest = clock.replace(",", ".").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(rest)

    found = re.findall(r"^(\d\d+:\d\d:\d\d[.,]\d{3}) --> (\d\d+:\d\d:\d\d[.,]\d{3})$", text, re.MULTILINE)
    return [(seconds(start), seconds(end)) for start, end in found]


async def transcript(aloud: Aloud, book_id: str, form: str) -> Any:
    status, content, _ = await aloud.call("GET", f"/api/v1/audiobooks/{book_id}/transcript?format={form}")
    assert status == 200
    return content if isinstance(content, (str, dict)) else content.decode()


async def test_a_dropped_reading_is_on_sale_with_its_transcript(aloud: Aloud) -> None:
    await aloud.upload("A short reading.wav", READING)
    job = await aloud.settled("A short reading.wav")
    assert (job["status"], job["reason"]) == ("ready", None)
    assert job["chunks"] == {"total": 1, "done": 1, "failed": 0}

    book = await aloud.book_of("A short reading.wav")
    assert book["title"] == "A short reading"
    assert book["duration_seconds"] == pytest.approx(7.1, abs=0.05)
    assert (book["visibility"], book["price"]) == ("published", {"amount": 0, "currency": "USD"})
    assert book["summary"]
    assert len(set(book["tags"])) == 3
    assert [c["start_seconds"] for c in book["chapters"]] == [0]

    written = await transcript(aloud, book["id"], "json")
    assert written["coverage"] == 1
    assert written["gaps"] == []
    times = [t for s in written["segments"] for t in (s["start_seconds"], s["end_seconds"])]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= 7.1
    text = " ".join(segment["text"] for segment in written["segments"])
    for form, separator in (("srt", ","), ("vtt", ".")):
        cues = await transcript(aloud, book["id"], form)
        assert f"{separator}000" in cues or re.search(rf"\{separator}\d{{3}} -->", cues)
        bounds = [t for cue in cue_times(cues) for t in cue]
        assert bounds
        assert bounds == sorted(bounds)
    assert (await transcript(aloud, book["id"], "vtt")).startswith("WEBVTT\n")
    assert (await transcript(aloud, book["id"], "txt")).split() == text.split()

    async with asyncio.timeout(10):  # the catalog follows a moment later
        while book["id"] not in [item["id"] for item in (await aloud.get(LIST))["items"]]:
            await asyncio.sleep(0.05)


async def test_the_audio_of_a_free_book_streams_for_those_who_are_signed_in(aloud: Aloud) -> None:
    await aloud.upload("stream.wav", READING, content_type="application/octet-stream")
    await aloud.settled("stream.wav")
    book = await aloud.book_of("stream.wav")
    path = f"/api/v1/audiobooks/{book['id']}/stream"
    assert (await aloud.call("GET", path, token=""))[0] == 401
    listener = (await Person.join(aloud)).tokens["access_token"]
    status, _, headers = await aloud.call("GET", path, token=listener)
    assert status == 302
    status, link, _ = await aloud.call("GET", f"{path}?redirect=false", token=listener)
    assert status == 200
    async with aiohttp.ClientSession() as http:
        for url in (headers["Location"], link["url"]):
            async with http.get(url, headers={"Range": "bytes=0-3"}) as answer:
                assert (answer.status, await answer.read()) == (206, b"RIFF")
                assert answer.content_type == "audio/wav"


async def test_a_book_takes_title_people_chapters_and_cover_from_its_file(
    aloud: Aloud, session_ai: ScriptedAi
) -> None:
    tags = {
        "title": "The Long Way",
        "artist": "Ada Example; Ben Sample",
        "composer": "Nora Reader",
        "genre": "Essay",
        "date": "2019",
        "comment": "A walk.",
    }
    chapters = [("Over the hill", 0, 5.5), ("Chapter 2", 5.5, 12)]
    picture = make_png()
    content = make_audio("m4b", 12, sounds=SPOKEN, tags=tags, chapters=chapters, cover=picture)
    await aloud.upload("folder/some file.m4b", content)
    assert (await aloud.settled("folder/some file.m4b"))["status"] == "ready"
    book = await aloud.book_of("folder/some file.m4b")
    assert book["title"] == "The Long Way"
    assert [person["name"] for person in book["authors"]] == ["Ada Example", "Ben Sample"]
    assert [person["name"] for person in book["narrators"]] == ["Nora Reader"]
    assert (book["genres"], book["release_date"], book["description"]) == (["Essay"], "2019", "A walk.")
    assert book["chapters"][0]["title"] == "Over the hill"
    assert book["chapters"][1]["title"] != "Chapter 2", "a bare number gets a title of its own"
    assert [c["start_seconds"] for c in book["chapters"]] == [0, 5.5]
    status, shown, headers = await aloud.call("GET", book["cover_url"], token="")
    assert (status, headers["Content-Type"], headers["Vary"]) == (200, "image/jpeg", "Accept")
    assert Image.open(io.BytesIO(shown)).size == Image.open(io.BytesIO(picture)).size
    wanted = {"headers": {"Accept": "image/avif,image/webp,*/*"}, "params": {"size": "320"}}
    _, shown, headers = await aloud.call("GET", book["cover_url"], token="", **wanted)
    assert (headers["Content-Type"], Image.open(io.BytesIO(shown)).format) == ("image/webp", "WEBP")


async def test_a_folder_with_every_kind_of_recording_becomes_one_book(aloud: Aloud) -> None:
    kinds = ("mp3", "bare mp3", "alac", "flac", "opus", "vorbis", "wav")
    for kind in kinds:  # what a file is called does not matter
        await aloud.upload(f"kinds/{kind}.bin", make_audio(kind, 12, sounds=SPOKEN))
    job = await aloud.settled("kinds/")
    assert (job["status"], job["reason"], job["chunks"]["total"]) == ("ready", None, 7)
    book = await aloud.book_of("kinds/")
    parts = book["parts"]
    assert [part["title"] for part in parts] == sorted(kinds)
    for part in parts:
        assert part["duration_seconds"] == pytest.approx(12, abs=0.1), part["title"]
    path = f"/api/v1/audiobooks/{book['id']}/stream"
    for part in parts:
        status, link, _ = await aloud.call("GET", f"{path}?redirect=false&part={part['index']}")
        assert status == 200
        async with aiohttp.ClientSession() as http, http.head(link["url"]) as answer:
            assert (answer.content_type, answer.content_length) == (part["content_type"], part["size_bytes"])
    assert (await aloud.call("GET", f"{path}?part=8"))[0] == 404
    written = await transcript(aloud, book["id"], "json")
    assert written["duration_seconds"] == pytest.approx(84, abs=0.5)
    assert written["segments"][-1]["end_seconds"] > parts[-1]["start_seconds"]


REJECTED = {
    "page.mp3": (b"<!DOCTYPE html><html><body>Not found</body></html>" * 20, "web page"),
    "zeros.mp3": (bytes(100_000), "zeros"),
    "empty.mp3": (b"", "empty"),
    "header.wav": (READING.read_bytes()[:44], "sound"),
    "photo.mp3": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 40, "picture"),
}


async def test_what_is_no_recording_is_rejected_with_a_reason(aloud: Aloud) -> None:
    for name, (content, _) in REJECTED.items():
        await aloud.upload(name, content)
    for name, (_, word) in REJECTED.items():
        job = await aloud.settled(name)
        assert job["status"] == "rejected", name
        assert word in job["reason"].lower()
        book = await aloud.book_of(name)
        assert (book["processing_status"], book["visibility"]) == ("rejected", "draft")
        status, _, _ = await aloud.call("GET", f"/api/v1/audiobooks/{book['id']}", token="")
        assert status == 404


async def test_a_recording_that_was_cut_off_says_what_is_missing(aloud: Aloud) -> None:
    whole = make_audio("mp3", 60, sounds=[(1, 59)])
    await aloud.upload("cut off.mp3", whole[: len(whole) // 3])
    job = await aloud.settled("cut off.mp3")
    assert job["status"] == "ready"
    assert job["duration_seconds"] == pytest.approx(20, abs=1.5)
    assert "minute" in job["reason"] or "second" in job["reason"]
    assert (await aloud.book_of("cut off.mp3"))["processing_reason"] == job["reason"]


async def test_the_same_bytes_again_are_nothing_and_new_bytes_are_a_new_run(aloud: Aloud) -> None:
    first, second = (make_audio("flac", seconds, sounds=[(1, 5)]) for seconds in (6, 8))
    await aloud.upload("again.flac", first)
    one = await aloud.settled("again.flac")
    await aloud.upload("again.flac", first)
    await aloud.upload("after the repeat.flac", second)
    await aloud.settled("after the repeat.flac")
    same = await aloud.job("again.flac")
    assert same is not None
    assert (same["id"], same["status"], same["attempts"]) == (one["id"], "ready", 1)
    await aloud.upload("again.flac", second)
    while (two := await aloud.settled("again.flac"))["id"] == one["id"]:
        continue
    assert two["status"] == "ready"
    assert two["audiobook_id"] == one["audiobook_id"]
    assert (await aloud.book_of("again.flac"))["duration_seconds"] == pytest.approx(8, abs=0.01)


async def test_duplicates_and_late_messages_do_no_harm(aloud: Aloud, session_ai: ScriptedAi) -> None:
    await aloud.upload("dup.flac", make_audio("flac", 9, sounds=[(1, 8)]))
    job = await aloud.settled("dup.flac")
    before = session_ai.calls
    revision = (await aloud.book_of("dup.flac"))["revision"]
    for queue in ("transcribe", "assemble", "ingest", "enrich", "transcribe"):
        message = {"job_id": job["id"], "run": 1, "chunk": 0 if queue == "transcribe" else None}
        await send(aloud, queue, json.dumps(message))
        await send(aloud, queue, json.dumps(message | {"run": 7}))
    await aloud.upload("after the duplicates.flac", make_audio("flac", 6, sounds=[(1, 5)]))
    await aloud.settled("after the duplicates.flac")
    assert session_ai.calls - before == 2, "one transcript and one summary, of the other book"
    assert (await aloud.book_of("dup.flac"))["revision"] == revision
    after = await aloud.job("dup.flac")
    assert after is not None
    assert (after["status"], after["attempts"]) == ("ready", 1)


async def test_a_message_that_is_no_step_is_told_and_stops_nothing(aloud: Aloud) -> None:
    await send(aloud, "transcribe", "what is this?")
    await aloud.upload("after the nonsense.flac", make_audio("flac", 5, sounds=[(1, 4)]))
    assert (await aloud.settled("after the nonsense.flac"))["status"] == "ready"
    alerts = (await aloud.get("/api/v1/admin/alerts"))["items"]
    assert "what is this?" in [alert["detail"] for alert in alerts]


async def send(aloud: Aloud, queue: str, text: str) -> None:
    policy = TextBase64EncodePolicy()
    async with QueueClient.from_connection_string(
        aloud.connection_string, queue, message_encode_policy=policy
    ) as client:
        with suppress(ResourceExistsError):
            await client.create_queue()
        await client.send_message(text)
