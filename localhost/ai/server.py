"""OpenAI's wire protocol over the offline engines: transcriptions, chat completions, models, errors."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from aiohttp import web

from localhost.ai.speech import (
    RATE,
    Recogniser,
    UnreadableAudioError,
    Word,
    decode_audio,
    group_words,
)
from localhost.ai.text import fill_schema, read_material, summarise

SPEECH_MODEL = "offline-speech"
TEXT_MODEL = "offline-text"
MAX_UPLOAD = 25 * 1024 * 1024
FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
RECOGNISER = web.AppKey("recogniser", Recogniser)

log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that is answered with an error in OpenAI's form."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


def make_app(workers: int) -> web.Application:
    """The server; its decoders start with the first recording and end with it."""
    app = web.Application(client_max_size=MAX_UPLOAD + 64 * 1024, middlewares=[answer_errors])
    app.router.add_post("/v1/audio/transcriptions", transcribe)
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/v1/models", list_models)
    app.router.add_get("/v1/models/{model}", show_model)

    async def keep_recogniser(app: web.Application) -> AsyncIterator[None]:
        app[RECOGNISER] = Recogniser(workers)
        yield
        app[RECOGNISER].close()

    app.cleanup_ctx.append(keep_recogniser)
    return app


@web.middleware
async def answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give each reply its request id, and each failure OpenAI's form."""
    try:
        response = await handler(request)
    except RefusedError as error:
        response = make_error(error.status, str(error), error.param, error.code)
    except web.HTTPRequestEntityTooLarge:
        response = make_error(413, f"Maximum content size limit ({MAX_UPLOAD}) exceeded.")
    except web.HTTPException as error:
        response = make_error(error.status, f"Invalid URL ({request.method} {request.path})")
    except BrokenProcessPool:
        response = make_error(503, "A speech worker ended; try again.")
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        response = make_error(500, "The server had an error while processing your request.")
    response.headers["x-request-id"] = f"req_{secrets.token_hex(16)}"
    return response


def make_error(status: int, message: str, param: str | None = None, code: str | None = None) -> web.Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return web.json_response({"error": error}, status=status)


def check_model(name: object, expected: str) -> None:
    if name != expected:
        raise RefusedError(
            404,
            f"The model `{name}` does not exist here; this one is `{expected}`.",
            "model",
            "model_not_found",
        )


async def list_models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [describe(SPEECH_MODEL), describe(TEXT_MODEL)]})


async def show_model(request: web.Request) -> web.Response:
    model = request.match_info["model"]
    if model not in (SPEECH_MODEL, TEXT_MODEL):
        raise RefusedError(404, f"The model `{model}` does not exist here.", "model", "model_not_found")
    return web.json_response(describe(model))


def describe(model: str) -> dict[str, object]:
    return {"id": model, "object": "model", "created": 1_767_225_600, "owned_by": "aloud-offline"}


async def transcribe(request: web.Request) -> web.Response:
    """A recording to text, in the format that was asked for."""
    if not request.content_type.startswith("multipart/"):
        raise RefusedError(400, "Send the recording as multipart/form-data.", "file")
    try:
        form = await request.post()
    except ValueError as error:
        raise RefusedError(400, f"The form cannot be read: {error}") from None
    upload = form.get("file")
    if not isinstance(upload, web.FileField):
        raise RefusedError(400, "The field `file` must be a recording.", "file")
    with upload.file as file:
        check_model(form.get("model"), SPEECH_MODEL)
        wanted = str(form.get("response_format", "json"))
        if wanted not in FORMATS:
            raise RefusedError(
                400, f"`{wanted}` is not one of {', '.join(FORMATS)}.", "response_format", "unsupported_value"
            )
        language = form.get("language") or "en"
        if not str(language).lower().startswith("en"):
            raise RefusedError(
                400, "This engine understands English only.", "language", "unsupported_language"
            )
        try:
            samples = await asyncio.to_thread(decode_audio, file)
        except UnreadableAudioError:
            raise RefusedError(
                400,
                "The audio file could not be decoded or its format is not supported.",
                "file",
                "invalid_value",
            ) from None
    words = await request.app[RECOGNISER].recognise(samples)
    times = [str(value) for value in form.getall("timestamp_granularities[]", ["segment"])]
    match wanted:
        case "verbose_json":
            return web.json_response(write_verbose(words, len(samples) / RATE, times))
        case "text":
            return web.Response(text=write_text(words) + "\n")
        case "srt":
            cues = enumerate(group_words(words), 1)
            return web.Response(text="".join(f"{number}\n{write_cue(cue, ',')}" for number, cue in cues))
        case "vtt":
            cues_text = "".join(write_cue(cue, ".") for cue in group_words(words))
            return web.Response(text=f"WEBVTT\n\n{cues_text}")
        case _:
            usage = {"type": "duration", "seconds": len(samples) / RATE}
            return web.json_response({"text": write_text(words), "usage": usage})


def write_text(words: list[Word]) -> str:
    return " ".join(word.text for word in words)


def write_verbose(words: list[Word], duration: float, times: list[str]) -> dict[str, object]:
    body: dict[str, object] = {
        "task": "transcribe",
        "language": "english",
        "duration": duration,
        "text": write_text(words),
        "usage": {"type": "duration", "seconds": duration},
    }
    if "word" in times:
        body["words"] = [
            {"word": word.text, "start": word.start, "end": word.end, "probability": word.confidence}
            for word in words
        ]
    if "segment" in times:
        body["segments"] = [
            {"id": number, "start": group[0].start, "end": group[-1].end, "text": write_text(group)}
            for number, group in enumerate(group_words(words))
        ]
    return body


def write_cue(words: list[Word], mark: str) -> str:
    """One caption; `mark` stands before the milliseconds."""

    def clock(seconds: float) -> str:
        whole = round(seconds * 1000)
        minutes = whole // 60_000
        return f"{minutes // 60:02}:{minutes % 60:02}:{whole // 1000 % 60:02}{mark}{whole % 1000:03}"

    return f"{clock(words[0].start)} --> {clock(words[-1].end)}\n{write_text(words)}\n\n"


async def complete(request: web.Request) -> web.Response:
    """Answer the last user message in the schema that was asked for; without one, with a summary."""
    try:
        body = await request.json()
    except ValueError:
        raise RefusedError(400, "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "The body must be an object.")
    check_model(body.get("model"), TEXT_MODEL)
    if body.get("stream"):
        raise RefusedError(400, "This engine does not stream.", "stream", "unsupported_value")
    material = read_messages(body.get("messages"))
    wanted = body.get("response_format")
    schema = None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        named = wanted.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        if not isinstance(schema, dict):
            raise RefusedError(400, "A schema is missing.", "response_format.json_schema.schema")
    content = await asyncio.to_thread(write_answer, material, schema)
    sent, answered = len(material.split()), len(content.split())
    return web.json_response(
        {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": TEXT_MODEL,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": content, "refusal": None},
                }
            ],
            # Words, since this engine has no tokens.
            "usage": {"prompt_tokens": sent, "completion_tokens": answered, "total_tokens": sent + answered},
        }
    )


def read_messages(messages: object) -> str:
    """The text of the last user message, whose content is a string or a list of parts."""
    if not isinstance(messages, list):
        raise RefusedError(400, "`messages` must be a list.", "messages")
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            if isinstance(content, list):
                return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    raise RefusedError(400, "There is no user message.", "messages")


def write_answer(content: str, schema: dict[str, Any] | None) -> str:
    texts = read_material(content)
    if schema is None:
        return summarise("\n".join(texts))
    return json.dumps(fill_schema(schema, texts), ensure_ascii=False)
