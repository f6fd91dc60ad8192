"""The pipeline's controls over the running app: pause, resume, and messages that are sent again."""

import asyncio
from typing import Any

import pytest

from tests.aloud import Aloud
from tests.audio import make_audio
from tests.person import Person
from tests.scripted_ai import ScriptedAi, quota, rate_limited, status

API = "/api/v1/admin"


def recording(seconds: int) -> bytes:
    return make_audio("bare mp3", seconds, sounds=[(0.5, seconds - 0.5)], rate=16_000)


async def pipeline(aloud: Aloud) -> dict[str, Any]:
    return dict(await aloud.get(f"{API}/pipeline"))


async def resume(aloud: Aloud) -> None:
    status_, shown, _ = await aloud.call("PUT", f"{API}/pipeline", json={"is_paused": False})
    assert (status_, shown["is_paused"], shown["reason"]) == (200, False, None)


async def queue(aloud: Aloud, name: str) -> dict[str, Any]:
    return dict(next(row for row in (await pipeline(aloud))["queues"] if row["name"] == name))


async def test_what_is_paused_waits_and_then_goes_on(aloud: Aloud, session_ai: ScriptedAi) -> None:
    body = {"is_paused": True, "reason": "New model tomorrow."}
    status_, shown, _ = await aloud.call("PUT", f"{API}/pipeline", json=body)
    assert (status_, shown["is_paused"], shown["reason"]) == (200, True, "New model tomorrow.")
    asked = session_ai.calls
    await aloud.upload("paused.mp3", recording(5))
    job = await aloud.wait_for("paused.mp3", "uploaded")
    async with asyncio.timeout(20):
        while not any(
            row["name"] == "ingest" and row["messages"] for row in (await pipeline(aloud))["queues"]
        ):
            await asyncio.sleep(0.1)
    assert (job["attempts"], session_ai.calls) == (0, asked)
    await resume(aloud)
    job = await aloud.settled("paused.mp3")
    assert (job["status"], job["attempts"]) == ("ready", 1)
    actions = [entry["action"] for entry in (await aloud.get(f"{API}/audit?limit=20"))["items"]]
    assert {"pipeline.paused", "pipeline.resumed"} <= set(actions)


async def test_without_money_the_pipeline_pauses_itself_and_tells(
    aloud: Aloud, session_ai: ScriptedAi
) -> None:
    session_ai.fail_with(quota())
    try:
        await aloud.upload("poor.mp3", recording(6))
        async with asyncio.timeout(30):
            while not (shown := await pipeline(aloud))["is_paused"]:
                await asyncio.sleep(0.1)
    finally:
        session_ai.heal()
    assert shown["paused_by"] is None
    assert shown["reason"] == "The AI's account has no money left."
    alerts = (await aloud.get(f"{API}/alerts"))["items"]
    alert = next(alert for alert in alerts if alert["kind"] == "pipeline-paused")
    await aloud.mail(aloud.admin_email, alert["title"])
    await resume(aloud)
    job = await aloud.settled("poor.mp3")
    assert (job["status"], job["chunks"]["failed"]) == ("ready", 0)

    status_, resolved, _ = await aloud.call("POST", f"{API}/alerts/{alert['id']}/resolve")
    assert (status_, resolved["resolved_at"] is not None) == (200, True)


async def test_what_was_set_aside_is_sent_again_and_ends_well(aloud: Aloud, session_ai: ScriptedAi) -> None:
    before = (await queue(aloud, "transcribe"))["set_aside"]
    session_ai.fail_with(status(400))
    try:
        for name in ("first.mp3", "second.mp3"):
            await aloud.upload(name, recording(7 if name == "first.mp3" else 8))
        for name in ("first.mp3", "second.mp3"):
            assert (await aloud.settled(name))["status"] == "transcription_failed"
    finally:
        session_ai.heal()
    assert (await queue(aloud, "transcribe"))["set_aside"] == before + 2
    status_, reply, _ = await aloud.call("POST", f"{API}/queues/transcribe/redrive")
    assert (status_, reply) == (202, {"redriven": before + 2})
    for name in ("first.mp3", "second.mp3"):
        job = await aloud.settled(name)
        assert (job["status"], job["chunks"]["failed"]) == ("ready", 0)
    assert (await queue(aloud, "transcribe"))["set_aside"] == 0


async def test_a_job_is_ended_and_goes_on_when_it_is_tried_again(
    aloud: Aloud, session_ai: ScriptedAi
) -> None:
    session_ai.fail_with(rate_limited(60))
    try:
        await aloud.upload("ended.mp3", recording(9))
        job = await aloud.wait_for("ended.mp3", "transcribing")
        path = f"{API}/jobs/{job['id']}"
        status_, ended, _ = await aloud.call("POST", f"{path}/cancel")
        assert (status_, ended["status"]) == (202, "cancelled")
        book = await aloud.book_of("ended.mp3")
        assert book["processing_status"] == "cancelled"
        assert (await aloud.call("POST", f"{path}/cancel"))[0] == 409
    finally:
        session_ai.heal()
    assert (await aloud.call("POST", f"{path}/retry"))[0] == 202
    job = await aloud.settled("ended.mp3")
    assert job["status"] == "ready"
    card = job["card"]
    assert (card["gaps"], card["coverage"], card["calls"] >= 2) == (0, 1.0, True)
    assert card["audio_minutes"] == pytest.approx(9 / 60, abs=0.02)
    assert 0 < card["cpu_seconds"] < card["wall_seconds"] + 60


async def test_the_budget_and_its_limits_are_shown(aloud: Aloud) -> None:
    budget = (await pipeline(aloud))["budget"]
    assert (budget["limit_microdollars"], budget["limit_seconds"]) == (200_000_000, 600 * 3600)
    assert (budget["person_limit_microdollars"], budget["person_limit_seconds"]) == (25_000_000, 60 * 3600)
    assert 0 <= budget["spent_seconds"] < budget["limit_seconds"]
    assert budget["used_percent"] < 80


@pytest.mark.parametrize("name", ["transcribe-poison", "nothing", "poison"])
async def test_a_queue_that_is_none_is_404(aloud: Aloud, name: str) -> None:
    assert (await aloud.call("POST", f"{API}/queues/{name}/redrive"))[0] == 404


async def test_an_alert_that_is_none_is_404(aloud: Aloud) -> None:
    assert (await aloud.call("POST", f"{API}/alerts/{'0' * 26}/resolve"))[0] == 404
    person = await Person.join(aloud)
    assert (await person.call("GET", "/admin/pipeline"))[0] == 403
