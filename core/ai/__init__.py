"""Speech and text models behind two small interfaces; the only room that imports `openai`."""

from dataclasses import dataclass

from core.ai.client import Connection
from core.ai.models import (
    SpeechCapabilities,
    TextCapabilities,
    Usage,
    speech_capabilities,
    text_capabilities,
)
from core.ai.speech import OpenAISpeech, Speech, SpeechModel, TimedText
from core.ai.text import Completion, OpenAIText, TextModel
from core.settings import Settings

__all__ = [
    "Completion",
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


@dataclass(frozen=True, slots=True)
class Models:
    """The two models that the app uses, and the connection under them."""

    speech: SpeechModel
    text: TextModel
    connection: Connection

    async def close(self) -> None:
        """Close the connection; to be called on the event loop that used it."""
        await self.connection.close()


def connect(settings: Settings) -> Models:
    """Make both models from the settings; nothing is loaded or opened before the first call."""
    key = settings.openai_api_key
    connection = Connection(key.get_secret_value() if key else None, settings.openai_base_url)
    return Models(
        speech=OpenAISpeech(connection, settings.speech_model),
        text=OpenAIText(connection, settings.text_model),
        connection=connection,
    )
