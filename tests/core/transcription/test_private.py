"""Private recordings in this process: how large they may be, and what is left of one that is deleted."""

from contextlib import suppress
from datetime import timedelta

import pytest

from core.caller import Caller, Origin
from core.errors import ConflictError, NotFoundError
from core.ids import new_id, now
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.storage.blobs import Container
from core.tasks.models import Clear
from core.transcription.drops import Gathering
from core.transcription.models import Job, Step
from core.transcription.uploads import UploadRequest
from core.wiring import Services, build
from localhost.azurite import Azurite
from tests.audio import make_audio
from tests.core.transcription.conftest import Complete
from tests.faults import crash_everywhere
from tests.scripted_ai import ScriptedAi, ok

Begun = tuple[str, str, Job]
ORIGIN = Origin(address="192.0.2.1", request_id="test")


def environment(azurite: Azurite) -> dict[str, str]:
    return {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}


def recording(seconds: int) -> bytes:
    return make_audio("bare mp3", seconds, sounds=[(0.2, seconds - 0.2)], rate=16_000)


def containers(services: Services) -> list[Container]:
    """Return where recordings are dropped, where they and their transcripts are kept, and what was heard."""
    target = services.transcription._targets["task"]
    return [target.drops, target.media, services.transcription._store._work]


async def drop(services: Services, owner_id: str, task_id: str, content: bytes) -> Job:
    name = f"{owner_id}/{task_id}/interview.mp3"
    await containers(services)[0].write(name, content, "audio/mpeg")
    assert await services.transcription.accept_drop("tasks", name) is None
    return await gather(services, owner_id, task_id)


async def gather(services: Services, owner_id: str, task_id: str) -> Job:
    """Let the message come that was sent with the newest file, and return the task's newest job."""
    newest = now() + timedelta(seconds=1)
    message = Gathering(container="tasks", path=f"{owner_id}/{task_id}/", newest=newest)
    await services.gather.run(message.model_dump_json())
    job_id = await services.tasks.newest_job(owner_id, task_id)
    assert job_id is not None
    return await services.transcription._store.job(job_id)


async def kept(services: Services, owner_id: str, *jobs: Job) -> list[str]:
    """Return the names of all blobs of a person and of these jobs."""
    prefixes = [f"{owner_id}/", *(f"{job.id}/" for job in jobs)]
    return [name for c in containers(services) for prefix in prefixes async for name in c.names(prefix)]


async def clear(services: Services, owner_id: str, *ids: str) -> None:
    """Do what the message of a deletion asks for."""
    await services.tasks.run(Clear(owner_id=owner_id, ids=ids).model_dump_json())


async def test_a_file_of_another_size_than_announced_is_not_taken(services: Services) -> None:
    content = recording(3)
    person = Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener"}))
    request = UploadRequest(
        purpose="task", filename="a.mp3", size_bytes=len(content) - 1, content_type="audio/mpeg"
    )
    upload, _ = await services.uploads.begin(request, person, ORIGIN)
    await containers(services)[0].write(upload.blob_name, content, "audio/mpeg")
    job = await services.transcription.accept_drop("tasks", upload.blob_name)
    assert job is not None
    await services.transcription.run("ingest", Step(job_id=job.id))
    task = await services.tasks.task(person.user_id, upload.id)
    assert (task.status, "were announced" in (task.reason or "")) == ("rejected", True)


async def test_a_name_that_leads_to_anothers_folder_is_not_followed(services: Services) -> None:
    owner_id, task_id, other_id = new_id(), new_id(), new_id()
    await containers(services)[0].write(f"{owner_id}/{task_id}/a.mp3", b"mine", "audio/mpeg")
    for folder in (f"{other_id}/{new_id()}/../..", f"{other_id}/..", "."):
        name = f"{folder}/{owner_id}/{task_id}/a.mp3"
        assert await services.transcription.accept_drop("tasks", name) is None
        assert await services.transcription.accept_drop("uploads", name) is None
    assert await services.tasks.page(other_id, 1) == ([], None)


async def test_a_recording_in_a_folder_of_its_task_is_called_as_its_file_is(services: Services) -> None:
    owner_id, task_id = new_id(), new_id()
    name = f"{owner_id}/{task_id}/disc 1/Interview.mp3"
    await containers(services)[0].write(name, b"not read", "audio/mpeg")
    assert await services.transcription.accept_drop("tasks", name) is None
    task = await services.tasks.task(owner_id, task_id)
    assert (task.name, task.file_name) == ("Interview", "Interview.mp3")


async def test_a_file_that_is_written_again_counts_again(azurite: Azurite) -> None:
    content = recording(2)
    services = build(Settings.read(environment(azurite) | {"UPLOAD_GB_PER_DAY": f"{len(content) * 2.5e-9}"}))
    person = Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener"}))
    request = UploadRequest(
        purpose="task", filename="a.mp3", size_bytes=len(content), content_type="audio/mpeg"
    )
    try:
        upload, _ = await services.uploads.begin(request, person, ORIGIN)
        found = []
        for _ in range(3):
            await containers(services)[0].write(upload.blob_name, content, "audio/mpeg")
            for _ in range(2):
                await services.transcription.accept_drop("tasks", upload.blob_name)
            task = await services.tasks.task(person.user_id, upload.id)
            assert task.job_id is not None
            await services.transcription.run("ingest", Step(job_id=task.job_id))
            task = await services.tasks.task(person.user_id, upload.id)
            found.append((task.status, (task.reason or "")[:14]))
        assert found == [("transcribing", ""), ("transcribing", ""), ("rejected", "You can upload")]
    finally:
        await services.close()


async def test_nothing_is_left_of_a_deleted_task(services: Services, complete: Complete) -> None:
    owner_id, task_id, other_id = new_id(), new_id(), new_id()
    first = await complete((await drop(services, owner_id, task_id, recording(4))).id)
    second = await drop(services, owner_id, task_id, recording(5))
    assert (await complete(second.id)).status == "ready"
    other = await complete((await drop(services, owner_id, other_id, recording(6))).id)
    before = await kept(services, owner_id, other)

    await services.recordings.delete(owner_id, [task_id])
    await clear(services, owner_id, task_id)
    assert not [name for name in await kept(services, owner_id, first, second) if other_id not in name]
    assert [name for name in before if other_id in name or other.id in name] == await kept(
        services, owner_id, other
    )
    store = services.transcription._store
    for job in (first, second, other):
        await store.note_removal(job.id, now() - timedelta(hours=1))
    await services.transcription.remove_retired()
    assert [await store.find(job.id) is None for job in (first, second, other)] == [True, True, False]
    assert not await store.parts(second.id), "the name of the file stands in the rows of a job"


async def test_what_is_written_for_a_task_after_its_end_goes_too(
    services: Services, complete: Complete
) -> None:
    owner_id, task_id = new_id(), new_id()
    job = await complete((await drop(services, owner_id, task_id, recording(7))).id)
    drops, media, work = containers(services)
    await services.recordings.delete(owner_id, [task_id])
    await clear(services, owner_id, task_id)
    for container, name in ((drops, "late.mp3"), (media, f"{job.id}/transcript-1.txt")):
        await container.write(f"{owner_id}/{task_id}/{name}", b"late", "text/plain")
    await work.write(f"{job.id}/chunk_0000.json", b"{}", "application/json")
    await clear(services, owner_id, task_id)
    store = services.transcription._store
    await store.note_removal(job.id, now() - timedelta(hours=1))
    await services.transcription.remove_retired()
    assert not await kept(services, owner_id, job)


async def test_nothing_is_left_of_the_tasks_of_a_person_who_leaves(
    services: Services, complete: Complete
) -> None:
    owner_id = new_id()
    done = await complete((await drop(services, owner_id, new_id(), recording(8))).id)
    begun = await drop(services, owner_id, new_id(), recording(9))
    await services.transcription.run("ingest", Step(job_id=begun.id))
    for holder in services.accounts.holdings.holders:
        await holder.erase(owner_id)
    assert not await kept(services, owner_id, done, begun)
    assert [task async for task in services.tasks._store.all(owner_id)] == []
    assert (await services.transcription._store.job(begun.id)).status == "cancelled"


async def test_no_word_of_a_private_recording_comes_to_those_who_mend_the_pipeline(
    services: Services, complete: Complete, ai: ScriptedAi, caplog: pytest.LogCaptureFixture
) -> None:
    """What is odd about a text is said in logs and shown with its job, and may be told by mail and chat."""
    caplog.set_level("INFO", "aloud")
    ai.fail_with(ok("my secret diagnosis is " * 20))
    try:
        job = await complete((await drop(services, new_id(), new_id(), recording(10))).id)
    finally:
        ai.heal()
    shown = await services.transcription.job(job.id)
    assert (job.status, shown.parts[0].rejected, shown.card.flagged) == ("ready", 1, 1)
    assert "repeats itself" in (shown.parts[0].flag or "")
    assert "diagnosis" not in shown.model_dump_json() + caplog.text


async def test_how_private_files_are_called_is_told_to_nobody_else(
    services: Services, complete: Complete, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aloud")
    owner_id, task_id = new_id(), new_id()
    for name, content in (("1 diagnosis.mp3", recording(11)), ("2 divorce.mp3", b"no recording")):
        await containers(services)[0].write(f"{owner_id}/{task_id}/{name}", content, "audio/mpeg")
        await services.transcription.accept_drop("tasks", f"{owner_id}/{task_id}/{name}")
    job = await complete((await gather(services, owner_id, task_id)).id)
    reason = (await services.tasks.task(owner_id, task_id)).reason
    assert (job.status, (reason or "").startswith("File 2: ")) == ("ready", True)
    shown = (await services.transcription.job(job.id)).model_dump_json()
    listed, _ = await services.transcription.jobs(10)
    for word in ("diagnosis", "divorce"):
        assert word not in shown + caplog.text + "".join(view.model_dump_json() for view in listed)


async def test_nobody_takes_up_again_what_its_owner_has_deleted(services: Services, ai: ScriptedAi) -> None:
    """While it is being removed, its rows and its recording are still there."""
    owner_id, task_id = new_id(), new_id()
    job = await drop(services, owner_id, task_id, recording(12))
    await services.recordings.delete(owner_id, [task_id])
    asked = ai.calls
    with pytest.raises(ConflictError):
        await services.transcription.retry(job.id)
    assert (await services.transcription._store.job(job.id)).status == "cancelled"
    assert ai.calls == asked


async def test_a_deletion_that_is_cut_off_anywhere_leaves_all_or_nothing(azurite: Azurite) -> None:
    """What a crash leaves, the message that was sent before it removes; or nothing has happened."""

    def start(watch: Watch | None) -> Services:
        settings = Settings.read(environment(azurite))
        return build(settings, StorageAccount(settings, watch))

    async def prepare(services: Services) -> Begun:
        owner_id, task_id = new_id(), new_id()
        job = await drop(services, owner_id, task_id, b"not read")
        _, media, work = containers(services)
        await media.write(f"{owner_id}/{task_id}/{job.id}/audio-0001.mp3", b"copied", "audio/mpeg")
        await work.write(f"{job.id}/chunk_0000.json", b"{}", "application/json")
        return owner_id, task_id, job

    async def act(services: Services, begun: Begun) -> None:
        owner_id, task_id, _ = begun
        await services.recordings.delete(owner_id, [task_id])
        await clear(services, owner_id, task_id)

    async def check(services: Services, begun: Begun) -> None:
        owner_id, task_id, job = begun
        await clear(services, owner_id, task_id)
        with suppress(NotFoundError):
            await services.tasks.show(owner_id, task_id)
            assert len(await kept(services, owner_id, job)) == 3

    async def repeat(services: Services, begun: Begun) -> None:
        with suppress(NotFoundError):
            await act(services, begun)

    async def check_done(services: Services, begun: Begun) -> None:
        owner_id, task_id, job = begun
        with pytest.raises(NotFoundError):
            await services.tasks.task(owner_id, task_id)
        assert not await kept(services, owner_id, job)
        assert (await services.transcription._store.job(job.id)).status == "cancelled"

    assert await crash_everywhere(start, prepare, act, check, repeat, check_done)
