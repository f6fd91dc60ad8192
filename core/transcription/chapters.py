"""The chapters of a recording in one file or several, on one timeline."""

import re
from collections.abc import Sequence

from core.catalog.models import AudioPart, Chapter
from core.transcription.audio import Cut
from core.transcription.metadata import chapters_of, title_from_name
from core.transcription.models import Part

_LETTER = re.compile(r"[^\W\d_]")
_LEAD = re.compile(r"^[\s\d._#-]+(?=[^\W\d_])")


def name_parts(parts: Sequence[Part]) -> list[str]:
    """Return a title for each file: from its tags where these differ, otherwise from what its name adds."""
    tagged = [(part.title or "").strip()[:200] for part in parts]
    if all(tagged) and len(set(tagged)) == len(tagged):
        return tagged
    names = [title_from_name(part.file_name) for part in parts]
    if len(names) == 1:
        return names
    shared = _shared_start(names).rstrip("0123456789")
    own = [_LEAD.sub("", name.removeprefix(shared)).strip()[:200] for name in names]
    return [name if _LETTER.search(name) else f"Part {number}" for number, name in enumerate(own, 1)]


def to_hear(parts: Sequence[Part]) -> tuple[AudioPart, ...]:
    """Return the files as whoever hears the recording is given them."""
    return tuple(
        AudioPart(
            **part.audio.model_dump(),
            title=title,
            origin=part.origin,
            start_seconds=part.start_seconds,
            duration_seconds=part.duration_seconds,
        )
        for part, title in zip(parts, name_parts(parts), strict=True)
        if part.audio is not None
    )


def _shared_start(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, names))
    )
    return first[:length]


def draw_up_chapters(parts: Sequence[Part]) -> tuple[Chapter, ...]:
    """Return the chapters that the files have; one for each file without, if there are several."""
    if len(parts) == 1 and not parts[0].chapters:
        cuts = [Cut(**cut) for cut in parts[0].cuts]
        return chapters_of((), cuts, parts[0].duration_seconds)
    found: list[tuple[float, str]] = []
    for part, title in zip(parts, name_parts(parts), strict=True):
        own = [(chapter.start_seconds, chapter.title) for chapter in part.chapters] or [(0.0, title)]
        found += [(part.start_seconds + start, name) for start, name in own]
    return _chain(found, _end(parts))


def keep_chapters(
    new: Sequence[Chapter], parts: Sequence[Part], known: Sequence[Chapter], before: Sequence[AudioPart]
) -> tuple[Chapter, ...]:
    """Return new chapters, but those that a book has already wherever a file has stayed the same."""
    found: list[tuple[float, str]] = []
    earlier = {part.origin: part for part in before}
    for part in parts:
        same = earlier.get(part.origin or "")
        kept = _within(known, same.start_seconds, same.duration_seconds) if same else []
        drawn = _within(new, part.start_seconds, part.duration_seconds)
        found += [(part.start_seconds + start, title) for start, title in kept or drawn]
    return _chain(found, _end(parts))


def _within(chapters: Sequence[Chapter], start: float, duration: float) -> list[tuple[float, str]]:
    """Return the chapters that begin in a stretch, in its own time."""
    begin = [(round(chapter.start_seconds - start, 3), chapter.title) for chapter in chapters]
    return [(max(0.0, seconds), title) for seconds, title in begin if -0.01 <= seconds < duration - 0.01]


def _end(parts: Sequence[Part]) -> float:
    return parts[-1].start_seconds + parts[-1].duration_seconds


def _chain(starts: Sequence[tuple[float, str]], end: float) -> tuple[Chapter, ...]:
    ends = [start for start, _ in starts[1:]] + [end]
    return tuple(
        Chapter(index=index, title=title, start_seconds=round(start, 3), end_seconds=round(stop, 3))
        for index, ((start, title), stop) in enumerate(zip(starts, ends, strict=True))
    )
