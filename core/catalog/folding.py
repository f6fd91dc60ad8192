"""Words as the search compares them: without case, accents, and the letters that no accent explains."""

import re
import unicodedata

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th"}
)
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'"})
# accents and other marks on letters, but for those that make another syllable in Japanese; half characters
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f\ud800-\udfff]"
)
_SCRIPTS_WITHOUT_SPACES = (
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)
_UNSPACED = re.compile(f"([{_SCRIPTS_WITHOUT_SPACES}])")
_WORD = re.compile(r"[^\W_]+(?:['.&-][^\W_]+)*")
_INNER = re.compile(r"['.&-]")
SEPARATOR = "\u200b"
"""Stands between characters of scripts without spaces, in indexed text alone: it has no width."""


def fold(text: str) -> str:
    """Return text in lower case, without accents, in plain letters where there are any."""
    if text.isascii():
        return text.lower()
    plain = _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    return unicodedata.normalize("NFC", plain.translate(_LETTERS))


def separate(text: str) -> str:
    """Make each Chinese or Japanese character a word of its own, since nothing says where words end."""
    if text.isascii():
        return text
    return _UNSPACED.sub(rf"\1{SEPARATOR}", text)


def words(text: str) -> list[str]:
    """Return the words of a text as they are written: O'Brien, J.R.R and Spider-Man are one each."""
    return _WORD.findall(text.translate(_APOSTROPHES))


def plain_words(text: str) -> list[str]:
    """Return the folded words of a text, in which O'Brien is two (o, brien) and 東京 as well."""
    return [part for word in words(separate(text)) for part in _INNER.split(fold(word)) if part]


def other_forms(text: str) -> list[str]:
    """Return the forms of a text's words that people type instead: strasse, obrien, jrr, spiderman."""
    forms = []
    for word in words(separate(text)):
        joined = _INNER.sub("", fold(word))
        if joined != word.lower():
            forms.append(joined)
            parts = [part for part in _INNER.split(fold(word)) if part]
            forms += [part for part in parts if part not in _INNER.split(word.lower())]
    return list(dict.fromkeys(forms))
