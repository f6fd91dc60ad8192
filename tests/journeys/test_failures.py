"""The AI fails, the host is killed: what is done stays done, and nothing is done twice."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.aloud import Aloud
from tests.audio import make_audio
from tests.scripted_ai import Call, Reply, ScriptedAi, rate_limited, status

CHUNK_SECONDS = 12


def book(chunks: int) -> bytes:
    """A recording of so many chunks, each with sounds in it and pauses to cut at."""
    seconds = chunks * CHUNK_SECONDS
    sounds = [(t + 0.4, t + 1.6) for t in range(0, seconds, 6)]
    return make_audio("bare mp3", seconds, sounds=sounds, rate=16_000)


@pytest.fixture(scope="module")
def ten_chunks() -> bytes:
    return book(10)


@pytest_asyncio.fixture(scope="module")
async def ai() -> AsyncIterator[ScriptedAi]:
    async with ScriptedAi.start() as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def frail(ai: ScriptedAi) -> AsyncIterator[Aloud]:
    """Aloud with an AI that tests make fail."""
    async with Aloud.start(openai_base_url=ai.base_url, CHUNK_SECONDS=str(CHUNK_SECONDS)) as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(ai: ScriptedAi) -> None:
    ai.heal()
    ai.requests.clear()
    ai.latency = 0.0


def answered(ai: ScriptedAi, failed: list[Call]) -> Counter[str]:
    """Count the calls that got a text, by chunk."""
    return Counter(call.filename for call in ai.transcriptions if call not in failed)


async def test_the_ai_stumbles_and_nothing_is_transcribed_twice(
    frail: Aloud, ai: ScriptedAi, ten_chunks: bytes
) -> None:
    failed: list[Call] = []
    seen: Counter[str] = Counter()

    def stumble(call: Call, _: bytes) -> Reply | None:
        seen[call.filename] += 1
        number = int(call.filename[6:10]) if call.filename else 0
        if call.filename and seen[call.filename] == 1 and number % 2:
            failed.append(call)
            return rate_limited(2) if number % 4 == 1 else status(500)
        return None

    ai.choose(stumble)
    await frail.upload("stumble.mp3", ten_chunks)
    job = await frail.settled("stumble.mp3")
    assert (job["status"], job["chunks"]) == ("ready", {"total": 10, "done": 10, "failed": 0})
    assert len(failed) == 5
    assert job["attempts"] == 15
    assert answered(ai, failed) == {f"chunk_{i:04d}.flac": 1 for i in range(10)}
    for call in failed:
        again = next(c for c in ai.transcriptions if c.filename == call.filename and c is not call)
        waited = again.arrived - call.arrived
        least = 2 if int(call.filename[6:10]) % 4 == 1 else 0.8
        assert waited >= least, f"{call.filename} was tried again after {waited:.2f} s"


async def test_what_fails_for_good_is_told_and_a_retry_sends_only_what_is_missing(
    frail: Aloud, ai: ScriptedAi, ten_chunks: bytes
) -> None:
    broken = {"chunk_0003.flac", "chunk_0007.flac"}
    ai.choose(lambda call, _: status(500) if call.filename in broken else None)
    await frail.upload("broken.mp3", ten_chunks)
    job = await frail.settled("broken.mp3")
    assert job["status"] == "transcription_failed"
    assert "2 of 10 parts" in job["reason"]
    assert job["chunks"] == {"total": 10, "done": 8, "failed": 2}
    tries = Counter(call.filename for call in ai.transcriptions)
    assert tries == {f"chunk_{i:04d}.flac": 3 if i in (3, 7) else 1 for i in range(10)}
    shown = await frail.book_of("broken.mp3")
    assert shown["processing_status"] == "transcription_failed"
    assert shown["visibility"] == "draft"
    assert 0.7 < shown["coverage"] < 0.9
    path = f"/api/v1/audiobooks/{shown['id']}/transcript"
    gaps = (await frail.get(path))["gaps"]
    assert len(gaps) == 2

    alerts = [a for a in (await frail.get("/api/v1/admin/alerts"))["items"] if job["id"] in a["target"]]
    assert [alert["kind"] for alert in alerts] == ["transcription-failed"]
    assert "The AI has a fault of its own" in alerts[0]["detail"]
    async with asyncio.timeout(30):
        while not (mails := [mail for mail in await frail.mails() if "broken.mp3" in mail]):
            await asyncio.sleep(0.1)
    assert f"To: {frail.admin_email}" in mails[0]
    assert "alert transcription-failed" in frail.log.read_text()

    ai.heal()
    ai.requests.clear()
    status_code, _, _ = await frail.call("POST", f"/api/v1/admin/jobs/{job['id']}/retry")
    assert status_code == 202
    done = await frail.wait_for("broken.mp3", "ready")
    assert done["chunks"] == {"total": 10, "done": 10, "failed": 0}
    assert {call.filename for call in ai.transcriptions} == broken
    assert len(ai.transcriptions) == 2
    assert (await frail.get(path))["gaps"] == []
    assert (await frail.call("POST", f"/api/v1/admin/jobs/{job['id']}/retry"))[0] == 409


async def test_an_ai_that_refuses_is_not_asked_again(frail: Aloud, ai: ScriptedAi) -> None:
    ai.fail_with(status(400))
    await frail.upload("refused.mp3", book(1))
    job = await frail.settled("refused.mp3")
    assert job["status"] == "transcription_failed"
    assert job["reason"] == "1 of 1 parts could not be transcribed: The AI does not accept this request."
    assert job["parts"][0]["evidence"].startswith("Scripted 400. [status 400, request req_scripted_")
    assert ai.calls == 1


async def test_a_summary_that_fails_leaves_the_transcript_and_can_be_retried(
    frail: Aloud, ai: ScriptedAi
) -> None:
    ai.choose(lambda call, _: status(503) if call.body else None)
    await frail.upload("no summary.mp3", book(2))
    job = await frail.settled("no summary.mp3")
    assert job["status"] == "transcription_failed"
    shown = await frail.book_of("no summary.mp3")
    assert shown["summary"] is None
    assert (await frail.get(f"/api/v1/audiobooks/{shown['id']}/transcript"))["coverage"] == 1
    ai.heal()
    ai.requests.clear()
    await frail.call("POST", f"/api/v1/admin/jobs/{job['id']}/retry")
    await frail.wait_for("no summary.mp3", "ready")
    assert ai.transcriptions == []
    assert (await frail.book_of("no summary.mp3"))["summary"]


async def test_duplicates_in_the_middle_of_the_work_are_not_paid_for(frail: Aloud, ai: ScriptedAi) -> None:
    from tests.journeys.test_drop import send

    ai.latency = 1.0
    await frail.upload("twice.mp3", book(4))
    job = await frail.wait_for("twice.mp3", "transcribing")
    for index in (3, 0, 2, 1, 0):
        await send(frail, "transcribe", f'{{"job_id": "{job["id"]}", "run": 1, "chunk": {index}}}')
        await send(frail, "ingest", f'{{"job_id": "{job["id"]}", "run": 1}}')
        await send(frail, "assemble", f'{{"job_id": "{job["id"]}", "run": 1}}')
    done = await frail.settled("twice.mp3")
    assert done["status"] == "ready"
    assert Counter(call.filename for call in ai.transcriptions) == {
        f"chunk_{i:04d}.flac": 1 for i in range(4)
    }


async def test_a_killed_host_goes_on_where_it_was(ai: ScriptedAi, tmp_path: Path) -> None:
    """kill -9 in the middle of 20 chunks; the same data again; every chunk once in the book."""
    ai.latency = 0.7
    settings = {"CHUNK_SECONDS": str(CHUNK_SECONDS), "CLAIM_SECONDS": "2"}
    settings["AzureFunctionsJobHost__extensions__queues__batchSize"] = "4"
    settings["AzureFunctionsJobHost__extensions__queues__newBatchThreshold"] = "2"
    settings["AzureFunctionsJobHost__extensions__queues__maxPollingInterval"] = "00:00:02"
    arguments = ("--data", str(tmp_path / "data"), "--port", "0", "--lease", "3")
    async with Aloud.start(*arguments, openai_base_url=ai.base_url, **settings) as first:
        await first.upload("killed.mp3", book(20))
        async with asyncio.timeout(60):
            while (await first.job("killed.mp3") or {"chunks": {"done": 0}})["chunks"]["done"] < 5:
                await asyncio.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
        await first.process.wait()
    paid = len(ai.transcriptions)
    assert paid < 20, "the kill came too late to mean anything"
    async with Aloud.start(*arguments, openai_base_url=ai.base_url, **settings) as second:
        job = await second.settled("killed.mp3", seconds=90)
        assert (job["status"], job["chunks"]) == ("ready", {"total": 20, "done": 20, "failed": 0})
        detail = await second.book_of("killed.mp3")
        written = await second.get(f"/api/v1/audiobooks/{detail['id']}/transcript")
        assert (written["coverage"], written["gaps"]) == (1, [])
        names = [s["text"] for s in written["segments"] if s["text"].startswith("Chunk ")]
        assert len(names) == 20
        assert len(set(names)) == 20
        starts = [segment["start_seconds"] for segment in written["segments"]]
        assert starts == sorted(starts)
    in_flight_at_most = 6
    assert len(ai.transcriptions) <= 20 + in_flight_at_most
