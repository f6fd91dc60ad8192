"""Where tasks are kept: rows in the table `tasks`, a partition a person; recordings in the container `tasks`,
what was made of them in `private`, both in folders `{person}/{task}/`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.errors import NotFoundError, StaleError, UnavailableError
from core.ids import inverted, is_id, new_id, now, time_of
from core.storage.blobs import Container
from core.storage.tables import Insert, Operation, Replace, Stored, Table
from core.tasks.models import Prompt, Prompts, Task, TaskVersion

_TRIES = 5
_BEGINNING = 300

Change = Callable[[Task], Sequence[tuple[Task, TaskVersion]]]


@dataclass(frozen=True)
class PromptsRef:
    """What rows say of passages: the blob that holds them, how many, and how the text begins."""

    blob: str | None
    count: int
    beginning: str
    size: int = 0


class TaskStore:
    def __init__(self, tasks: Table, private: Container, recorded: Container) -> None:
        self._tasks = tasks
        self._private = private
        self._recorded = recorded

    async def add(self, task: Task, version: TaskVersion) -> None:
        """Raises ConflictError if the id is taken."""
        await self._tasks.transact(
            task.owner_id, [Insert(_task_key(task.id), task), Insert(_version_key(task.id, 1), version)]
        )

    async def find(self, owner_id: str, task_id: str) -> Stored[Task] | None:
        """Return a task, one that is being removed too; None where there is none."""
        if not is_id(task_id):
            return None
        return await self._tasks.find(Task, owner_id, _task_key(task_id))

    async def get(self, owner_id: str, task_id: str) -> Stored[Task]:
        """Raises NotFoundError, for one that is being removed as well; it names the task."""
        found = await self.find(owner_id, task_id)
        if found is None or found.value.deleted_at is not None:
            raise NotFoundError(f"You have no task {task_id}.")
        return found

    async def each(self, owner_id: str, after: str | None = None) -> AsyncIterator[Stored[Task]]:
        """Yield a person's tasks, the newest first, those after the row key `after`."""
        async for stored in self.all(owner_id, after):
            if stored.value.deleted_at is None:
                yield stored

    def all(self, owner_id: str, after: str | None = None) -> AsyncIterator[Stored[Task]]:
        """Yield a person's tasks as `each` does, and those that are being removed."""
        return self._tasks.each(Task, owner_id, "task_", after)

    async def count(self, owner_id: str, at_most: int) -> int:
        """Return how many tasks a person has, up to a number; those that are being removed count too."""
        return await self._tasks.count(owner_id, "task_", at_most)

    async def change(self, owner_id: str, ids: Sequence[str], change: Change) -> list[Task]:
        """Change all of these tasks, each with its new versions, or none of them.

        `change` returns the versions that follow, none for a task that stays as it is; it is asked again
        where another was faster. Returns the tasks as they are then.
        Raises NotFoundError naming the first that is not there.
        """
        for _ in range(_TRIES):
            stored = [await self.get(owner_id, task_id) for task_id in ids]
            changed = [change(task.value) for task in stored]
            operations: list[Operation] = []
            for before, steps in zip(stored, changed, strict=True):
                if steps:
                    operations.append(Replace(before, steps[-1][0]))
                operations += [Insert(_version_key(t.id, v.version), v) for t, v in steps]
            try:
                await self._tasks.transact(owner_id, operations)
            except (StaleError, NotFoundError):
                continue
            return [
                steps[-1][0] if steps else before.value for before, steps in zip(stored, changed, strict=True)
            ]
        raise UnavailableError("These tasks change too often.", retry_after=1)

    async def follow(self, owner_id: str, task_id: str, change: Callable[[Task], Task]) -> Task | None:
        """Change what the transcription says of a task, which makes no version; None where it is gone."""
        with suppress(NotFoundError):
            return await self._tasks.update(Task, owner_id, _task_key(task_id), change)
        return None

    async def version(self, owner_id: str, task_id: str, number: int) -> TaskVersion:
        """Raises NotFoundError."""
        found = await self._tasks.find(TaskVersion, owner_id, _version_key(task_id, number))
        if found is None:
            raise NotFoundError(f"This task has no version {number}.")
        return found.value

    async def versions(self, owner_id: str, task_id: str) -> AsyncIterator[TaskVersion]:
        """Yield all versions of a task, the oldest first."""
        async for stored in self._tasks.each(TaskVersion, owner_id, f"history_{task_id}_"):
            yield stored.value

    # Passages and recordings

    async def write_prompts(self, owner_id: str, task_id: str, prompts: Sequence[Prompt]) -> PromptsRef:
        """Write passages where nothing overwrites them, and return what rows say of them."""
        if not prompts:
            return PromptsRef(None, 0, "")
        name = f"{folder_of(owner_id, task_id)}prompts-{new_id()}.json"
        content = Prompts(items=tuple(prompts)).model_dump_json().encode()
        await self._private.write(name, content, "application/json")
        return PromptsRef(name, len(prompts), _begin(prompts), len(content))

    async def prompts(self, blob: str | None) -> tuple[Prompt, ...]:
        """Return the passages that a row names."""
        if blob is None:
            return ()
        return Prompts.model_validate_json(await self._private.read(blob)).items

    # The end

    async def mark_deleted(self, owner_id: str, ids: Sequence[str]) -> None:
        """Take all of these tasks away, or none. Raises NotFoundError naming the first that is not there."""
        for _ in range(_TRIES):
            stored = [await self.get(owner_id, task_id) for task_id in ids]
            gone = {"deleted_at": now(), "updated_at": now()}
            try:
                await self._tasks.transact(
                    owner_id, [Replace(task, task.value.model_copy(update=gone)) for task in stored]
                )
            except (StaleError, NotFoundError):
                continue
            return
        raise UnavailableError("These tasks change too often.", retry_after=1)

    async def clear(self, owner_id: str, task_id: str) -> None:
        """Remove all that belongs to a task that is gone or marked as deleted; its own row goes last."""
        for container in (self._recorded, self._private):
            await container.delete_prefix(folder_of(owner_id, task_id))
        async for stored in self._tasks.each(TaskVersion, owner_id, f"history_{task_id}_"):
            await self._tasks.delete(owner_id, stored.key)
        await self._tasks.delete(owner_id, _task_key(task_id))

    async def erase(self, owner_id: str) -> None:
        """Remove all tasks of a person."""
        for container in (self._recorded, self._private):
            await container.delete_prefix(f"{owner_id}/")
        await self._tasks.erase(owner_id)


def folder_of(owner_id: str, task_id: str) -> str:
    """Return where in a container a task's blobs are."""
    return f"{owner_id}/{task_id}/"


def _task_key(task_id: str) -> str:
    """Return the row key of a task: its id tells when it was made, and the newest come first."""
    return f"task_{inverted(time_of(task_id))}_{task_id}"


def _version_key(task_id: str, number: int) -> str:
    return f"history_{task_id}_{number:06d}"


def _begin(prompts: Sequence[Prompt]) -> str:
    """Return how the text begins, on one line."""
    words: list[str] = []
    for prompt in prompts:
        words += prompt.text.split()
        if sum(len(word) + 1 for word in words) > _BEGINNING:
            break
    return " ".join(words)[:_BEGINNING]
