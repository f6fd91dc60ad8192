"""Files with random damage end as a reason or as a book of a length that they can have; nothing else."""

import io
import random

import pytest

from core.errors import RejectedAudioError
from core.transcription import audio
from tests.audio import make_audio

SECONDS = 6.0
VARIANTS = 25


def damage(content: bytes, chance: random.Random) -> bytes:
    """Return the file with a few bytes changed, a stretch zeroed or lost, or its end missing."""
    broken = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.choice((chance.randrange(len(broken)), chance.randrange(min(4096, len(broken)))))
        length = chance.choice((1, 4, 64, 2048))
        match chance.randrange(4):
            case 0:
                broken[at : at + length] = chance.randbytes(length)
            case 1:
                broken[at : at + length] = bytes(length)
            case 2:
                del broken[at : at + length]
            case 3:
                del broken[max(at, 64) :]
    return bytes(broken)


@pytest.mark.parametrize("kind", ["mp3", "m4b", "flac", "opus", "vorbis", "wav"])
def test_damage_ends_as_a_reason_or_as_a_book(kind: str) -> None:
    whole = make_audio(
        kind, SECONDS, sounds=[(0.5, 5.5)], chapters=[("One", 0, 3), ("Two", 3, 6)], rate=16_000
    )
    chance = random.Random(f"{kind} 1")
    ends = {"book": 0, "reason": 0}
    for number in range(VARIANTS):
        source = io.BytesIO(damage(whole, chance))
        try:
            found = audio.probe(source)
            plan = audio.plan(source, found)
        except RejectedAudioError as error:
            assert error.detail, number
            ends["reason"] += 1
            continue
        ends["book"] += 1
        assert 0 < plan.duration_seconds < 10 * SECONDS, number
        out = io.BytesIO()
        piece = audio.cut(source, found, plan.cuts[0], out)
        assert piece.duration_seconds == pytest.approx(plan.duration_seconds, abs=0.01), number
        assert out.getvalue().startswith(b"fLaC")
    assert ends["book"], "the damage was too much to prove anything"


@pytest.mark.parametrize("kind", ["flac", "vorbis", "opus"])
def test_tags_by_the_thousand_are_refused_before_they_are_read(kind: str) -> None:
    tags = {f"key {number}": "value" for number in range(5_100)}
    with pytest.raises(RejectedAudioError, match="too many tags"):
        audio.probe(io.BytesIO(make_audio(kind, SECONDS, sounds=[(0.5, 5.5)], tags=tags, rate=16_000)))


def test_a_file_whose_tags_take_too_long_to_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {f"key {number}": "value" for number in range(2_000)}
    content = make_audio("mp3", SECONDS, sounds=[(0.5, 5.5)], tags=tags, rate=16_000)
    assert len(audio.probe(io.BytesIO(content)).tags) == 2_000
    monkeypatch.setattr("core.transcription.decoding.OPENING_SECONDS", 0.0)
    with pytest.raises(RejectedAudioError, match="remove its tags"):
        audio.probe(io.BytesIO(content))


def test_a_flac_whose_count_of_tags_is_damaged_is_read_all_the_same() -> None:
    whole = make_audio("flac", SECONDS, sounds=[(0.5, 5.5)], rate=16_000)
    length = whole.index(b"Lavf") - 4
    count = length + 4 + whole[length]
    for at in (length + 3, count + 3):
        damaged = bytearray(whole)
        damaged[at] = 0x7F
        assert audio.probe(io.BytesIO(bytes(damaged))).codec == "flac"
