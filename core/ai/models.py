"""What each model can do, what it costs and how long it lives: facts, so that a model is only a setting."""

import math
import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class SpeechCapabilities:
    """One speech model; an unknown name gets these defaults, which any compatible server understands."""

    name: str
    formats: tuple[str, ...] = ("json",)
    timestamps: Literal["none", "segment", "word"] = "none"
    max_bytes: int = 25 * MEGABYTE
    max_seconds: float | None = None
    max_output_tokens: int | None = None
    takes_prompt: bool = False
    takes_temperature: bool = False
    ends: date | None = None
    microdollars_per_minute: int = 0

    @property
    def response_format(self) -> Literal["json", "verbose_json", "diarized_json"]:
        """The format that carries the most times."""
        if self.timestamps == "none":
            return "json"
        return "verbose_json" if self.timestamps == "word" else "diarized_json"

    def cost(self, seconds: float) -> int:
        """Microdollars for `seconds` of audio, rounded up."""
        return math.ceil(seconds * self.microdollars_per_minute / 60)


@dataclass(frozen=True, slots=True)
class TextCapabilities:
    """One text model; an unknown name gets these defaults, which any compatible server understands."""

    name: str
    context_tokens: int = 32_000
    max_output_tokens: int | None = None
    takes_temperature: bool = False
    reasoning_effort: Literal["none"] | None = None
    ends: date | None = None
    microdollars_per_million_input: int = 0
    microdollars_per_million_output: int = 0

    def cost(self, input_tokens: int, output_tokens: int) -> int:
        """Microdollars for one call, rounded up."""
        millionths = (
            input_tokens * self.microdollars_per_million_input
            + output_tokens * self.microdollars_per_million_output
        )
        return -(-millionths // 1_000_000)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used up; text calls have no audio, and some servers count no tokens."""

    audio_seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microdollars: int = 0


_TRANSCRIBE_ENDS = date(2027, 2, 26)

SPEECH = {
    model.name: model
    for model in (
        SpeechCapabilities("gpt-transcribe", takes_prompt=True, microdollars_per_minute=4_500),
        SpeechCapabilities(
            "gpt-4o-transcribe",
            formats=("json", "text"),
            max_seconds=1400,
            max_output_tokens=2_000,
            takes_prompt=True,
            takes_temperature=True,
            ends=_TRANSCRIBE_ENDS,
            microdollars_per_minute=6_000,
        ),
        SpeechCapabilities(
            "gpt-4o-mini-transcribe",
            formats=("json", "text"),
            max_seconds=1400,
            max_output_tokens=2_000,
            takes_prompt=True,
            takes_temperature=True,
            ends=_TRANSCRIBE_ENDS,
            microdollars_per_minute=3_000,
        ),
        SpeechCapabilities(
            "gpt-4o-transcribe-diarize",
            formats=("json", "text", "diarized_json"),
            timestamps="segment",
            max_seconds=1400,
            takes_temperature=True,
            ends=_TRANSCRIBE_ENDS,
            microdollars_per_minute=6_000,
        ),
        SpeechCapabilities(
            "whisper-1",
            formats=("json", "text", "srt", "vtt", "verbose_json"),
            timestamps="word",
            takes_prompt=True,
            takes_temperature=True,
            ends=_TRANSCRIBE_ENDS,
            microdollars_per_minute=6_000,
        ),
        SpeechCapabilities(
            "offline-speech",
            formats=("json", "text", "srt", "vtt", "verbose_json"),
            timestamps="word",
        ),
    )
}

TEXT = {
    model.name: model
    for model in (
        TextCapabilities(
            "gpt-4o-mini",
            context_tokens=128_000,
            max_output_tokens=16_384,
            takes_temperature=True,
            ends=date(2027, 1, 14),
            microdollars_per_million_input=150_000,
            microdollars_per_million_output=600_000,
        ),
        TextCapabilities(
            "gpt-5.6-luna",
            context_tokens=1_050_000,
            max_output_tokens=128_000,
            reasoning_effort="none",
            microdollars_per_million_input=200_000,
            microdollars_per_million_output=1_200_000,
        ),
        TextCapabilities("offline-text", context_tokens=1_000_000),
    )
}

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def speech_capabilities(name: str) -> SpeechCapabilities:
    """Look `name` up; a dated snapshot counts as its model."""
    return SPEECH.get(_SNAPSHOT.sub("", name)) or SpeechCapabilities(name)


def text_capabilities(name: str) -> TextCapabilities:
    """Look `name` up; a dated snapshot counts as its model."""
    return TEXT.get(_SNAPSHOT.sub("", name)) or TextCapabilities(name)
