"""Rounds of a storm, each with the same books under other names, compared with the books of fair weather."""

import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.aloud import Aloud
from tests.chaos.aftermath import Outcome, Transcripts, examine, read_transcripts, wait_for_ends
from tests.chaos.moods import Moods
from tests.chaos.recordings import Recording, make_recordings
from tests.chaos.storage import Storage
from tests.chaos.storm import SETTINGS, Acts, Storm, log
from tests.scripted_ai import ScriptedAi

_AI_SECONDS = 0.6
_FAULTY_SHARE = 0.4


async def run_rounds(
    books: int, acts: Acts, seed: int, most_calls: int, wait: float
) -> AsyncGenerator[Outcome, None]:
    """Yield after each round how all have ended so far; `wait` is the longest that one settles, in seconds.

    Goes on for as long as somebody asks for more.
    """
    recordings = make_recordings(books, seed)
    chance = random.Random(seed)
    async with ScriptedAi.start(latency=_AI_SECONDS) as ai:
        log.info("%d books in fair weather", books)
        transcripts = await _fair_weather(ai, recordings, wait)
        heard = {call.audio_sha256 for call in ai.transcriptions}
        if len(heard) != len(ai.transcriptions):
            raise RuntimeError("two chunks are the same, so what is paid twice cannot be counted")
        moods = Moods(ai, _FAULTY_SHARE)
        with TemporaryDirectory() as data:
            async with Storm.start(ai, Path(data), chance) as storm:
                expected: Transcripts = {}
                outcome = Outcome(0, 0)
                while not outcome.problems:
                    number = outcome.books // books + 1
                    moods.change(f"{seed} {number}")
                    named = [_rename(recording, f"{number}. ") for recording in recordings]
                    expected |= {f"{number}. {path}": forms for path, forms in transcripts.items()}
                    outcome = replace(
                        outcome, books=outcome.books + books, chunks=outcome.chunks + len(heard)
                    )
                    log.info("round %d", number)
                    await storm.drop(named)
                    await storm.rage(acts, named, most_calls)
                    await examine(storm, moods, expected, outcome, wait)
                    yield outcome


def _rename(recording: Recording, prefix: str) -> Recording:
    files = {f"{prefix}{name}": content for name, content in recording.files.items()}
    return Recording(f"{prefix}{recording.path}", files)


async def _fair_weather(ai: ScriptedAi, recordings: Sequence[Recording], wait: float) -> Transcripts:
    """Return the transcripts of books to which nothing happens."""
    patient = SETTINGS | {"AI_TIMEOUT_SECONDS": "60", "CLAIM_SECONDS": "15"}
    async with Aloud.start(openai_base_url=ai.base_url, **patient) as aloud:
        storage = Storage(aloud.connection_string)
        try:
            for recording in recordings:
                for name, content in recording.files.items():
                    await aloud.upload(name, content)
            jobs = await wait_for_ends(storage, [recording.path for recording in recordings], wait)
        finally:
            await storage.close()
        found = {path: await read_transcripts(aloud, job) for path, job in jobs.items()}
    if not all(content for forms in found.values() for content in forms.values()):
        raise RuntimeError("a book has no transcript even in fair weather")
    return found
