"""Which language a text is in, by its script and its commonest words: enough to notice a wrong one.

No library: the light ones load a model for a second and the good ones need a gigabyte, to tell apart
hundreds of languages in a few words; here a chunk has hundreds of words, and a doubt is an answer.
"""

import re
from collections import Counter

from core.transcription.sentences import plain_word

_WORDS = {
    "en": "the and of to a in that he was it his is with as had for she not at but be on they have him her "
    "which you this from were by or an there what said all would my me so we when who no",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an er "
    "hat aus bei nach wie war sie ich so aber noch nur wenn mir wir ihr ihm mich kein doch schon",
    "fr": "le la les de des et un une est que qui dans en du pour pas au sur plus par ce il elle je ne se "
    "avec sont son ses sa nous vous mais comme cette était lui leur tout on si même à où",
    "es": "el la los las de que y en un una por con no se su para es al lo como más pero sus le ya este sí "
    "porque esta entre cuando muy sin sobre también me hasta hay donde había era él yo",
    "it": "il lo la gli le di che e un una per con non si in del della dei delle è sono da al alla nel nella "
    "come più ma anche questo questa suo sua ci mi ha era io lui lei se quando perché",
    "pt": "o a os as de que e em um uma por com não se para do da dos das no na nos nas mais como mas foi ao "
    "ele ela seu sua ou quando muito já eu também só pelo pela isso era à lhe",
    "nl": "de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij nog naar uit "
    "door hij zij ze was had werd wel ik je mijn heeft of wat deze over toen geen",
    "pl": "i w na z się nie do to że jest o jak po co za od przez ale tak jego jej był była było już tylko "
    "czy dla tym kiedy może ten ta tego przy pod ze go mu ich sobie",
}
_COMMON = {code: frozenset(words.split()) for code, words in _WORDS.items()}
_SCRIPTS = {
    "ja": "\u3040-\u30ff",
    "ko": "\uac00-\ud7af",
    "zh": "\u4e00-\u9fff",
    "el": "\u0370-\u03ff",
    "he": "\u0590-\u05ff",
    "ar": "\u0600-\u06ff",
    "th": "\u0e00-\u0e7f",
    "ru": "\u0400-\u04ff",
}
# What a neighbour in the same script writes, and what the language itself cannot do without.
_FOREIGN = {"ru": "іїєўјљњђћџ", "ar": "پچژگٹ"}
_OWN = {"ru": "ы"}
_IN_SCRIPT = {code: re.compile(f"[{letters}]") for code, letters in _SCRIPTS.items()}

KNOWN = frozenset(_COMMON) | frozenset(_SCRIPTS)
"""The languages that are told apart."""

_LEAST_WORDS = 40
_LEAST_SHARE = 0.2
_LEAST_LEAD = 1.3
_LEAST_SCRIPT = 0.3
_LEAST_KANA = 0.05


def detect_language(text: str) -> str | None:
    """Return the ISO 639-1 code of the language that a text is in; None where it is short or in doubt."""
    letters = sum(c.isalpha() for c in text)
    if letters < _LEAST_WORDS:
        return None
    shares = {code: len(found.findall(text)) / letters for code, found in _IN_SCRIPT.items()}
    if shares["ja"] >= _LEAST_KANA:
        return "ja"
    script = max(shares, key=lambda code: shares[code])
    if shares[script] >= _LEAST_SCRIPT:
        has_own = any(letter in text for letter in _OWN.get(script, text[0]))
        return script if has_own and not any(c in text for c in _FOREIGN.get(script, "")) else None
    words = [plain_word(word) for word in re.findall(r"[^\W\d_]+", text)]
    if len(words) < _LEAST_WORDS:
        return None
    counts = Counter(words)
    hits = {code: sum(counts[word] for word in common) for code, common in _COMMON.items()}
    first, second = sorted(hits, key=lambda code: hits[code], reverse=True)[:2]
    is_clear = hits[first] >= _LEAST_SHARE * len(words) and hits[first] >= _LEAST_LEAD * hits[second]
    return first if is_clear else None
