"""The catalog over HTTP: browse, book, chapters, and, for those who may hear it, audio and transcript."""

from datetime import datetime
from typing import Any

import azure.functions as func
from pydantic import BaseModel

from core.catalog.models import BookDetail, BookSummary, Chapter
from core.catalog.service import TranscriptForm
from functions.http import API, Call, Listing, Payload, Reply, check_id, endpoint

blueprint = func.Blueprint()

_FORM_TYPES = {
    "json": "application/json",
    "txt": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}


class BookList(BaseModel):
    """A page of books."""

    items: list[BookSummary]
    next_cursor: str | None
    total: int


class ChapterList(BaseModel):
    """All chapters of a book."""

    items: list[Chapter]


class StreamQuery(Payload):
    """`redirect=false` answers with the address in place of a redirect to it."""

    redirect: bool = True


class TranscriptQuery(Payload):
    """The transcript's form."""

    format: TranscriptForm = "json"


class LinkReply(BaseModel):
    """An address that ends at `expires_at`."""

    url: str
    expires_at: datetime


@endpoint(blueprint, "GET", f"{API}/audiobooks", query=Listing, reply=BookList)
async def browse_books(call: Call[None, Listing]) -> BookList:
    """List published books, newest first."""
    after = (str(call.after[0]), str(call.after[1])) if call.after else None
    shelf = await call.services.catalog.browse(call.query.limit, after)
    return BookList(items=shelf.items, next_cursor=call.next_cursor(shelf.after), total=shelf.total)


@endpoint(blueprint, "GET", f"{API}/audiobooks/{{id}}", reply=BookDetail)
async def get_book(call: Call[None, Any]) -> Reply:
    """Show one book.

    A draft is shown to its publisher and to administrators alone; to others it does not exist.
    """
    book = await call.services.catalog.show(check_id(call.params["id"]), call.caller)
    return Reply(book, etag=str(book.revision))


@endpoint(blueprint, "GET", f"{API}/audiobooks/{{id}}/chapters", reply=ChapterList)
async def get_book_chapters(call: Call[None, Any]) -> ChapterList:
    """List the chapters of a book."""
    chapters = await call.services.catalog.chapters(check_id(call.params["id"]), call.caller)
    return ChapterList(items=chapters)


@endpoint(
    blueprint,
    "GET",
    f"{API}/audiobooks/{{id}}/stream",
    access="listener",
    query=StreamQuery,
    reply=LinkReply,
    status=302,
)
async def stream_book(call: Call[None, StreamQuery]) -> Reply:
    """Go to the audio, which serves ranges.

    The address ends after some hours. With `redirect=false`: 200 and the address as JSON.
    """
    link = await call.services.catalog.stream(check_id(call.params["id"]), call.caller)
    if call.query.redirect:
        return Reply(status=302, headers={"Location": link.url})
    return Reply(LinkReply(url=link.url, expires_at=link.expires_at), status=200)


@endpoint(
    blueprint,
    "GET",
    f"{API}/audiobooks/{{id}}/transcript",
    access="listener",
    query=TranscriptQuery,
    content_types=tuple(_FORM_TYPES.values()),
)
async def get_book_transcript(call: Call[None, TranscriptQuery]) -> Reply:
    """Read the transcript: timed segments as JSON, plain text, SRT or WebVTT."""
    form = call.query.format
    content, slug = await call.services.catalog.transcript(check_id(call.params["id"]), form, call.caller)
    headers = {} if form == "json" else {"Content-Disposition": f'attachment; filename="{slug}.{form}"'}
    return Reply(content, content_type=_FORM_TYPES[form], headers=headers)
