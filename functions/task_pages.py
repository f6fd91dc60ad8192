"""The pages of private recordings: all of them, and one with what was heard in it, its versions, its end."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlencode

import azure.functions as func
from pydantic import Field, ValidationError

from core.catalog.models import FINAL_STATUSES, ProcessingStatus
from core.errors import AloudError, ConflictError, InvalidError, NotFoundError
from core.tasks.models import Cause, Task, TaskContent, VersionView, detail
from core.transcription.models import ChunkCounts
from core.transcription.uploads import SUFFIXES
from functions.callers import check_form_token
from functions.forms import Form, explain, faults, parse, read_own_form
from functions.http import Payload, check_id
from functions.multipart import read_multipart
from functions.page import Visit, page, redirect, sign_place
from functions.requests import fields_of
from functions.services import services
from functions.tasks import retry
from functions.uploads import MAX_FIELD_BYTES, MAX_FILE_BYTES, MAX_PARTS, request_of

blueprint = func.Blueprint()

_TASKS_A_PAGE = 20
_PASSAGES = 2000
_VERSIONS = 5
_BEGUN: Mapping[ProcessingStatus, float] = {
    "uploaded": 0.02,
    "planning": 0.05,
    "transcribing": 0.1,
    "assembling": 0.9,
    "enriching": 0.95,
}
_TRANSCRIBING = 0.8
_WORDS: Mapping[ProcessingStatus, str] = {
    "uploaded": "It has arrived and is taken next.",
    "planning": "It is looked into, to be cut where nobody speaks.",
    "transcribing": "It is being heard.",
    "assembling": "What was heard is put together.",
    "enriching": "What was heard is put together.",
}
_CAUSES: Mapping[Cause, str] = {
    "created": "You have made it",
    "transcribed": "The recording was heard",
    "edited": "You have changed it",
    "restored": "Restored",
}


@dataclass(frozen=True)
class Standing:
    """How a task stands: what share is done (None: nobody works on it), and what its owner can do."""

    goes_on: bool
    share: float | None = None
    words: str = ""
    advice: str = ""
    is_bad: bool = False
    can_retry: bool = False


def describe_standing(task: Task, chunks: ChunkCounts | None) -> Standing:
    """Return what a person wants to know of a task besides its text; `chunks` are those of its job."""
    has_failed = task.status in ("rejected", "transcription_failed", "cancelled")
    if task.status in FINAL_STATUSES:
        can_retry = has_failed and task.job_id is not None
        return Standing(goes_on=False, advice=_advise(task), is_bad=has_failed, can_retry=can_retry)
    if task.status == "waiting":
        return Standing(goes_on=bool(task.job_id or task.reason or task.file_name), advice=_advise(task))
    share, words = _BEGUN[task.status], _WORDS[task.status]
    if task.status == "transcribing" and chunks is not None and chunks.total:
        share += _TRANSCRIBING * (chunks.done + chunks.failed) / chunks.total
        words = f"It is being heard: {chunks.done} of {chunks.total} pieces are done."
    return Standing(goes_on=True, share=share, words=words)


def _advise(task: Task) -> str:
    match task.status:
        case "waiting" if task.job_id is not None:
            return (
                "It has arrived, and goes on by itself when there is room again: with the next month at the "
                "latest, or sooner if an administrator allows more. You need not send it again."
            )
        case "waiting" if task.reason is None and task.file_name is not None:
            return (
                "Its file has not arrived. If sending was cut off, choose the same file again under New "
                "recording: it goes on where it stopped. If you do not want it any more, delete this one."
            )
        case "rejected":
            return "Send another file as a new recording, and delete this one; or try again."
        case "transcription_failed":
            return "The administrators have been told. Try again: what was heard stays, the rest is heard."
        case "cancelled":
            return "Nothing is done for it any more. Try again, or delete it."
    return ""


async def _chunks(task: Task) -> ChunkCounts | None:
    if task.status != "transcribing" or task.job_id is None:
        return None
    found = await services().transcription.progress(task.job_id)
    return found.chunks if found else None


class Wish(Payload):
    """Which recordings somebody wants to see, as it stands in the address."""

    status: ProcessingStatus | None = None
    tag: str | None = Field(None, max_length=40)
    text: str | None = Field(None, max_length=200)

    def address(self, **changes: Any) -> str:
        """Return the address of this list with something else in it."""
        said = {name: value for name, value in (self.model_dump() | changes).items() if value}
        return f"/tasks?{urlencode(said)}" if said else "/tasks"


def _read_wish(visit: Visit) -> Wish:
    said = {name: value.strip() for name, value in visit.request.params.items() if value.strip()}
    try:
        return Wish.model_validate({name: said[name] for name in Wish.model_fields if name in said})
    except ValidationError as error:
        field, message = fields_of(error)[0]
        raise InvalidError(f"{field}: {message}") from None


@page(blueprint, "tasks", access="listener", secret=True)
async def page_tasks(visit: Visit) -> func.HttpResponse:
    """One's own recordings, the newest first, and how to send one."""
    return await _show_all(visit, _read_wish(visit), visit.read_place("tasks"))


async def _show_all(
    visit: Visit, wish: Wish, place: Any = None, error: AloudError | None = None, form: Form | None = None
) -> func.HttpResponse:
    user_id = visit.user.user_id
    tasks, following = await services().tasks.page(user_id, _TASKS_A_PAGE, place, **wish.model_dump())
    under_way = [task for task in tasks if task.status not in FINAL_STATUSES]
    rows = await asyncio.gather(*(services().tasks.task(user_id, task.id) for task in under_way))
    counts = await asyncio.gather(*(_chunks(row) for row in rows))
    standings = {task.id: Standing(goes_on=False) for task in tasks}
    standings |= {row.id: describe_standing(row, count) for row, count in zip(rows, counts, strict=True)}
    more = sign_place("tasks", following)
    return visit.render(
        "tasks.html",
        status=error.status if error else 200,
        next_path="/tasks",
        tasks=tasks,
        standings=standings,
        wish=wish,
        is_filtered=wish != Wish(),
        statuses=get_args(ProcessingStatus),
        suffixes=SUFFIXES,
        largest=int(services().settings.max_upload_gb * 10**9),
        after=place is not None,
        more=more and wish.address(after=more),
        values=form or {},
        errors=faults(error) if error else {},
        message=explain(error) if error else "",
    )


@page(blueprint, "tasks", "POST", access="listener", secret=True)
async def page_task_send(visit: Visit) -> func.HttpResponse:
    """Take a small recording from a form, as browsers without scripts send it."""
    said: Form = {}
    try:
        sent = read_multipart(visit.request, "file", max_field_bytes=MAX_FIELD_BYTES, max_parts=MAX_PARTS)
        said = {name: values[0] for name, values in sent.fields.items()}
        check_form_token(visit.user.session_id, said.get("csrf", ""))
        if len(sent.content) > MAX_FILE_BYTES:
            too_large = "Without scripts a file may have 25 MB."
            raise InvalidError("The file is too large.", (("file", too_large),))
        request, content = request_of(sent, "task"), _content(said)
        uploads = services().uploads
        await uploads.admit(request, visit.user)
        upload = await uploads.receive(request, sent.content, visit.user, visit.origin)
        if content.model_fields_set:
            await services().tasks.change(visit.user.user_id, upload.id, content, None)
    except AloudError as error:
        if error.status >= 500:
            raise
        return await _show_all(visit, Wish(), error=error, form=said)
    return redirect(f"/tasks/{upload.id}", news="Your recording has arrived.")


def _content(form: Form) -> TaskContent:
    """Return what a form says of a recording; what is empty is not said. Raises InvalidError."""
    said: dict[str, Any] = {}
    if form.get("name", "").strip():
        said["name"] = form["name"]
    if form.get("tags", "").strip():
        said["tags"] = _split_tags(form["tags"])
    return parse(TaskContent, said)


def _split_tags(text: str) -> list[str]:
    return [tag for tag in (part.strip() for part in text.split(",")) if tag]


@page(blueprint, "tasks/{id}", access="listener", secret=True)
async def page_task(visit: Visit) -> func.HttpResponse:
    """A recording: how it comes along, what was heard, and what can be done with it."""
    return await _show(visit)


async def _show(visit: Visit, error: AloudError | None = None, form: Form | None = None) -> func.HttpResponse:
    if error is not None and (error.status >= 500 or isinstance(error, NotFoundError)):
        raise error
    user_id, task_id = visit.user.user_id, _task_id(visit)
    task = await services().tasks.task(user_id, task_id)
    versions, chunks = await asyncio.gather(services().tasks.history(user_id, task_id), _chunks(task))
    shown = detail(task, ())
    passages = [] if task.parts else (await services().tasks.show(user_id, task_id)).prompts
    return visit.render(
        "task.html",
        status=error.status if error else 200,
        next_path=f"/tasks/{task_id}",
        task=shown,
        standing=describe_standing(task, chunks),
        passages=passages[:_PASSAGES],
        versions=versions,
        few=_VERSIONS,
        causes=_CAUSES,
        newer_heard=_newer_heard(versions),
        values=form or {},
        errors=faults(error) if error else {},
        message=explain(error) if error else "",
    )


def _newer_heard(versions: list[VersionView]) -> int | None:
    """Return the version that was heard last, where changes of before were kept in its place."""
    if len(versions) > 1 and versions[0].cause == "restored" and not versions[0].by_me:
        return versions[1].version
    return None


@page(blueprint, "tasks/{id}", "POST", access="listener", secret=True)
async def page_task_change(visit: Visit) -> func.HttpResponse:
    """Give a recording another name, or other tags."""
    form: Form = {}
    try:
        form = read_own_form(visit)
        said = {"name": form.get("name", ""), "tags": _split_tags(form.get("tags", ""))}
        content = parse(TaskContent, said)
        task = await services().tasks.change(visit.user.user_id, _task_id(visit), content, None)
    except AloudError as error:
        return await _show(visit, error, form)
    return redirect(f"/tasks/{task.id}", news="Name and tags are saved.")


@page(blueprint, "tasks/{id}/restore", "POST", access="listener", secret=True)
async def page_task_restore(visit: Visit) -> func.HttpResponse:
    """Make a recording again what it was in a version."""
    try:
        number = read_own_form(visit).get("version", "")
        if not (number.isdecimal() and len(number) <= 6):
            raise NotFoundError("There is no such version.")
        task = await services().tasks.restore(visit.user.user_id, _task_id(visit), int(number))
    except AloudError as error:
        return await _show(visit, error)
    return redirect(f"/tasks/{task.id}", news=f"It is again as it was in version {number}.")


@page(blueprint, "tasks/{id}/retry", "POST", access="listener", secret=True)
async def page_task_retry(visit: Visit) -> func.HttpResponse:
    """Try again what has failed; what was heard stays."""
    try:
        read_own_form(visit)
        task = await retry(services(), visit.user.user_id, _task_id(visit))
    except AloudError as error:
        return await _show(visit, error)
    return redirect(f"/tasks/{task.id}", news="It is tried again.")


@page(blueprint, "tasks/{id}/delete", "POST", access="listener", secret=True)
async def page_task_delete(visit: Visit) -> func.HttpResponse:
    """Delete a recording with all that belongs to it, once its owner has said so twice."""
    try:
        form = read_own_form(visit)
        task = await services().tasks.task(visit.user.user_id, _task_id(visit))
        if form.get("sure") != "yes":
            raise ConflictError("Tick the box to say that you mean it. Nothing was deleted.")
        await services().recordings.delete(visit.user.user_id, [task.id])
    except AloudError as error:
        return await _show(visit, error)
    return redirect("/tasks", news=f"“{task.name}” is deleted.")


def _task_id(visit: Visit) -> str:
    return check_id(visit.request.route_params["id"])
