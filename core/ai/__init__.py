"""Speech and text models behind two small interfaces; the only room that imports `openai`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from core.ai.client import Connection, Key, token_provider
from core.ai.hearing import ChatSpeech
from core.ai.models import (
    AudioFormat,
    Bill,
    SpeechCapabilities,
    TextCapabilities,
    Usage,
    speech_capabilities,
    text_capabilities,
)
from core.ai.speech import NO_HINTS, Hints, OpenAISpeech, Speech, SpeechModel, TimedText
from core.ai.text import Completion, OpenAIText, TextModel
from core.ids import now
from core.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from pydantic import SecretStr

__all__ = [
    "NO_HINTS",
    "AudioFormat",
    "Bill",
    "Completion",
    "Hints",
    "Models",
    "Speech",
    "SpeechCapabilities",
    "SpeechModel",
    "TextCapabilities",
    "TextModel",
    "TimedText",
    "Usage",
    "connect",
    "speech_capabilities",
    "text_capabilities",
]

WARNING_DAYS = (7, 30, 60)

_log = logging.getLogger("aloud.ai")


@dataclass(frozen=True, slots=True)
class Ending:
    """A configured model that its service will switch off; `threshold` is the warning that is due."""

    setting: str
    model: str
    ends: date
    days: int
    threshold: int

    def describe(self) -> str:
        """Return a sentence for the person who can choose another."""
        when = f"in {self.days} days" if self.days >= 0 else f"{-self.days} days ago"
        return (
            f"The model {self.model} ends on {self.ends.isoformat()}, {when}. "
            f"Choose another one by {self.setting}; docs/ai.md lists what there is."
        )


@dataclass(frozen=True, slots=True)
class Models:
    """The two models that the app uses, and the connections under them."""

    speech: SpeechModel
    text: TextModel
    connections: tuple[Connection, ...]

    def endings(self, today: date) -> list[Ending]:
        """Return the models that end soon or have ended, by the dates that their vendors have announced."""
        found = []
        for setting, able in (
            ("SPEECH_MODEL", self.speech.capabilities),
            ("TEXT_MODEL", self.text.capabilities),
        ):
            if able.ends is None:
                continue
            days = (able.ends - today).days
            threshold = next((limit for limit in WARNING_DAYS if days <= limit), None)
            if threshold is not None:
                found.append(Ending(setting, able.name, able.ends, days, threshold))
        return found

    async def close(self) -> None:
        """Close the connections; to be called on the event loop that used them."""
        for connection in self.connections:
            await connection.close()


def connect(settings: Settings, credential: Callable[[], AsyncTokenCredential]) -> Models:
    """Make both models from the settings; nothing is loaded or opened before the first call.

    `credential` is asked for at the first call, where Azure OpenAI is used without a key; whoever made it
    closes it.
    """
    shared = _shared(settings, credential)
    timeout = settings.ai_timeout_seconds
    for_speech = _own(settings.speech_base_url, settings.speech_api_key, timeout) or shared
    for_text = _own(settings.text_base_url, settings.text_api_key, timeout) or shared
    speech_able = speech_capabilities(settings.speech_model, settings.speech_profile)
    speech_type = ChatSpeech if speech_able.transport == "chat" else OpenAISpeech
    models = Models(
        speech=speech_type(for_speech, settings.speech_model, speech_able),
        text=OpenAIText(
            for_text,
            settings.text_model,
            text_capabilities(settings.text_model, settings.text_profile),
        ),
        connections=tuple({id(c): c for c in (for_speech, for_text)}.values()),
    )
    for ending in models.endings(now().date()):
        _log.warning(ending.describe())
    return models


def _shared(settings: Settings, credential: Callable[[], AsyncTokenCredential]) -> Connection:
    """Return the connection of the models that have no address of their own."""
    if settings.azure_openai_endpoint:
        address = f"{settings.azure_openai_endpoint.rstrip('/')}/openai/v1"
        key: Key | None = token_provider(credential, settings.azure_openai_scope)
        return Connection(key, address, settings.ai_timeout_seconds)
    return Connection(_plain(settings.openai_api_key), settings.openai_base_url, settings.ai_timeout_seconds)


def _own(base_url: str | None, key: SecretStr | None, timeout_seconds: float) -> Connection | None:
    """Return the connection of a model with an address of its own, which is never shown another's key."""
    return Connection(_plain(key), base_url, timeout_seconds) if base_url else None


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
