"""A private recording in several files: one task, one timeline, and only what is new is heard."""

from datetime import timedelta
from typing import Any

import pytest

from core.caller import Caller, Origin
from core.errors import NotFoundError
from core.ids import new_id, now
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.transcription.drops import Gathering
from core.transcription.uploads import TaskUpload, UploadRequest
from core.wiring import Services, build
from localhost.azurite import Azurite
from tests.core.transcription.conftest import Complete
from tests.core.transcription.test_parts import reading
from tests.core.transcription.test_private import containers, environment, gather
from tests.faults import crash_everywhere
from tests.scripted_ai import ScriptedAi

ORIGIN = Origin(address="192.0.2.1", request_id="test")


async def drop(services: Services, folder: str, name: str, content: bytes) -> None:
    """Drop a file into a task's folder, which begins nothing by itself."""
    await containers(services)[0].write(f"{folder}{name}", content, "audio/mpeg")
    assert await services.transcription.accept_drop("tasks", f"{folder}{name}") is None


def someone() -> Caller:
    return Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener"}))


async def announce(services: Services, person: Caller, content: bytes, **fields: Any) -> TaskUpload:
    said = {"filename": "talk.mp3", "size_bytes": len(content), "content_type": "audio/mpeg", **fields}
    request = UploadRequest(purpose="task", **said)
    upload, link = await services.uploads.begin(request, person, ORIGIN)
    assert isinstance(upload, TaskUpload)
    assert f"/tasks/{upload.blob_name}?" in link.url
    return upload


async def test_a_dropped_folder_is_one_recording_in_natural_order_on_one_timeline(
    services: Services, complete: Complete, ai: ScriptedAi
) -> None:
    owner_id, task_id = new_id(), new_id()
    folder = f"{owner_id}/{task_id}/"
    await drop(services, folder, "notes.txt", b"no recording")
    with pytest.raises(NotFoundError):
        await services.tasks.task(owner_id, task_id)
    for name, seconds in (("10 End.mp3", 8), ("2 Middle.mp3", 7), ("1 Start.mp3", 6)):
        await drop(services, folder, name, reading(seconds, seconds - 3))
    waiting = await services.tasks.task(owner_id, task_id)
    assert (waiting.status, waiting.job_id) == ("waiting", None)
    assert "More files may come" in (waiting.reason or "")
    early = Gathering(container="tasks", path=folder, newest=now() - timedelta(seconds=5))
    await services.gather.run(early.model_dump_json())
    assert (await services.tasks.task(owner_id, task_id)).job_id is None, "it has not been quiet"

    paid = len(ai.transcriptions)
    job = await complete((await gather(services, owner_id, task_id)).id)
    assert (job.status, job.reason) == ("ready", None)
    assert (await gather(services, owner_id, task_id)).id == job.id, "the message comes twice"
    task = await services.tasks.show(owner_id, task_id)
    assert (task.status, task.file_name, task.parts_count) == ("ready", "1 Start.mp3", 3)
    assert [(part.index, part.title) for part in task.parts] == [(1, "Start"), (2, "Middle"), (3, "End")]
    starts = [part.start_seconds for part in task.parts]
    assert starts == [0, pytest.approx(6, abs=0.06), pytest.approx(13, abs=0.12)]
    assert task.duration_seconds == pytest.approx(21, abs=0.2)
    times = [t for prompt in task.prompts for t in (prompt.start_seconds, prompt.end_seconds)]
    assert times == sorted(times)
    tones = [prompt.start_seconds for prompt in task.prompts if "Tone 1000" in prompt.text]
    assert tones == [pytest.approx(at, abs=2) for at in (3, 10, 18)]
    links = {(await services.recordings.audio(owner_id, task_id, part)).url for part in (1, 2, 3)}
    assert len(links) == 3
    for part in (0, 4):
        with pytest.raises(NotFoundError):
            await services.recordings.audio(owner_id, task_id, part)

    await drop(services, folder, "11 After the end.mp3", reading(5, 2))
    await complete((await gather(services, owner_id, task_id)).id)
    after = await services.tasks.show(owner_id, task_id)
    assert (after.parts_count, len(ai.transcriptions) - paid) == (4, 4), "what was heard is not heard again"
    assert [prompt.text for prompt in after.prompts[: len(task.prompts)]] == [p.text for p in task.prompts]


async def test_parts_are_uploaded_in_any_order_and_one_of_them_again(
    services: Services, complete: Complete, ai: ScriptedAi
) -> None:
    person = someone()
    owner_id = person.user_id

    async def upload(part: int, seconds: int, task_id: str | None) -> str:
        content = reading(seconds, 2)
        told = await announce(
            services, person, content, part=part, task_id=task_id, filename=f"talk {part}.mp3"
        )
        await containers(services)[0].write(told.blob_name, content, "audio/mpeg")
        assert await services.transcription.accept_drop("tasks", told.blob_name) is None
        assert await services.uploads.verify(told.id, person) == told.model_copy(update={"counted": None})
        return told.task_id

    task_id = await upload(2, 5, None)
    assert await upload(0, 4, task_id) == task_id
    assert await upload(10, 6, task_id) == task_id
    paid = len(ai.transcriptions)
    await complete((await gather(services, owner_id, task_id)).id)
    task = await services.tasks.show(owner_id, task_id)
    lengths = [round(part.duration_seconds) for part in task.parts]
    assert (lengths, len(ai.transcriptions) - paid) == ([4, 5, 6], 3)
    await upload(2, 7, task_id)
    await complete((await gather(services, owner_id, task_id)).id)
    task = await services.tasks.show(owner_id, task_id)
    lengths = [round(part.duration_seconds) for part in task.parts]
    assert (lengths, len(ai.transcriptions) - paid) == ([4, 7, 6], 4)
    with pytest.raises(NotFoundError):
        await announce(services, someone(), b"mine", part=3, task_id=task_id)

    await services.recordings.delete(owner_id, [task_id])
    late = (await services.uploads.of_task(task_id))[-1]
    drops = containers(services)[0]
    await drops.write(late.blob_name, b"late", "audio/mpeg")
    await services.transcription.accept_drop("tasks", late.blob_name)
    await gather(services, owner_id, task_id)
    left = [name async for name in drops.names(f"{owner_id}/{task_id}/")]
    assert left == [], "a part that comes after its task was deleted goes too"
    with pytest.raises(NotFoundError):
        await services.tasks.task(owner_id, task_id)


async def test_parts_that_are_on_their_way_are_waited_for_but_not_for_ever(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = someone()
    first = await announce(services, person, b"one", part=1)
    await announce(services, person, b"two", part=2, task_id=first.task_id)
    await containers(services)[0].write(first.blob_name, b"one", "audio/mpeg")
    await services.transcription.accept_drop("tasks", first.blob_name)
    folder = f"{person.user_id}/{first.task_id}/"
    message = Gathering(container="tasks", path=folder, newest=now() + timedelta(seconds=1))
    await services.gather.run(message.model_dump_json())
    task = await services.tasks.task(person.user_id, first.task_id)
    assert (task.job_id, task.reason) == (None, "1 of 2 files have arrived.")
    monkeypatch.setattr("core.transcription.private_drops._PATIENCE", timedelta(seconds=-5))
    job = await gather(services, person.user_id, first.task_id)
    assert [part.blob_name for part in await services.transcription._store.parts(job.id)] == [first.blob_name]


async def test_an_arrival_that_is_cut_off_anywhere_is_made_up_for_when_it_is_told_again(
    azurite: Azurite,
) -> None:
    def start(watch: Watch | None) -> Services:
        settings = Settings.read(environment(azurite))
        return build(settings, StorageAccount(settings, watch))

    async def prepare(services: Services) -> list[TaskUpload]:
        person = someone()
        first = await announce(services, person, b"one", part=1)
        second = await announce(services, person, b"two", part=2, task_id=first.task_id)
        for upload, content in ((first, b"one"), (second, b"two")):
            await containers(services)[0].write(upload.blob_name, content, "audio/mpeg")
        return [first, second]

    async def act(services: Services, uploads: list[TaskUpload]) -> None:
        for upload in uploads:
            await services.transcription.accept_drop("tasks", upload.blob_name)
        await gather(services, uploads[0].owner_id, uploads[0].task_id)

    async def check(services: Services, uploads: list[TaskUpload]) -> None:
        task = await services.tasks.task(uploads[0].owner_id, uploads[0].task_id)
        assert task.status in ("waiting", "uploaded")

    async def check_done(services: Services, uploads: list[TaskUpload]) -> None:
        task = await services.tasks.task(uploads[0].owner_id, uploads[0].task_id)
        assert task.job_id is not None
        parts = await services.transcription._store.parts(task.job_id)
        assert [(part.blob_name, part.mismatch) for part in parts] == [(u.blob_name, None) for u in uploads]
        job = await services.transcription._store.job(task.job_id)
        assert (job.status, job.previous_job_id) == ("uploaded", None)

    assert await crash_everywhere(start, prepare, act, check, act, check_done)
