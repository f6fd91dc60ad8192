"""A recording becomes a transcript by each kind of speech model, through the whole pipeline."""

import pytest

from core.settings import Settings
from core.transcription.models import Step
from core.wiring import build
from localhost.azurite import Azurite
from tests.audio import make_audio
from tests.transcripts import Whole
from tests.vendor_ai import SAID, Vendor, VendorAi

KEY = "the-key"


@pytest.mark.parametrize(
    ("vendor", "model", "audio", "timing", "speakers"),
    [
        ("openai", "gpt-transcribe", "flac", "estimated", [None, None]),
        ("openai", "whisper-1", "flac", "model", [None, None]),
        ("openai", "gpt-4o-transcribe-diarize", "flac", "model", ["A", "B"]),
        ("gemini", "gemini-3.8-flash", "mp3", "estimated", [None, None]),
    ],
)
async def test_each_kind_of_model_gets_its_format_and_gives_a_transcript(
    azurite: Azurite, vendor: Vendor, model: str, audio: str, timing: str, speakers: list[str | None]
) -> None:
    async with VendorAi.start(vendor, {KEY}) as service:
        environment = {
            "AzureWebJobsStorage": azurite.connection_string,
            "JWT_SIGNING_KEY": "k" * 32,
            "SPEECH_BASE_URL": service.base_url,
            "SPEECH_API_KEY": KEY,
            "SPEECH_MODEL": model,
        }
        services = build(Settings.read(environment))
        pipeline, media = services.transcription, services.catalog._media
        name = f"{model}.mp3"
        content = make_audio("mp3", 8, sounds=[(0.5, 3.5), (4.2, 7.5)], rate=16_000)
        await pipeline._drops._uploads.write(name, content, "audio/mpeg")
        job = await pipeline.accept_drop("uploads", name)
        assert job is not None
        await pipeline.run("ingest", Step(job_id=job.id))
        await pipeline.run("transcribe", Step(job_id=job.id, chunk=0))
        await pipeline.run("assemble", Step(job_id=job.id))
        prefix = (await services.catalog.book(job.target_id)).transcript_prefix
        transcript = Whole.model_validate_json(await media.read(f"{prefix}.json"))
        subtitles = (await media.read(f"{prefix}.vtt")).decode()
        detail = await pipeline.job(job.id)
        await services.close()
    (call,) = service.calls
    assert call.audio == audio
    assert call.seconds == pytest.approx(8, abs=0.1)
    assert " ".join(segment.text for segment in transcript.segments) == SAID
    assert (transcript.timing, transcript.coverage, transcript.language) == (
        timing,
        1,
        {"gpt-transcribe": "en", "whisper-1": "en"}.get(model),
    )
    assert [segment.speaker for segment in transcript.segments] == speakers
    assert ("<v B>Nobody came" in subtitles) == (speakers == ["A", "B"])
    assert detail.cost_microdollars > 0
    assert detail.parts[0].calls == 1
