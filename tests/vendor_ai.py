"""The AI services as their vendors run them: strict about every request, and each with its own errors.

    async with VendorAi.start("gemini", {"the-key"}) as service:   # service.base_url
        service.fail(429, wait=37)                                  # the next call
        service.calls                                               # what was accepted, field by field

Where `tests.scripted_ai` says what a test wants to hear, this one refuses what the vendor would refuse: an
unknown field, a field that the model does not take, a file that is not what its name says, a wrong key.
"""

import base64
import binascii
import io
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import av
from aiohttp import web

Vendor = Literal["openai", "azure", "gemini"]

SAID = "The evening was quiet. Nobody came to the lighthouse."
PATHS: dict[Vendor, str] = {"openai": "/v1", "azure": "/openai/v1", "gemini": "/v1beta/openai"}
MEGABYTES = {"openai": 25, "azure": 25, "gemini": 20}

_FILE_FORMATS = {"flac": "flac", "mp3": "mp3", "wav": "wav", "ogg": "ogg"}
_COMMON = {"model", "response_format", "language"}
_FIELDS = {
    "gpt-transcribe": _COMMON | {"prompt", "keywords[]", "languages[]"},
    "gpt-4o-transcribe": _COMMON | {"prompt", "temperature", "include[]", "chunking_strategy"},
    "gpt-4o-transcribe-diarize": _COMMON | {"temperature", "chunking_strategy"},
    "whisper-1": _COMMON | {"prompt", "temperature", "timestamp_granularities[]"},
}
_RESPONSES = {
    "gpt-transcribe": {"json"},
    "gpt-4o-transcribe": {"json", "text"},
    "gpt-4o-transcribe-diarize": {"json", "text", "diarized_json"},
    "whisper-1": {"json", "text", "srt", "verbose_json", "vtt"},
}
_CHAT_FIELDS = {"model", "messages", "response_format", "temperature", "reasoning_effort", "stream"} | {
    "max_completion_tokens"
}


_NOT_TAKEN = {"gpt-4o-mini": {"reasoning_effort"}, "gpt-5.6-luna": {"temperature"}}


class RefusedError(Exception):
    """What the service answers in place of a result."""

    def __init__(self, status: int, message: str, code: str = "", wait: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.wait = status, message, code, wait


@dataclass(frozen=True)
class Accepted:
    """A request that the vendor would take; `audio` is the container that the file really is."""

    path: str
    token: str
    fields: dict[str, Any]
    filename: str = ""
    audio: str = ""
    seconds: float = 0.0


@dataclass
class VendorAi:
    vendor: Vendor
    tokens: set[str]
    base_url: str = ""
    calls: list[Accepted] = field(default_factory=list)
    answer: Callable[[Accepted], dict[str, Any]] | None = None
    _failures: list[RefusedError] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def start(cls, vendor: Vendor, tokens: set[str]) -> AsyncIterator[Self]:
        service = cls(vendor, tokens)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post(PATHS[vendor] + "/chat/completions", service._chat)
        if vendor != "gemini":
            app.router.add_post(PATHS[vendor] + "/audio/transcriptions", service._transcribe)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATHS[vendor]}"
        try:
            yield service
        finally:
            await runner.cleanup()

    @property
    def endpoint(self) -> str:
        """The address as Azure's portal shows it, without a path."""
        return self.base_url.removesuffix(PATHS[self.vendor])

    def fail(self, status: int, message: str = "Failed.", code: str = "", wait: float | None = None) -> None:
        """Refuse the next call."""
        self._failures.append(RefusedError(status, message, code, wait))

    async def _transcribe(self, request: web.Request) -> web.Response:
        try:
            token = self._admit(request)
            accepted = await _check_form(request, token)
        except RefusedError as refused:
            return self._refuse(refused)
        self.calls.append(accepted)
        return self._reply(self.answer(accepted) if self.answer else _transcript(accepted))

    async def _chat(self, request: web.Request) -> web.Response:
        try:
            token = self._admit(request)
            accepted = check_chat(self.vendor, await request.read(), token, request.path)
        except RefusedError as refused:
            return self._refuse(refused)
        self.calls.append(accepted)
        return self._reply(self.answer(accepted) if self.answer else completion(accepted, SAID))

    def _admit(self, request: web.Request) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if "api-key" in request.headers or scheme != "Bearer" or token not in self.tokens:
            if self.vendor == "gemini":
                raise RefusedError(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")
            raise RefusedError(401, f"Incorrect API key provided: {token[:6]}.", "invalid_api_key")
        if self._failures:
            raise self._failures.pop(0)
        return token

    def _reply(self, body: dict[str, Any]) -> web.Response:
        return web.json_response(body, headers=self._headers(len(self.calls)))

    def _headers(self, number: int) -> dict[str, str]:
        name = "apim-request-id" if self.vendor == "azure" else "x-request-id"
        return {} if self.vendor == "gemini" else {name: f"req_{self.vendor}_{number}"}

    def _refuse(self, refused: RefusedError) -> web.Response:
        headers = self._headers(len(self.calls) + 1)
        body: object
        if self.vendor == "gemini":
            details: list[dict[str, Any]] = []
            if refused.code:
                details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refused.code})
            if refused.wait is not None:
                details.append(
                    {
                        "@type": "type.googleapis.com/google.rpc.RetryInfo",
                        "retryDelay": f"{refused.wait:g}s",
                    }
                )
            state = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
            error = {
                "code": refused.status,
                "message": refused.message,
                "status": state.get(refused.status, "INTERNAL"),
            }
            body = [{"error": error | ({"details": details} if details else {})}]
        else:
            if refused.wait is not None:
                headers["retry-after"] = f"{refused.wait:g}"
            if self.vendor == "azure":
                body = {"error": {"code": refused.code or str(refused.status), "message": refused.message}}
            else:
                kind = "insufficient_quota" if refused.code == "insufficient_quota" else "api_error"
                body = {
                    "error": {
                        "message": refused.message,
                        "type": kind,
                        "param": None,
                        "code": refused.code or None,
                    }
                }
        return web.json_response(body, status=refused.status, headers=headers)


async def _check_form(request: web.Request, token: str) -> Accepted:
    if request.content_type != "multipart/form-data":
        raise RefusedError(400, "Could not parse multipart form")
    form = await request.post()
    upload = form.get("file")
    if not isinstance(upload, web.FileField) or len(form.getall("file")) != 1:
        raise RefusedError(400, "you must provide a file")
    with upload.file as file:
        audio = file.read()
    if len(audio) > 25 * 1024 * 1024:
        raise RefusedError(413, "Maximum content size limit (26214400) exceeded")
    fields = {name: [str(value) for value in form.getall(name)] for name in form if name != "file"}
    model = fields.get("model", [""])[0]
    if model not in _FIELDS:
        raise RefusedError(404, f"The model `{model}` does not exist", "model_not_found")
    for name in fields.keys() - _FIELDS[model]:
        raise RefusedError(
            400, f"Unknown or unsupported parameter for {model}: '{name}'.", "unknown_parameter"
        )
    form_wanted = fields.get("response_format", ["json"])
    if len(form_wanted) != 1 or form_wanted[0] not in _RESPONSES[model]:
        raise RefusedError(400, f"response_format {form_wanted} is not compatible with model {model}")
    if "timestamp_granularities[]" in fields and form_wanted != ["verbose_json"]:
        raise RefusedError(400, "timestamp_granularities needs response_format verbose_json")
    suffix = upload.filename.rpartition(".")[2]
    if suffix not in _FILE_FORMATS:
        raise RefusedError(400, "Invalid file format. Supported formats: ['flac', 'm4a', 'mp3', ...]")
    found, seconds = _listen(audio)
    if found != _FILE_FORMATS[suffix]:
        raise RefusedError(400, "Audio file might be corrupted or unsupported", "invalid_value")
    if model == "gpt-4o-transcribe-diarize" and seconds > 30 and "chunking_strategy" not in fields:
        raise RefusedError(400, "chunking_strategy is required for diarization models")
    return Accepted(request.path, token, fields, upload.filename, found, seconds)


def check_chat(vendor: Vendor, content: bytes, token: str, path: str) -> Accepted:
    if len(content) > MEGABYTES[vendor] * 1024 * 1024:
        raise RefusedError(400, "Request payload size exceeds the limit")
    body = json.loads(content)
    for name in body.keys() - _CHAT_FIELDS:
        raise RefusedError(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    for name in body.keys() & _NOT_TAKEN.get(body["model"], set()):
        raise RefusedError(400, f"Unsupported parameter: '{name}' is not supported with this model.")
    if [message["role"] for message in body["messages"]] != ["system", "user"]:
        raise RefusedError(400, "Invalid value for 'messages'.")
    if "response_format" in body:
        _check_schema(body["response_format"])
    if vendor == "gemini" and body.get("reasoning_effort", "low") not in ("low", "medium", "high"):
        raise RefusedError(400, "Thinking level is not supported by this model.")
    audio, seconds = "", 0.0
    for message in body["messages"]:
        parts = message["content"] if isinstance(message["content"], list) else []
        for part in parts:
            if part.get("type") != "input_audio":
                continue
            sent = part["input_audio"]
            if (
                vendor != "gemini"
                or sent.keys() != {"data", "format"}
                or sent["format"] not in ("wav", "mp3")
            ):
                raise RefusedError(400, "Request contains an invalid argument.")
            try:
                audio, seconds = _listen(base64.b64decode(sent["data"], validate=True))
            except binascii.Error:
                raise RefusedError(400, "Base64 decoding failed.") from None
            if audio != sent["format"]:
                raise RefusedError(400, "Request contains an invalid argument.")
    return Accepted(path, token, body, "", audio, seconds)


def _check_schema(wanted: dict[str, Any]) -> None:
    """Structured output is strict: every object closed, every field of it required, no defaults."""
    named = wanted.get("json_schema", {})
    if wanted.get("type") != "json_schema" or named.keys() - {"name", "strict", "schema"}:
        raise RefusedError(400, "Invalid value for 'response_format'.")
    if not re.fullmatch(r"[\w-]{1,64}", named.get("name", "")) or named.get("strict") is not True:
        raise RefusedError(400, "Invalid 'response_format.json_schema'.")

    def check(part: Any) -> None:
        if isinstance(part, list):
            for each in part:
                check(each)
        if not isinstance(part, dict):
            return
        if part.get("type") == "object" and (
            part.get("additionalProperties") is not False
            or sorted(part.get("required", [])) != sorted(part.get("properties", {}))
        ):
            raise RefusedError(400, "Invalid schema for response_format: all fields have to be required.")
        if "default" in part or "prefixItems" in part:
            raise RefusedError(400, "Invalid schema for response_format: this is not permitted.")
        for each in part.values():
            check(each)

    check(named.get("schema"))


def _listen(audio: bytes) -> tuple[str, float]:
    """The container and length of what can be decoded; 16 kHz mono is what speech models work with."""
    try:
        with av.open(io.BytesIO(audio), "r") as container:
            stream = container.streams.audio[0]
            samples = sum(frame.samples for frame in container.decode(stream))
            if (stream.rate, stream.channels) != (16_000, 1):
                return "", 0.0
            return container.format.name, samples / stream.rate
    except (av.error.FFmpegError, IndexError):
        return "", 0.0


def _transcript(accepted: Accepted) -> dict[str, Any]:
    model, wanted = accepted.fields["model"][0], accepted.fields.get("response_format", ["json"])[0]
    first, second = SAID.split(". ", 1)
    half = round(accepted.seconds / 2, 2)
    match wanted:
        case "verbose_json":
            words = SAID.split()
            step = accepted.seconds / len(words)
            return {
                "task": "transcribe",
                "language": "english",
                "duration": accepted.seconds,
                "text": SAID,
                "words": [
                    {"word": w.strip("."), "start": i * step, "end": (i + 1) * step}
                    for i, w in enumerate(words)
                ],
                "segments": [],
                "usage": {"type": "duration", "seconds": round(accepted.seconds)},
            }
        case "diarized_json":
            return {
                "task": "transcribe",
                "duration": accepted.seconds,
                "text": SAID,
                "segments": [
                    {"id": "seg_0", "type": "transcript.text.segment", "speaker": "A", "start": 0.0}
                    | {"end": half, "text": f"{first}."},
                    {"id": "seg_1", "type": "transcript.text.segment", "speaker": "B", "start": half}
                    | {"end": accepted.seconds, "text": second},
                ],
                "usage": {"type": "tokens", "input_tokens": 15, "output_tokens": 12, "total_tokens": 27},
            }
    if model == "gpt-transcribe":
        return {
            "text": SAID,
            "languages": [{"code": "en"}],
            "usage": {"type": "duration", "seconds": round(accepted.seconds)},
        }
    counts = {"input_tokens": 15, "output_tokens": 12, "total_tokens": 27}
    return {"text": SAID, "usage": {"type": "tokens", **counts}}


def completion(
    accepted: Accepted, content: str | None, finish_reason: str = "stop", thoughts: int = 0
) -> dict[str, Any]:
    """A chat's body; thoughts are counted in the total only, as Gemini does."""
    if "response_format" in accepted.fields and content == SAID:
        content = json.dumps({"summary": SAID, "tags": ["sea", "night", "quiet"]})
    message: dict[str, Any] = {"role": "assistant"}
    if content is not None:
        message["content"] = content
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": accepted.fields["model"],
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120 + thoughts},
    }
