"""Speech to text: one chunk of audio in, its words and what they cost out."""

import time
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

from core.ai.client import Answer, Connection, translate_errors
from core.ai.models import SpeechCapabilities, Usage, speech_capabilities


@dataclass(frozen=True, slots=True)
class TimedText:
    """A word or a segment; times are in seconds from the start of the chunk."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Speech:
    """What was said in one chunk; `words` and `segments` are empty where the model gives no times.

    `language` is what the model heard, in its own manner: a code (`en`), or a name (`english`).
    """

    text: str
    words: tuple[TimedText, ...]
    segments: tuple[TimedText, ...]
    language: str | None
    usage: Usage
    request_id: str | None
    latency_seconds: float


class SpeechModel(Protocol):
    """Anything that transcribes."""

    @property
    def capabilities(self) -> SpeechCapabilities: ...

    async def transcribe(
        self, audio: BinaryIO, filename: str, duration_seconds: float, language: str | None = None
    ) -> Speech:
        """Transcribe the whole of `audio`, which stays open and belongs to the caller.

        `filename` tells the format by its ending; `language` is ISO 639-1. An empty text is an
        answer: only the caller knows whether the audio was silent.
        Raises ModelUnavailableError or ModelRefusedError.
        """
        ...


class OpenAISpeech:
    """Transcribes through `/audio/transcriptions` of OpenAI or a compatible server."""

    def __init__(self, connection: Connection, model: str) -> None:
        self._connection = connection
        self._model = model
        self.capabilities = speech_capabilities(model)

    async def transcribe(
        self, audio: BinaryIO, filename: str, duration_seconds: float, language: str | None = None
    ) -> Speech:
        """See SpeechModel. The file goes out in blocks of 64 KiB as the socket takes them, uncopied."""
        client = self._connection.client()
        from openai import omit

        able = self.capabilities
        started = time.perf_counter()
        with translate_errors():
            reply = await client.audio.transcriptions.with_raw_response.create(
                # As a tuple the SDK passes the open file on as it is.
                file=(filename, audio),
                model=self._model,
                response_format=able.response_format,
                timestamp_granularities=["word", "segment"] if able.timestamps == "word" else omit,
                chunking_strategy="auto" if able.timestamps == "segment" else omit,
                language=language or omit,
            )
        latency = time.perf_counter() - started
        request_id = reply.headers.get("x-request-id")
        answer = _Transcript.read(reply.content, request_id)
        used = answer.usage or _Used()
        return Speech(
            text=answer.text.strip(),
            words=tuple(TimedText(word.start, word.end, word.word.strip()) for word in answer.words or ()),
            segments=tuple(
                TimedText(part.start, part.end, part.text.strip()) for part in answer.segments or ()
            ),
            language=answer.language or (answer.languages[0].code if answer.languages else None),
            usage=Usage(
                audio_seconds=duration_seconds,
                input_tokens=used.input_tokens,
                output_tokens=used.output_tokens,
                cost_microdollars=able.cost(duration_seconds),
            ),
            request_id=request_id,
            latency_seconds=latency,
        )


class _Used(Answer):
    type: Literal["tokens", "duration"] | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class _Word(Answer):
    start: float
    end: float
    word: str


class _Segment(Answer):
    start: float
    end: float
    text: str


class _Language(Answer):
    code: str


class _Transcript(Answer):
    text: str
    language: str | None = None
    languages: list[_Language] | None = None
    words: list[_Word] | None = None
    segments: list[_Segment] | None = None
    usage: _Used | None = None
