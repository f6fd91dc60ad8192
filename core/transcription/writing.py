"""Writes a transcript in all its forms."""

from collections.abc import Callable

from core.storage.blobs import Container
from core.transcription.transcript import Transcript, to_json
from core.transcription.workshop import Workshop

_TYPES = {
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


async def write_forms(media: Container, workshop: Workshop, prefix: str, transcript: Transcript) -> None:
    """Write `prefix` + .json, .txt, .srt, .vtt; again, it writes the same."""
    from core.transcription import formats

    makers: dict[str, Callable[[Transcript], bytes]] = {
        "json": to_json,
        "txt": lambda t: formats.to_txt(t).encode(),
        "srt": lambda t: formats.to_srt(t).encode(),
        "vtt": lambda t: formats.to_vtt(t).encode(),
    }
    for form, make in makers.items():
        content = await workshop.do_heavy(make, transcript)
        await media.write(f"{prefix}.{form}", content, _TYPES[form])
