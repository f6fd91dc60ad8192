"""Parts a text into sentences, and one without punctuation into lines that can be read."""

import re
import unicodedata
from itertools import pairwise

MIN_LINE_WORDS = 8
MAX_LINE_WORDS = 16

# A sentence may be longer than a line, up to this.
_MAX_SENTENCE_WORDS = 40
# Scripts that do not part words: there a character counts as a part of a word.
_UNPARTED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_WORDS_PER_CHARACTER = 0.6
_SENTENCE_END = re.compile(r"(?:[.!?…]+[\"'”’»)\]]*(?=\s+[^\sa-z])|[。！？]+[」』”）]*)")
_CLAUSE_END = re.compile(r"[,;:—–、，；]+[\"'”’»)\]]*(?:\s|(?<=[、，；]))")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|st|prof|rev|hon|capt|col|gen|lt|sgt|messrs|mme|mlle|no|vol|vs|jr|sr)"
    r"|\b[A-Z](?:\.[A-Z])*)\.$",
    re.IGNORECASE,
)


def count_words(text: str) -> float:
    """Count words; in scripts without spaces, estimate them by the number of characters."""
    characters = len(_UNPARTED.findall(text))
    return len(_UNPARTED.sub(" ", text).split()) + characters * _WORDS_PER_CHARACTER


def part_characters(text: str) -> str:
    """Put spaces around the characters of scripts that have none."""
    return _UNPARTED.sub(r" \g<0> ", text)


def plain_word(word: str) -> str:
    """Return a word as it is compared: without case and punctuation."""
    folded = unicodedata.normalize("NFKC", word).casefold()
    return "".join(c for c in folded if c.isalnum()) or folded


def ends_sentence(token: str) -> bool:
    """Tell whether a word, or a line, ends with the punctuation of a sentence."""
    return token.rstrip("\"'”’»)]」』）").endswith((".", "!", "?", "…", "。", "！", "？"))


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences, and what has no punctuation into lines of 8 to 16 words."""
    text = " ".join(text.split())
    sentences = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if not _ABBREVIATION.search(text, start, match.end()):
            sentences.append(text[start : match.end()].strip())
            start = match.end()
    sentences.append(text[start:].strip())
    return [line for sentence in sentences if sentence for line in _split_long(sentence)]


def _split_long(sentence: str) -> list[str]:
    """Split a sentence that is too long for one line of a transcript, at a comma if it has one."""
    count = count_words(sentence)
    if count <= _MAX_SENTENCE_WORDS and (count <= MAX_LINE_WORDS or ends_sentence(sentence)):
        return [sentence]
    middle = len(sentence) / 2
    ends = [match.end() for match in _CLAUSE_END.finditer(sentence)]
    inner = [end for end in ends if min(count_words(sentence[:end]), count_words(sentence[end:])) >= 4]
    if inner:
        at = min(inner, key=lambda end: abs(end - middle))
        return _split_long(sentence[:at].strip()) + _split_long(sentence[at:].strip())
    words = sentence.split()
    if len(words) == 1:
        return _even(list(sentence), "", round(MAX_LINE_WORDS / _WORDS_PER_CHARACTER))
    return _even(words, " ", MAX_LINE_WORDS)


def _even(parts: list[str], glue: str, most: int) -> list[str]:
    lines = -(-len(parts) // most)
    bounds = [round(index * len(parts) / lines) for index in range(lines + 1)]
    return [glue.join(parts[start:stop]) for start, stop in pairwise(bounds)]
