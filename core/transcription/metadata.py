"""What a file says of itself: title, people and chapters, from its tags and its name."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from core.ai import Hints
from core.catalog.models import Book, Chapter, PersonName

if TYPE_CHECKING:
    from core.transcription.audio import Chapter as ChapterMark
    from core.transcription.audio import Cut

_PART_SECONDS = 20 * 60
_GENERIC = re.compile(r"^(chapter|track|part|kapitel|chapitre)?[\s_.#-]*\d*$", re.IGNORECASE)
_MAX_CHAPTERS = 2000
_LONG = frozenset({"description", "comment"})

# the languages that most audiobooks are in, by the codes of ISO 639-2 that tags use and by name
_LANGUAGES = {
    "en": {"eng", "english"},
    "de": {"deu", "ger", "german"},
    "fr": {"fra", "fre", "french"},
    "es": {"spa", "spanish"},
    "it": {"ita", "italian"},
    "pt": {"por", "portuguese"},
    "nl": {"nld", "dut", "dutch"},
    "pl": {"pol", "polish"},
    "ru": {"rus", "russian"},
    "zh": {"zho", "chi", "chinese"},
    "ja": {"jpn", "japanese"},
}


def title_from_name(blob_name: str) -> str:
    """Return a title for a file that has none: its name without folder, ending and underscores."""
    stem = PurePosixPath(blob_name).stem
    return re.sub(r"[\s_]+", " ", stem).strip() or "Untitled"


def title_from_folder(folder: str) -> str:
    """Return a title for the book that a folder is: its own name."""
    return re.sub(r"[\s_]+", " ", folder.rstrip("/").rpartition("/")[2]).strip() or "Untitled"


def language_code(language: str | None) -> str | None:
    """Return the code (BCP 47) of a language that is given by code or by English name; None if unknown."""
    plain = (language or "").strip().lower()
    for code, others in _LANGUAGES.items():
        if plain in others:
            return code
    return plain if re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", plain) and plain != "und" else None


def _one_line(text: str) -> str:
    return " ".join(text.replace("\x00", ";").split())[:2000]


def _names(text: str | None) -> tuple[str, ...]:
    parts = (part.strip() for part in re.split(r"[;/]|\s&\s|\x00", text or ""))
    return tuple(dict.fromkeys(part[:200] for part in parts if part))[:20]


def _people(text: str | None) -> tuple[PersonName, ...]:
    return tuple(PersonName.of(name) for name in _names(text))


def fill_from_tags(book: Book, tags: Mapping[str, str], draft_title: str) -> Book:
    """Fill what the book does not say yet from the file's tags; what a person wrote stays.

    Audiobooks keep the author in `artist` or `album_artist` and the narrator in `narrator` or `composer`.
    The album is the book's title where the title tag names a chapter's file. `draft_title` is what the
    book is called until somebody knows better.
    """
    tags = {name: _one_line(text) for name, text in tags.items() if name not in _LONG} | {
        name: text for name, text in tags.items() if name in _LONG
    }
    named_by_file = book.title == draft_title
    title = tags.get("album") or tags.get("title") or book.title
    narrators = _people(tags.get("narrator") or tags.get("narratedby") or tags.get("composer"))
    year = tags.get("date") or tags.get("year")
    found = {
        "title": title.strip()[:500] if named_by_file and title.strip() else book.title,
        "authors": book.authors
        or _people(tags.get("author") or tags.get("artist") or tags.get("album_artist")),
        "narrators": book.narrators or narrators,
        "description": book.description
        or (tags.get("description") or tags.get("comment") or "")[:4000]
        or None,
        "genres": book.genres or _names(tags.get("genre")),
        "publisher": book.publisher or tags.get("publisher"),
        "language": book.language or language_code(tags.get("language")),
        "release_date": book.release_date or (year or "")[:10] or None,
    }
    return book.model_copy(update=found)


def hints_of(book: Book) -> Hints:
    """Return how the names are spelled that a reader of the book will say, its own list first."""
    people = [person.name for person in (*book.authors, *book.narrators)]
    series = [book.series.name] if book.series else []
    names = dict.fromkeys((*book.names, *people, *series, book.title))
    language = (book.language or "").partition("-")[0]
    return Hints(tuple(names), language if len(language) == 2 else None)


def needs_title(chapter: Chapter) -> bool:
    """Tell whether a chapter has no more of a title than a number."""
    return _GENERIC.match(chapter.title.strip()) is not None


def chapters_of(
    marks: Sequence["ChapterMark"], cuts: Sequence["Cut"], duration_seconds: float
) -> tuple[Chapter, ...]:
    """Return the file's own chapters, or parts of about twenty minutes that begin at silences.

    Times are clipped to the recording, in order, and without overlap; a part's title is its number until the
    book's text is known.
    """
    starts = [(max(0.0, mark.start_seconds), mark.title) for mark in marks[:_MAX_CHAPTERS]]
    starts = sorted((s, t) for s, t in starts if s < duration_seconds - 0.05)
    if not starts:
        starts = [(0.0, None)]
        for cut in cuts:
            if cut.start_seconds - starts[-1][0] >= _PART_SECONDS and not cut.hard:
                starts.append((cut.start_seconds, None))
    ends = [start for start, _ in starts[1:]] + [duration_seconds]
    return tuple(
        Chapter(
            index=index,
            title=(title or "").strip()[:200] or f"Part {index + 1}",
            start_seconds=round(start, 3),
            end_seconds=round(end, 3),
        )
        for index, ((start, title), end) in enumerate(zip(starts, ends, strict=True))
    )
