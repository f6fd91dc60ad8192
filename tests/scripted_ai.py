"""An AI whose answers are scripted, behind a real HTTP server that speaks OpenAI's protocol.

    async with ScriptedAi.start() as ai:           # ai.base_url ends in /v1
        ai.script(status(500), rate_limited(2))    # the next two calls; then the default again
        ai.fail_with(status(500))                  # every call, until ai.heal()

By default speech is "Chunk <first 8 of the audio's sha256>." and then as many invented words as a reader
says in that time, the same ones for the same bytes; each pure tone is named where it sounds ("Tone 600."),
with its true times where word times are asked for. A chat fills the JSON schema it is given.
By hand: `python -m tests.scripted_ai [--port N] [--latency SECONDS]`.
"""

import argparse
import asyncio
import hashlib
import io
import json
import random
import re
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

import av
import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from localhost.ai.serving import listen, run

WORDS_PER_MINUTE = 150
WORDS = re.findall(
    r"\w+",
    """
    amber anchor autumn basket bell blanket branch bridge candle castle cloud copper corner daughter
    evening feather field fire forest garden gate glass harbour hill honey island kettle lantern letter
    lighthouse market meadow mirror morning mountain needle orchard paper pebble pocket quiet rain
    ribbon river road sailor shadow silver snow sparrow stone story summer tide tower valley village
    violin water whisper willow window winter
    """,
)


TONE_FRAME = 0.02
SHORTEST_TONE = 0.06


@dataclass(frozen=True)
class Tone:
    """A beep in the audio: seconds from its start, good to one frame, and hertz to the nearest 50."""

    start: float
    end: float
    hertz: int


@dataclass(frozen=True)
class Call:
    """One request as it arrived; `fields` of a form, `body` of a chat; the audio's bytes are not kept."""

    path: str
    model: str
    arrived: float
    filename: str = ""
    audio_bytes: int = 0
    audio_sha256: str = ""
    audio_seconds: float = 0.0
    tones: tuple[Tone, ...] = ()
    fields: dict[str, list[str]] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


Reply = Callable[[web.Request, Call], Awaitable[web.StreamResponse]]


def ok(text: str) -> Reply:
    """What was said, or what the chat's message says."""

    async def reply(request: web.Request, call: Call) -> web.StreamResponse:
        return web.json_response(speak(call, text) if call.audio_sha256 else chat(call, text))

    return reply


def json_answer(body: object) -> Reply:
    """Any 200 with a JSON body."""

    async def reply(request: web.Request, call: Call) -> web.StreamResponse:
        return web.json_response(body)

    return reply


def status(
    code: int, headers: dict[str, str] | None = None, error: str = "", kind: str = "scripted"
) -> Reply:
    """An error in OpenAI's form, with `error` as its code."""

    async def reply(request: web.Request, call: Call) -> web.StreamResponse:
        body = {"error": {"message": f"Scripted {code}.", "type": kind, "param": None, "code": error or None}}
        return web.json_response(body, status=code, headers=headers)

    return reply


def rate_limited(retry_after: object) -> Reply:
    """429 with Retry-After: a number of seconds, or an HTTP date."""
    return status(429, {"Retry-After": str(retry_after)}, "rate_limit_exceeded")


def quota() -> Reply:
    """429 as it comes where the account is out of money: no waiting helps."""
    return status(429, error="insufficient_quota", kind="insufficient_quota")


def raw(body: bytes, content_type: str = "application/json") -> Reply:
    """200 with exactly these bytes."""

    async def reply(request: web.Request, call: Call) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type)

    return reply


def garbage() -> Reply:
    """200, and a page in place of JSON."""
    return raw(b"<html>Bad gateway</html>", "text/html")


def empty() -> Reply:
    """200 without a body."""
    return raw(b"")


def hang() -> Reply:
    """No answer until the caller gives up."""

    async def reply(request: web.Request, call: Call) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    return reply


def cut(midway: bool = False) -> Reply:
    """The connection breaks, before the answer or in the middle of it."""

    async def reply(request: web.Request, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
        if midway:
            await response.prepare(request)
            await response.write(b'{"text": "half a sen')
        assert request.transport is not None
        request.transport.abort()
        return response

    return reply


class ScriptedAi:
    """The server's script and what it saw."""

    def __init__(self, latency: float = 0.0) -> None:
        self.base_url = ""
        self.latency = latency
        self.requests: list[Call] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._queue: deque[Reply] = deque()
        self._failure: Reply | None = None
        self._chooser: Callable[[Call, bytes], Reply | None] | None = None

    @classmethod
    @asynccontextmanager
    async def start(cls, latency: float = 0.0, port: int = 0) -> AsyncIterator[Self]:
        ai = cls(latency)
        runner, ai.base_url = await listen(ai.app(), port)
        try:
            yield ai
        finally:
            await runner.cleanup()

    @property
    def calls(self) -> int:
        return len(self.requests)

    @property
    def transcriptions(self) -> list[Call]:
        return [call for call in self.requests if call.path.endswith("/transcriptions")]

    @property
    def chats(self) -> list[Call]:
        return [call for call in self.requests if call.path.endswith("/completions")]

    def script(self, *replies: Reply) -> None:
        """Answer the next calls with these, in this order."""
        self._queue.extend(replies)

    def choose(self, chooser: Callable[[Call, bytes], Reply | None]) -> None:
        """Ask `chooser(call, audio)` for each call's answer; None means the default one."""
        self._chooser = chooser

    def fail_with(self, reply: Reply) -> None:
        """Answer every call with this, until `heal`."""
        self._failure = reply

    def heal(self) -> None:
        """Forget all failures and scripts."""
        self._failure = None
        self._chooser = None
        self._queue.clear()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/audio/transcriptions", self._transcribe)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        form = await request.post()
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        with upload.file as file:
            audio = file.read()
        fields = {name: [str(value) for value in form.getall(name)] for name in form if name != "file"}
        seconds, tones = await asyncio.to_thread(hear, audio)
        call = Call(
            path=request.path,
            model=fields["model"][0],
            arrived=arrived,
            filename=upload.filename,
            audio_bytes=len(audio),
            audio_sha256=hashlib.sha256(audio).hexdigest(),
            audio_seconds=seconds,
            tones=tones,
            fields=fields,
        )
        return await self._reply(request, call, audio, lambda: say_default)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        body = await request.json()
        call = Call(path=request.path, model=body["model"], arrived=arrived, body=body)
        return await self._reply(request, call, b"", lambda: ok(fill_schema(body)))

    async def _reply(
        self, request: web.Request, call: Call, audio: bytes, default: Callable[[], Reply]
    ) -> web.StreamResponse:
        self.requests.append(call)
        number = len(self.requests)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
            chosen = self._failure or (self._queue.popleft() if self._queue else None)
            if chosen is None and self._chooser is not None:
                chosen = self._chooser(call, audio)
            response = await (chosen or default())(request, call)
        finally:
            self.in_flight -= 1
        if not response.prepared:
            response.headers["x-request-id"] = f"req_scripted_{number}"
        return response


def hear(audio: bytes) -> tuple[float, tuple[Tone, ...]]:
    """Decode to the end: the length in seconds, and the tones; nothing where it is no audio."""
    try:
        with av.open(io.BytesIO(audio), "r") as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler("s16", "mono", stream.rate)
            frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
            frames += resampler.resample(None)
    except (av.error.FFmpegError, IndexError):
        return 0.0, ()
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return len(samples) / stream.rate, find_tones(samples, stream.rate)


def find_tones(samples: NDArray[np.int16], rate: int) -> tuple[Tone, ...]:
    """Stretches where nearly all power is at one frequency."""
    size = int(rate * TONE_FRAME)
    blocks = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float32)
    power = np.abs(np.fft.rfft(blocks * np.hanning(size).astype(np.float32), axis=1)) ** 2
    peaks = power[:, 1:].argmax(axis=1) + 1
    around = sum(
        np.take_along_axis(power, np.clip(peaks + step, 0, size // 2)[:, None], 1)[:, 0]
        for step in (-1, 0, 1)
    )
    loud = np.sqrt((blocks**2).mean(axis=1)) > 300
    pure = loud & (around > 0.9 * power.sum(axis=1))
    hertz = np.where(pure, peaks * rate // size, 0)
    edges = [0, *(np.flatnonzero(np.diff(hertz)) + 1).tolist(), len(hertz)]
    return tuple(
        Tone(round(first * TONE_FRAME, 2), round(last * TONE_FRAME, 2), int(hertz[first]))
        for first, last in pairwise(edges)
        if (last - first) * TONE_FRAME >= SHORTEST_TONE and hertz[first]
    )


TimedWord = tuple[str, float, float]


def invent(call: Call) -> list[TimedWord]:
    """Sentences at a reader's pace, each tone named in its place; the same for the same audio."""
    chance = random.Random(call.audio_sha256)
    spoken: list[TimedWord] = []

    def say(words: list[str], start: float, end: float) -> None:
        step = (end - start) / max(1, len(words))
        spoken.extend((word, start + i * step, start + (i + 1) * step) for i, word in enumerate(words))

    now = 0.0
    for tone in (*call.tones, Tone(call.audio_seconds, call.audio_seconds, 0)):
        words = [] if now else ["Chunk", f"{call.audio_sha256[:8]}."]
        left = int((tone.start - now) * WORDS_PER_MINUTE / 60) - len(words)
        while left > 0:
            sentence = [chance.choice(WORDS) for _ in range(min(left, chance.randint(6, 14)))]
            words += [sentence[0].capitalize(), *sentence[1:]]
            words[-1] += "."
            left -= len(sentence)
        say(words, now, tone.start)
        if tone.hertz:
            say(["Tone", f"{tone.hertz}."], tone.start, tone.end)
        now = tone.end
    return spoken


async def say_default(request: web.Request, call: Call) -> web.StreamResponse:
    words = invent(call)
    return web.json_response(speak(call, " ".join(word for word, _, _ in words), words))


def speak(call: Call, text: str, timed: list[TimedWord] | None = None) -> dict[str, Any]:
    """The body of a transcription; `verbose_json` has times, evenly spread if not given."""
    if call.fields.get("response_format") != ["verbose_json"]:
        tokens = len(text.split()) * 4 // 3
        heard = int(call.audio_seconds * 10)
        counts = {"input_tokens": heard, "output_tokens": tokens, "total_tokens": heard + tokens}
        return {"text": text, "usage": {"type": "tokens", **counts}}
    words = text.split()
    step = call.audio_seconds / max(1, len(words))
    timed = timed or [(word, i * step, (i + 1) * step) for i, word in enumerate(words)]
    return {
        "task": "transcribe",
        "language": "english",
        "duration": call.audio_seconds,
        "text": text,
        "words": [{"word": word.strip(".,"), "start": start, "end": end} for word, start, end in timed],
        "segments": make_segments(timed),
        "usage": {"type": "duration", "seconds": call.audio_seconds},
    }


def make_segments(timed: list[TimedWord]) -> list[dict[str, Any]]:
    """One for each sentence."""
    segments: list[dict[str, Any]] = []
    sentence: list[TimedWord] = []
    for word in timed:
        sentence.append(word)
        if word[0].endswith(".") or word is timed[-1]:
            text = " ".join(part for part, _, _ in sentence)
            segments.append({"id": len(segments), "start": sentence[0][1], "end": word[2], "text": text})
            sentence = []
    return segments


def chat(
    call: Call, content: str | None, finish_reason: str = "stop", refusal: str | None = None
) -> dict[str, Any]:
    """The body of a chat completion."""
    sent = sum(len(str(message["content"]).split()) for message in call.body["messages"])
    answered = len((content or "").split())
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": call.model,
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": content, "refusal": refusal},
            }
        ],
        "usage": {"prompt_tokens": sent, "completion_tokens": answered, "total_tokens": sent + answered},
    }


def fill_schema(body: dict[str, Any]) -> str:
    """JSON for the schema of the request; a list gets one item for each of the material's, if it is one."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return "Scripted answer."
    lines = str(body["messages"][-1]["content"]).split("\n")
    try:
        material = json.loads("\n".join(lines[1:-1]))
    except ValueError:
        material = None
    count = len(material) if isinstance(material, list) else 3

    def fill(part: dict[str, Any], name: str) -> Any:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rsplit("/", 1)[-1]]
        match part.get("type"):
            case "object":
                return {key: fill(value, key) for key, value in part["properties"].items()}
            case "array":
                length = part.get("minItems") or count
                return [
                    fill(part["items"], f"{name.removesuffix('s')} {WORDS[i % len(WORDS)]}")
                    for i in range(length)
                ]
            case "string":
                return f"Scripted {name}." if " " not in name else name
            case "boolean":
                return True
            case _:
                return 1

    return json.dumps(fill(schema, ""))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.scripted_ai", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer takes")
    options = parser.parse_args()
    return asyncio.run(run(ScriptedAi(options.latency).app(), options.port))


if __name__ == "__main__":
    sys.exit(main())
