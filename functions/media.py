"""What the routes have in common that give out recordings and transcripts."""

from datetime import datetime

from pydantic import BaseModel, Field

from core.catalog.service import TranscriptForm
from core.storage.blobs import Link, attachment
from functions.http import Payload, Reply

FORM_TYPES: dict[TranscriptForm, str] = {
    "json": "application/json",
    "txt": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}


class RedirectQuery(Payload):
    """`redirect=false` answers with the address in place of a redirect to it."""

    redirect: bool = True


class StreamQuery(RedirectQuery):
    """`part` is one of the recording's files, which are numbered from 1."""

    part: int = Field(1, ge=1)


class TranscriptQuery(Payload):
    """The transcript's form."""

    format: TranscriptForm = "json"


class LinkReply(BaseModel):
    """An address that ends at `expires_at`."""

    url: str
    expires_at: datetime


def lead_to(link: Link, query: RedirectQuery) -> Reply:
    """Answer with a redirect to an address, or with the address itself."""
    if query.redirect:
        return Reply(status=302, headers={"Location": link.url})
    return Reply(LinkReply(url=link.url, expires_at=link.expires_at), status=200)


def show_transcript(content: bytes, form: TranscriptForm, name: str) -> Reply:
    """Answer with a transcript, as a file of that name unless it is JSON."""
    headers = {} if form == "json" else {"Content-Disposition": attachment(f"{name}.{form}")}
    return Reply(content, content_type=FORM_TYPES[form], headers=headers)
