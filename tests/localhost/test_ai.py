"""The offline AI as its users meet it: through the vendor's SDK, over a socket, as a program."""

import asyncio
import io
import json
import re
import signal
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
import pytest
from pydantic import BaseModel, Field

from core.ai import Hints, connect
from core.settings import Settings
from core.storage import StorageAccount
from localhost.ai.speech import decode_audio, split_at_pauses

if TYPE_CHECKING:
    import openai

ROOT = Path(__file__).parents[2]
READING = ROOT / "tests/data/librivox-0870.wav"
SAID = re.findall(r"[a-z]+", READING.with_suffix(".txt").read_text(encoding="utf-8").lower())
STORY = (
    "The lighthouse keeper counted the ships each evening and wrote their names in a green book. Nobody had "
    "asked him. In spring a letter came: the harbour office would close the lighthouse. He put the letter "
    "under the green book. That evening the ninth ship came close to the rocks, and the lighthouse keeper "
    "rang the bell until the ship turned away."
)
PLAIN = " ".join(re.findall(r"[a-z]+", STORY.lower()))


class Digest(BaseModel):
    summary: str
    tags: list[str] = Field(min_length=3, max_length=3)


class Titles(BaseModel):
    titles: list[str]


async def start(*options: str) -> tuple[asyncio.subprocess.Process, str]:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "localhost.ai",
        *options,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    line = (await program.stdout.readline()).decode()
    found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+/v1)\n", line)
    assert found, line
    return program, found[1]


@pytest.fixture(scope="module")
async def base_url() -> AsyncIterator[str]:
    """The program itself, ended by the end of its standard input."""
    program, url = await start("--workers", "2")
    yield url
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.close()
    assert await program.stdout.read() == b""
    assert await program.wait() == 0


@pytest.fixture(scope="module")
async def client(base_url: str) -> AsyncIterator["openai.AsyncOpenAI"]:
    import openai

    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        yield client


def count_right(heard: list[str]) -> int:
    """Words of the reading that were heard, in order: the longest common subsequence."""
    row = [0] * (len(SAID) + 1)
    for word in heard:
        above = row
        row = [0]
        for place, said in enumerate(SAID):
            row.append(above[place] + 1 if word == said else max(row[-1], above[place + 1]))
    return row[-1]


def make_wav(samples: "np.ndarray[tuple[int], np.dtype[np.int16]]") -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return target.getvalue()


def make_clip() -> bytes:
    """The first three seconds of the reading."""
    return make_wav(decode_audio(io.BytesIO(READING.read_bytes()))[:48_000])


async def test_a_human_reading_is_mostly_understood_and_timed(base_url: str) -> None:
    """Through the app's own adapter, as the pipeline does it."""
    settings = Settings.read(
        {
            "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            "JWT_SIGNING_KEY": "k" * 32,
            "OPENAI_BASE_URL": base_url,
            "SPEECH_MODEL": "offline-speech",
            "TEXT_MODEL": "offline-text",
        }
    )
    models = connect(settings, StorageAccount(settings).credential)
    with READING.open("rb") as audio:
        speech = await models.speech.transcribe(audio, "reading.wav", 7.1, Hints(language="en"))
    await models.close()
    assert count_right(speech.text.split()) > len(SAID) * 0.6
    assert re.fullmatch(r"[a-z'. -]+", speech.text)
    assert [word.text for word in speech.words] == speech.text.split()
    times = [time for word in speech.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0 < times[0] < 1 < 6 < times[-1] < 7.1
    assert " ".join(segment.text for segment in speech.segments) == speech.text
    assert speech.segments[0].start == speech.words[0].start


async def test_every_format(client: "openai.AsyncOpenAI") -> None:
    import openai

    recording = make_clip()

    async def ask(response_format: str, **options: object) -> object:
        return await client.audio.transcriptions.create(  # type: ignore[call-overload]
            file=("reading.wav", recording),
            model="offline-speech",
            response_format=response_format,
            **options,
        )

    plain, text, verbose, words, srt, vtt = await asyncio.gather(
        ask("json"),
        ask("text"),
        ask("verbose_json"),
        ask("verbose_json", timestamp_granularities=["word"]),
        ask("srt"),
        ask("vtt"),
    )
    assert isinstance(plain, openai.types.audio.Transcription)
    assert len(plain.text.split()) > 5
    assert isinstance(text, str)
    assert re.fullmatch(r"[a-z'. ]{20,}\n", text)
    assert isinstance(verbose, openai.types.audio.TranscriptionVerbose)
    assert verbose.duration == pytest.approx(3.0, abs=0.01)
    assert verbose.segments
    assert " ".join(segment.text for segment in verbose.segments) == verbose.text
    assert not verbose.words
    assert isinstance(words, openai.types.audio.TranscriptionVerbose)
    assert words.words
    assert [word.word for word in words.words] == words.text.split()
    assert not words.segments
    assert isinstance(srt, str)
    assert re.match(r"1\n00:00:00,\d{3} --> 00:00:0\d,\d{3}\n[a-z]+ ", srt)
    assert isinstance(vtt, str)
    assert re.match(r"WEBVTT\n\n00:00:00\.\d{3} --> 00:00:0\d\.\d{3}\n[a-z]+ ", vtt)


async def test_silence_has_no_words(client: "openai.AsyncOpenAI") -> None:
    quiet = make_wav(np.random.default_rng(1).normal(0, 10, 48_000).astype(np.int16))
    answer = await client.audio.transcriptions.create(file=("quiet.wav", quiet), model="offline-speech")
    assert answer.text == ""


async def test_a_long_recording_is_cut_in_its_pauses() -> None:
    speech = decode_audio(io.BytesIO(READING.read_bytes()))
    pause = np.zeros(16_000, np.int16)
    recording = np.concatenate([part for _ in range(5) for part in (speech, pause)])
    pieces = list(split_at_pauses(recording))
    assert all(3 <= len(piece) / 16_000 <= 12 for _, piece in pieces)
    assert sum(len(piece) for _, piece in pieces) == pytest.approx(len(recording), abs=160)
    for start, _ in pieces[1:]:
        around = recording[int(start * 16_000) - 800 : int(start * 16_000) + 800]
        assert np.abs(around).max() < np.abs(speech).max() / 10


@pytest.mark.parametrize("body", [b"<html>not found</html>", bytes(5_000), b"", READING.read_bytes()[:44]])
async def test_what_is_no_recording_is_refused(client: "openai.AsyncOpenAI", body: bytes) -> None:
    import openai

    with pytest.raises(openai.BadRequestError, match="could not be decoded") as caught:
        await client.audio.transcriptions.create(file=("a.mp3", body), model="offline-speech")
    assert caught.value.param == "file"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id is not None


async def test_wrong_requests_get_the_vendors_errors(client: "openai.AsyncOpenAI") -> None:
    import openai

    recording = ("reading.wav", READING.read_bytes())
    with pytest.raises(openai.NotFoundError) as missing:
        await client.audio.transcriptions.create(file=recording, model="whisper-1")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as foreign:
        await client.audio.transcriptions.create(file=recording, model="offline-speech", language="de")
    assert foreign.value.param == "language"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-4o")
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        await client.embeddings.create(input="a", model="offline-text")
    with pytest.raises(openai.BadRequestError) as mute:
        await client.chat.completions.create(messages=[], model="offline-text")
    assert mute.value.param == "messages"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat/completions", b"{", 400),
        ("/chat/completions", b"[]", 400),
        ("/chat/completions", b'{"model": "offline-text", "messages": 7}', 400),
        ("/audio/transcriptions", b"{}", 400),
        ("/audio/translations", b"{}", 404),
    ],
)
async def test_malformed_bodies_get_the_vendors_errors(
    base_url: str, path: str, body: bytes, status: int
) -> None:
    async with aiohttp.ClientSession() as session, session.post(base_url + path, data=body) as response:
        assert response.status == status
        assert (await response.json())["error"]["message"]
        assert response.headers["x-request-id"].startswith("req_")


async def test_the_models_say_what_they_are(client: "openai.AsyncOpenAI") -> None:
    models = {model.id: model async for model in client.models.list()}
    assert models.keys() == {"offline-speech", "offline-text"}
    assert {model.owned_by for model in models.values()} == {"aloud-offline"}
    assert await client.models.retrieve("offline-text") == models["offline-text"]


async def answer(client: "openai.AsyncOpenAI", material: str, shape: type[BaseModel]) -> BaseModel:
    reply = await client.chat.completions.parse(
        model="offline-text",
        messages=[
            {"role": "system", "content": "Work on the material."},
            {"role": "user", "content": f"<material-0a1b>\n{material}\n</material-0a1b>"},
        ],
        response_format=shape,
    )
    assert reply.choices[0].message.parsed is not None
    return reply.choices[0].message.parsed


@pytest.mark.parametrize("material", [STORY, PLAIN], ids=["prose", "words"])
async def test_a_summary_is_made_of_the_texts_own_sentences(
    client: "openai.AsyncOpenAI", material: str
) -> None:
    digest = await answer(client, material, Digest)
    assert isinstance(digest, Digest)
    sentences = re.findall(r"[^.]+\.", digest.summary)
    assert 1 <= len(sentences) <= 3
    for sentence in map(str.strip, sentences):
        assert sentence[0].isupper()
        assert " ".join(re.findall("[a-z]+", sentence.lower())) in PLAIN
    assert len(digest.summary) < len(STORY)
    assert "lighthouse" in digest.summary.lower()
    assert len(set(digest.tags)) == 3
    assert "green book" in digest.tags
    for tag in digest.tags:
        assert re.fullmatch("[a-z]+( [a-z]+){0,2}", tag)
        assert tag in PLAIN


async def test_each_chapter_gets_a_title_of_its_own(client: "openai.AsyncOpenAI") -> None:
    chapters = [STORY, STORY, PLAIN, "", "A dog."]
    titles = await answer(client, json.dumps(chapters), Titles)
    assert isinstance(titles, Titles)
    assert len(set(titles.titles)) == len(chapters)
    assert all(title.strip() and title[0].isupper() for title in titles.titles)


ODD = [
    "",
    " ",
    "?!",
    "[]",
    "[[[",
    '{"a": 1}',
    "[1, null, {}]",
    "\x00",
    "ш" * 99,
    "x " * 500,
    "<material-1>",
    "🙂",
    "[" * 9999,
]


@pytest.mark.parametrize("material", ODD, ids=range(len(ODD)))
async def test_odd_material_still_gets_an_answer(client: "openai.AsyncOpenAI", material: str) -> None:
    digest = await answer(client, material, Digest)
    assert isinstance(digest, Digest)
    assert len(set(digest.tags)) == 3
    assert isinstance(await answer(client, material, Titles), Titles)


async def test_any_schema_is_filled(client: "openai.AsyncOpenAI") -> None:
    class Part(BaseModel):
        opening: str
        good: bool

    class Other(BaseModel):
        part: Part
        count: int
        keywords: list[str]
        parts: list[Part] = Field(min_length=2)
        nothing: str | None

    other = await answer(client, STORY, Other)
    assert isinstance(other, Other)
    assert other.part.opening
    assert len(other.parts) == 2


async def test_without_a_schema_the_answer_is_a_summary(client: "openai.AsyncOpenAI") -> None:
    reply = await client.chat.completions.create(
        model="offline-text", messages=[{"role": "user", "content": [{"type": "text", "text": STORY}]}]
    )
    assert (reply.choices[0].message.content or "").endswith(".")
    assert reply.usage is not None
    assert reply.usage.completion_tokens > 5


async def test_sigterm_ends_it_and_its_workers() -> None:
    import openai

    program, url = await start("--workers", "1")
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        await client.audio.transcriptions.create(file=("a.wav", make_clip()), model="offline-speech")
    program.send_signal(signal.SIGTERM)
    assert program.stdout is not None
    # The workers hold standard output too: its end is their end.
    assert await program.stdout.read() == b""
    assert await program.wait() == 0


async def test_its_workers_end_when_it_is_killed() -> None:
    import openai

    program, url = await start("--workers", "1")
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        await client.audio.transcriptions.create(file=("a.wav", make_clip()), model="offline-speech")
    program.kill()
    assert program.stdout is not None
    assert await program.stdout.read() == b""
    await program.wait()


async def test_a_taken_port_is_one_clear_line() -> None:
    program, url = await start()
    port = url.split(":")[2].split("/")[0]
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "localhost.ai", "--port", port, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await second.communicate()
    assert second.returncode == 1
    assert complaint.decode().count("\n") == 1
    assert port in complaint.decode()
    program.terminate()
    assert await program.wait() == 0
