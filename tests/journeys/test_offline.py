"""With no key and no network: the offline AI turns a human reading into text that is mostly right."""

import re

from tests.aloud import ROOT, Aloud

READING = ROOT / "tests" / "data" / "librivox-0870.wav"


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower()))


async def test_a_human_reading_is_mostly_understood() -> None:
    async with Aloud.start(OPENAI_API_KEY="", OPENAI_BASE_URL="") as aloud:
        await aloud.upload("reading.wav", READING)
        job = await aloud.settled("reading.wav")
        assert (job["status"], job["reason"]) == ("ready", None)
        book = await aloud.book_of("reading.wav")
        written = await aloud.get(f"/api/v1/audiobooks/{book['id']}/transcript")
        assert written["timing"] == "model"
        said = words(READING.with_suffix(".txt").read_text())
        heard = words(" ".join(segment["text"] for segment in written["segments"]))
        assert len(said & heard) > 0.6 * len(said)
        times = [word["start_seconds"] for segment in written["segments"] for word in segment["words"]]
        assert times == sorted(times)
        assert len(times) >= 15
        assert book["summary"]
        assert len(set(book["tags"])) == 3
