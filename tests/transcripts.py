"""Transcripts that are in memory as a whole, as tests look at them."""

from collections.abc import Iterable
from io import BytesIO

from core.transcription.timing import ChunkText, join
from core.transcription.transcript import Segment, Transcript


class Whole(Transcript):
    """A transcript with all its segments; its `model_validate_json` reads what is stored."""

    segments: tuple[Segment, ...]


def whole(transcript: Transcript) -> Whole:
    return Whole(**transcript.model_dump(exclude={"segments"}), segments=tuple(transcript.segments))


def join_all(chunks: Iterable[ChunkText], duration_seconds: float) -> Whole:
    return whole(join(chunks, duration_seconds, BytesIO()))
