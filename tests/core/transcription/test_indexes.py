"""A long mp4 is read with a part of its index alone, and nobody can tell from what comes out."""

import io
from typing import Any

import pytest

from core.transcription import audio, indexes
from core.transcription.blocks import PatchedReader
from tests.audio import make_audio, make_png, repeat_m4b

SECONDS = 60
CHUNK = 15.0


def read_all(content: bytes) -> tuple[Any, ...]:
    """Return what a file is, where it is cut, and the bytes of all its chunks."""
    source = io.BytesIO(content)
    probe = audio.probe(source)
    plan = audio.plan(source, probe, CHUNK, 5.0)
    chunks = []
    for cut in plan.cuts:
        out = io.BytesIO()
        chunks.append((audio.cut(source, probe, cut, out), out.getvalue()))
    return probe, plan, chunks


@pytest.fixture(scope="module")
def recordings() -> dict[str, bytes]:
    sounds = [(at + 0.4, at + 2.6) for at in range(0, SECONDS, 4)]
    chapters = [("One", 0.0, 25.0), ("Two", 25.0, 60.0)]
    made = {
        kind: make_audio(
            kind, SECONDS, sounds=sounds, tags={"title": "Long"}, chapters=chapters, cover=make_png()
        )
        for kind in ("m4b", "faststart m4b")
    }
    made["alac"] = make_audio("alac", SECONDS, sounds=sounds)
    long = repeat_m4b(made["faststart m4b"], 2)
    return made | {"long": long, "cut off": made["faststart m4b"][: len(made["faststart m4b"]) * 6 // 10]}


async def test_with_a_part_of_the_index_the_same_comes_out(
    recordings: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {kind: read_all(content) for kind, content in recordings.items()}
    monkeypatch.setattr(indexes, "_SMALL_BYTES", 100)
    for longest in (2**30, 100_000):  # of 20 hours, times are further apart than one sample may last
        monkeypatch.setattr(indexes, "_LONGEST_DURATION", longest)
        for kind, content in recordings.items():
            assert read_all(content) == whole[kind], kind
    for kind in ("m4b", "faststart m4b", "alac", "long"):
        assert isinstance(indexes.narrow(io.BytesIO(recordings[kind]), 10, 12), PatchedReader), kind
    assert whole["cut off"][1].shortfall is not None


async def test_an_index_that_is_small_odd_or_damaged_is_left_to_libav(
    recordings: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = recordings["faststart m4b"]
    source = io.BytesIO(content)
    assert indexes.narrow(source, 10, 12) is source
    monkeypatch.setattr(indexes, "_SMALL_BYTES", 100)
    for name in (b"moov", b"stts", b"stsz", b"stsc", b"mvhd", b"stbl"):
        for wrong in (b"\xff\xff\xff\xff", b"\0\0\0\1", b"\0\0\0\2"):
            at = content.index(name)
            for place in (at - 4, at + 8):
                odd = io.BytesIO(content[:place] + wrong + content[place + 4 :])
                narrowed = indexes.narrow(odd, 10, 12)
                assert narrowed is odd or isinstance(narrowed, PatchedReader)
    for short in range(0, 2000, 100):
        cut_off = io.BytesIO(content[:short])
        assert indexes.narrow(cut_off, 10, 12) is cut_off
