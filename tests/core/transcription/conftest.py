"""The pipeline in this process: real storage, real audio, an AI whose answers are scripted."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from core.settings import Settings
from core.transcription.models import Job
from core.wiring import Services, build
from localhost.azurite import Azurite
from tests.scripted_ai import ScriptedAi

Drop = Callable[[str, bytes], Awaitable[Job | None]]
Complete = Callable[[str], Awaitable[Job]]


@pytest_asyncio.fixture(scope="module")
async def ai() -> AsyncIterator[ScriptedAi]:
    async with ScriptedAi.start() as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def services(azurite: Azurite, ai: ScriptedAi) -> AsyncIterator[Services]:
    environment = {
        "AzureWebJobsStorage": azurite.connection_string,
        "JWT_SIGNING_KEY": "k" * 32,
        "OPENAI_BASE_URL": ai.base_url,
        "CHUNK_SECONDS": "60",
        "CATALOG_REFRESH_SECONDS": "0",
    }
    running = build(Settings.read(environment))
    yield running
    await running.close()


@pytest.fixture(scope="module")
def drop(services: Services) -> Drop:
    """Write a file into `uploads` and tell the pipeline of it."""

    async def write(name: str, content: bytes) -> Job | None:
        await services.transcription._drops._uploads.write(name, content, "application/octet-stream")
        return await services.transcription.accept_drop("uploads", name)

    return write


@pytest.fixture(scope="module")
def complete(services: Services) -> Complete:
    """Do the steps of a job, as the host would, until it is final, and return it."""
    rooms = services.transcription

    async def work(job_id: str) -> Job:
        while not (job := await rooms._store.job(job_id)).is_final:
            for queue, step in await rooms._progress.calls_for(job):
                await rooms.run(queue, step)
        return job

    return work
