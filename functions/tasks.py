"""Private transcription over HTTP: my recordings, what was heard in them, and every version of that."""

from collections.abc import Mapping
from typing import Any

import azure.functions as func
from pydantic import BaseModel, Field, ValidationError

from core.catalog.models import FINAL_STATUSES, ProcessingStatus
from core.errors import ConflictError, InvalidError, NotFoundError
from core.tasks.models import (
    NewTask,
    Task,
    TaskChanges,
    TaskContent,
    TaskDetail,
    TaskIds,
    TaskSummary,
    VersionView,
    summarise,
)
from core.wiring import Services
from functions.http import API, Call, Listing, Payload, Reply, check_id, endpoint
from functions.media import FORM_TYPES, LinkReply, StreamQuery, TranscriptQuery, lead_to, show_transcript
from functions.multipart import read_multipart
from functions.requests import fields_of
from functions.uploads import MAX_FIELD_BYTES, MAX_FILE_BYTES, MAX_PARTS, request_of

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
    failures=(409,),
)
async def create_task(call: Call[NewTask, Any]) -> Reply:
    """Add a task by hand, with prompts or without; `/uploads` and `/transcribe` add one with a recording.

    409 for who has 2,000 tasks: delete some first.
    """
    task = await call.services.tasks.add(call.user.user_id, call.body)
    return _reply(task, 201, Location=f"{API}/tasks/{task.id}")


@endpoint(
    blueprint,
    "PUT",
    f"{API}/tasks",
    access="listener",
    body=TaskChanges,
    max_bytes=MAX_TASK_BYTES,
    reply=ChangedTasks,
    failures=(404, 409),
)
async def change_tasks(call: Call[TaskChanges, Any]) -> ChangedTasks:
    """Change names, tags or prompts of up to 45 tasks: all of them, or none where one is not mine (404).

    409 where one has as many versions as are kept.
    """
    changed = await call.services.tasks.change_all(call.user.user_id, call.body.items)
    return ChangedTasks(items=changed)


@endpoint(blueprint, "DELETE", f"{API}/tasks", access="listener", body=TaskIds, status=204, failures=(404,))
async def delete_tasks(call: Call[TaskIds, Any]) -> Reply:
    """Delete up to 45 tasks with their recordings: all of them, or none where one is not mine (404)."""
    await call.services.recordings.delete(call.user.user_id, call.body.ids)
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
    failures=(409,),
)
async def change_task(call: Call[TaskContent, Any]) -> Reply:
    """Change name, tags or prompts of a task, as a new version; what is absent stays as it is.

    409 for a task that has 1,000 versions, or 64 MB of text in them: go on in a new one.
    """
    task_id = check_id(call.params["id"])
    return _reply(await call.services.tasks.change(call.user.user_id, task_id, call.body, call.if_match))


@endpoint(blueprint, "DELETE", f"{API}/tasks/{{id}}", access="listener", status=204)
async def delete_task(call: Call[None, Any]) -> Reply:
    """Delete a task with its recording, its prompts and its history."""
    await call.services.recordings.delete(call.user.user_id, [check_id(call.params["id"])])
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
    failures=(409,),
)
async def restore_task(call: Call[None, Any]) -> Reply:
    """Make a task again what it was in a version; that is a new version, and none is lost."""
    number = call.params["version"]
    if not number.isdecimal() or len(number) > 6:
        raise NotFoundError("There is no such version.")
    task_id = check_id(call.params["id"])
    return _reply(await call.services.tasks.restore(call.user.user_id, task_id, int(number)))


@endpoint(
    blueprint,
    "GET",
    f"{API}/tasks/{{id}}/transcript",
    access="listener",
    query=TranscriptQuery,
    content_types=tuple(FORM_TYPES.values()),
    failures=(409,),
)
async def get_task_transcript(call: Call[None, TranscriptQuery]) -> Reply:
    """Read a task's text: timed segments as JSON, plain text, SRT or WebVTT, with the changes that I made."""
    form, task_id = call.query.format, check_id(call.params["id"])
    content, name = await call.services.recordings.transcript(call.user.user_id, task_id, form)
    return show_transcript(content, form, name)


@endpoint(
    blueprint,
    "GET",
    f"{API}/tasks/{{id}}/audio",
    access="listener",
    query=StreamQuery,
    reply=LinkReply,
    status=302,
    failures=(409,),
)
async def get_task_audio(call: Call[None, StreamQuery]) -> Reply:
    """Go to the recording, which serves ranges; with `redirect=false`: 200 and the address as JSON.

    `part` picks one of several files.
    """
    task_id, part = check_id(call.params["id"]), call.query.part
    link = await call.services.recordings.audio(call.user.user_id, task_id, part)
    return lead_to(link, call.query)


@endpoint(
    blueprint,
    "POST",
    f"{API}/tasks/{{id}}/retry",
    access="listener",
    reply=TaskSummary,
    status=202,
    failures=(409,),
)
async def retry_task(call: Call[None, Any]) -> TaskSummary:
    """Try again what has failed; what was heard stays.

    409 unless it has failed, was rejected or cancelled, and where the month's budget is used up.
    """
    return summarise(await retry(call.services, call.user.user_id, check_id(call.params["id"])))


async def retry(services: Services, user_id: str, task_id: str) -> Task:
    """Have the newest job of a task of mine run again. Raises NotFoundError, ConflictError."""
    task = await services.tasks.task(user_id, task_id)
    if task.job_id is None:
        raise ConflictError("This task has no recording yet.")
    await services.transcription.retry(task.job_id)
    return await services.tasks.task(user_id, task_id)


class TranscribeQuery(Payload):
    """`wait` this many seconds for the text."""

    wait: int = Field(0, ge=0, le=60)


class Transcription(BaseModel):
    """The task that a recording has become; `text` once it is there."""

    task: TaskSummary
    text: str | None
    status_url: str


@endpoint(
    blueprint,
    "POST",
    f"{API}/transcribe",
    access="listener",
    query=TranscribeQuery,
    body=bytes,
    accepts=("multipart/form-data",),
    max_bytes=MAX_FILE_BYTES + MAX_FIELD_BYTES,
    too_large=f"A file may have 25 MB here; larger ones go to POST {API}/uploads with the purpose task.",
    reply=Transcription,
    status=202,
    failures=(409, 429),
    other={200: ("The text is there.", Transcription)},
)
async def transcribe(call: Call[bytes, TranscribeQuery]) -> Reply:
    """Send a recording of up to 25 MB as `file`, and get its text: it becomes a private task.

    With `wait`, 200 and the text if it is there by then; otherwise 202, and the task tells how it goes.
    409 for who has 2,000 tasks, 429 after too much in a day.
    `name` and `tags` (repeated, or separated by semicolons) may be sent along.
    """
    form = read_multipart(call.request, "file", max_field_bytes=MAX_FIELD_BYTES, max_parts=MAX_PARTS)
    request = request_of(form, "task")
    said = _said(form.fields)
    services, user_id = call.services, call.user.user_id
    await services.uploads.admit(request, call.user)
    upload = await services.uploads.receive(request, form.content, call.user, call.origin)
    if said.model_fields_set:
        await services.tasks.change(user_id, upload.id, said, None)
    task = await services.recordings.wait(user_id, upload.id, call.query.wait)
    is_done = task.status in FINAL_STATUSES
    text = " ".join(prompt.text for prompt in task.prompts) if task.status == "ready" else None
    summary = TaskSummary(**task.model_dump(include=set(TaskSummary.model_fields)))
    at = f"{API}/tasks/{upload.id}"
    return Reply(
        Transcription(task=summary, text=text, status_url=at),
        status=200 if is_done else 202,
        headers={"Location": at},
    )


def _said(fields: Mapping[str, list[str]]) -> TaskContent:
    """Return what a form says besides its file. Raises InvalidError naming each field that is wrong."""
    said: dict[str, Any] = {name: values[0] for name, values in fields.items() if name != "tags"}
    if "tags" in fields:
        said["tags"] = [tag for value in fields["tags"] for tag in value.split(";") if tag.strip()]
    if "prompts" in said:
        raise InvalidError("Check the form.", (("prompts", "are what comes out of it"),))
    try:
        return TaskContent.model_validate(said)
    except ValidationError as error:
        raise InvalidError("Check the form.", fields_of(error)) from None
