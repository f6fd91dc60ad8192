"""Takes a variant through the pipeline in this process, on real storage, as the host would."""

import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob.aio import BlobServiceClient

from core.settings import Settings
from core.wiring import Services, build
from tests.fuzz.variants import SECONDS, Variant
from tests.scripted_ai import ScriptedAi

_MOST_STEPS = 20
_BLOCK_BYTES = 512 * 1024
_LONGEST = 10
"""So many times longer than what it was made of a file may seem at most."""


@dataclass(frozen=True)
class End:
    """How a variant ended; `fault` says what is wrong with that, if anything is."""

    variant: str
    what: str
    status: str
    reason: str | None
    fault: str | None
    wall_seconds: float
    cpu_seconds: float


class Intake:
    """Drops variants and does the steps of their jobs."""

    def __init__(self, services: Services, blobs: BlobServiceClient) -> None:
        self._services = services
        self._blobs = blobs

    @classmethod
    @asynccontextmanager
    async def start(cls, connection_string: str) -> AsyncIterator[Self]:
        async with ScriptedAi.start() as ai:
            environment = {
                "AzureWebJobsStorage": connection_string,
                "JWT_SIGNING_KEY": "k" * 32,
                "OPENAI_BASE_URL": ai.base_url,
                "CHUNK_SECONDS": "60",
                "CATALOG_REFRESH_SECONDS": "0",
            }
            services = build(Settings.read(environment))
            try:
                async with BlobServiceClient.from_connection_string(
                    connection_string, max_single_put_size=_BLOCK_BYTES, max_block_size=_BLOCK_BYTES
                ) as blobs:
                    with suppress(ResourceExistsError):
                        await blobs.create_container("uploads")
                    yield cls(services, blobs)
            finally:
                await services.close()

    async def take(self, variant: Variant) -> End:
        """Ingest one file; what nobody foresaw is a fault too."""
        wall, cpu = time.perf_counter(), time.process_time()
        status, reason = "no end", None
        try:
            status, reason, seconds = await self._process(variant)
            fault = _find_fault(variant, status, reason, seconds)
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"[:500]
        return End(
            variant.name,
            variant.what,
            status,
            reason,
            fault,
            round(time.perf_counter() - wall, 2),
            round(time.process_time() - cpu, 2),
        )

    async def _process(self, variant: Variant) -> tuple[str, str | None, float]:
        rooms = self._services.transcription
        await self._blobs.get_blob_client("uploads", variant.name).upload_blob(io.BytesIO(variant.content))
        begun = await rooms.accept_drop("uploads", variant.name)
        assert begun is not None
        for _ in range(_MOST_STEPS):
            job = await rooms._store.job(begun.id)
            if job.is_final:
                break
            for queue, step in await rooms._progress.calls_for(job):
                await rooms.run(queue, step)
        return job.status, job.reason or job.error, job.duration_seconds or 0.0


def _find_fault(variant: Variant, status: str, reason: str | None, seconds: float) -> str | None:
    if status == "rejected":
        return None if reason else "rejected without a reason"
    if status != "ready":
        return f"ended as {status}: {reason}"
    if not 0 < seconds <= _LONGEST * SECONDS:
        return f"a book of {seconds} s"
    if variant.shows_loss and seconds < SECONDS - 2.5 and not reason:
        return f"{seconds} of {SECONDS} s are there, and nothing says that more is missing"
    return None
