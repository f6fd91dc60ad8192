"""Texts of found books with the words in them marked."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.catalog.folding import SEPARATOR, fold
from core.catalog.index.schema import TEXT_COLUMNS

_SNIPPETS = frozenset({"summary", "description"})
_SNIPPET_BEFORE, _SNIPPET_LENGTH = 40, 180


@dataclass(frozen=True)
class Wanted:
    """Folded words to mark where they stand alone, and beginnings, to mark with the rest of the word."""

    words: tuple[str, ...]
    beginnings: tuple[str, ...]

    def find(self, folded: str) -> list[tuple[int, int]]:
        """Return where they are in a folded text, in its order; none begins inside of another."""
        spans = [span for word in self.words for span in _places(folded, word, is_whole=True)]
        spans += [span for word in self.beginnings for span in _places(folded, word, is_whole=False)]
        found: list[tuple[int, int]] = []
        for first, last in sorted(spans, key=lambda span: (span[0], -span[1])):
            if not found or first >= found[-1][1]:
                found.append((first, last))
        return found


def _places(text: str, word: str, *, is_whole: bool) -> Iterator[tuple[int, int]]:
    """A search for each word is many times as fast as a pattern that has to ask at every letter."""
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if at == 0 or not text[at - 1].isalnum():
            while not is_whole and text[end : end + 1].isalnum():
                end += 1
            if not text[end : end + 1].isalnum():
                yield at, end
        at = text.find(word, at + 1)


def highlight(wanted: Wanted, texts: Sequence[str]) -> dict[str, str]:
    """Return those of a book's indexed texts that have found words in them: HTML, the words in <mark>."""
    marked = {}
    for name, text in zip(TEXT_COLUMNS, texts, strict=True):
        shown = _mark(text, wanted, name in _SNIPPETS) if text and name != "forms" else None
        if shown is not None:
            marked[name] = shown
    return marked


def _mark(text: str, wanted: Wanted, as_snippet: bool) -> str | None:
    """Mark the words of a text, or of the stretch of it that begins a little before the first one."""
    folded = fold(text)
    if len(folded) != len(text):  # a letter that folds to two: fold each by itself, to the first of them
        folded = "".join((fold(letter) or letter)[0] for letter in text)
    hits = wanted.find(folded)
    if not hits:
        return None
    at, end = 0, len(text)
    if as_snippet:
        begin = max(0, hits[0][0] - _SNIPPET_BEFORE)
        at = text.find(" ", begin, hits[0][0]) + 1 or begin if begin else 0
        end = min(end, at + _SNIPPET_LENGTH)
        end = max(text.rfind(" ", hits[0][1], end), hits[0][1]) if end < len(text) else end
    parts = ["…" if at else ""]
    for first, last in hits:
        if last <= end:
            parts += [
                html.escape(text[at:first], quote=False),
                f"<mark>{html.escape(text[first:last])}</mark>",
            ]
            at = last
    parts += [html.escape(text[at:end], quote=False), "…" if end < len(text) else ""]
    return "".join(parts).replace(SEPARATOR, "").replace("</mark><mark>", "")
