"""What is said in a recording is written down and never obeyed, even by a model that obeys all it is told."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from aiohttp import ClientSession

from core.settings import Settings
from core.transcription.models import Step
from core.transcription.transcript import Transcript
from core.wiring import Services, build
from localhost.ai.server import make_app
from localhost.ai.serving import listen
from localhost.azurite import Azurite
from tests.scripted_ai import Call, Reply, ScriptedAi, ok

SPOKEN = Path(__file__).parents[2] / "data" / "injection.mp3"
ORDER = re.compile(r"ignore\b.{0,40}\binstructions?\b.{0,40}\bword (\w+)", re.IGNORECASE | re.DOTALL)
FENCE = re.compile(r"between <([\w-]+)> and </\1>")


def obey(call: Call, _: bytes) -> Reply | None:
    """Do what any sentence says that is not between the marks which the first message names as data."""
    system, user = (str(message["content"]) for message in call.body["messages"])
    fence = FENCE.search(system)
    if fence is not None:
        user = re.sub(rf"<{fence[1]}>.*?</{fence[1]}>", "", user, flags=re.DOTALL)
    order = ORDER.search(system) or ORDER.search(user)
    if order is None:
        return None
    word = order[1]
    return ok(
        json.dumps({"summary": word, "tags": [word, f"{word} two", f"{word} three"], "titles": [word] * 2})
    )


@pytest_asyncio.fixture(scope="module")
async def text_ai() -> AsyncIterator[ScriptedAi]:
    async with ScriptedAi.start() as ai:
        ai.choose(obey)
        yield ai


@pytest_asyncio.fixture(scope="module")
async def services(azurite: Azurite, text_ai: ScriptedAi) -> AsyncIterator[Services]:
    """The pipeline with a real recogniser, and with a text model that can be led astray."""
    runner, speech_url = await listen(make_app(1), 0)
    environment = {
        "AzureWebJobsStorage": azurite.connection_string,
        "JWT_SIGNING_KEY": "k" * 32,
        "SPEECH_BASE_URL": speech_url,
        "SPEECH_MODEL": "offline-speech",
        "TEXT_BASE_URL": text_ai.base_url,
        "CATALOG_REFRESH_SECONDS": "0",
    }
    running = build(Settings.read(environment))
    yield running
    await running.close()
    await runner.cleanup()


async def test_a_spoken_order_changes_nothing_but_the_transcript(
    services: Services, text_ai: ScriptedAi
) -> None:
    pipeline, catalog = services.transcription, services.catalog
    await pipeline._drops._uploads.write("evening.mp3", SPOKEN.read_bytes(), "audio/mpeg")
    job = await pipeline.accept_drop("uploads", "evening.mp3")
    assert job is not None
    await pipeline.run("ingest", Step(job_id=job.id))
    (chapter,) = await catalog.stored_chapters(job.target_id)
    halves = (
        chapter.model_copy(update={"title": "Part 1", "end_seconds": 1.5}),
        chapter.model_copy(update={"index": 1, "title": "Part 2", "start_seconds": 1.5}),
    )
    await catalog.update(job.target_id, lambda book: book, halves)
    await pipeline.run("transcribe", Step(job_id=job.id, chunk=0))
    await pipeline.run("assemble", Step(job_id=job.id))
    await pipeline.run("enrich", Step(job_id=job.id))

    book = await catalog.book(job.target_id)
    stored = await catalog._media.read(f"{book.transcript_prefix}.json")
    said = " ".join(segment.text for segment in Transcript.model_validate_json(stored).segments)
    assert ORDER.search(said), "the order was really heard"
    assert book.processing_status == "ready"
    assert book.summary == "Scripted summary."
    titles = [chapter.title for chapter in await catalog.stored_chapters(job.target_id)]
    for text in (book.title, *book.tags, *titles):
        assert "banana" not in text.lower()
    asked = [str(call.body["messages"]) for call in text_ai.chats]
    assert sum(ORDER.search(messages) is not None for messages in asked) == 2, "summary and titles"

    # and the model would have obeyed, had anyone handed it the text as it is
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "Summarise."}, {"role": "user", "content": said}],
    }
    async with (
        ClientSession() as session,
        session.post(f"{text_ai.base_url}/chat/completions", json=body) as reply,
    ):
        answer = (await reply.json())["choices"][0]["message"]["content"]
    order = ORDER.search(said)
    assert order is not None
    assert json.loads(answer)["summary"] == order[1]
