"""What I own over HTTP: the list, single files, and ZIPs of several books."""

from typing import Annotated, Any

import azure.functions as func
from pydantic import BaseModel, Field, StringConstraints

from core.commerce.archive_store import ArchiveView
from core.commerce.archives import MAX_BOOKS
from core.commerce.library import DownloadFormat, OwnedBook
from core.ids import ID_PATTERN
from functions.http import API, Call, Listing, Payload, Reply, check_id, endpoint
from functions.media import LinkReply, StreamQuery, lead_to

blueprint = func.Blueprint()


class OwnedBookList(BaseModel):
    """A page of my books, the last bought first."""

    items: list[OwnedBook]
    next_cursor: str | None


class DownloadQuery(StreamQuery):
    """Which file of the book; `redirect=false` answers with the address in place of a redirect to it."""

    format: DownloadFormat = "original"


class ArchiveRequest(Payload):
    """The books that go into a ZIP, a folder each."""

    audiobook_ids: list[Annotated[str, StringConstraints(pattern=ID_PATTERN)]] = Field(
        min_length=1, max_length=MAX_BOOKS
    )


class ArchiveList(BaseModel):
    """All of my ZIPs of the last days."""

    items: list[ArchiveView]


@endpoint(blueprint, "GET", f"{API}/my-books", access="listener", query=Listing, reply=OwnedBookList)
async def list_my_books(call: Call[None, Listing]) -> OwnedBookList:
    """List the books that I have bought, withdrawn ones too, the last bought first.

    Each has addresses of its recording and its transcripts, which end after some minutes.
    """
    library = call.services.commerce.library
    items, following = await library.books(call.user.user_id, call.query.limit, call.after)
    return OwnedBookList(items=items, next_cursor=call.next_cursor(following))


@endpoint(
    blueprint,
    "GET",
    f"{API}/my-books/{{id}}/download",
    access="listener",
    query=DownloadQuery,
    reply=LinkReply,
    status=302,
    failures=(403, 409),
)
async def load_my_book(call: Call[None, DownloadQuery]) -> Reply:
    """Load a file of a book that I may hear: the recording, or the transcript as text, SRT, WebVTT or JSON.

    `part` picks a file of a recording in several.

    Goes to an address that ends after some minutes. With `redirect=false`: 200 and the address as JSON.
    """
    library = call.services.commerce.library
    query = call.query
    link = await library.download(check_id(call.params["id"]), query.format, call.user, query.part)
    return lead_to(link, call.query)


@endpoint(
    blueprint,
    "POST",
    f"{API}/my-books/downloads",
    access="listener",
    body=ArchiveRequest,
    reply=ArchiveView,
    status=202,
    failures=(403, 404, 409, 429),
)
async def begin_my_download(call: Call[ArchiveRequest, Any]) -> Reply:
    """Have a ZIP made of up to 50 books, a folder each with recording, transcripts and cover.

    It is made in the background; `Location` tells how it goes. The same books again, while it is under way,
    are the same ZIP. 429 after too much in a day.
    """
    archive = await call.services.commerce.archives.begin(call.body.audiobook_ids, call.user)
    return Reply(archive, status=202, headers={"Location": f"{API}/my-books/downloads/{archive.id}"})


@endpoint(blueprint, "GET", f"{API}/my-books/downloads", access="listener", reply=ArchiveList)
async def list_my_downloads(call: Call[None, Any]) -> ArchiveList:
    """List my ZIPs, the newest first, without their addresses."""
    return ArchiveList(items=await call.services.commerce.archives.of(call.user.user_id))


@endpoint(blueprint, "GET", f"{API}/my-books/downloads/{{id}}", access="listener", reply=ArchiveView)
async def get_my_download(call: Call[None, Any]) -> ArchiveView:
    """Show how a ZIP of mine goes; once it is ready, with an address that loads it for some minutes."""
    return await call.services.commerce.archives.show(check_id(call.params["id"]), call.user)
