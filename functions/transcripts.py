"""Transcripts as publishers mend them: other texts, versions, and the way back."""

from typing import Any

import azure.functions as func
from pydantic import BaseModel

from core.errors import NotFoundError
from core.transcription.revising import SegmentText, SegmentWords, TranscriptPatch
from core.transcription.versions import VersionView
from functions.http import API, Call, Payload, Reply, check_id, endpoint

blueprint = func.Blueprint()

_PATH = f"{API}/audiobooks/{{id}}/transcript"


class VersionList(BaseModel):
    """All versions of a transcript, the newest first."""

    items: list[VersionView]


class SegmentRequest(Payload):
    """What a segment says; with `version` only if that is the current one."""

    text: SegmentWords
    version: int | None = None


def _number(call: Call[Any, Any], name: str = "version") -> int:
    text = call.params[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise NotFoundError(f"There is no such {name}.")
    return int(text)


@endpoint(
    blueprint,
    "PATCH",
    _PATH,
    access="publisher-of-it",
    body=TranscriptPatch,
    reply=VersionView,
    failures=(409,),
)
async def change_book_transcript(call: Call[TranscriptPatch, Any]) -> VersionView:
    """Give segments of a transcript other texts, by their `index`; that makes a new version.

    409 without a transcript, and where `version` is given and not the current one any more.
    """
    book_id = check_id(call.params["id"])
    return await call.services.revisions.edit(book_id, call.body, call.user, call.origin)


@endpoint(
    blueprint,
    "PUT",
    f"{_PATH}/segments/{{index}}",
    access="publisher-of-it",
    body=SegmentRequest,
    reply=VersionView,
    failures=(409,),
)
async def replace_transcript_segment(call: Call[SegmentRequest, Any]) -> VersionView:
    """Give one segment of a transcript another text; that makes a new version.

    409 without a transcript, and where `version` is given and not the current one any more.
    """
    book_id, index = check_id(call.params["id"]), _number(call, "index")
    segment = SegmentText(index=index, text=call.body.text)
    patch = TranscriptPatch(segments=[segment], version=call.body.version)
    return await call.services.revisions.edit(book_id, patch, call.user, call.origin)


@endpoint(
    blueprint,
    "GET",
    f"{_PATH}/versions",
    access="publisher-of-it",
    reply=VersionList,
    failures=(409,),
)
async def list_transcript_versions(call: Call[None, Any]) -> VersionList:
    """List the versions of a transcript: what models have heard, and what people have made of it."""
    return VersionList(items=await call.services.revisions.list(check_id(call.params["id"]), call.user))


@endpoint(
    blueprint,
    "GET",
    f"{_PATH}/versions/{{version}}",
    access="publisher-of-it",
    content_types=("application/json",),
    failures=(409,),
)
async def get_transcript_version(call: Call[None, Any]) -> Reply:
    """Read one version of a transcript, as JSON."""
    content = await call.services.revisions.read(check_id(call.params["id"]), _number(call), call.user)
    return Reply(content, content_type="application/json")


@endpoint(
    blueprint,
    "POST",
    f"{_PATH}/versions/{{version}}/restore",
    access="publisher-of-it",
    reply=VersionView,
    failures=(409,),
)
async def restore_transcript_version(call: Call[None, Any]) -> VersionView:
    """Make a version of a transcript the current one; the others stay.

    409 for a version of another recording than the book has now.
    """
    book_id, number = check_id(call.params["id"]), _number(call)
    return await call.services.revisions.restore(book_id, number, call.user, call.origin)
