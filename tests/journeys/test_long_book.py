"""A book of many chunks: in parallel, in bounded memory, with times that are exact to its end.

The ten-hour form of this is measured by `make bench`; here the chunks are short instead.
"""

import sys
from pathlib import Path

import pytest

from tests.aloud import Aloud
from tests.audio import make_audio
from tests.scripted_ai import ScriptedAi

SECONDS = 240
CHUNK_SECONDS = 15
MARKERS = [7.3 + 37.9 * n for n in range(6)] + [SECONDS - 2.5]
KINDS = ("bare mp3", "m4b")


def peak_memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def test_times_are_exact_to_the_end_and_chunks_go_in_parallel() -> None:
    noise = [(t + 0.5, t + 1.5) for t in range(0, SECONDS, 6)]
    quiet = [(a, b) for a, b in noise if not any(a - 1 < m < b + 1 for m in MARKERS)]
    async with (
        ScriptedAi.start(latency=1.5) as ai,
        Aloud.start(
            openai_base_url=ai.base_url, CHUNK_SECONDS=str(CHUNK_SECONDS), SPEECH_MODEL="whisper-1"
        ) as aloud,
    ):
        for kind in KINDS:
            await aloud.upload(kind, make_audio(kind, SECONDS, MARKERS, quiet))
        for kind in KINDS:
            job = await aloud.settled(kind, seconds=120)
            assert (job["status"], job["reason"]) == ("ready", None), kind
            assert job["chunks"]["total"] >= 14
            book = await aloud.book_of(kind)
            written = await aloud.get(f"/api/v1/audiobooks/{book['id']}/transcript")
            assert written["timing"] == "model"
            heard = [
                segment["start_seconds"]
                for segment in written["segments"]
                if segment["text"].startswith("Tone ")
            ]
            assert heard == pytest.approx(MARKERS, abs=0.1), kind
        assert ai.max_in_flight >= 8
        if sys.platform == "linux":
            assert peak_memory_mb(aloud.pid) < 300
