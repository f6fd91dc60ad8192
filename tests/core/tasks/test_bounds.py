"""How many tasks and versions one person may have: many, with an answer that says what to do, and no more."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from core.caller import Caller, Origin
from core.errors import ConflictError, StaleError
from core.ids import new_id
from core.settings import Settings
from core.storage.tables import Insert
from core.tasks.bounds import MAX_KEPT_BYTES, MAX_TASKS, MAX_VERSIONS
from core.tasks.models import Heard, NewTask, Prompt, TaskChange, TaskContent
from core.transcription.models import Pointer
from core.transcription.uploads import UploadRequest
from core.wiring import Services, build
from localhost.azurite import Azurite

ORIGIN = Origin(address="192.0.2.1", request_id="test")
SAID = [Prompt(index=0, start_seconds=0, end_seconds=1, text="It was a bright cold day.")]
UPLOAD = UploadRequest(purpose="task", filename="a.mp3", size_bytes=1, content_type="audio/mpeg")


@pytest_asyncio.fixture(scope="module")
async def services(azurite: Azurite) -> AsyncIterator[Services]:
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    running = build(Settings.read(environment))
    yield running
    await running.close()


async def blobs(services: Services, owner_id: str) -> list[str]:
    media = services.transcription._targets["task"].media
    return [name async for name in media.names(f"{owner_id}/")]


async def test_who_has_as_many_tasks_as_one_may_have_deletes_some_first(services: Services) -> None:
    person = Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener"}))
    mine = await services.tasks.add(person.user_id, NewTask(name="The first"))
    table = services.tasks._store._tasks
    for start in range(1, MAX_TASKS, 100):
        others = range(start, min(start + 100, MAX_TASKS))
        rows = [Insert(f"task_{number:018d}_{new_id()}", Pointer(job_id="")) for number in others]
        await table.transact(person.user_id, rows)

    before = len([row async for row in services.uploads._table.each(Pointer, f"user-{person.user_id}")])
    with pytest.raises(ConflictError, match="delete some first"):
        await services.tasks.add(person.user_id, NewTask(name="One more", prompts=SAID))
    with pytest.raises(ConflictError, match="delete some first"):
        await services.uploads.begin(UPLOAD, person, ORIGIN)
    assert await blobs(services, person.user_id) == [], "what is refused is not written before"
    counted = [row async for row in services.uploads._table.each(Pointer, f"user-{person.user_id}")]
    assert len(counted) == before, "nor counted for the day"
    part = UPLOAD.model_copy(update={"task_id": mine.id, "part": 1})
    assert (await services.uploads.begin(part, person, ORIGIN))[0].owner_id == person.user_id

    await services.tasks._store.clear(person.user_id, mine.id)
    assert (await services.tasks.add(person.user_id, NewTask(name="One more"))).name == "One more"


@pytest.mark.parametrize("full", [{"version": MAX_VERSIONS}, {"kept_bytes": MAX_KEPT_BYTES}], ids=str)
async def test_a_task_that_has_enough_versions_takes_none_but_what_is_heard(
    services: Services, full: dict[str, int]
) -> None:
    owner_id = new_id()
    task, other = [await services.tasks.add(owner_id, NewTask(name="Interview")) for _ in range(2)]
    await services.tasks._store.follow(
        owner_id, task.id, lambda row: row.model_copy(update={**full, "job_id": "heard"})
    )
    change = TaskContent(prompts=SAID)
    with pytest.raises(ConflictError, match=f"{task.id} .* go on in a new task"):
        await services.tasks.change(owner_id, task.id, change, None)
    both = [TaskChange(id=one.id, prompts=SAID) for one in (other, task)]
    with pytest.raises(ConflictError, match=task.id):
        await services.tasks.change_all(owner_id, both)
    with pytest.raises(ConflictError, match="go on in a new task"):
        await services.tasks.restore(owner_id, task.id, 1)
    assert await blobs(services, owner_id) == []
    assert (await services.tasks.show(owner_id, other.id)).version == 1

    heard = Heard(job_id="heard", prompts=tuple(SAID), language=None, coverage=1, transcript_prefix="x")
    await services.tasks.hear(owner_id, task.id, heard)
    assert (await services.tasks.show(owner_id, task.id)).prompts == SAID, "what is paid for is never lost"


async def test_the_text_of_all_versions_is_counted(services: Services) -> None:
    owner_id = new_id()
    task = await services.tasks.add(owner_id, NewTask(name="Interview", prompts=SAID))
    for text in ("Another text.", "And another."):
        said = [SAID[0].model_copy(update={"text": text})]
        await services.tasks.change(owner_id, task.id, TaskContent(prompts=said), None)
    media = services.transcription._targets["task"].media
    kept = [(await media.facts(name)).size for name in await blobs(services, owner_id)]
    assert len(kept) == 3
    assert (await services.tasks.task(owner_id, task.id)).kept_bytes == sum(kept)


async def test_a_change_of_a_version_that_is_over_writes_nothing(services: Services) -> None:
    """Or anybody could fill the storage with texts that no version counts."""
    owner_id = new_id()
    task = await services.tasks.add(owner_id, NewTask(name="Interview"))
    with pytest.raises(StaleError):
        await services.tasks.change(owner_id, task.id, TaskContent(prompts=SAID), frozenset({"7"}))
    assert await blobs(services, owner_id) == []
