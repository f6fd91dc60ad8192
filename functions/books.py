"""What publishers do with their books over HTTP: add, change, publish, withdraw; chapters, cover."""

from datetime import datetime
from typing import Annotated, Any

import azure.functions as func
from pydantic import BaseModel, Field

from core.catalog.covers import MAX_COVER_BYTES
from core.catalog.editing import BookContent, BookPatch, ChapterEntry
from core.catalog.models import BookDetail, BookSummary, ProcessingStatus
from core.transcription.models import Card, ChunkCounts, JobProgress
from functions.catalog import ChapterList
from functions.http import API, Call, Listing, Payload, Reply, check_id, endpoint

blueprint = func.Blueprint()

_PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif")


class OwnBookList(BaseModel):
    """A page of a publisher's books."""

    items: list[BookSummary]
    next_cursor: str | None


class ChaptersRequest(Payload):
    """All chapters of a book, in any order; they may not overlap."""

    items: Annotated[list[ChapterEntry], Field(max_length=2000)]


class Processing(BaseModel):
    """How far a book's audio has come; without audio there is no job."""

    audiobook_id: str
    processing_status: ProcessingStatus
    processing_reason: str | None
    job_id: str | None = None
    chunks: ChunkCounts | None = Field(None, description="Parts of the recording: all, done, failed.")
    attempts: int = 0
    card: Card | None = Field(None, description="What it has cost, and how good it is.")
    updated_at: datetime


def show_processing(
    book_id: str, status: ProcessingStatus, at: datetime, job: JobProgress | None
) -> Processing:
    """Return what a publisher sees of a job."""
    return Processing(
        audiobook_id=book_id,
        processing_status=status,
        processing_reason=job.reason if job else None,
        job_id=job.id if job else None,
        chunks=job.chunks if job else None,
        attempts=job.attempts if job else 0,
        card=job.card if job else None,
        updated_at=job.updated_at if job else at,
    )


def _tagged(book: BookDetail, status: int = 200, **headers: str) -> Reply:
    return Reply(book, status=status, etag=str(book.revision), headers=headers)


@endpoint(blueprint, "GET", f"{API}/audiobooks/mine", access="publisher", query=Listing, reply=OwnBookList)
async def browse_own_books(call: Call[None, Listing]) -> OwnBookList:
    """List my books, drafts too, the newest first; administrators see all books."""
    place = (str(call.after[0]), str(call.after[1])) if call.after else None
    books, following = await call.services.catalog.own(call.user, call.query.limit, place)
    return OwnBookList(items=books, next_cursor=call.next_cursor(following))


@endpoint(
    blueprint,
    "POST",
    f"{API}/audiobooks",
    access="publisher",
    body=BookContent,
    reply=BookDetail,
    status=201,
    failures=(409,),
)
async def create_book(call: Call[BookContent, Any]) -> Reply:
    """Add a draft; its audio comes by `/uploads`.

    409 if another book has the ISBN.
    """
    book = await call.services.editing.create(call.body, call.user, call.origin)
    return _tagged(book, 201, Location=f"{API}/audiobooks/{book.id}")


@endpoint(
    blueprint,
    "PUT",
    f"{API}/audiobooks/{{id}}",
    access="publisher-of-it",
    body=BookContent,
    reply=BookDetail,
    failures=(409,),
    conditional=True,
)
async def replace_book(call: Call[BookContent, Any]) -> Reply:
    """Say all of a book anew; what is left out becomes empty. Visibility stays.

    With `If-Match` only if the book still has that ETag. 409 for an ISBN that another book has, and for a
    published book without a price.
    """
    book_id = check_id(call.params["id"])
    editing = call.services.editing
    return _tagged(await editing.replace(book_id, call.body, call.user, call.origin, call.if_match))


@endpoint(
    blueprint,
    "PATCH",
    f"{API}/audiobooks/{{id}}",
    access="publisher-of-it",
    body=BookPatch,
    reply=BookDetail,
    failures=(409,),
    conditional=True,
)
async def change_book(call: Call[BookPatch, Any]) -> Reply:
    """Change some of a book; `{"visibility": "published"}` puts it on sale.

    That takes audio that is ready and a price, otherwise 409. With `If-Match` only if the book still has
    that ETag.
    """
    book_id = check_id(call.params["id"])
    editing = call.services.editing
    return _tagged(await editing.change(book_id, call.body, call.user, call.origin, call.if_match))


@endpoint(
    blueprint, "DELETE", f"{API}/audiobooks/{{id}}", access="publisher-of-it", status=204, conditional=True
)
async def withdraw_book(call: Call[None, Any]) -> Reply:
    """Withdraw a book: nobody finds or buys it any more, who has bought it keeps it."""
    await call.services.editing.withdraw(check_id(call.params["id"]), call.user, call.origin, call.if_match)
    return Reply(status=204)


@endpoint(
    blueprint,
    "PUT",
    f"{API}/audiobooks/{{id}}/chapters",
    access="publisher-of-it",
    body=ChaptersRequest,
    reply=ChapterList,
    failures=(409,),
    conditional=True,
)
async def replace_book_chapters(call: Call[ChaptersRequest, Any]) -> ChapterList:
    """Replace all chapters of a book that has its audio."""
    book_id, editing = check_id(call.params["id"]), call.services.editing
    chapters = await editing.replace_chapters(book_id, call.body.items, call.user, call.origin, call.if_match)
    return ChapterList(items=chapters)


@endpoint(
    blueprint,
    "POST",
    f"{API}/audiobooks/{{id}}/cover",
    access="publisher-of-it",
    body=bytes,
    accepts=_PICTURES,
    max_bytes=MAX_COVER_BYTES,
    reply=BookDetail,
    conditional=True,
)
async def set_book_cover(call: Call[bytes, Any]) -> Reply:
    """Set the cover: a JPEG, PNG, WebP or GIF of up to 10 MB.

    It is stored in two sizes, as WebP and JPEG, without what the camera noted.
    """
    book_id, editing = check_id(call.params["id"]), call.services.editing
    return _tagged(await editing.set_cover(book_id, call.body, call.user, call.origin, call.if_match))


@endpoint(blueprint, "GET", f"{API}/audiobooks/{{id}}/processing", access="publisher-of-it", reply=Processing)
async def get_book_processing(call: Call[None, Any]) -> Processing:
    """Show how far a book's audio has come."""
    book = await call.services.catalog.managed(check_id(call.params["id"]), call.user)
    job = None if book.job_id is None else await call.services.transcription.progress(book.job_id)
    return show_processing(book.id, book.processing_status, book.updated_at, job)


@endpoint(
    blueprint,
    "POST",
    f"{API}/audiobooks/{{id}}/processing/retry",
    access="publisher-of-it",
    reply=Processing,
    status=202,
    failures=(409,),
)
async def retry_book_processing(call: Call[None, Any]) -> Processing:
    """Try again what has failed; what is done stays done.

    409 unless it has failed, was rejected or cancelled.
    """
    book = await call.services.catalog.managed(check_id(call.params["id"]), call.user)
    job = await call.services.transcription.retry_for(book.job_id)
    return show_processing(book.id, job.status, job.updated_at, job)


@endpoint(
    blueprint,
    "POST",
    f"{API}/audiobooks/{{id}}/processing/rerun",
    access="publisher-of-it",
    reply=Processing,
    status=202,
    failures=(409,),
)
async def rerun_book_processing(call: Call[None, Any]) -> Processing:
    """Hear a recording anew, all of it, with the speech model that is set now.

    The book keeps its transcript until the new one is whole. 409 unless the last work on it is done.
    """
    book = await call.services.catalog.managed(check_id(call.params["id"]), call.user)
    job = await call.services.transcription.hear_anew(book.job_id)
    return show_processing(book.id, job.status, job.updated_at, job)
