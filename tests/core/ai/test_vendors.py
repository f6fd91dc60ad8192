"""Each back end by settings alone, against a server as strict as the vendor's own."""

import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, Field

from core.ai import Bill, Hints
from core.ai.refusals import translate_status
from core.errors import (
    ModelAccountError,
    ModelFilteredError,
    ModelRefusedError,
    ModelUnavailableError,
)
from core.settings import Settings, SettingsError
from core.transcription import enrichment
from tests.core.ai.conftest import Connect, make_audio_file
from tests.managed_identity import ManagedIdentity
from tests.scripted_ai import fill_schema
from tests.vendor_ai import PATHS, SAID, RefusedError, Vendor, VendorAi, check_chat, completion

KEY = "sk-the-one-and-only"
SPEECH_MODELS = {"openai": "gpt-transcribe", "azure": "gpt-4o-transcribe", "gemini": "gemini-3.8-flash"}
HINTS = Hints(("Elinor Dashwood", "Norland Park"), "en")


class Digest(BaseModel):
    summary: str
    tags: list[str] = Field(min_length=3, max_length=3)


@pytest.fixture
async def openai() -> AsyncIterator[VendorAi]:
    async with VendorAi.start("openai", {KEY}) as service:
        yield service


@pytest.fixture
async def azure() -> AsyncIterator[VendorAi]:
    async with VendorAi.start("azure", set()) as service:
        yield service


@pytest.fixture
async def gemini() -> AsyncIterator[VendorAi]:
    async with VendorAi.start("gemini", {KEY}) as service:
        yield service


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ManagedIdentity]:
    async with ManagedIdentity.start() as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        yield endpoint


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (
            "gpt-transcribe",
            {"response_format": ["json"], "keywords[]": ["Elinor Dashwood", "Norland Park"]},
        ),
        ("gpt-4o-transcribe", {"response_format": ["json"], "prompt": ["Elinor Dashwood, Norland Park"]}),
        (
            "gpt-4o-transcribe-diarize",
            {"response_format": ["diarized_json"], "chunking_strategy": ["auto"]},
        ),
        (
            "whisper-1",
            {
                "response_format": ["verbose_json"],
                "timestamp_granularities[]": ["word", "segment"],
                "prompt": ["Elinor Dashwood, Norland Park"],
            },
        ),
    ],
)
async def test_openai_takes_each_models_request_and_its_answer_is_understood(
    openai: VendorAi, connected: Connect, model: str, fields: dict[str, list[str]]
) -> None:
    models = connected(OPENAI_BASE_URL=openai.base_url, OPENAI_API_KEY=KEY, SPEECH_MODEL=model)
    audio = make_audio_file("flac", 31)
    speech = await models.speech.transcribe(io.BytesIO(audio), "chunk_0000.flac", 31.0, HINTS)
    (call,) = openai.calls
    assert call.fields == {"model": [model], "language": ["en"], **fields}
    assert (call.path, call.token, call.filename) == ("/v1/audio/transcriptions", KEY, "chunk_0000.flac")
    assert speech.text == SAID
    assert speech.request_id == "req_openai_1"
    assert bool(speech.words) == (model == "whisper-1")
    assert [part.speaker for part in speech.segments] == (["A", "B"] if "diarize" in model else [])
    assert speech.language in (None, "en", "english")


async def test_a_long_list_of_names_goes_as_far_as_the_model_reads(
    openai: VendorAi, connected: Connect, flac: bytes
) -> None:
    names = tuple(f"Somebody of Somewhere {number:03}" for number in range(100))
    for model in ("whisper-1", "gpt-transcribe"):
        models = connected(OPENAI_BASE_URL=openai.base_url, OPENAI_API_KEY=KEY, SPEECH_MODEL=model)
        await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5, Hints(names))
    whisper, newest = (call.fields for call in openai.calls)
    (prompt,) = whisper["prompt"]
    assert 650 < len(prompt) <= 700
    assert tuple(prompt.split(", ")) == names[: len(prompt.split(", "))]
    assert tuple(newest["keywords[]"]) == names


async def test_azure_is_asked_with_the_identitys_token_and_no_key(
    azure: VendorAi, identity: ManagedIdentity, connected: Connect, flac: bytes
) -> None:
    azure.tokens = {"token-1"}
    models = connected(OPENAI_BASE_URL="", AZURE_OPENAI_ENDPOINT=azure.endpoint + "/")
    speech = await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    text = await models.text.complete("Summarise.", "A story.", Digest)
    assert (speech.text, text.value.summary) == (SAID, SAID)
    assert speech.request_id == "req_azure_1"
    assert [call.path for call in azure.calls] == [
        "/openai/v1/audio/transcriptions",
        "/openai/v1/chat/completions",
    ]
    assert identity.given == ["token-1"]
    assert identity.resources == ["https://cognitiveservices.azure.com"]


async def test_a_token_that_has_expired_is_replaced_by_the_next(
    azure: VendorAi, identity: ManagedIdentity, connected: Connect, flac: bytes
) -> None:
    identity.life = -1
    models = connected(
        OPENAI_BASE_URL="", AZURE_OPENAI_ENDPOINT=azure.endpoint, AZURE_OPENAI_SCOPE="api://own/.default"
    )
    for number in (1, 2):
        azure.tokens = {f"token-{number}"}
        await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
        identity.life = 3600
    assert [call.token for call in azure.calls] == ["token-1", "token-2"]
    assert set(identity.resources) == {"api://own"}


async def test_an_identity_that_gives_no_token_is_waited_for(
    azure: VendorAi, connected: Connect, flac: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", azure.endpoint + "/nothing-here")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    models = connected(OPENAI_BASE_URL="", AZURE_OPENAI_ENDPOINT=azure.endpoint)
    with pytest.raises(ModelUnavailableError, match="gives no token"):
        await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    assert azure.calls == []


@pytest.mark.parametrize(("profile", "form"), [("gemini-3.8-flash", "mp3")])
async def test_gemini_hears_in_a_chat(gemini: VendorAi, connected: Connect, profile: str, form: str) -> None:
    models = connected(SPEECH_BASE_URL=gemini.base_url, SPEECH_API_KEY=KEY, SPEECH_MODEL=profile)
    assert models.speech.capabilities.audio_format == form
    gemini.answer = lambda call: completion(call, f" {SAID}\n", thoughts=30)
    bill = Bill()
    audio = make_audio_file(form, 20)
    speech = await models.speech.transcribe(io.BytesIO(audio), f"a.{form}", 20.0, HINTS, bill)
    (call,) = gemini.calls
    assert (call.path, call.token, call.audio) == ("/v1beta/openai/chat/completions", KEY, form)
    assert call.seconds == pytest.approx(20, abs=0.1)
    assert call.fields["reasoning_effort"] == "low"
    assert call.fields["max_completion_tokens"] == 4_400
    rules, asked = (message["content"] for message in call.fields["messages"])
    names = re.search(r"<([\w-]+)>\n(.*)\n</\1>\nWrite down", asked[0]["text"])
    assert names is not None
    assert json.loads(names[2]) == ["Elinor Dashwood", "Norland Park"]
    assert f"between <{names[1]}> and </{names[1]}>" in rules, "the names are marked as data"
    assert "Elinor" not in rules
    assert (speech.text, speech.words, speech.segments, speech.is_cut_off) == (SAID, (), (), False)
    # thoughts are paid as output, though Gemini counts them in the total only
    assert (speech.usage.input_tokens, speech.usage.output_tokens) == (100, 50)
    assert speech.usage.cost_microdollars == 100 * 1.5 + 50 * 7.5
    assert bill == Bill(1, speech.latency_seconds, speech.usage)


@pytest.mark.parametrize(
    ("vendor", "model", "chosen"),
    [
        ("openai", "gpt-4o-mini", {"temperature": 0}),
        ("openai", "gpt-5.6-luna", {"reasoning_effort": "none"}),
        ("azure", "gpt-4o-mini", {"temperature": 0}),
        ("gemini", "gemini-3.8-flash", {"reasoning_effort": "low"}),
    ],
)
async def test_what_the_pipeline_asks_of_a_text_model_has_the_form_that_its_vendor_takes(
    connected: Connect, vendor: Vendor, model: str, chosen: dict[str, object]
) -> None:
    async with VendorAi.start(vendor, {KEY}) as service:
        models = connected(TEXT_BASE_URL=service.base_url, TEXT_API_KEY=KEY, TEXT_MODEL=model)
        service.answer = lambda call: completion(call, fill_schema(call.fields))
        for shape in (enrichment.Digest, enrichment.Titles):
            await models.text.complete("Do so.", "A story.", shape)
    assert [call.path for call in service.calls] == [f"{PATHS[vendor]}/chat/completions"] * 2
    for call in service.calls:
        said = call.fields.keys() - {"model", "messages", "response_format", "stream"}
        assert {name: call.fields[name] for name in said} == chosen


async def test_gemini_writes_summaries_too(gemini: VendorAi, connected: Connect) -> None:
    models = connected(TEXT_BASE_URL=gemini.base_url, TEXT_API_KEY=KEY, TEXT_MODEL="gemini-3.8-flash")
    assert (await models.text.complete("Summarise.", "A story.", Digest)).value.tags[0] == "sea"
    assert gemini.calls[0].fields["response_format"]["type"] == "json_schema"


async def test_a_silent_recording_is_an_empty_answer(gemini: VendorAi, connected: Connect) -> None:
    models = connected(SPEECH_BASE_URL=gemini.base_url, SPEECH_API_KEY=KEY, SPEECH_MODEL="gemini-3.8-flash")
    gemini.answer = lambda call: completion(call, None)
    audio = io.BytesIO(make_audio_file("mp3", 2))
    assert (await models.speech.transcribe(audio, "a.mp3", 2.0)).text == ""


@pytest.mark.parametrize("reason", ["content_filter", "RECITATION", "SAFETY", "content_filter: SPII"])
async def test_what_a_filter_withholds_is_refused_but_paid(
    gemini: VendorAi, connected: Connect, reason: str
) -> None:
    models = connected(SPEECH_BASE_URL=gemini.base_url, SPEECH_API_KEY=KEY, SPEECH_MODEL="gemini-3.8-flash")
    gemini.answer = lambda call: completion(call, None, reason)
    bill = Bill()
    with pytest.raises(ModelRefusedError, match="filter"):
        await models.speech.transcribe(io.BytesIO(make_audio_file("mp3", 2)), "a.mp3", 2.0, bill=bill)
    assert (bill.calls, bill.usage.input_tokens, bill.usage.output_tokens) == (1, 100, 20)


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS"])
async def test_a_text_that_stops_at_a_limit_says_so(
    gemini: VendorAi, connected: Connect, reason: str
) -> None:
    models = connected(SPEECH_BASE_URL=gemini.base_url, SPEECH_API_KEY=KEY, SPEECH_MODEL="gemini-3.8-flash")
    gemini.answer = lambda call: completion(call, "It was", reason)
    speech = await models.speech.transcribe(io.BytesIO(make_audio_file("mp3", 2)), "a.mp3", 2.0)
    assert (speech.text, speech.is_cut_off) == ("It was", True)


async def test_a_chunk_too_large_for_a_chat_is_not_sent(gemini: VendorAi, connected: Connect) -> None:
    models = connected(SPEECH_BASE_URL=gemini.base_url, SPEECH_API_KEY=KEY, SPEECH_MODEL="gemini-3.8-flash")
    with pytest.raises(ModelRefusedError, match="CHUNK_SECONDS"):
        await models.speech.transcribe(io.BytesIO(bytes(16_000_000)), "a.mp3", 900.0)
    assert gemini.calls == []


Failure = tuple[dict[str, Any], type[Exception], float | None, str]
FAILURES: dict[str, Failure] = {
    "too many": (
        {"status": 429, "message": "Slow down.", "wait": 37},
        ModelUnavailableError,
        37,
        "The AI is asked more than it allows at the moment.",
    ),
    "too many, no time named": (
        {"status": 429, "message": "Slow down."},
        ModelUnavailableError,
        None,
        "The AI is asked more than it allows at the moment.",
    ),
    "too slow": ({"status": 408}, ModelUnavailableError, None, "The AI took too long to answer."),
    "a fault of theirs": (
        {"status": 500},
        ModelUnavailableError,
        None,
        "The AI has a fault of its own at the moment.",
    ),
    "overloaded": (
        {"status": 503, "message": "Overloaded."},
        ModelUnavailableError,
        None,
        "The AI has a fault of its own at the moment.",
    ),
    "invalid file": (
        {"status": 400, "message": "Audio file might be corrupted."},
        ModelRefusedError,
        None,
        "The AI cannot read the audio that it was sent.",
    ),
    "another format": (
        {"status": 415, "message": "No."},
        ModelRefusedError,
        None,
        "The AI does not accept the format of the audio.",
    ),
    "too large": ({"status": 413}, ModelRefusedError, None, "This is too large for the AI."),
    "nothing we know": ({"status": 422}, ModelRefusedError, None, "The AI does not accept this request."),
    "content filter": (
        {"status": 400, "message": "The response was filtered.", "code": "content_filter"},
        ModelFilteredError,
        None,
        "The AI's content filter refuses this.",
    ),
    "no such deployment": (
        {"status": 404, "code": "DeploymentNotFound"},
        ModelRefusedError,
        None,
        "The AI does not know the model that is set.",
    ),
    "not allowed": (
        {"status": 403, "code": "PermissionDenied"},
        ModelAccountError,
        None,
        "The AI does not serve this account.",
    ),
    "out of money": (
        {"status": 429, "code": "insufficient_quota"},
        ModelAccountError,
        None,
        "The AI's account has no money left.",
    ),
}


@pytest.mark.parametrize(
    ("vendor", "failure"),
    [
        pytest.param(vendor, failure, id=f"{vendor}: {name}")
        for vendor in get_args(Vendor)
        for name, failure in FAILURES.items()
        if vendor != "gemini" or "code" not in failure[0]  # Google's form has no such code
    ],
)
async def test_each_vendors_errors_mean_the_same_and_are_told_in_our_words(
    vendor: Vendor, failure: Failure, connected: Connect, flac: bytes
) -> None:
    how, kind, wait, words = failure
    async with VendorAi.start(vendor, {KEY}) as service:
        models = connected(
            SPEECH_BASE_URL=service.base_url, SPEECH_API_KEY=KEY, SPEECH_MODEL=SPEECH_MODELS[vendor]
        )
        service.fail(**how)
        bill = Bill()
        with pytest.raises(kind) as caught:
            await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5, bill=bill)
    error = caught.value
    assert isinstance(error, ModelUnavailableError | ModelRefusedError)
    assert type(error) is kind
    assert (error.detail, error.said) == (words, how.get("message", "Failed."))
    assert f"status {how['status']}" in error.reference
    assert getattr(error, "retry_after", None) == wait
    assert (bill.calls, service.calls) == (0, [])


def test_azures_own_word_for_its_filter_is_understood() -> None:
    """Its policy is named one level deeper."""
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}
    body: dict[str, Any] = {
        "error": {"code": "400", "message": "The prompt triggered a policy.", "innererror": inner}
    }
    refused = translate_status(400, {"apim-request-id": "r1"}, json.dumps(body).encode())
    assert (type(refused), refused.detail) == (ModelFilteredError, "The AI's content filter refuses this.")
    assert refused.reference == "status 400, request r1"
    flat = body | {"error": body["error"] | {"innererror": None}}
    assert translate_status(400, {}, json.dumps(flat).encode()).said == "The prompt triggered a policy."


@pytest.mark.parametrize("vendor", get_args(Vendor))
async def test_a_wrong_key_is_an_account_that_is_not_served(
    vendor: Vendor, connected: Connect, flac: bytes
) -> None:
    async with VendorAi.start(vendor, {KEY}) as service:
        models = connected(
            SPEECH_BASE_URL=service.base_url, SPEECH_API_KEY="sk-wrong", SPEECH_MODEL=SPEECH_MODELS[vendor]
        )
        with pytest.raises(ModelAccountError, match="does not accept") as caught:
            await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    assert "sk-w" not in caught.value.detail


async def test_speech_and_text_may_be_served_by_two_vendors_and_neither_sees_the_others_key(
    openai: VendorAi, gemini: VendorAi, connected: Connect, flac: bytes
) -> None:
    gemini.tokens = {"gemini-key"}
    models = connected(
        OPENAI_BASE_URL=openai.base_url,
        OPENAI_API_KEY=KEY,
        TEXT_BASE_URL=gemini.base_url,
        TEXT_API_KEY="gemini-key",
        TEXT_MODEL="gemini-3.8-flash",
    )
    await models.speech.transcribe(io.BytesIO(flac), "a.flac", 1.5)
    await models.text.complete("Summarise.", "A story.", Digest)
    assert [call.token for call in openai.calls] == [KEY]
    assert [call.token for call in gemini.calls] == ["gemini-key"]


async def test_an_address_of_its_own_is_never_shown_the_shared_key(
    gemini: VendorAi, connected: Connect
) -> None:
    models = connected(OPENAI_API_KEY=KEY, TEXT_BASE_URL=gemini.base_url, TEXT_MODEL="gemini-3.8-flash")
    with pytest.raises(ModelAccountError):
        await models.text.complete("Summarise.", "A story.", Digest)


async def test_a_successor_is_called_by_its_name_with_its_predecessors_abilities(
    gemini: VendorAi, connected: Connect
) -> None:
    models = connected(
        SPEECH_BASE_URL=gemini.base_url,
        SPEECH_API_KEY=KEY,
        SPEECH_MODEL="gemini-5-flash",
        SPEECH_PROFILE="gemini-3.8-flash",
    )
    await models.speech.transcribe(io.BytesIO(make_audio_file("mp3", 2)), "a.mp3", 2.0)
    assert gemini.calls[0].fields["model"] == "gemini-5-flash"
    assert models.speech.capabilities.ends is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"AZURE_OPENAI_ENDPOINT": "https://x", "OPENAI_API_KEY": "k"}, "AZURE_OPENAI_ENDPOINT"),
        ({"SPEECH_API_KEY": "k"}, "SPEECH_BASE_URL"),
        ({"TEXT_API_KEY": "k"}, "TEXT_BASE_URL"),
    ],
)
def test_settings_that_contradict_each_other_stop_the_start(given: dict[str, str], named: str) -> None:
    common = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "JWT_SIGNING_KEY": "k" * 32}
    with pytest.raises(SettingsError, match=named):
        Settings.read(common | given)


def test_the_fake_refuses_what_the_vendor_refuses() -> None:
    """Field lists that accept everything would prove nothing."""
    with pytest.raises(RefusedError, match="Unknown name"):
        check_chat("gemini", b'{"model": "m", "messages": [], "seed": 1}', KEY, "/")
    messages: list[Any] = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    loose = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    named = {"type": "json_schema", "json_schema": {"name": "A", "strict": True, "schema": loose}}
    for more, match in (
        ({"response_format": named}, "all fields"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "low"}, "not supported"),
    ):
        body = {"model": "gpt-4o-mini", "messages": messages, **more}
        with pytest.raises(RefusedError, match=match):
            check_chat("openai", json.dumps(body).encode(), KEY, "/")
    messages[1]["content"] = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}]
    with pytest.raises(RefusedError, match="invalid argument"):
        check_chat("gemini", json.dumps({"model": "m", "messages": messages}).encode(), KEY, "/")
