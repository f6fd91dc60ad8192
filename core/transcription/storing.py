"""Keeps transcripts in the storage in all their forms, on the way through files since they may be long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile

from core.storage.blobs import Container
from core.transcription.transcript import Transcript, from_json
from core.transcription.workshop import Workshop

_TYPES = {
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


async def write_forms(media: Container, workshop: Workshop, prefix: str, transcript: Transcript) -> None:
    """Write `prefix` + .json, .txt, .srt, .vtt; again, it writes the same."""
    from core.transcription.formats import WRITERS

    for form, write in WRITERS.items():
        with TemporaryFile() as file:
            parts = (part.encode() for part in write(transcript))
            await workshop.do_heavy(file.writelines, parts)
            await media.write(f"{prefix}.{form}", file, _TYPES[form])


@asynccontextmanager
async def open_transcript(media: Container, workshop: Workshop, prefix: str) -> AsyncIterator[Transcript]:
    """Give the transcript that `write_forms` has written. Raises NotFoundError."""
    with TemporaryFile() as file:
        async for block in media.blocks(f"{prefix}.json"):
            file.write(block)
        yield await workshop.do_heavy(from_json, file)
