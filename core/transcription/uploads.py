"""Uploads that were announced: who may write which file, what it becomes, and how much a day."""

import re
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from core.caller import Caller, Origin
from core.catalog.models import Book
from core.catalog.service import Catalog
from core.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ThrottledError,
    TooLargeError,
    UnsupportedMediaError,
)
from core.ids import ID_PATTERN, new_id, now
from core.operations.service import Operations
from core.settings import Settings
from core.storage.blobs import BlobFacts, Container, Link
from core.storage.tables import Stored, Table
from core.tasks.models import NewTask
from core.tasks.service import Tasks
from core.transcription.metadata import title_from_name

MORE_MAY_COME = "More files may come: the work begins when none has come for a while."
_ARRIVED = "The recording has arrived: the work begins in a moment."
_BOOK, _PLACE = "upload", "place"
_LINK_LIFE = timedelta(minutes=30)
_UPLOAD_LIFE = timedelta(days=7)  # then the storage forgets blocks that were not put together
_GIGABYTE = 10**9
_UPLOADS_A_TASK = 2_000  # twice as many files as a recording may have
SUFFIXES = (".mp3", ".m4b", ".m4a", ".mp4", ".aac", ".flac", ".ogg", ".oga", ".opus", ".wav")
_TYPES = ("application/octet-stream", "application/ogg", "video/mp4")


Purpose = Literal["audiobook", "task"]


class UploadRequest(BaseModel):
    """What is going to be uploaded: a file of a book or of a private task, without an id of a new one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: Purpose
    filename: Annotated[str, StringConstraints(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f\x7f]+$")]
    size_bytes: int = Field(gt=0)
    content_type: Annotated[str, StringConstraints(max_length=100)]
    audiobook_id: Annotated[str, StringConstraints(pattern=ID_PATTERN)] | None = None
    task_id: Annotated[str, StringConstraints(pattern=ID_PATTERN)] | None = None
    part: int | None = Field(
        None,
        ge=0,
        le=9999,
        description="Its place among the files of a recording; without it, the file is all of it.",
    )

    @model_validator(mode="after")
    def _check_purpose(self) -> Self:
        if (self.audiobook_id if self.purpose == "task" else self.task_id) is not None:
            raise ValueError("a file is of a book or of a task, as its purpose says")
        if self.task_id is not None and self.part is None:
            raise ValueError("name the part that this file is of the task")
        return self


class Upload(BaseModel):
    """What the rows of announced uploads have in common: whose file will be at `blob_name`.

    `counted` is the version of the file that was examined last, whose bytes were counted unless there is a
    `refusal`.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    owner_id: str
    blob_name: str
    file_name: str
    size: int
    content_type: str
    created_at: datetime
    counted: str | None = None
    refusal: str | None = None


class BookUpload(Upload):
    """Row `upload` of `uploads`, one partition an upload: the file belongs to this book."""

    audiobook_id: str
    part: int | None = None


class TaskUpload(Upload):
    """Row `task_{upload id}` of `uploads`, one partition a task: the file belongs to this task.

    A task has the id of its first upload.
    """

    task_id: str
    part: int | None = None


class TaskPlace(BaseModel):
    """Row `place` of `uploads`, one partition an upload: in which task's partition the upload is."""

    model_config = ConfigDict(frozen=True)

    task_id: str


AnyUpload = BookUpload | TaskUpload


class Allowance(BaseModel):
    """Row of `uploads`, a partition a person, a row a day: how many bytes were announced."""

    model_config = ConfigDict(frozen=True)

    announced: int = 0


class Uploads:
    def __init__(
        self,
        settings: Settings,
        table: Table,
        books: Container,
        recordings: Container,
        catalog: Catalog,
        tasks: Tasks,
        operations: Operations,
    ) -> None:
        self._largest = int(settings.max_upload_gb * _GIGABYTE)
        self._daily = int(settings.upload_gb_per_day * _GIGABYTE)
        self._table = table
        self._books = books
        self._recordings = recordings
        self._catalog = catalog
        self._tasks = tasks
        self._operations = operations

    async def begin(self, request: UploadRequest, caller: Caller, origin: Origin) -> tuple[AnyUpload, Link]:
        """Note whose file will come, and return a link that writes that one blob and nothing else.

        Raises ForbiddenError for who is no publisher (of the book), NotFoundError for a book or a task that
        is not theirs to know of, TooLargeError, UnsupportedMediaError, ConflictError for who has too many
        tasks, and ThrottledError after too much in a day.
        """
        await self.admit(request, caller)
        upload = await self._announce(request, caller, origin)
        return upload, await self._container(upload).write_link(upload.blob_name, _LINK_LIFE)

    async def admit(self, request: UploadRequest, caller: Caller) -> None:
        """Check what is going to come, and count its bytes. Raises as `begin` does."""
        self._check(request, caller)
        if request.audiobook_id is not None:
            await self._catalog.managed(request.audiobook_id, caller)
        if request.task_id is not None:
            await self._tasks.task(caller.user_id, request.task_id)
            if len(await self.of_task(request.task_id)) >= _UPLOADS_A_TASK:
                raise ConflictError("Too many files were announced for this task; begin a new one.")
        elif request.purpose == "task":
            await self._tasks.check_room(caller.user_id)
        if not caller.is_admin:
            await self._reserve(caller.user_id, request.size_bytes, now())

    async def examine(self, upload: AnyUpload, facts: BlobFacts) -> str | None:
        """Return why a file that has come is not taken, if so; the same version of it gets the same answer.

        What is written again by the same link counts again.
        """
        if upload.counted == facts.etag:
            return upload.refusal
        refusal = find_mismatch(upload, facts.size)
        if not upload.owner_id:
            refusal = "Who has announced this file has left."
        elif refusal is None and upload.counted is not None:
            try:
                await self._reserve(upload.owner_id, upload.size, now())
            except ThrottledError as error:
                refusal = error.detail
        await self._note(upload, counted=facts.etag, refusal=refusal)
        return refusal

    async def _note(self, upload: AnyUpload, **found: Any) -> None:
        if isinstance(upload, BookUpload):
            keys = (upload.id, _BOOK)
            await self._table.update(BookUpload, *keys, lambda row: row.model_copy(update=found))
        else:
            keys = (upload.task_id, _task_key(upload.id))
            await self._table.update(TaskUpload, *keys, lambda row: row.model_copy(update=found))

    async def receive(
        self, request: UploadRequest, content: bytes, caller: Caller, origin: Origin
    ) -> AnyUpload:
        """Take a small file that was admitted; when it is written, the work starts as with any drop."""
        upload = await self._announce(request, caller, origin)
        await self._container(upload).write(upload.blob_name, content, upload.content_type)
        await self._tell_arrival(upload)
        return upload

    async def _tell_arrival(self, upload: AnyUpload) -> None:
        """Show that a task's file is there; what begins the work takes a moment to notice it."""
        if isinstance(upload, TaskUpload):
            reason = _ARRIVED if upload.part is None else MORE_MAY_COME
            await self._tasks.await_files(upload.owner_id, upload.task_id, reason)

    async def renew(self, upload_id: str, caller: Caller) -> tuple[AnyUpload, Link]:
        """Return a new link for an upload that goes on. Raises NotFoundError, ConflictError after a week."""
        upload = await self._own(upload_id, caller)
        if upload.created_at < now() - _UPLOAD_LIFE:
            raise ConflictError("This upload is over a week old; begin another.")
        return upload, await self._container(upload).write_link(upload.blob_name, _LINK_LIFE)

    async def verify(self, upload_id: str, caller: Caller) -> AnyUpload:
        """Check that the file has arrived as announced. Raises NotFoundError, ConflictError."""
        upload = await self._own(upload_id, caller)
        try:
            size = (await self._container(upload).facts(upload.blob_name)).size
        except NotFoundError:
            missing = "The file has not arrived yet: put its blocks together first."
            raise ConflictError(upload.refusal or missing) from None
        if size != upload.size:
            raise ConflictError(_mismatch(size, upload.size))
        await self._tell_arrival(upload)
        return upload

    def _container(self, upload: AnyUpload) -> Container:
        return self._books if isinstance(upload, BookUpload) else self._recordings

    async def of_task(self, task_id: str) -> list[TaskUpload]:
        """Return the uploads that were announced for a task, the oldest first."""
        return [stored.value async for stored in self._table.each(TaskUpload, task_id, _task_key(""))]

    async def forget_task(self, task_id: str) -> None:
        """Forget the files of a task, but not that some were announced: they may still come."""
        for upload in await self.of_task(task_id):
            with suppress(NotFoundError):
                await self._note(upload, owner_id="", blob_name="", file_name="")

    async def erase(self, owner_id: str) -> None:
        """Forget whose the files of books were, and how much a person has uploaded.

        What still comes by a link of theirs is not taken.
        """
        condition = "RowKey eq @key and owner_id eq @owner"
        async for stored in self._table.each(
            BookUpload, None, condition=condition, key=_BOOK, owner=owner_id
        ):
            await self._note(stored.value, owner_id="", file_name="")
        await self._table.erase(f"user-{owner_id}")

    async def of_drop(self, blob_name: str) -> BookUpload | None:
        """Return the upload that a dropped file belongs to, None for one that nobody has announced."""
        folder, slash, _ = blob_name.partition("/")
        if not slash or not re.fullmatch(ID_PATTERN, folder):
            return None
        found = await self._table.find(BookUpload, folder, _BOOK)
        return None if found is None else found.value

    async def _own(self, upload_id: str, caller: Caller) -> AnyUpload:
        rows = await self._table.partition(upload_id)
        book, place = rows.find(BookUpload, _BOOK), rows.find(TaskPlace, _PLACE)
        found: Stored[BookUpload] | Stored[TaskUpload] | None = book
        if place is not None:
            found = await self._table.find(TaskUpload, place.value.task_id, _task_key(upload_id))
        if found is None or found.value.owner_id != caller.user_id:
            raise NotFoundError("You have no such upload.")
        return found.value

    async def _announce(self, request: UploadRequest, caller: Caller, origin: Origin) -> AnyUpload:
        suffix = self._check(request, caller)
        at = now()
        upload_id = new_id(at)
        facts: dict[str, Any] = {
            "id": upload_id,
            "owner_id": caller.user_id,
            "file_name": request.filename,
            "size": request.size_bytes,
            "content_type": request.content_type,
            "created_at": at,
        }
        if request.purpose == "task":
            task_id = request.task_id or upload_id
            name = f"{caller.user_id}/{task_id}/{upload_id}/audio{suffix}"
            task = TaskUpload(**facts, blob_name=name, task_id=task_id, part=request.part)
            await self._table.insert(task, task_id, _task_key(upload_id))
            await self._table.insert(TaskPlace(task_id=task_id), upload_id, _PLACE)
            if request.task_id is None:
                new = NewTask(name=title_from_name(request.filename)[:200])
                await self._tasks.create(caller.user_id, new, task_id, request.filename)
            return task
        upload = BookUpload(
            **facts,
            blob_name=f"{upload_id}/audio{suffix}",
            audiobook_id=request.audiobook_id or new_id(at),
            part=request.part,
        )
        await self._operations.record("upload.begun", caller.user_id, upload.audiobook_id, origin, upload.id)
        await self._table.insert(upload, upload.id, _BOOK)
        if request.audiobook_id is None:
            await self._catalog.create(draft_of(upload))
        return upload

    def _check(self, request: UploadRequest, caller: Caller) -> str:
        """Return the suffix that the file gets with us. Raises as `begin` does, but for quota and book."""
        if request.purpose == "audiobook" and not caller.roles & {"publisher", "admin"}:
            raise ForbiddenError("This needs the role publisher.")
        if request.size_bytes > self._largest:
            raise TooLargeError(f"A file may have {self._largest / _GIGABYTE:g} GB.")
        media_type = request.content_type.partition(";")[0].strip().lower()
        suffix = PurePosixPath(request.filename).suffix.lower()
        if suffix not in SUFFIXES or not (media_type.startswith("audio/") or media_type in _TYPES):
            raise UnsupportedMediaError(f"Send a recording: {', '.join(SUFFIXES)}.")
        return suffix

    async def _reserve(self, user_id: str, size: int, at: datetime) -> None:
        """Count bytes before they come, so that no number of requests side by side gets past the limit."""

        def add(row: Allowance) -> Allowance:
            if row.announced + size > self._daily:
                midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
                raise ThrottledError(
                    f"You can upload {self._daily / _GIGABYTE:g} GB a day; go on tomorrow.",
                    (midnight - at).total_seconds(),
                )
            return Allowance(announced=row.announced + size)

        keys = (f"user-{user_id}", f"day-{at:%Y-%m-%d}")
        if await self._table.find(Allowance, *keys) is None:
            with suppress(ConflictError):
                await self._table.insert(Allowance(), *keys)
        await self._table.update(Allowance, *keys, add)


def _task_key(upload_id: str) -> str:
    return f"task_{upload_id}"


def draft_of(upload: BookUpload) -> Book:
    """Return the book that an upload becomes, as it is before anything is known of the file."""
    at = upload.created_at
    return Book(
        id=upload.audiobook_id,
        owner_id=upload.owner_id,
        title=title_from_name(upload.file_name),
        created_at=at,
        updated_at=at,
    )


def find_mismatch(upload: Upload | None, size: int) -> str | None:
    """Return why a file is not the one that was announced, None if it is or nobody has announced it."""
    return None if upload is None or upload.size == size else _mismatch(size, upload.size)


def _mismatch(size: int, announced: int) -> str:
    return f"The file has {size} bytes, {announced} were announced."
