"""Private transcription over HTTP: my recordings, what was heard in them, and every version of that."""

from typing import Any

import azure.functions as func
from pydantic import BaseModel

from core.catalog.models import ProcessingStatus
from core.errors import NotFoundError
from core.tasks.models import (
    NewTask,
    TaskChanges,
    TaskContent,
    TaskDetail,
    TaskIds,
    TaskSummary,
    VersionView,
)
from functions.http import API, Call, Listing, Reply, check_id, endpoint

blueprint = func.Blueprint()

MAX_TASK_BYTES = 8 * 1024 * 1024
"""A recording of twenty hours has passages of about 3 MB."""


class TaskListing(Listing):
    """`text` is looked for in names, file names and how texts begin."""

    status: ProcessingStatus | None = None
    tag: str | None = None
    text: str | None = None


class TaskList(BaseModel):
    """My tasks, the newest first."""

    items: list[TaskSummary]
    next_cursor: str | None


class ChangedTasks(BaseModel):
    """Tasks that were changed together."""

    items: list[TaskSummary]


class TaskHistory(BaseModel):
    """All versions of a task, the newest first."""

    items: list[VersionView]


def _reply(task: TaskDetail, status: int = 200, **headers: str) -> Reply:
    return Reply(task, status=status, etag=str(task.version), headers=headers)


@endpoint(blueprint, "GET", f"{API}/tasks", access="listener", query=TaskListing, reply=TaskList)
async def list_tasks(call: Call[None, TaskListing]) -> TaskList:
    """List my tasks, the newest first, by status, tag or text."""
    asked = call.query
    after = call.after if isinstance(call.after, str) else None
    items, following = await call.services.tasks.page(
        call.user.user_id, asked.limit, after, status=asked.status, tag=asked.tag, text=asked.text
    )
    return TaskList(items=items, next_cursor=call.next_cursor(following))


@endpoint(
    blueprint,
    "POST",
    f"{API}/tasks",
    access="listener",
    body=NewTask,
    max_bytes=MAX_TASK_BYTES,
    reply=TaskDetail,
    status=201,
)
async def create_task(call: Call[NewTask, Any]) -> Reply:
    """Add a task by hand, with prompts or without; `/uploads` and `/transcribe` add one with a recording."""
    task = await call.services.tasks.create(call.user.user_id, call.body)
    return _reply(task, 201, Location=f"{API}/tasks/{task.id}")


@endpoint(
    blueprint,
    "PUT",
    f"{API}/tasks",
    access="listener",
    body=TaskChanges,
    max_bytes=MAX_TASK_BYTES,
    reply=ChangedTasks,
    failures=(404,),
)
async def change_tasks(call: Call[TaskChanges, Any]) -> ChangedTasks:
    """Change names, tags or prompts of up to 45 tasks: all of them, or none where one is not mine (404)."""
    changed = await call.services.tasks.change_all(call.user.user_id, call.body.items)
    return ChangedTasks(items=changed)


@endpoint(blueprint, "DELETE", f"{API}/tasks", access="listener", body=TaskIds, status=204, failures=(404,))
async def delete_tasks(call: Call[TaskIds, Any]) -> Reply:
    """Delete up to 45 tasks with their recordings: all of them, or none where one is not mine (404)."""
    await call.services.tasks.delete(call.user.user_id, call.body.ids)
    return Reply(status=204)


@endpoint(blueprint, "GET", f"{API}/tasks/{{id}}", access="listener", reply=TaskDetail)
async def get_task(call: Call[None, Any]) -> Reply:
    """Show a task of mine with all its prompts."""
    return _reply(await call.services.tasks.show(call.user.user_id, check_id(call.params["id"])))


@endpoint(
    blueprint,
    "PUT",
    f"{API}/tasks/{{id}}",
    access="listener",
    body=TaskContent,
    max_bytes=MAX_TASK_BYTES,
    reply=TaskDetail,
    conditional=True,
)
async def change_task(call: Call[TaskContent, Any]) -> Reply:
    """Change name, tags or prompts of a task, as a new version; what is absent stays as it is."""
    task_id = check_id(call.params["id"])
    return _reply(await call.services.tasks.change(call.user.user_id, task_id, call.body, call.if_match))


@endpoint(blueprint, "DELETE", f"{API}/tasks/{{id}}", access="listener", status=204)
async def delete_task(call: Call[None, Any]) -> Reply:
    """Delete a task with its recording, its prompts and its history."""
    await call.services.tasks.delete(call.user.user_id, [check_id(call.params["id"])])
    return Reply(status=204)


@endpoint(blueprint, "GET", f"{API}/tasks/{{id}}/history", access="listener", reply=TaskHistory)
async def list_task_history(call: Call[None, Any]) -> TaskHistory:
    """List the versions of a task: who made each, when, and from what."""
    versions = await call.services.tasks.history(call.user.user_id, check_id(call.params["id"]))
    return TaskHistory(items=versions)


@endpoint(
    blueprint,
    "POST",
    f"{API}/tasks/{{id}}/history/{{version}}/restore",
    access="listener",
    reply=TaskDetail,
)
async def restore_task(call: Call[None, Any]) -> Reply:
    """Make a task again what it was in a version; that is a new version, and none is lost."""
    number = call.params["version"]
    if not number.isdecimal() or len(number) > 6:
        raise NotFoundError("There is no such version.")
    task_id = check_id(call.params["id"])
    return _reply(await call.services.tasks.restore(call.user.user_id, task_id, int(number)))
