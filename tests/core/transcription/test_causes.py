"""What people are told of a failure: never what the service said, which may be anybody's secret."""

import pytest
from aiohttp import web

from core.caller import Caller, Origin
from core.ids import new_id
from core.transcription.models import Job, Step
from core.transcription.uploads import UploadRequest
from core.wiring import Services
from tests.audio import make_audio
from tests.core.transcription.conftest import Complete
from tests.scripted_ai import Call, Reply, ScriptedAi
from tests.transcripts import Whole

KEY, ACCOUNT, PLACE = "sk-live-0123456789abcdef", "org-Zx81kQmmW", "me.openai.azure.com"
PROMPT = "Summarise the diagnosis of Mrs Bennet, who has asked for nobody to be told of it at all"
SECRETS = (KEY, ACCOUNT, PLACE, PROMPT)


def refuse(code: int, kind: str = "") -> Reply:
    async def reply(request: web.Request, call: Call) -> web.StreamResponse:
        message = f'Failed for {ACCOUNT} with {KEY} at https://{PLACE}/v1 on "{PROMPT}".'
        return web.json_response({"error": {"message": message, "type": kind, "code": kind}}, status=code)

    return reply


def recording(seconds: int) -> bytes:
    return make_audio("bare mp3", seconds, sounds=[(0.2, seconds - 0.2)], rate=16_000)


async def send(services: Services, seconds: int, owner: Caller | None = None) -> Job:
    """Drop a recording as a book, or upload it as its owner's own."""
    content, name, container = recording(seconds), f"{new_id()}.mp3", "uploads"
    if owner is not None:
        request = UploadRequest(
            purpose="task", filename="a.mp3", size_bytes=len(content), content_type="audio/mpeg"
        )
        upload, _ = await services.uploads.begin(request, owner, Origin(address="", request_id=""))
        name, container = upload.blob_name, "tasks"
    drops = services.transcription._targets["task" if owner else "book"].drops
    await drops.write(name, content, "audio/mpeg")
    job = await services.transcription.accept_drop(container, name)
    assert job is not None
    return job


def someone() -> Caller:
    return Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener"}))


async def fail(services: Services, job: Job) -> Job:
    """Do the steps of a job until the AI has refused it for good."""
    pipeline = services.transcription
    await pipeline.run("ingest", Step(job_id=job.id))
    step = Step(job_id=job.id, chunk=0)
    await pipeline.run("transcribe", step)
    await pipeline.settle_poison("transcribe", step.model_dump_json())
    await pipeline.run("assemble", Step(job_id=job.id))
    return await pipeline._store.job(job.id)


async def alerts_of(services: Services, job: Job) -> str:
    found, _ = await services.operations.alerts(50, None)
    return "".join(alert.model_dump_json() for alert in found if alert.target.startswith(job.id))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refuse(400), "The AI does not accept this request."),
        (refuse(400, "content_filter"), "The AI's content filter refuses this."),
        (refuse(413), "This is too large for the AI."),
    ],
    ids=["refused", "filtered", "too large"],
)
async def test_who_owns_a_recording_reads_our_words_and_nobody_reads_a_secret(
    services: Services, ai: ScriptedAi, caplog: pytest.LogCaptureFixture, reply: Reply, words: str
) -> None:
    caplog.set_level("INFO", "aloud")
    owner = someone()
    ai.fail_with(reply)
    try:
        private = await fail(services, await send(services, 4, owner))
        public = await fail(services, await send(services, 5))
    finally:
        ai.heal()

    task = await services.tasks.show(*private.target_id.split("/"))
    book = await services.catalog.book(public.target_id)
    assert task.reason == book.processing_reason == f"1 of 1 parts could not be transcribed: {words}"
    for media, prefix in (
        (services.transcription._targets["task"].media, f"{private.target_id}/{private.id}/transcript-1"),
        (services.transcription._targets["book"].media, str(book.transcript_prefix)),
    ):
        (gap,) = Whole.model_validate_json(await media.read(f"{prefix}.json")).gaps
        assert gap.reason == words

    for job, said in ((private, None), (public, "Failed for […] with […] at […] on […].")):
        (part,) = (await services.transcription.job(job.id)).parts
        assert part.error == words
        assert "request req_scripted_" in (part.evidence or "")
        assert (said in (part.evidence or "")) if said else "Failed" not in (part.evidence or "")
        alert = await alerts_of(services, job)
        assert words in alert
        assert "Failed" not in alert, "alerts go to chats"
        shown = (await services.transcription.job(job.id)).model_dump_json()
        for secret in SECRETS:
            assert secret not in shown + alert + caplog.text
    assert "Failed for […]" in caplog.text
    assert owner.user_id not in await alerts_of(services, private)


async def test_without_money_the_switch_tells_in_our_words(services: Services, ai: ScriptedAi) -> None:
    job = await send(services, 6)
    await services.transcription.run("ingest", Step(job_id=job.id))
    ai.fail_with(refuse(429, "insufficient_quota"))
    try:
        await services.transcription.run("transcribe", Step(job_id=job.id, chunk=0))
    finally:
        ai.heal()
    switch = await services.operations.switch._read()
    await services.operations.switch._write(switch.model_copy(update={"is_paused": False}))
    assert (switch.is_paused, switch.reason) == (True, "The AI's account has no money left.")


async def test_what_nobody_foresaw_is_told_without_its_text(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exceptions quote what they were given: links with their signatures, and sentences of a recording."""

    async def burst(*_: object) -> None:
        raise ValueError(f"{PROMPT} {KEY} https://{PLACE}/x?sig=y")

    pipeline, owner = services.transcription, someone()
    ingest = pipeline._steps._doers["ingest"].__self__  # type: ignore[attr-defined]
    monkeypatch.setattr(ingest, "plan", burst)
    for job in (await send(services, 7, owner), await send(services, 8)):
        step = Step(job_id=job.id)
        with pytest.raises(ValueError, match="diagnosis"):
            await pipeline.run("ingest", step)
        await pipeline.settle_poison("ingest", step.model_dump_json())
        shown = await pipeline.job(job.id)
        assert (shown.status, shown.reason) == (
            "transcription_failed",
            "Something went wrong that nobody foresaw.",
        )
        assert (shown.evidence or "").startswith("ValueError")
        assert not any(secret in shown.model_dump_json() for secret in (KEY, PLACE))
        assert ("diagnosis" in (shown.evidence or "")) == (job.target == "book")
        if job.target == "task":
            assert (await services.tasks.show(*job.target_id.split("/"))).reason == shown.reason


async def test_a_book_that_a_filter_does_not_like_is_ready_without_a_summary(
    services: Services, ai: ScriptedAi, complete: Complete
) -> None:
    """What was heard is paid for, and is sold; a murder makes many a filter refuse."""
    ai.choose(lambda call, _: refuse(400, "content_filter") if call.body else None)
    try:
        job = await complete((await send(services, 9)).id)
    finally:
        ai.heal()
    book = await services.catalog.book(job.target_id)
    assert (job.status, book.processing_status, book.summary) == ("ready", "ready", None)
    assert book.processing_reason == "No summary was written: The AI's content filter refuses this."
    assert book.transcript_prefix is not None
