"""Summaries, tags and titles by counting: the text's own passages and phrases, nothing understood."""

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

LONGEST_TEXT = 20_000
SUMMARY_PASSAGES = 3
MOST_ITEMS = 100
SPARE_TAGS = ("audiobook", "spoken word", "recording", "reading", "story")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# A passage without punctuation is best cut before one of these, and best not left ending in one of those.
OPENERS = frozenset(
    _WORD.findall(
        "and but then when while after before because so if he she it they we i you there this that the in at"
    )
)
DANGLING = frozenset(
    _WORD.findall("a an the and but or of to in at on by for from with as that which who her his their its")
)
_FENCE = re.compile(r"<(material-\w+)>\n(.*)\n</\1>", re.DOTALL)


def read_material(content: str) -> list[str]:
    """The texts in a message: what is fenced, or all of it; a JSON array is one text for each item."""
    fenced = _FENCE.search(content)
    material = fenced[2] if fenced else content
    try:
        items = json.loads(material)
    except (ValueError, RecursionError):
        return [material]
    return (
        [item if isinstance(item, str) else " ".join(_strings(item)) for item in items]
        if isinstance(items, list)
        else [material]
    )


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def fill_schema(schema: dict[str, Any], texts: Sequence[str]) -> object:
    """A value of the JSON schema, each field filled by what its name asks for."""
    return _Filler(schema, texts).fill(schema, "", 0)


class _Filler:
    """One schema and the texts it is filled from."""

    def __init__(self, schema: dict[str, Any], texts: Sequence[str]) -> None:
        self._schema = schema
        self._texts = texts
        self._whole = "\n".join(texts)

    def fill(self, part: Any, name: str, depth: int) -> object:
        part = self._resolve(part, depth)
        kind = part.get("type")
        match kind[0] if isinstance(kind, list) and kind else kind:
            case "object":
                fields = part.get("properties") or {}
                value: object = {key: self.fill(field, key, depth + 1) for key, field in fields.items()}
            case "array":
                value = self._fill_array(part, name, depth)
            case "string":
                value = self._write(name)
            case "integer" | "number":
                value = 0
            case "boolean":
                value = False
            case _:
                value = None
        return next(iter(part.get("enum") or [part.get("const", value)]))

    def _resolve(self, part: Any, depth: int) -> dict[str, Any]:
        """Follow references and take the first of several choices; deeper than 20 there is nothing."""
        while isinstance(part, dict) and depth < 20:
            depth += 1
            if "$ref" in part:
                part = self._schema.get("$defs", {}).get(str(part["$ref"]).rsplit("/", 1)[-1])
            elif choices := part.get("anyOf") or part.get("oneOf") or part.get("allOf"):
                part = choices[0]
            else:
                return part
        return {}

    def _write(self, name: str) -> str:
        if "summary" in name:
            return summarise(self._whole)
        if "title" in name:
            return make_titles([self._whole])[0]
        return summarise(self._whole, passages=1)

    def _fill_array(self, part: dict[str, Any], name: str, depth: int) -> list[object]:
        least, most = min(part.get("minItems", 0), MOST_ITEMS), min(part.get("maxItems", 0), MOST_ITEMS)
        items = part.get("items")
        if "prefixItems" in part:
            return [self.fill(item, name, depth + 1) for item in part["prefixItems"]]
        if self._resolve(items, depth).get("type") != "string":
            return [self.fill(items, name, depth + 1) for _ in range(least)]
        if "title" in name:
            return list(make_titles(self._texts))
        count = least or most or 3
        if "tag" in name or "keyword" in name:
            return list(find_tags(self._whole, count))
        found = split_passages(self._whole)[:count]
        return list(found + [""] * (least - len(found)))


def split_passages(text: str) -> list[str]:
    """Sentences; where there is no punctuation, runs of 8 to 20 words cut at a likely place."""
    passages = []
    for sentence in re.split(r"(?<=[.!?…])[\"'”’)]*\s+|\n+", text):
        words = sentence.split()
        while len(words) > 30:
            cut = next((i for i in range(12, 20) if words[i].lower() in OPENERS), 16)
            passages.append(" ".join(words[:cut]))
            words = words[cut:]
        if words:
            passages.append(" ".join(words))
    return passages


def summarise(text: str, passages: int = SUMMARY_PASSAGES) -> str:
    """The passages with the most telling words, in the order they come in, dressed as sentences."""
    found = [
        passage for passage in split_passages(_thin(text)) if len(passage.split()) > 4
    ] or split_passages(text)
    counts = Counter(word for passage in found for word in content_words(passage))
    scored: list[tuple[float, int]] = []
    for place, passage in enumerate(found):
        words = set(content_words(passage))
        length = len(passage.split())
        scored.append((-sum(counts[word] for word in words) / (length + 8), place))
    chosen = sorted(place for _, place in sorted(scored)[:passages])
    return " ".join(dress(found[place]) for place in chosen)


def dress(passage: str) -> str:
    """A passage with a capital and a full stop, and without a loose end."""
    words = ["I" + word[1:] if re.match(r"i\b", word) else word for word in passage.split()]
    if passage[-1:] not in (".", "!", "?", "…", "”", '"'):
        while len(words) > 4 and words[-1].lower() in DANGLING:
            words.pop()
        words[-1] = words[-1].rstrip(",;:-") + "."
    words[0] = words[0][:1].upper() + words[0][1:]
    return " ".join(words)


def find_tags(text: str, count: int = 3) -> list[str]:
    """Exactly `count` distinct lower-case phrases of 1 to 3 words, each about something else."""
    tags: list[str] = []
    taken: set[str] = set()
    frequent = [word for word, _ in Counter(content_words(_thin(text))).most_common(50 + 4 * count)]
    for phrase in (*find_phrases(text), *frequent, *SPARE_TAGS):
        words = {word.rstrip("s") for word in phrase.split()}
        if len(tags) < count and not words & taken:
            tags.append(phrase)
            taken |= words
    return tags + [f"part {number}" for number in range(1, count - len(tags) + 1)]


def make_titles(texts: Sequence[str]) -> list[str]:
    """One title for each text: its most telling phrase that no other has, or its first words."""
    used: set[str] = set()
    titles = []
    for number, text in enumerate(texts, 1):
        phrases = sorted(find_phrases(text), key=lambda phrase: " " not in phrase)
        phrase = next((phrase for phrase in phrases if phrase not in used), "")
        used.add(phrase)
        phrase = phrase or " ".join(_WORD.findall(text)[:4])
        titles.append(" ".join(word[:1].upper() + word[1:] for word in phrase.split()) or f"Part {number}")
    return titles


def find_phrases(text: str) -> list[str]:
    """Lower-case phrases of 1 or 2 content words, best first: yake's order, with repeated ones in front."""
    passages = split_passages(_thin(text).lower())
    prose = ". ".join(" ".join(_WORD.findall(passage)) for passage in passages)
    if not prose.strip(". "):
        return []
    runs = Counter(pair for passage in passages for pair in pairwise(_WORD.findall(passage)))
    counts = Counter(word for passage in passages for word in _WORD.findall(passage))
    ranked: list[tuple[float, str]] = []
    for phrase, score in _extractor().extract_keywords(prose):
        words = phrase.split()
        if all(word in content_words(phrase) for word in words) and len(phrase) <= 40:
            times = runs[(words[0], words[1])] if len(words) == 2 else counts[words[0]]
            ranked.append((float(score) / (max(1, times) * len(words)) ** 2, phrase))
    return [phrase for _, phrase in sorted(ranked)]


def content_words(text: str) -> list[str]:
    """The words that say what a text is about, in lower case."""
    stopwords = _extractor().stopword_set
    return [
        word
        for word in _WORD.findall(text.lower())
        if len(word) > 3 and word.split("'")[0] not in stopwords and word != "chapter"
    ]


def _thin(text: str) -> str:
    """At most LONGEST_TEXT words, from all parts of the text: counting more takes long and changes little."""
    words = text.split(" ")
    if len(words) <= LONGEST_TEXT:
        return text
    block = 200
    step = len(words) * block // LONGEST_TEXT
    return "\n".join(" ".join(words[start : start + block]) for start in range(0, len(words), step))


@functools.cache
def _extractor() -> Any:
    from yake import KeywordExtractor

    return KeywordExtractor(lan="en", n=2, top=60)
