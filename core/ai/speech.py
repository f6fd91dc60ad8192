"""Speech to text: one chunk of audio in, its words and what they cost out."""

import time
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

from core.ai.client import Answer, Connection, translate_errors
from core.ai.models import Bill, SpeechCapabilities, Usage
from core.ai.refusals import request_id_of

_PROMPT_CHARACTERS = 700  # the older models look at 224 tokens and no more


@dataclass(frozen=True, slots=True)
class TimedText:
    """A word or a segment; times are in seconds from the start of the chunk.

    `speaker` is the model's name for who says it, the same for the same voice within the chunk.
    """

    start: float
    end: float
    text: str
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """What helps a model to hear right: names to spell so, and an ISO 639-1 language."""

    names: tuple[str, ...] = ()
    language: str | None = None

    def prompt(self) -> str:
        """Return the first names as a text, in no language."""
        text = ""
        for name in self.names:
            longer = f"{text}, {name}" if text else name
            if len(longer) > _PROMPT_CHARACTERS:
                break
            text = longer
        return text


NO_HINTS = Hints()


@dataclass(frozen=True, slots=True)
class Speech:
    """What was said in one chunk; `words` and `segments` are empty where the model gives no times.

    `language` is what the model heard, in its own manner: a code (`en`), or a name (`english`).
    `is_cut_off` means that the model says it ended at a limit of its own. `prompt` is the text that went
    along with the audio, in case the model repeats it.
    """

    text: str
    words: tuple[TimedText, ...]
    segments: tuple[TimedText, ...]
    language: str | None
    usage: Usage
    request_id: str | None
    latency_seconds: float
    is_cut_off: bool = False
    prompt: str = ""


class SpeechModel(Protocol):
    """Anything that transcribes."""

    @property
    def capabilities(self) -> SpeechCapabilities: ...

    async def transcribe(
        self,
        audio: BinaryIO,
        filename: str,
        duration_seconds: float,
        hints: Hints = NO_HINTS,
        bill: Bill | None = None,
    ) -> Speech:
        """Transcribe the whole of `audio`, which stays open and belongs to the caller.

        `audio` is in the format of the model's capabilities, which `filename` tells by its ending. Hints
        that the model takes none of are left out. An empty text is an answer: only the caller knows whether
        the audio was silent. What the call used up is put on the `bill` even where its answer cannot be
        used. Raises ModelUnavailableError or ModelRefusedError.
        """
        ...


class OpenAISpeech:
    """Transcribes through `/audio/transcriptions` of OpenAI or a compatible server."""

    def __init__(self, connection: Connection, model: str, capabilities: SpeechCapabilities) -> None:
        self._connection = connection
        self._model = model
        self.capabilities = capabilities

    async def transcribe(
        self,
        audio: BinaryIO,
        filename: str,
        duration_seconds: float,
        hints: Hints = NO_HINTS,
        bill: Bill | None = None,
    ) -> Speech:
        """See SpeechModel. The file goes out in blocks of 64 KiB as the socket takes them, uncopied."""
        client = self._connection.client()
        from openai import omit

        able = self.capabilities
        prompt = hints.prompt() if able.hints == "prompt" else ""
        keywords = hints.names if able.hints == "keywords" else ()
        started = time.perf_counter()
        with translate_errors():
            reply = await client.audio.transcriptions.with_raw_response.create(
                # As a tuple the SDK passes the open file on as it is.
                file=(filename, audio),
                model=self._model,
                response_format=able.response_format,
                timestamp_granularities=["word", "segment"] if able.timestamps == "word" else omit,
                chunking_strategy="auto" if able.tells_speakers else omit,
                language=hints.language or omit,
                prompt=prompt or omit,
                keywords=keywords or omit,
            )
        latency = time.perf_counter() - started
        request_id = request_id_of(reply.headers)
        # Paid by the second, whatever the body turns out to be.
        usage = Usage(duration_seconds, cost_microdollars=able.cost(duration_seconds))
        try:
            answer = _Transcript.read(reply.content, request_id)
            if answer.usage is not None:
                tokens = (answer.usage.input_tokens, answer.usage.output_tokens)
                usage = Usage(duration_seconds, *tokens, able.cost(duration_seconds, *tokens))
        finally:
            if bill is not None:
                bill.add(usage, latency)
        return Speech(
            text=answer.text.strip(),
            words=tuple(TimedText(word.start, word.end, word.word.strip()) for word in answer.words or ()),
            segments=tuple(
                TimedText(part.start, part.end, part.text.strip(), part.speaker or None)
                for part in answer.segments or ()
            ),
            language=answer.language or (answer.languages[0].code if answer.languages else None),
            usage=usage,
            request_id=request_id,
            latency_seconds=latency,
            prompt=prompt or ", ".join(keywords),
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
    speaker: str | None = None


class _Language(Answer):
    code: str


class _Transcript(Answer):
    text: str
    language: str | None = None
    languages: list[_Language] | None = None
    words: list[_Word] | None = None
    segments: list[_Segment] | None = None
    usage: _Used | None = None
