"""One scripted AI for each test, and a second of sound to send to it."""

import io
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import av
import numpy as np
import pytest

from core.ai import Models, connect
from core.settings import Settings
from core.storage import StorageAccount
from tests.scripted_ai import ScriptedAi

Connect = Callable[..., Models]
CODECS = {"flac": "flac", "mp3": "libmp3lame", "wav": "pcm_s16le"}


@pytest.fixture
async def ai() -> AsyncIterator[ScriptedAi]:
    async with ScriptedAi.start() as running:
        yield running


@pytest.fixture
async def connected(ai: ScriptedAi) -> AsyncIterator[Connect]:
    """`connected(SPEECH_MODEL="whisper-1")`: the models as the app makes them, for any settings."""
    made: list[tuple[Models, StorageAccount]] = []

    def make(**given: str) -> Models:
        environment = {
            "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            "JWT_SIGNING_KEY": "k" * 32,
            "OPENAI_BASE_URL": ai.base_url,
            **given,
        }
        settings = Settings.read(environment)
        account = StorageAccount(settings)
        made.append((connect(settings, account.credential), account))
        return made[-1][0]

    yield make
    for models, account in made:
        await models.close()
        await account.close()


def make_flac(seconds: float, tones: Mapping[float, int]) -> bytes:
    """Faint noise, 16 kHz mono, with half-second beeps: {second: hertz}."""
    return make_audio_file("flac", seconds, tones)


def make_audio_file(form: str, seconds: float, tones: Mapping[float, int] | None = None) -> bytes:
    """The same in any format that a model takes."""
    sound = np.random.default_rng(1).normal(0, 20, int(seconds * 16_000))
    for start, hertz in (tones or {}).items():
        beep = np.arange(8_000)
        sound[int(start * 16_000) :][:8_000] += 6_000 * np.sin(2 * np.pi * hertz / 16_000 * beep)
    samples = sound.astype(np.int16).reshape(1, -1)
    target = io.BytesIO()
    with av.open(target, "w", format=form) as container:
        stream: Any = container.add_stream(CODECS[form], rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


@pytest.fixture(scope="session")
def flac() -> bytes:
    return make_flac(1.5, {})
