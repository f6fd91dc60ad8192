"""Private recordings over the running app: sent, uploaded or dropped, and seen by nobody else."""

import asyncio
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from core.ids import new_id
from tests.aloud import FINAL, Aloud
from tests.audio import make_audio
from tests.person import Person, form_with_file, write_blob
from tests.scripted_ai import ScriptedAi, status


def recording(seconds: int = 4) -> bytes:
    """A short recording; each length is heard as other words."""
    return make_audio("bare mp3", seconds, sounds=[(0.2, seconds - 0.2)], rate=16_000)


@pytest_asyncio.fixture(scope="module")
async def ann(aloud: Aloud) -> Person:
    return await Person.join(aloud)


async def own_id(person: Person) -> str:
    return str((await person.get("/users/me"))["id"])


async def settled(person: Person, task_id: str) -> dict[str, Any]:
    async with asyncio.timeout(40):
        while (task := await person.get(f"/tasks/{task_id}"))["status"] not in FINAL:
            await asyncio.sleep(0.1)
    return dict(task)


async def transcribe(person: Person, content: bytes, query: str = "", **fields: str) -> tuple[int, Any]:
    form = form_with_file(content, "interview.mp3", **fields)
    code, answer, _ = await person.call("POST", f"/transcribe{query}", data=form)
    return code, answer


async def test_a_recording_is_sent_and_its_text_comes_back(ann: Person) -> None:
    content = make_audio("wav", 4, sounds=[(0.2, 3.8)])
    assert len(content) > 300_000
    code, answer = await transcribe(ann, content, "?wait=60", tags="work; urgent", name="Monday")
    assert code == 200, answer
    task = await ann.get(answer["status_url"].removeprefix("/api/v1"))
    assert (task["status"], task["name"], task["tags"]) == ("ready", "Monday", ["work", "urgent"])
    assert (task["file_name"], round(task["duration_seconds"])) == ("interview.mp3", 4)
    assert answer["text"] == " ".join(prompt["text"] for prompt in task["prompts"])
    assert answer["text"].startswith("Chunk ")
    versions = (await ann.get(f"/tasks/{task['id']}/history"))["items"]
    assert [(v["cause"], v["by_me"]) for v in versions] == [
        ("transcribed", False),
        ("edited", True),
        ("created", True),
    ]


async def test_the_text_is_given_in_every_form_and_follows_what_its_owner_changes(ann: Person) -> None:
    _, answer = await transcribe(ann, recording(5), "?wait=60")
    at = f"/tasks/{answer['task']['id']}"
    heard = await ann.get(f"{at}/transcript")
    assert heard["segments"]
    prompts = [prompt | {"text": "What I said."} for prompt in (await ann.get(at))["prompts"]]
    await ann.call("PUT", at, json={"prompts": prompts[:1]})
    for form, expected in (
        ("json", "What I said."),
        ("txt", "What I said."),
        ("srt", "-->"),
        ("vtt", "WEBVTT"),
    ):
        code, content, headers = await ann.call("GET", f"{at}/transcript?format={form}")
        text = str(content) if isinstance(content, str | dict) else content.decode()
        assert (code, expected in text, "Chunk" in text) == (200, True, False), form
        assert ("interview" in headers.get("Content-Disposition", "")) == (form != "json")
    await ann.post(f"{at}/history/2/restore")
    assert await ann.get(f"{at}/transcript") == heard


async def test_a_large_recording_is_uploaded_and_starts_by_itself(ann: Person) -> None:
    content = recording(6)
    wanted = {"purpose": "task", "filename": "talk.mp3", "content_type": "audio/mpeg"}
    code, upload, _ = await ann.post("/uploads", size_bytes=len(content), **wanted)
    assert (code, upload["audiobook_id"]) == (201, None)
    assert f"/tasks/{await own_id(ann)}/{upload['task_id']}/" in upload["url"]
    assert (await ann.get(f"/tasks/{upload['task_id']}"))["status"] == "waiting"
    await write_blob(upload["url"], content, blocks=3)
    code, done, _ = await ann.post(f"/uploads/{upload['id']}/complete")
    assert (code, done["status_url"]) == (202, f"/api/v1/tasks/{upload['task_id']}")
    task = await settled(ann, upload["task_id"])
    assert (task["status"], task["name"]) == ("ready", "talk")

    code, link, _ = await ann.call("GET", f"/tasks/{task['id']}/audio?redirect=false")
    async with aiohttp.ClientSession() as http, http.get(link["url"]) as answer:
        assert (answer.status, await answer.read()) == (200, content)


async def test_a_dropped_recording_becomes_a_task_of_whose_folder_it_is_in(ann: Person, aloud: Aloud) -> None:
    user_id, task_id = await own_id(ann), new_id()
    await drop(aloud, f"{user_id}/{task_id}/Team meeting.mp3", recording(7))
    await drop(aloud, f"{user_id}/nowhere.mp3", recording(8))
    async with asyncio.timeout(20):
        while (await ann.call("GET", f"/tasks/{task_id}"))[0] != 200:
            await asyncio.sleep(0.1)
    assert (await settled(ann, task_id))["name"] == "Team meeting"
    assert not (await ann.get("/tasks?text=nowhere"))["items"]


async def drop(aloud: Aloud, name: str, content: bytes) -> None:
    container = aloud.blobs.get_container_client("tasks")
    await container.upload_blob(name, content, overwrite=True)


async def test_another_recording_for_a_task_keeps_what_its_owner_has_written(
    ann: Person, aloud: Aloud
) -> None:
    user_id, task_id = await own_id(ann), new_id()
    await drop(aloud, f"{user_id}/{task_id}/draft.mp3", recording(9))
    async with asyncio.timeout(20):
        while (await ann.call("GET", f"/tasks/{task_id}"))[0] != 200:
            await asyncio.sleep(0.1)
    first = await settled(ann, task_id)
    mine = [{"index": 0, "start_seconds": 0, "end_seconds": 9, "text": "Mine."}]
    await ann.call("PUT", f"/tasks/{task_id}", json={"prompts": mine})
    await drop(aloud, f"{user_id}/{task_id}/draft.mp3", recording(10))
    async with asyncio.timeout(40):
        while len(versions := (await ann.get(f"/tasks/{task_id}/history"))["items"]) < 5:
            await asyncio.sleep(0.1)
    await settled(ann, task_id)
    assert [v["cause"] for v in versions] == ["restored", "transcribed", "edited", "transcribed", "created"]
    task = await ann.get(f"/tasks/{task_id}")
    assert [prompt["text"] for prompt in task["prompts"]] == ["Mine."]
    _, second, _ = await ann.post(f"/tasks/{task_id}/history/4/restore")
    assert second["beginning"].startswith("Chunk ")
    assert second["beginning"] != first["beginning"]


@pytest.mark.parametrize(
    ("form", "code", "field"),
    [
        (form_with_file(b"", "empty.mp3"), 422, "file"),
        (form_with_file(b"x", "talk.mp3", name=" "), 422, "name"),
        (form_with_file(b"x", "talk.mp3", status="ready"), 422, "status"),
        (form_with_file(b"x", "talk.mp3", prompts="[]"), 422, "prompts"),
        (form_with_file(b"x", "talk.pdf", "application/pdf"), 415, None),
    ],
)
async def test_what_is_no_recording_is_refused_and_makes_no_task(
    ann: Person, form: aiohttp.FormData, code: int, field: str | None
) -> None:
    newest = (await ann.get("/tasks?limit=1"))["items"][0]["id"]
    status_, problem, _ = await ann.call("POST", "/transcribe", data=form)
    assert status_ == code
    assert field is None or problem["errors"][0]["field"] == field
    assert (await ann.get("/tasks?limit=1"))["items"][0]["id"] == newest


async def test_a_file_that_only_seems_a_recording_says_so(ann: Person) -> None:
    code, answer = await transcribe(ann, b"words " * 100, "?wait=60")
    assert (code, answer["text"], answer["task"]["status"]) == (200, None, "rejected")
    assert answer["task"]["reason"]
    code, problem, _ = await ann.call("GET", f"/tasks/{answer['task']['id']}/transcript")
    assert (code, answer["task"]["reason"] in problem["detail"]) == (409, True)
    assert (await ann.call("GET", f"/tasks/{answer['task']['id']}/audio"))[0] == 409


async def test_a_deleted_task_leaves_no_recording_behind(ann: Person, aloud: Aloud) -> None:
    _, answer = await transcribe(ann, recording(11), "?wait=60")
    folder = f"{await own_id(ann)}/{answer['task']['id']}/"
    assert [name async for name in names(aloud, "private", folder)]
    assert (await ann.call("DELETE", f"/tasks/{answer['task']['id']}"))[0] == 204
    async with asyncio.timeout(20):
        for container in ("private", "tasks"):
            while [name async for name in names(aloud, container, folder)]:
                await asyncio.sleep(0.1)


def names(aloud: Aloud, container: str, folder: str) -> Any:
    return aloud.blobs.get_container_client(container).list_blob_names(name_starts_with=folder)


async def test_administrators_see_that_something_is_transcribed_and_not_what(
    ann: Person, aloud: Aloud, session_ai: ScriptedAi
) -> None:
    session_ai.fail_with(status(400))
    try:
        _, answer = await transcribe(ann, recording(12), "?wait=60")
    finally:
        session_ai.heal()
    assert answer["task"]["status"] == "transcription_failed"
    jobs = (await aloud.get("/api/v1/admin/jobs?limit=1"))["items"]
    assert (jobs[0]["title"], jobs[0]["status"]) == ("A private recording", "transcription_failed")
    assert "interview" not in str(jobs).lower()
    status_, _, _ = await aloud.call("POST", f"/api/v1/admin/jobs/{jobs[0]['id']}/retry")
    assert status_ == 202
    assert (await settled(ann, answer["task"]["id"]))["status"] == "ready"
