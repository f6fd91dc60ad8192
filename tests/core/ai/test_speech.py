"""What the app gets for its audio, over a real socket, in good times and in bad ones."""

import asyncio
import hashlib
import io
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from core.ai import Hints, speech_capabilities
from core.ai.client import Connection
from core.ai.speech import OpenAISpeech
from core.errors import ModelRefusedError, ModelUnavailableError
from tests.core.ai.conftest import Connect, make_flac
from tests.scripted_ai import (
    Call,
    Reply,
    ScriptedAi,
    cut,
    empty,
    garbage,
    hang,
    json_answer,
    ok,
    quota,
    rate_limited,
    raw,
    status,
)


def test_the_sdk_is_loaded_by_the_first_call_only() -> None:
    code = "import sys, core.ai; sys.exit(any(name in sys.modules for name in ('openai', 'httpx2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_the_default_model_gives_text_usage_and_cost(
    ai: ScriptedAi, connected: Connect, flac: bytes
) -> None:
    ai.script(ok(" It was a quiet evening. "))
    speech = await connected().speech.transcribe(io.BytesIO(flac), "chunk-0.flac", 1.5, Hints(language="en"))
    assert speech.text == "It was a quiet evening."
    assert (speech.words, speech.segments) == ((), ())
    assert speech.usage.audio_seconds == 1.5
    assert speech.usage.input_tokens == 15
    assert speech.usage.output_tokens == 6
    assert speech.usage.cost_microdollars == 150
    assert speech.request_id == "req_scripted_1"
    assert speech.latency_seconds > 0
    (call,) = ai.requests
    assert call.filename == "chunk-0.flac"
    assert call.audio_sha256 == hashlib.sha256(flac).hexdigest()
    assert call.audio_seconds == pytest.approx(1.5)
    assert call.fields == {
        "model": ["gpt-4o-transcribe"],
        "response_format": ["json"],
        "language": ["en"],
    }


@pytest.mark.parametrize("model", ["whisper-1", "offline-speech"])
async def test_word_times_come_from_models_that_have_them(
    ai: ScriptedAi, connected: Connect, flac: bytes, model: str
) -> None:
    ai.script(ok("Three short words."))
    speech = await connected(SPEECH_MODEL=model).speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    assert [(word.start, word.end, word.text) for word in speech.words] == [
        (0.0, 0.5, "Three"),
        (0.5, 1.0, "short"),
        (1.0, 1.5, "words"),
    ]
    assert [segment.text for segment in speech.segments] == ["Three short words."]
    assert speech.language == "english"
    assert ai.requests[0].fields["timestamp_granularities[]"] == ["word", "segment"]


async def test_times_are_those_of_the_sound(connected: Connect) -> None:
    audio = io.BytesIO(make_flac(30.0, {4.0: 600, 21.3: 1500}))
    speech = await connected(SPEECH_MODEL="whisper-1").speech.transcribe(audio, "a.flac", 30.0)
    found = {word.text: word for word in speech.words if word.text in ("600", "1500")}
    assert found["600"].end == pytest.approx(4.5, abs=0.03)
    assert found["1500"].end == pytest.approx(21.8, abs=0.03)
    assert speech.text == " ".join(segment.text for segment in speech.segments)
    times = [time for word in speech.words for time in (word.start, word.end)]
    assert times == sorted(times)


async def test_segment_times_come_from_the_model_that_tells_speakers_apart(
    ai: ScriptedAi, connected: Connect, flac: bytes
) -> None:
    part = {
        "id": "s",
        "type": "transcript.text.segment",
        "speaker": "A",
        "start": 0.2,
        "end": 1.1,
        "text": " Hello. ",
    }
    ai.script(json_answer({"task": "transcribe", "duration": 1.5, "text": "Hello.", "segments": [part]}))
    models = connected(SPEECH_MODEL="gpt-4o-transcribe-diarize")
    speech = await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    assert [(part.start, part.end, part.text) for part in speech.segments] == [(0.2, 1.1, "Hello.")]
    assert ai.requests[0].fields["response_format"] == ["diarized_json"]
    assert ai.requests[0].fields["chunking_strategy"] == ["auto"]


async def test_the_heard_language_is_told(ai: ScriptedAi, connected: Connect, flac: bytes) -> None:
    ai.script(json_answer({"text": "Guten Tag", "languages": [{"code": "de"}]}))
    models = connected(SPEECH_MODEL="gpt-transcribe")
    assert (await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)).language == "de"


async def test_a_model_nobody_knows_is_asked_for_plain_json(
    ai: ScriptedAi, connected: Connect, flac: bytes
) -> None:
    speech = await connected(SPEECH_MODEL="my-own-whisper").speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    assert speech.text.startswith(f"Chunk {hashlib.sha256(flac).hexdigest()[:8]}.")
    assert speech.usage.cost_microdollars == 0
    assert ai.requests[0].fields == {"model": ["my-own-whisper"], "response_format": ["json"]}


def test_a_dated_snapshot_has_the_abilities_of_its_model() -> None:
    snapshot = speech_capabilities("gpt-4o-mini-transcribe-2025-12-15")
    assert snapshot == speech_capabilities("gpt-4o-mini-transcribe")


async def test_silence_is_an_answer(ai: ScriptedAi, connected: Connect, flac: bytes) -> None:
    ai.script(ok(""))
    assert (await connected().speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)).text == ""


TRANSIENT: dict[str, Reply] = {
    "500": status(500),
    "503": status(503),
    "408": status(408),
    "409": status(409),
    "429": status(429),
    "cut": cut(),
    "cut midway": cut(midway=True),
    "a page instead of JSON": garbage(),
    "no body": empty(),
    "broken JSON": raw(b'{"text": "half'),
    "no text": json_answer({"usage": None}),
    "text of the wrong type": json_answer({"text": 7}),
    "a list": json_answer(["text"]),
}
PERMANENT: dict[str, Reply] = {
    "400": status(400),
    "401": status(401),
    "403": status(403),
    "404": status(404),
    "413": status(413),
    "422": status(422),
    "out of money": quota(),
}


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT)
async def test_what_time_can_heal_is_unavailable_and_tried_once(
    ai: ScriptedAi, connected: Connect, flac: bytes, reply: Reply
) -> None:
    ai.fail_with(reply)
    speech = connected().speech
    audio = io.BytesIO(flac)
    with pytest.raises(ModelUnavailableError) as caught:
        await speech.transcribe(audio, "a.flac", 1.5)
    assert caught.value.retry_after is None
    assert ai.calls == 1
    ai.heal()
    assert (await speech.transcribe(audio, "a.flac", 1.5)).text.startswith("Chunk")
    assert ai.requests[0].audio_sha256 == ai.requests[1].audio_sha256


@pytest.mark.parametrize("reply", PERMANENT.values(), ids=PERMANENT)
async def test_what_repeating_cannot_heal_is_refused(
    ai: ScriptedAi, connected: Connect, flac: bytes, reply: Reply
) -> None:
    ai.fail_with(reply)
    with pytest.raises(ModelRefusedError) as caught:
        await connected().speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    assert "req_scripted_1" in caught.value.reference
    assert ai.calls == 1


async def test_a_key_is_never_repeated(ai: ScriptedAi, connected: Connect, flac: bytes) -> None:
    body = {"error": {"message": "Incorrect API key provided: sk-secret-tail", "code": "invalid_api_key"}}

    async def refuse(request: object, call: object) -> web.StreamResponse:
        return web.json_response(body, status=401)

    ai.fail_with(refuse)
    with pytest.raises(ModelRefusedError) as caught:
        await connected(OPENAI_API_KEY="sk-secret-tail").speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    assert "secret" not in caught.value.detail + caught.value.said


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "600"}, 600),
        ({"Retry-After-Ms": "1500", "Retry-After": "9"}, 1.5),
        ({"Retry-After": "-3"}, 0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "inf"}, None),
    ],
)
async def test_the_time_to_wait_is_passed_on(
    ai: ScriptedAi, connected: Connect, flac: bytes, headers: dict[str, str], expected: float | None
) -> None:
    ai.script(status(429, headers))
    with pytest.raises(ModelUnavailableError) as caught:
        await connected().speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    assert caught.value.retry_after == expected
    assert caught.value.reference == "status 429, request req_scripted_1"


async def test_the_time_to_wait_may_be_a_date(ai: ScriptedAi, connected: Connect, flac: bytes) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    ai.script(rate_limited(format_datetime(due, usegmt=True)))
    before = time.time()
    with pytest.raises(ModelUnavailableError) as caught:
        await connected().speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    assert caught.value.retry_after is not None
    # The date has whole seconds; the wait is counted from a moment after `before`.
    assert int(due.timestamp()) - time.time() <= caught.value.retry_after <= due.timestamp() - before


async def test_a_silent_server_is_given_up(ai: ScriptedAi, flac: bytes) -> None:
    ai.fail_with(hang())
    connection = Connection(None, ai.base_url, timeout_seconds=0.2)
    with pytest.raises(ModelUnavailableError, match="took too long"):
        await OpenAISpeech(connection, "whisper-1", speech_capabilities("whisper-1")).transcribe(
            io.BytesIO(flac), "a.flac", 1.5
        )
    await connection.close()


async def test_nobody_listens(connected: Connect, flac: bytes) -> None:
    models = connected(OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    with pytest.raises(ModelUnavailableError, match="cannot be reached"):
        await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)


async def test_without_key_and_address_the_sentence_says_what_to_set(connected: Connect, flac: bytes) -> None:
    models = connected(OPENAI_BASE_URL="")
    with pytest.raises(ModelRefusedError, match="OPENAI_API_KEY"):
        await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)


async def test_a_large_file_is_sent_in_blocks_and_several_at_once(ai: ScriptedAi, connected: Connect) -> None:
    """No call ever takes the whole of its file into memory."""
    body = bytes(8_000_000)
    speech = connected().speech
    await speech.transcribe(io.BytesIO(b"warm"), "warm.flac", 1.0)
    blocks: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            block = super().read(size)
            blocks.append(len(block))
            return block

    all_here = asyncio.Barrier(8)

    async def answer_all_together(request: web.Request, call: Call) -> web.StreamResponse:
        await all_here.wait()
        return await ok("Together.")(request, call)

    ai.choose(lambda call, _: answer_all_together)
    await asyncio.gather(*(speech.transcribe(Watched(body), f"{i}.flac", 60.0) for i in range(8)))
    assert max(blocks) <= 1 << 17
    assert sum(blocks) == 8 * len(body)
    assert {call.audio_bytes for call in ai.requests[1:]} == {len(body)}


async def test_the_callers_file_stays_open(connected: Connect, flac: bytes) -> None:
    audio = io.BytesIO(flac)
    await connected().speech.transcribe(audio, "a.flac", 1.5)
    assert not audio.closed
