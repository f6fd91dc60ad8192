"""The sample of a book: a file of its own that anybody may hear, from the first words on."""

import tempfile
from collections.abc import Sequence

from core.catalog.models import MediaFile
from core.storage.blobs import Container
from core.transcription.models import Part
from core.transcription.transcript import Transcript
from core.transcription.workshop import Workshop

_SECONDS = 75.0
_LEAST_SECONDS = 5.0
_SHARE = 0.25


async def write_sample(
    media: Container, workshop: Workshop, name: str, parts: Sequence[Part], transcript: Transcript
) -> MediaFile | None:
    """Write a sample of about 75 seconds, at most a quarter of the recording; again, it writes the same.

    It is of the first file that is long enough: one before it may only say the title. None where nothing can
    be heard, or the recording is too short to give any of it away.
    """
    from core.transcription import audio

    seconds = min(_SECONDS, _SHARE * sum(part.duration_seconds for part in parts))
    if seconds < _LEAST_SECONDS:
        return None
    longest = max(parts, key=lambda part: part.duration_seconds)
    part = next((part for part in parts if part.duration_seconds >= 2 * seconds), longest)
    assert part.audio is not None and part.audio_etag is not None and part.probe is not None
    probe = audio.Probe(**part.probe)
    cuts = [audio.Cut(**cut) for cut in part.cuts]
    reader = workshop.reader(media, part.audio.blob, part.audio_etag, part.audio.size)
    begin = await workshop.do_heavy(_first_words, part, transcript)
    with tempfile.TemporaryFile() as file:
        if not await workshop.decode(probe, audio.excerpt, reader, probe, cuts, begin, seconds, file):
            return None
        size = file.tell()
        await media.write(name, file, "audio/mpeg")
    return MediaFile(blob=name, content_type="audio/mpeg", size=size)


def _first_words(part: Part, transcript: Transcript) -> float:
    """Return when the first words of a file are spoken, in its own time; 0 where none are known."""
    end = part.start_seconds + part.duration_seconds
    starts = (segment.start_seconds for segment in transcript.segments)
    first = next((at for at in starts if part.start_seconds <= at < end), part.start_seconds)
    return first - part.start_seconds
