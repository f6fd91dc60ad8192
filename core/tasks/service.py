"""Private transcription: one person's recordings, what was heard in them, and every version of that."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from core.backoff import Backoff
from core.catalog.models import ProcessingStatus
from core.errors import StaleError
from core.ids import new_id, now
from core.operations.service import Operations
from core.settings import Settings
from core.storage.queues import Queues
from core.tasks.bounds import MAX_TASKS, check_tasks, check_versions
from core.tasks.models import (
    Cause,
    Clear,
    Heard,
    NewTask,
    Task,
    TaskChange,
    TaskContent,
    TaskDetail,
    TaskSummary,
    TaskVersion,
    VersionView,
    detail,
    summarise,
)
from core.tasks.store import PromptsRef, TaskStore

_log = logging.getLogger("aloud.tasks")

QUEUE = "tasks-work"
Versions = Sequence[tuple[Task, TaskVersion]]
_VERSIONED = ("name", "tags", "prompts_blob", "prompts_count", "beginning", "transcript_prefix")
LATE = timedelta(hours=1)
"""By then, whatever was under way for a task when it was deleted has ended."""
_MESSAGE_IDS = 500
_COMMIT_SECONDS = 120  # by then, a request that was cut off has either committed or never will


Forget = Callable[[Task], Awaitable[None]]


class Tasks:
    """Every method takes the id of the person whose tasks they are; nobody else's are found.

    `forget` is told of each task that is over, before its row goes: whoever works for tasks lets go of it.
    """

    forget: Forget

    def __init__(self, settings: Settings, store: TaskStore, queues: Queues, operations: Operations) -> None:
        self._backoff = Backoff(settings)
        self._store = store
        self._queues = queues
        self._operations = operations

    async def page(
        self,
        owner_id: str,
        limit: int,
        after: str | None = None,
        *,
        status: ProcessingStatus | None = None,
        tag: str | None = None,
        text: str | None = None,
    ) -> tuple[list[TaskSummary], str | None]:
        """Return a person's tasks, the newest first, and where the next page begins.

        `text` is looked for in names, file names and beginnings, whatever the case.
        """
        wanted = text.casefold() if text else None
        found: list[TaskSummary] = []
        last: str | None = None
        async for stored in self._store.each(owner_id, after):
            task = stored.value
            if (status and task.status != status) or (tag and tag.lower() not in task.tags):
                continue
            texts = (task.name, task.file_name or "", task.beginning)
            if wanted and not any(wanted in each.casefold() for each in texts):
                continue
            if len(found) == limit:
                return found, last
            found.append(summarise(task))
            last = stored.key
        return found, None

    async def check_room(self, owner_id: str) -> None:
        """Raise ConflictError for a person who has as many tasks as one may have."""
        check_tasks(await self._store.count(owner_id, MAX_TASKS))

    async def add(self, owner_id: str, content: NewTask) -> TaskDetail:
        """Add a task by hand. Raises ConflictError for a person who has as many as one may have."""
        await self.check_room(owner_id)
        return await self.create(owner_id, content)

    async def create(
        self, owner_id: str, content: NewTask, task_id: str | None = None, file_name: str | None = None
    ) -> TaskDetail:
        """Add a task; a recording may come later. Raises ConflictError for an id that there is."""
        at = now()
        task_id = task_id or new_id(at)
        prompts = await self._store.write_prompts(owner_id, task_id, content.prompts or ())
        task = Task(
            id=task_id,
            owner_id=owner_id,
            name=content.name,
            tags=tuple(content.tags or ()),
            file_name=file_name,
            **_fields(prompts),
            kept_bytes=prompts.size,
            is_edited=bool(content.prompts),
            created_at=at,
            updated_at=at,
        )
        await self._store.add(task, _version(task, "created", owner_id))
        return await self._detail(task)

    async def task(self, owner_id: str, task_id: str) -> Task:
        """Raises NotFoundError."""
        return (await self._store.get(owner_id, task_id)).value

    async def show(self, owner_id: str, task_id: str) -> TaskDetail:
        """Raises NotFoundError."""
        return await self._detail(await self.task(owner_id, task_id))

    async def change(
        self, owner_id: str, task_id: str, content: TaskContent, if_match: frozenset[str] | None
    ) -> TaskDetail:
        """Make a new version of a task.

        Raises NotFoundError, StaleError; ConflictError for a task of which no further version is kept.
        """

        def match(task: Task) -> None:
            if if_match is not None and str(task.version) not in if_match:
                raise StaleError(f"The task is at version {task.version} by now.")

        known = (await self._store.get(owner_id, task_id)).value
        match(known)  # before anything is written for it
        check_versions(known)
        change = await self._prepare(owner_id, task_id, content)

        def check(task: Task) -> Versions:
            match(task)
            return change(task)

        (task,) = await self._store.change(owner_id, [task_id], check)
        return await self._detail(task)

    async def change_all(self, owner_id: str, items: Sequence[TaskChange]) -> list[TaskSummary]:
        """Make a new version of each of these tasks, or of none.

        Raises NotFoundError or ConflictError naming the first that is not there, or has too many already.
        """
        for item in items:
            check_versions((await self._store.get(owner_id, item.id)).value)  # of all, before any is written
        changes = {item.id: await self._prepare(owner_id, item.id, item) for item in items}
        changed = await self._store.change(
            owner_id, [item.id for item in items], lambda task: changes[task.id](task)
        )
        return [summarise(task) for task in changed]

    async def delete(self, owner_id: str, ids: Sequence[str]) -> None:
        """Delete all of these tasks with everything that belongs to them, or none.

        Messages go out before the commit: whatever is cut off, what belongs to them goes too, and what was
        still being written then. Raises NotFoundError naming the first that is not there.
        """
        clear = Clear(owner_id=owner_id, ids=tuple(ids))
        for delay in (_COMMIT_SECONDS, LATE.total_seconds()):
            await self._queues.send(QUEUE, clear, delay)
        await self._store.mark_deleted(owner_id, ids)
        await self._queues.send(QUEUE, clear)

    # History

    async def history(self, owner_id: str, task_id: str) -> list[VersionView]:
        """Return all versions of a task, the newest first. Raises NotFoundError."""
        await self._store.get(owner_id, task_id)
        views = [_view(version) async for version in self._store.versions(owner_id, task_id)]
        return views[::-1]

    async def restore(self, owner_id: str, task_id: str, number: int) -> TaskDetail:
        """Make a new version that is as that one was. Raises as `change` does."""
        await self._store.get(owner_id, task_id)
        old = await self._store.version(owner_id, task_id, number)

        def restore(task: Task) -> Versions:
            check_versions(task)
            again = _next(task, is_edited=True, **{name: getattr(old, name) for name in _VERSIONED})
            return [(again, _version(again, "restored", owner_id, number))]

        (task,) = await self._store.change(owner_id, [task_id], restore)
        return await self._detail(task)

    async def _prepare(self, owner_id: str, task_id: str, content: TaskContent) -> Callable[[Task], Versions]:
        """Write what is large, and return the change of the row."""
        fields: dict[str, Any] = {}
        written = 0
        if content.name is not None:
            fields["name"] = content.name
        if content.tags is not None:
            fields["tags"] = tuple(content.tags)
        if content.prompts is not None:
            prompts = await self._store.write_prompts(owner_id, task_id, content.prompts)
            fields |= {**_fields(prompts), "transcript_prefix": None, "is_edited": True}
            written = prompts.size

        def apply(task: Task) -> Versions:
            if all(getattr(task, name) == value for name, value in fields.items()):
                return []
            check_versions(task)
            changed = _next(task, **fields, kept_bytes=task.kept_bytes + written)
            return [(changed, _version(changed, "edited", owner_id))]

        return apply

    async def _detail(self, task: Task) -> TaskDetail:
        return detail(task, await self._store.prompts(task.prompts_blob))

    # What the transcription says

    async def adopt(
        self,
        owner_id: str,
        task_id: str,
        job_id: str,
        instead_of: Sequence[str | None],
        status: ProcessingStatus,
    ) -> bool:
        """Make a job a task's newest one instead of another; False where there is yet another, or no task."""

        def take(task: Task) -> Task:
            if task.job_id not in instead_of or task.deleted_at is not None:
                return task
            return task.model_copy(update={"job_id": job_id, "status": status})

        changed = await self._store.follow(owner_id, task_id, take)
        return changed is not None and changed.job_id == job_id and changed.deleted_at is None

    async def note(self, owner_id: str, task_id: str, job_id: str, **facts: Any) -> None:
        """Take in what a job says of a task; nothing where the task is gone or has another job by now."""

        def take(task: Task) -> Task:
            if task.job_id != job_id:
                return task
            return task.model_copy(update={**facts, "updated_at": now()})

        await self._store.follow(owner_id, task_id, take)

    async def is_there(self, owner_id: str, task_id: str) -> bool:
        """Tell whether a person has a task."""
        found = await self._store.find(owner_id, task_id)
        return found is not None and found.value.deleted_at is None

    async def newest_job(self, owner_id: str, task_id: str) -> str | None:
        """Return the id of the task's newest job; None without one, or where there is no such task."""
        found = await self._store.find(owner_id, task_id)
        return None if found is None else found.value.job_id

    async def await_files(self, owner_id: str, task_id: str, reason: str) -> None:
        """Say why a task whose files are coming waits; nothing where something has been made of them."""

        def wait(task: Task) -> Task:
            if task.job_id is not None:
                return task
            return task.model_copy(update={"status": "waiting", "reason": reason})

        await self._store.follow(owner_id, task_id, wait)

    async def take_recording(self, owner_id: str, task_id: str, job_id: str, file_name: str) -> bool:
        """Make a job the task's newest one; tell whether the task is there."""
        facts = {"job_id": job_id, "file_name": file_name, "status": "uploaded", "reason": None}
        changed = await self._store.follow(owner_id, task_id, lambda task: task.model_copy(update=facts))
        return changed is not None and changed.deleted_at is None

    async def hear(self, owner_id: str, task_id: str, heard: Heard) -> None:
        """Make what was heard a new version; where a person has changed the prompts, theirs stay the newest.

        Nothing where the task is gone or has another job by now; again changes nothing.
        """
        found = await self._store.find(owner_id, task_id)
        if found is None or found.value.deleted_at is not None:
            return
        prompts = await self._store.write_prompts(owner_id, task_id, heard.prompts)

        def take(task: Task) -> Versions:
            if task.job_id != heard.job_id or task.heard_job_id == heard.job_id:
                return []
            facts = {
                "heard_job_id": heard.job_id,
                "heard_prefix": heard.transcript_prefix,
                "language": heard.language,
                "coverage": heard.coverage,
            }
            fields = {**_fields(prompts), "transcript_prefix": heard.transcript_prefix, "is_edited": False}
            new = _next(task, **facts, **fields, kept_bytes=task.kept_bytes + prompts.size)
            versions = [(new, _version(new, "transcribed", None))]
            if task.is_edited:
                edited = {name: getattr(task, name) for name in (*_VERSIONED, "is_edited")}
                again = _next(new, **edited)
                versions.append((again, _version(again, "restored", None, task.version)))
            return versions

        await self._store.change(owner_id, [task_id], take)

    # What is held about a person

    async def copies(self, owner_id: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yield each task's id with all that is kept of it, every version too, as JSON."""
        async for stored in self._store.each(owner_id):
            task = stored.value
            versions = [
                {
                    **_view(version).model_dump(mode="json"),
                    "prompts": [
                        prompt.model_dump() for prompt in await self._store.prompts(version.prompts_blob)
                    ],
                }
                async for version in self._store.versions(owner_id, task.id)
            ]
            content = {**summarise(task).model_dump(mode="json"), "versions": versions}
            yield task.id, json.dumps(content, indent=2, ensure_ascii=False).encode()

    async def erase(self, owner_id: str) -> None:
        """Remove all tasks of a person, one by one: where it is cut off, the next time goes on from there."""
        tasks = [stored.value async for stored in self._store.all(owner_id)]
        for start in range(0, len(tasks), _MESSAGE_IDS):
            ids = tuple(task.id for task in tasks[start : start + _MESSAGE_IDS])
            await self._queues.send(QUEUE, Clear(owner_id=owner_id, ids=ids), LATE.total_seconds())
        for task in tasks:
            await self.forget(task)
            await self._store.clear(owner_id, task.id)
        await self._store.erase(owner_id)

    # In the background

    async def run(self, body: str) -> None:
        """Do what a message on `tasks-work` asks for. Raises only what nobody foresaw."""
        try:
            clear = Clear.model_validate_json(body)
        except ValidationError:
            _log.error("a message on %s cannot be read and is set aside", QUEUE)
            await self.settle_poison(body)
            return
        await self._backoff.run(self._queues, QUEUE, clear, self._clear)

    async def _clear(self, clear: Clear) -> None:
        for task_id in clear.ids:
            found = await self._store.find(clear.owner_id, task_id)
            if found is not None and found.value.deleted_at is None:
                continue
            if found is not None:
                await self.forget(found.value)
            await self._store.clear(clear.owner_id, task_id)

    async def settle_poison(self, body: str) -> None:
        """Tell a person of what could not be removed, and not whose it is."""
        try:
            detail = "Tasks: " + ", ".join(Clear.model_validate_json(body).ids)[:1000]
        except ValidationError:
            detail = "The message cannot be read."
        await self._operations.raise_alert(
            "poison-message", "What belonged to deleted tasks could not be removed", detail, QUEUE, now()
        )


def _fields(prompts: PromptsRef) -> dict[str, Any]:
    return {
        "prompts_blob": prompts.blob,
        "prompts_count": prompts.count,
        "beginning": prompts.beginning,
    }


def _next(task: Task, **fields: Any) -> Task:
    return task.model_copy(update={**fields, "version": task.version + 1, "updated_at": now()})


def _version(task: Task, cause: Cause, actor_id: str | None, restored_from: int | None = None) -> TaskVersion:
    return TaskVersion(
        **task.model_dump(include={"version", *_VERSIONED}),
        at=task.updated_at,
        actor_id=actor_id,
        cause=cause,
        restored_from=restored_from,
    )


def _view(version: TaskVersion) -> VersionView:
    shown = version.model_dump(exclude={"actor_id", "prompts_blob", "transcript_prefix"})
    return VersionView(**shown, by_me=version.actor_id is not None)
