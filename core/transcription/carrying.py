"""What people have changed in a transcript, put on another one of the same words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.catalog.models import AudioPart
from core.transcription.transcript import Segment, Transcript, read_lines

_SAME_SECONDS = 0.05


@dataclass(frozen=True)
class Change:
    """A segment that a person has rewritten, and when it begins in the recording of that time."""

    start_seconds: float
    before: str
    after: str


def find_changes(heard: Transcript, edited: Transcript) -> list[Change]:
    """Return where two transcripts of the same segments differ."""
    pairs = zip(read_lines(heard), read_lines(edited), strict=True)
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
    places: dict[str, list[tuple[int, float]]] = {change.before: [] for change in changes}
    for segment in transcript.segments:
        if segment.text in places:
            places[segment.text].append((segment.index, segment.start_seconds))
    found: dict[int, str] = {}
    for change in changes:
        home = next((p for p in reversed(before) if p.start_seconds <= change.start_seconds + 0.001), None)
        moved_to = starts.get(home.origin or home.blob) if home is not None else None
        if home is None or moved_to is None:
            continue
        at = change.start_seconds - home.start_seconds + moved_to
        for place, start in places[change.before]:
            if abs(start - at) <= _SAME_SECONDS:
                found[place] = change.after
    return rewrite(transcript, found), len(found)


def rewrite(transcript: Transcript, texts: Mapping[int, str]) -> Transcript:
    """Return a transcript with other texts at these indexes; the times of single words go with the words."""
    return transcript.model_copy(update={"segments": _Rewritten(transcript.segments, texts)})


@dataclass(frozen=True)
class _Rewritten:
    """Segments, some with other texts."""

    segments: Iterable[Segment]
    texts: Mapping[int, str]

    def __iter__(self) -> Iterator[Segment]:
        for segment in self.segments:
            text = self.texts.get(segment.index)
            yield segment if text is None else segment.model_copy(update={"text": text, "words": ()})
