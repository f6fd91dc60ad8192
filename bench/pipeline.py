"""What the pipeline costs for a long book: CPU, memory, bytes read, and whether the times stay exact."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.process import read_cpu_seconds, read_peak_mb
from bench.proxy import CountingProxy
from bench.recordings import Recording, make_piece, repeat_piece
from bench.rows import Limit, Row
from localhost.child import Child
from tests.aloud import FINAL, Aloud

KINDS = ("mp3", "m4b")
LONG_HOURS = 20
LATENCY_SECONDS = 1
IDLE_SECONDS = 2
LONGEST_WAIT_SECONDS = 3600
TOLERANCE_SECONDS = 0.1
_LISTENING = re.compile(r"listening on http://127\.0\.0\.1(\S+)")
_POLLING = "AzureFunctionsJobHost__extensions__queues__maxPollingInterval"


@dataclass(frozen=True)
class Outcome:
    """What one book took; CPU and memory are None where the kernel does not tell.

    `peaks_mb` are the peaks of memory up to the end of each stage, by its name and in order.
    """

    recording: Recording
    chunks: int
    wall_seconds: float
    cpu_seconds: float | None
    idle_cpu_seconds: float | None
    peaks_mb: Mapping[str, float | None]
    bytes_read: int
    heard: list[float]

    @property
    def hours(self) -> float:
        return self.recording.seconds / 3600


async def measure(quick: bool) -> AsyncIterator[Row]:
    """Each book has a product of its own, so that peaks do not mix."""
    with TemporaryDirectory() as folder:
        for kind in KINDS:
            piece = await asyncio.to_thread(make_piece, kind)
            for hours in (1,) if quick else (1, LONG_HOURS):
                path = Path(folder, f"book.{kind}")
                recording = await asyncio.to_thread(repeat_piece, piece, kind, hours, path)
                outcome = await _process(recording)
                path.unlink()
                for row in _rows(f"{hours} h {kind}", outcome):
                    yield row


async def _process(recording: Recording) -> Outcome:
    ai_command = [sys.executable, "-m", "tests.scripted_ai", "--latency", str(LATENCY_SECONDS)]
    async with (
        Child.start("the scripted AI", ai_command, _LISTENING) as ai,
        CountingProxy.start() as proxy,
        Aloud.start(
            # The name, in place of the number, keeps what goes to the AI out of the proxy.
            openai_base_url=f"http://localhost{ai.found[0]}",
            no_proxy="localhost",
            http_proxy=proxy.url,
            SPEECH_MODEL="whisper-1",
            **{_POLLING: "00:00:00.5"},
        ) as aloud,
    ):
        await aloud.token()
        idle = await _measure_idle(aloud.pid)
        before, started = read_cpu_seconds(aloud.pid), time.perf_counter()
        name = recording.path.name
        with recording.path.open("rb") as file:
            await aloud.blobs.get_blob_client("uploads", name).upload_blob(file, max_concurrency=4)
        job, peaks = await _finish(aloud, name)
        wall, after = time.perf_counter() - started, read_cpu_seconds(aloud.pid)
        if job["status"] != "ready":
            raise RuntimeError(f"{name} ended as {job['status']}: {job['reason']}")
        transcript = await _serve_and_mend(aloud, job["audiobook_id"])
        peaks["served and mended"] = read_peak_mb(aloud.pid)
    read = sum(count for path, count in proxy.read.items() if path.endswith(recording.path.suffix))
    if not read:
        raise RuntimeError("no audio was read through the proxy, so its bytes cannot be told")
    return Outcome(
        recording=recording,
        chunks=job["chunks"]["total"],
        wall_seconds=wall,
        cpu_seconds=None if before is None or after is None else after - before,
        idle_cpu_seconds=idle,
        peaks_mb=peaks,
        bytes_read=read,
        heard=[
            segment["start_seconds"]
            for segment in transcript["segments"]
            if segment["text"].startswith("Tone ")
        ],
    )


async def _measure_idle(pid: int) -> float | None:
    """Return the CPU seconds that the process uses in a second without work."""
    before = read_cpu_seconds(pid)
    await asyncio.sleep(IDLE_SECONDS)
    after = read_cpu_seconds(pid)
    return None if before is None or after is None else (after - before) / IDLE_SECONDS


async def _finish(aloud: Aloud, name: str) -> tuple[dict[str, Any], dict[str, float | None]]:
    """Return the job once it is final, and the peak of memory when each of its statuses was last seen.

    It asks seldom, since every question costs the product CPU.
    """
    peaks: dict[str, float | None] = {}
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while (job := await aloud.job(name)) is None or job["status"] not in FINAL:
            if job is not None:
                peaks[job["status"]] = read_peak_mb(aloud.pid)
            await asyncio.sleep(1)
    peaks[job["status"]] = read_peak_mb(aloud.pid)
    return job, peaks


async def _serve_and_mend(aloud: Aloud, book_id: str) -> dict[str, Any]:
    """Ask for the book and all forms of its transcript, mend a sentence of it; return it as it was."""
    book = await aloud.get(f"/api/v1/audiobooks/{book_id}")
    path = f"/api/v1/audiobooks/{book_id}/transcript"
    transcript = await aloud.get(path)
    for address in (f"/books/{book['slug']}", *(f"{path}?format={form}" for form in ("txt", "srt", "vtt"))):
        status, _, _ = await aloud.call("GET", address)
        if status != 200:
            raise RuntimeError(f"{address} answered {status}")
    last = transcript["segments"][-1]["index"]
    status, version, _ = await aloud.call("PUT", f"{path}/segments/{last}", json={"text": "A better end."})
    if status != 200:
        raise RuntimeError(f"the transcript could not be mended: {status} {version}")
    mended = await aloud.get(f"{path}/versions/{version['version']}")
    if mended["segments"][-1]["text"] != "A better end.":
        raise RuntimeError("the mended sentence is not in the new version")
    return dict(transcript)


def _rows(book: str, outcome: Outcome) -> list[Row]:
    markers, heard = outcome.recording.markers, outcome.heard
    errors = [abs(a - b) for a, b in zip(heard, markers, strict=False)]
    cpu, idle = outcome.cpu_seconds, outcome.idle_cpu_seconds
    size = outcome.recording.size_bytes
    peaks = {stage: peak for stage, peak in outcome.peaks_mb.items() if peak is not None}
    stages = ", ".join(f"{stage} {peak:.0f}" for stage, peak in peaks.items())
    idle_share = "" if not cpu or idle is None else f", {idle * outcome.wall_seconds / cpu:.0%} of it idle"
    return [
        Row(
            f"{book}: CPU per audio hour",
            None if cpu is None else cpu / outcome.hours,
            "s",
            note=f"{outcome.chunks} chunks{idle_share}",
        ),
        Row(
            f"{book}: peak memory",
            max(peaks.values(), default=None),
            "MB",
            Limit("<", 300),
            f"up to the end of: {stages}",
        ),
        Row(
            f"{book}: blob bytes read ÷ file size",
            outcome.bytes_read / size,
            "×",
            Limit("<", 1.5),
            f"file of {size / 1_000_000:.0f} MB",
        ),
        Row(f"{book}: markers heard", len(heard), "", Limit("≥", len(markers))),
        Row(
            f"{book}: last marker is off by",
            abs(heard[-1] - markers[-1]) if heard else None,
            "s",
            Limit("<", TOLERANCE_SECONDS),
            f"worst of all {max(errors):.3f} s" if errors else "none was heard",
        ),
        Row(
            f"{book}: drop to ready",
            outcome.wall_seconds,
            "s",
            note=f"{outcome.recording.seconds / outcome.wall_seconds:.0f} × real time",
        ),
    ]
