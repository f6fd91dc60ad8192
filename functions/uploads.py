"""How recordings come in over HTTP: announced and written straight to the storage, or small ones at once."""

from datetime import datetime
from typing import Any

import azure.functions as func
from pydantic import BaseModel, ValidationError

from core.catalog.editing import BookContent
from core.catalog.models import BookDetail
from core.errors import InvalidError
from core.storage.blobs import Link
from core.transcription.metadata import title_from_name
from core.transcription.uploads import AnyUpload, BookUpload, Purpose, UploadRequest
from functions.http import API, Call, Reply, check_id, endpoint
from functions.multipart import Multipart, read_multipart
from functions.requests import fields_of

blueprint = func.Blueprint()

MAX_FILE_BYTES = 25 * 1024 * 1024
MAX_FIELD_BYTES = 64 * 1024
MAX_PARTS = 100


class UploadReply(BaseModel):
    """Where to write the file, until `expires_at`: `Put Blob`, or `Put Block` and `Put Block List`."""

    id: str
    url: str
    expires_at: datetime
    audiobook_id: str | None = None
    task_id: str | None = None


class UploadComplete(BaseModel):
    """The file is there; `status_url` tells how its processing goes."""

    id: str
    audiobook_id: str | None = None
    task_id: str | None = None
    status_url: str


class UploadedBook(BaseModel):
    """The draft that a file becomes."""

    book: BookDetail
    status_url: str


def _reply(upload: AnyUpload, link: Link) -> UploadReply:
    return UploadReply(id=upload.id, url=link.url, expires_at=link.expires_at, **_becomes(upload))


def _becomes(upload: AnyUpload) -> dict[str, str]:
    """Return the id of what an upload becomes, under its name."""
    if isinstance(upload, BookUpload):
        return {"audiobook_id": upload.audiobook_id}
    return {"task_id": upload.task_id}


def _status_url(book_id: str) -> str:
    return f"{API}/audiobooks/{book_id}/processing"


@endpoint(
    blueprint,
    "POST",
    f"{API}/uploads",
    access="listener",
    body=UploadRequest,
    reply=UploadReply,
    status=201,
    failures=(403, 404, 409, 429),
)
async def begin_upload(call: Call[UploadRequest, Any]) -> Reply:
    """Announce a recording, and get an address to write it to, straight into the storage.

    The address writes that one file and nothing else, for half an hour; GET gives another. What arrives there
    becomes this book, a new draft without `audiobook_id` (both take the role publisher), or with the purpose
    `task` a private task: a new one, or `part` of the one that `task_id` names. 413 for a file that
    is too large, 415 for one that is no recording, 429 after too much in a day, 409 for who has
    2,000 tasks. A file that is written again counts again.
    """
    upload, link = await call.services.uploads.begin(call.body, call.user, call.origin)
    return Reply(_reply(upload, link), status=201, headers={"Location": f"{API}/uploads/{upload.id}"})


@endpoint(blueprint, "GET", f"{API}/uploads/{{id}}", access="listener", reply=UploadReply, failures=(409,))
async def renew_upload(call: Call[None, Any]) -> UploadReply:
    """Get another address for an upload of mine that goes on; blocks that have arrived are kept."""
    return _reply(*await call.services.uploads.renew(check_id(call.params["id"]), call.user))


@endpoint(
    blueprint,
    "POST",
    f"{API}/uploads/{{id}}/complete",
    access="listener",
    reply=UploadComplete,
    status=202,
    failures=(409,),
)
async def complete_upload(call: Call[None, Any]) -> UploadComplete:
    """Ask whether the file has arrived as announced.

    The work starts by itself when the file is written, asked for or not. 409 where the file is missing or
    has another size.
    """
    upload = await call.services.uploads.verify(check_id(call.params["id"]), call.user)
    becomes = _becomes(upload)
    book_id = becomes.get("audiobook_id")
    status_url = _status_url(book_id) if book_id else f"{API}/tasks/{becomes['task_id']}"
    return UploadComplete(id=upload.id, status_url=status_url, **becomes)


@endpoint(
    blueprint,
    "POST",
    f"{API}/audiobooks/upload",
    access="publisher",
    body=bytes,
    accepts=("multipart/form-data",),
    max_bytes=MAX_FILE_BYTES + MAX_FIELD_BYTES,
    too_large=f"A file may have 25 MB here; larger ones go to POST {API}/uploads.",
    reply=UploadedBook,
    status=202,
    failures=(409, 429),
)
async def upload_book(call: Call[bytes, Any]) -> Reply:
    """Add a draft together with its recording, of up to 25 MB: `file`, and the book's fields as text.

    Lists (authors, narrators, genres, tags) are sent repeatedly or separated by semicolons; `price` is in
    minor units of `currency`, `series` is followed by `series_position`. Without a title the file's tags
    have the say. Larger files go to `/uploads`.
    """
    form = read_multipart(call.request, "file", max_field_bytes=MAX_FIELD_BYTES, max_parts=MAX_PARTS)
    request, content = request_of(form, "audiobook"), _content(form)
    await call.services.uploads.admit(request, call.user)
    book = await call.services.editing.create(content, call.user, call.origin)
    request = request.model_copy(update={"audiobook_id": book.id})
    await call.services.uploads.receive(request, form.content, call.user, call.origin)
    return Reply(
        UploadedBook(book=book, status_url=_status_url(book.id)),
        status=202,
        headers={"Location": f"{API}/audiobooks/{book.id}"},
    )


def request_of(form: Multipart, purpose: Purpose) -> UploadRequest:
    """Return what the file of a form announces. Raises InvalidError where there is none."""
    if not form.content or not form.file_name:
        raise InvalidError("Check the form.", (("file", "Choose a recording."),))
    try:
        return UploadRequest(
            purpose=purpose,
            filename=form.file_name,
            size_bytes=len(form.content),
            content_type=form.content_type,
        )
    except ValidationError:
        raise InvalidError("Check the form.", (("file", "Give the file a shorter, plain name."),)) from None


def _content(form: Multipart) -> BookContent:
    """Return what the form says of the book. Raises InvalidError naming each field that is wrong."""
    given = {
        name: found for name, values in form.fields.items() if (found := [v for v in values if v.strip()])
    }
    said: dict[str, Any] = {"title": title_from_name(form.file_name)}
    for name, values in given.items():
        match name:
            case "authors" | "narrators" | "genres" | "tags":
                said[name] = [part for value in values for part in value.split(";") if part.strip()]
            case "price":
                said[name] = {"amount": values[0], "currency": given.get("currency", ["USD"])[0]}
            case "series":
                said[name] = {"name": values[0], "position": given.get("series_position", [None])[0]}
            case "currency" | "series_position":
                continue
            case _:
                said[name] = values[0]
    try:
        return BookContent.model_validate(said)
    except ValidationError as error:
        raise InvalidError("Check the form.", fields_of(error)) from None
