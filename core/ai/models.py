"""What each model can do, what it costs and how long it lives: facts, so that a model is only a setting."""

import math
import re
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

MEGABYTE = 1_000_000

AudioFormat = Literal["flac", "mp3", "wav"]
ReasoningEffort = Literal["none", "minimal", "low"]


@dataclass(frozen=True, slots=True)
class SpeechCapabilities:
    """One speech model; an unknown name gets these defaults, which any compatible server understands.

    `transport` is the endpoint that takes the audio: `/audio/transcriptions`, or `/chat/completions`.
    `hints` is how the model takes names and a language: not at all, as a text, as keywords.
    `max_bytes` is that of the file, or of the whole request where it goes into a chat.
    """

    name: str
    transport: Literal["transcriptions", "chat"] = "transcriptions"
    audio_format: AudioFormat = "flac"
    timestamps: Literal["none", "segment", "word"] = "none"
    tells_speakers: bool = False
    hints: Literal["none", "prompt", "keywords"] = "none"
    max_bytes: int = 25 * MEGABYTE
    max_seconds: float | None = None
    max_output_tokens: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    ends: date | None = None
    microdollars_per_minute: int = 0
    microdollars_per_million_input: int = 0
    microdollars_per_million_output: int = 0

    @property
    def response_format(self) -> Literal["json", "verbose_json", "diarized_json"]:
        """The format that carries the most times."""
        if self.timestamps == "none":
            return "json"
        return "verbose_json" if self.timestamps == "word" else "diarized_json"

    def cost(self, seconds: float, input_tokens: int = 0, output_tokens: int = 0) -> int:
        """Microdollars for `seconds` of audio, or for the tokens where these are paid; rounded up."""
        return math.ceil(seconds * self.microdollars_per_minute / 60) + _token_cost(
            self, input_tokens, output_tokens
        )


@dataclass(frozen=True, slots=True)
class TextCapabilities:
    """One text model; an unknown name gets these defaults, which any compatible server understands."""

    name: str
    context_tokens: int = 32_000
    max_output_tokens: int | None = None
    takes_temperature: bool = False
    reasoning_effort: ReasoningEffort | None = None
    ends: date | None = None
    microdollars_per_million_input: int = 0
    microdollars_per_million_output: int = 0

    def cost(self, input_tokens: int, output_tokens: int) -> int:
        """Microdollars for one call, rounded up."""
        return _token_cost(self, input_tokens, output_tokens)


def _token_cost(able: SpeechCapabilities | TextCapabilities, input_tokens: int, output_tokens: int) -> int:
    millionths = (
        input_tokens * able.microdollars_per_million_input
        + output_tokens * able.microdollars_per_million_output
    )
    return -(-millionths // 1_000_000)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used up; text calls have no audio, and some servers count no tokens."""

    audio_seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microdollars: int = 0


@dataclass(slots=True)
class Bill:
    """What several calls have used up: every reply that was paid, whether it could be used or not."""

    calls: int = 0
    latency_seconds: float = 0.0
    usage: Usage = field(default_factory=Usage)

    def add(self, usage: Usage, latency_seconds: float) -> None:
        """Put one reply on the bill."""
        self.calls += 1
        self.latency_seconds += latency_seconds
        self.usage = Usage(
            self.usage.audio_seconds + usage.audio_seconds,
            self.usage.input_tokens + usage.input_tokens,
            self.usage.output_tokens + usage.output_tokens,
            self.usage.cost_microdollars + usage.cost_microdollars,
        )


_TRANSCRIBE_ENDS = date(2027, 2, 26)

SPEECH = {
    model.name: model
    for model in (
        SpeechCapabilities("gpt-transcribe", hints="keywords", microdollars_per_minute=4_500),
        SpeechCapabilities(
            "gpt-4o-transcribe",
            hints="prompt",
            max_seconds=1400,
            max_output_tokens=2_000,
            ends=_TRANSCRIBE_ENDS,
            microdollars_per_minute=6_000,
        ),
        SpeechCapabilities(
            "gpt-4o-mini-transcribe",
            hints="prompt",
            max_seconds=1400,
            max_output_tokens=2_000,
            ends=_TRANSCRIBE_ENDS,
            microdollars_per_minute=3_000,
        ),
        SpeechCapabilities(
            "gpt-4o-transcribe-diarize",
            timestamps="segment",
            tells_speakers=True,
            max_seconds=1400,
            ends=_TRANSCRIBE_ENDS,
            microdollars_per_minute=6_000,
        ),
        SpeechCapabilities(
            "whisper-1",
            timestamps="word",
            hints="prompt",
            ends=_TRANSCRIBE_ENDS,
            microdollars_per_minute=6_000,
        ),
        SpeechCapabilities(
            "gemini-3.8-flash",
            transport="chat",
            audio_format="mp3",
            hints="prompt",
            max_bytes=20 * MEGABYTE,
            max_output_tokens=65_536,
            reasoning_effort="low",
            microdollars_per_million_input=1_500_000,
            microdollars_per_million_output=7_500_000,
        ),
        SpeechCapabilities("offline-speech", timestamps="word"),
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
        TextCapabilities(
            "gemini-3.8-flash",
            context_tokens=1_048_576,
            max_output_tokens=65_536,
            reasoning_effort="low",
            microdollars_per_million_input=1_500_000,
            microdollars_per_million_output=7_500_000,
        ),
        TextCapabilities("offline-text", context_tokens=1_000_000),
    )
}

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def speech_capabilities(name: str, profile: str = "") -> SpeechCapabilities:
    """Look `name` up; a dated snapshot counts as its model.

    With a `profile` it has the abilities of that model, and no end that we know of.
    """
    if profile:
        return replace(speech_capabilities(profile), name=name, ends=None)
    return SPEECH.get(_SNAPSHOT.sub("", name)) or SpeechCapabilities(name)


def text_capabilities(name: str, profile: str = "") -> TextCapabilities:
    """See `speech_capabilities`."""
    if profile:
        return replace(text_capabilities(profile), name=name, ends=None)
    return TEXT.get(_SNAPSHOT.sub("", name)) or TextCapabilities(name)
