"""Whether a model's text can be what was said in a chunk, and what to do where that is in doubt."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.ai import Speech
from core.transcription.languages import KNOWN, detect_language
from core.transcription.sentences import count_words, part_characters, plain_word

MAX_WORDS_PER_MINUTE = 260
MIN_WORDS_PER_MINUTE = 60

# Models stop silently at their limit; from this share of it on, the end of the text is in doubt.
_NEAR_LIMIT = 0.97
# A rate says nothing over less time than this.
_RATE_SECONDS = 20.0
_ECHO_WORDS = 8
_QUOTED = 80

Spans = Sequence[tuple[float, float]]
Remedy = Literal["split", "insist", "repeat", "keep"]


@dataclass(frozen=True)
class Doubt:
    """What is odd about a text, as a sentence for people, and the words in it that are.

    `split`: ask for two halves. `insist`: ask again until there is another text. `repeat`: ask once more,
    without hints, and keep what comes then. `keep`: it may well be right.
    """

    sentence: str
    remedy: Remedy
    words: str = ""

    def describe(self, *, is_private: bool) -> str:
        """Return the sentence, with the words unless they are nobody's business."""
        if is_private or not self.words:
            return self.sentence
        return f"{self.sentence.removesuffix('.')}: “{self.words[:_QUOTED]}”."


def find_doubt(
    speech: Speech, spans: Spans, max_output_tokens: int | None, language: str | None
) -> Doubt | None:
    """Look for what a text that was really spoken over `spans` of sound, in `language`, would not have."""
    text = speech.text
    if not text.strip():
        return Doubt("No text came back for audio that is not silent.", "insist")
    limit = (max_output_tokens or 0) * _NEAR_LIMIT
    if speech.is_cut_off or (limit and speech.usage.output_tokens >= limit):
        return Doubt("The text reached the model's limit, so its end is probably missing.", "split")
    if echoed := find_echo(text, speech.prompt):
        return Doubt("The text repeats what the model was told.", "repeat", echoed)
    if repeated := find_loop(text):
        return Doubt("The text repeats itself.", "repeat", repeated)
    heard = detect_language(text)
    if heard and language in KNOWN and heard != language:
        return Doubt(f"The text is in another language ({heard}) than the recording ({language}).", "repeat")
    return _judge_rate(text, spans)


def _judge_rate(text: str, spans: Spans) -> Doubt | None:
    """Few words for much sound may be a long piece of music, or a part that was missed."""
    seconds = sum(end - start for start, end in spans)
    if seconds < _RATE_SECONDS:
        return None
    rate = count_words(text) * 60 / seconds
    if rate > MAX_WORDS_PER_MINUTE:
        return Doubt(f"{rate:.0f} words a minute are more than anyone speaks.", "repeat")
    if rate < MIN_WORDS_PER_MINUTE:
        return Doubt(f"{rate:.0f} words a minute are few for this much sound.", "keep")
    return None


def find_echo(text: str, prompt: str) -> str | None:
    """Return what a model repeated of its prompt: many words of it in a row, or nothing but words of it."""
    said, sent = (re.findall(r"\w+", part.casefold()) for part in (text, prompt))
    if not sent:
        return None
    match = difflib.SequenceMatcher(None, said, sent, autojunk=False).find_longest_match()
    if match.size >= _ECHO_WORDS or (match.size and match.size == len(said)):
        return " ".join(sent[match.b : match.b + match.size])
    return None


def find_loop(text: str) -> str | None:
    """Return the phrase that a model got stuck in: said over and over, as no reader would."""
    tokens = part_characters(text).split()
    words = [plain_word(token) for token in tokens]
    for length in range(1, min(60, len(words) // 3) + 1):
        same = 0
        for at in range(length, len(words)):
            same = same + 1 if words[at] == words[at - length] else 0
            times = same // length + 1
            if (times >= 4 and times * length >= 16) or (times >= 3 and times * length >= 45):
                return " ".join(tokens[at - length + 1 : at + 1])
    return None
