"""What people have changed in a transcript, put on another one of the same words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.catalog.models import AudioPart
from core.transcription.transcript import Transcript, reading_from_json

_SAME_SECONDS = 0.05


@dataclass(frozen=True)
class Change:
    """A segment that a person has rewritten, and when it begins in the recording of that time."""

    start_seconds: float
    before: str
    after: str


def find_changes(heard: bytes, edited: bytes) -> list[Change]:
    """Return where two transcripts (as JSON) of the same segments differ."""
    pairs = zip(reading_from_json(heard).segments, reading_from_json(edited).segments, strict=True)
    return [Change(old.start_seconds, old.text, new.text) for old, new in pairs if old.text != new.text]


def carry(
    changes: Sequence[Change],
    before: Sequence[AudioPart],
    transcript: Transcript,
    after: Sequence[AudioPart],
) -> tuple[Transcript, int]:
    """Return a transcript with the changes of those segments that are in it too, and how many those are.

    A segment is the same if it has the same words at the same place of the same file.
    """
    starts = {part.origin or part.blob: part.start_seconds for part in after}
    places: dict[str, list[int]] = {}
    for place, segment in enumerate(transcript.segments):
        places.setdefault(segment.text, []).append(place)
    found: dict[int, str] = {}
    for change in changes:
        home = next((p for p in reversed(before) if p.start_seconds <= change.start_seconds + 0.001), None)
        moved_to = starts.get(home.origin or home.blob) if home is not None else None
        if home is None or moved_to is None:
            continue
        at = change.start_seconds - home.start_seconds + moved_to
        for place in places.get(change.before, ()):
            if abs(transcript.segments[place].start_seconds - at) <= _SAME_SECONDS:
                found[place] = change.after
    return rewrite(transcript, found), len(found)


def rewrite(transcript: Transcript, texts: Mapping[int, str]) -> Transcript:
    """Return a transcript with other texts at these places; the times of single words go with the words."""
    segments = tuple(
        segment.model_copy(update={"text": texts[place], "words": ()}) if place in texts else segment
        for place, segment in enumerate(transcript.segments)
    )
    return transcript.model_copy(update={"segments": segments})
