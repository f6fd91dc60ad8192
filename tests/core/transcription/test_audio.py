"""Recordings are read, planned and cut right, and what is none is refused in plain words."""

import io
import json
import struct
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from core.ai import AudioFormat, TimedText
from core.errors import RejectedAudioError
from core.transcription import audio
from core.transcription.audio import Cut, CutAudio, Plan, Probe
from core.transcription.blocks import BlockCache, BlockReader
from core.transcription.skipping import leave_out, restore
from tests.audio import KINDS, find_markers, make_audio, make_png, read_flac, repeat_m4b

MARKERS = (0.5, 9.0, 15.25, 22.0, 29.5)
# Without a header that tells of it, the encoder's run-up of 1,105 samples is part of the recording.
BARE_DELAY = 1_105 / 44_100
DATA = Path(__file__).parents[2] / "data"


def cut_all(
    content: bytes, target: float = 8, tolerance: float = 1
) -> tuple[Probe, Plan, list[CutAudio], list[NDArray[np.int16]]]:
    source = io.BytesIO(content)
    probe = audio.probe(source)
    plan = audio.plan(source, probe, target, tolerance)
    pieces, samples = [], []
    for cut in plan.cuts:
        out = io.BytesIO()
        stored = Cut(**json.loads(json.dumps(asdict(cut))))
        pieces.append(audio.cut(source, probe, stored, out))
        samples.append(read_flac(out.getvalue()))
    return probe, plan, pieces, samples


def markers_in(plan: Plan, samples: list[NDArray[np.int16]]) -> list[float]:
    return [
        cut.start_seconds + marker
        for cut, part in zip(plan.cuts, samples, strict=True)
        for marker in find_markers(part)
    ]


@pytest.mark.parametrize("kind", [*KINDS, "variable bare mp3"])
def test_every_kind_is_cut_into_adjoining_pieces_with_everything_where_it_was(kind: str) -> None:
    name = kind.removeprefix("variable ")
    content = make_audio(name, 30, MARKERS, variable=kind != name)
    probe, plan, pieces, samples = cut_all(content)

    assert (probe.container, probe.content_type) in {
        ("mp3", "audio/mpeg"),
        ("mp4", "audio/mp4"),
        ("flac", "audio/flac"),
        ("ogg", "audio/ogg"),
        ("wav", "audio/wav"),
    }
    assert plan.shortfall is None
    assert plan.duration_seconds == pytest.approx(30, abs=0.06)
    assert len(plan.cuts) == 4
    assert plan.cuts[0].start_seconds == 0
    assert plan.cuts[-1].end_seconds == plan.duration_seconds
    for before, after in zip(plan.cuts, plan.cuts[1:], strict=False):
        assert before.end_seconds == after.start_seconds
    for cut, piece, part in zip(plan.cuts, pieces, samples, strict=True):
        assert len(part) == round((cut.end_seconds - cut.start_seconds) * 16_000)
        assert piece.duration_seconds == pytest.approx(len(part) / 16_000)
    delay = BARE_DELAY if "bare" in kind else 0
    assert markers_in(plan, samples) == pytest.approx([m + delay for m in MARKERS], abs=0.005)


@pytest.mark.parametrize("kind", ["mp3", "m4b", "flac", "opus", "wav"])
def test_tags_are_read(kind: str) -> None:
    tags = {"title": "Emma – première", "artist": "Jane Austen", "genre": "Novel"}
    probe = audio.probe(io.BytesIO(make_audio(kind, 1, tags=tags)))
    assert probe.tags == tags


@pytest.mark.parametrize("kind", ["mp3", "m4b", "opus"])
def test_chapters_are_read(kind: str) -> None:
    content = make_audio(kind, 12, chapters=[("One", 0, 5), ("Two: 結", 5, 12)])
    first, second = audio.probe(io.BytesIO(content)).chapters
    assert (first.title, first.start_seconds, first.end_seconds) == ("One", 0, 5)
    assert (second.title, second.start_seconds) == ("Two: 結", 5)
    assert second.end_seconds == pytest.approx(12, abs=0.01)


def test_chapters_of_flac_are_read_from_its_comments() -> None:
    tags = {"CHAPTER001": "00:00:00.000", "CHAPTER001NAME": "One", "CHAPTER002": "00:00:05.500"}
    chapters = audio.probe(io.BytesIO(make_audio("flac", 12, tags=tags))).chapters
    assert [(c.title, c.start_seconds, c.end_seconds) for c in chapters] == [("One", 0, 5.5), (None, 5.5, 12)]


@pytest.mark.parametrize("kind", ["mp3", "m4b", "flac"])
def test_the_cover_is_found_and_typed_by_its_content(kind: str) -> None:
    probe = audio.probe(io.BytesIO(make_audio(kind, 1, cover=make_png())))
    assert (probe.cover, probe.cover_type) == (make_png(), "image/png")


def test_a_cover_that_is_no_picture_is_left_out() -> None:
    content = make_audio("mp3", 1, cover=make_png()).replace(b"\x89PNG\r\n", b"<html>", 1)
    probe = audio.probe(io.BytesIO(content))
    assert (probe.cover, probe.cover_type) == (None, None)


HEADER = struct.pack(
    "<4sI8sIHHIIHH4sI", b"RIFF", 36, b"WAVEfmt ", 16, 1, 1, 16_000, 32_000, 2, 16, b"data", 0
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The file is empty."),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "This is a web page, not audio."),
        (b"\n <html lang=en>" + b"x" * 10_000, "This is a web page, not audio."),
        (bytes(100_000), "nothing but zeros"),
        (HEADER, "no sound in this file"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256)) * 40, "This is a JPEG picture, not audio."),
        (make_png(), "This is a PNG picture, not audio."),
        (np.random.default_rng(3).bytes(200_000), "This is not a recording. Aloud reads mp3, m4b/m4a, flac"),
        (b"Once upon a time there was a file. " * 500, "This is not a recording."),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n/etc/hostname\n#EXT-X-ENDLIST\n", "not a recording"),
    ],
)
def test_what_is_no_recording_is_refused_with_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(RejectedAudioError) as refused:
        audio.probe(io.BytesIO(content))
    assert reason in refused.value.detail


@cache
def recording(kind: str) -> bytes:
    return make_audio(kind, 30, MARKERS)


@pytest.mark.parametrize(
    ("kind", "size", "reason"),
    [("m4b", 12_000, "its table of contents is missing"), ("mp3", 300, "no sound in this file")],
)
def test_a_part_that_cannot_be_heard_is_refused_with_a_reason(kind: str, size: int, reason: str) -> None:
    with pytest.raises(RejectedAudioError) as refused:
        audio.probe(io.BytesIO(recording(kind)[:size]))
    assert reason in refused.value.detail


def test_a_list_of_other_files_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(tmp_path, "secret.wav").write_bytes(make_audio("wav", 1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RejectedAudioError, match="not a recording"):
        audio.probe(io.BytesIO(b"ffconcat version 1.0\nfile secret.wav\n"))


def test_a_file_with_a_single_frame_is_refused() -> None:
    source = io.BytesIO(recording("mp3")[:600])
    probe = audio.probe(source)
    with pytest.raises(RejectedAudioError, match="less than a tenth of a second"):
        audio.plan(source, probe)


def test_an_unread_kind_of_sound_is_refused_by_name() -> None:
    # Format code 7 of a wav is mu-law, 2 an ADPCM.
    adpcm = HEADER[:20] + struct.pack("<H", 2) + HEADER[22:40] + struct.pack("<I", 8_000) + bytes(8_000)
    with pytest.raises(RejectedAudioError, match=r"stored as adpcm_ms\. Aloud reads"):
        audio.probe(io.BytesIO(adpcm))


@pytest.mark.parametrize(
    ("kind", "share", "there"),
    [("mp3", 0.5, "15"), ("faststart m4b", 0.5, "15"), ("flac", 0.55, "15"), ("wav", 0.5, "15")],
)
def test_a_file_that_was_cut_off_is_read_to_its_end_and_says_so(kind: str, share: float, there: str) -> None:
    content = make_audio(kind, 30, MARKERS, sounds=[(0, 30)])
    _, plan, _, samples = cut_all(content[: round(len(content) * share)])
    assert plan.declared_seconds == pytest.approx(30, abs=0.1)
    assert plan.duration_seconds == pytest.approx(15, abs=2)
    assert plan.shortfall is not None
    assert plan.shortfall.startswith("The recording ends after 1")
    assert "of 30 seconds" in plan.shortfall
    there_now = [m for m in MARKERS if m < plan.duration_seconds - 0.2]
    assert markers_in(plan, samples) == pytest.approx(there_now, abs=0.005)


def test_long_shortfalls_are_told_in_minutes() -> None:
    from core.transcription.planning import describe_shortfall

    assert describe_shortfall(12 * 60 + 5, 3_600) == (
        "The recording ends after 12 of 60 minutes: the file seems to be cut off or damaged."
    )
    assert describe_shortfall(59.7, 3_600) == (
        "The recording ends after 60 seconds of 60 minutes: the file seems to be cut off or damaged."
    )
    assert describe_shortfall(3_599, 3_600) is None


@pytest.mark.parametrize("kind", ["faststart m4b", "flac", "opus", "mp3"])
def test_damage_in_the_middle_does_not_stop_the_rest(kind: str) -> None:
    content = bytearray(make_audio(kind, 30, MARKERS, sounds=[(0, 30)]))
    middle = len(content) * 4 // 10
    content[middle : middle + len(content) // 60] = np.random.default_rng(5).bytes(len(content) // 60)
    _, plan, _, samples = cut_all(bytes(content))
    found = markers_in(plan, samples)
    assert found[:2] == pytest.approx(MARKERS[:2], abs=0.005)
    # An mp3 has no clock: what is lost of it makes it shorter, for every player.
    assert found[-2:] == pytest.approx(MARKERS[-2:], abs=0.7 if kind == "mp3" else 0.005)


def test_cuts_fall_into_pauses_and_never_leave_a_tiny_rest() -> None:
    pauses = [(7.6, 8.1), (15.4, 16.0), (23.0, 23.6), (28.0, 28.5)]
    ends = [0.0, *(end for _, end in pauses)]
    sounds = list(zip(ends, [*(start for start, _ in pauses), 33.0], strict=True))
    _, plan, pieces, _ = cut_all(make_audio("flac", 33, sounds=sounds))
    for cut in plan.cuts[:-1]:
        assert not cut.hard
        assert any(start < cut.end_seconds < end for start, end in pauses)
    assert all(4 < piece.duration_seconds <= 10 for piece in pieces)


def test_a_pause_far_from_the_target_is_still_better_than_none() -> None:
    sounds = [(0, 36), (36.5, 60)]
    _, plan, _, _ = cut_all(make_audio("flac", 60, sounds=sounds, rate=16_000), 30, 10)
    assert [cut.hard for cut in plan.cuts] == [False, False]
    assert 36 < plan.cuts[0].end_seconds < 36.5


def test_of_two_pauses_the_nearer_one_is_taken() -> None:
    sounds = [(0, 24), (24.5, 31), (31.5, 60)]
    _, plan, _, _ = cut_all(make_audio("flac", 60, sounds=sounds, rate=16_000), 30, 10)
    assert 31 < plan.cuts[0].end_seconds < 31.5


def test_a_little_more_than_one_piece_is_halved() -> None:
    _, plan, _, _ = cut_all(make_audio("flac", 10.5))
    assert [cut.end_seconds for cut in plan.cuts] == pytest.approx([5.25, 10.5], abs=0.5)


@pytest.mark.parametrize("kind", ["mp3", "opus", "vorbis", "flac"])
def test_pieces_sound_like_the_whole_right_from_their_first_moment(kind: str) -> None:
    content = make_audio(kind, 20, sounds=[(0, 20)], rate=48_000 if kind == "opus" else 16_000)
    _, _, _, (whole,) = cut_all(content, 330)
    _, plan, _, samples = cut_all(content)
    assert len(plan.cuts) == 3
    joined = np.concatenate(samples).astype(np.float64)
    for cut in plan.cuts[1:]:
        at = round(cut.start_seconds * 16_000)
        true = whole[at : at + 800].astype(np.float64)
        error = joined[at : at + 800] - true
        assert np.mean(error**2) < np.mean(true**2) / 100


def test_a_piece_that_the_recording_cannot_fill_ends_in_silence() -> None:
    source, out = io.BytesIO(recording("m4b")), io.BytesIO()
    audio.cut(source, audio.probe(source), Cut(0, 29.0, 35.5, None, None, None, False), out)
    samples = read_flac(out.getvalue())
    assert len(samples) == 6.5 * 16_000
    assert find_markers(samples) == pytest.approx([0.5], abs=0.005)
    assert not samples[2 * 16_000 :].any()


def test_long_silences_are_not_written_and_times_find_their_way_back() -> None:
    content = make_audio("flac", 60, [2, 30, 45], [(1, 6), (29, 33), (44, 48)], rate=16_000)
    source, out = io.BytesIO(content), io.BytesIO()
    piece = audio.cut(source, audio.probe(source), Cut(0, 0.5, 59.5, None, None, None, False), out)
    samples = read_flac(out.getvalue())
    # 6 to 29 and 48 to 60 are silent, of which a second stays on each side; 33 to 44 likewise
    assert [time for pair in piece.sent for time in pair] == pytest.approx(
        [0, 6.5, 27.5, 33.5, 42.5, 48.5], abs=0.1
    )
    assert len(samples) / 16_000 == pytest.approx(piece.sent_seconds, abs=0.001)
    heard = [TimedText(at, at + 0.2, "beep") for at in find_markers(samples)]
    restored = restore(heard, piece.sent)
    assert [0.5 + part.start for part in restored] == pytest.approx([2, 30, 45], abs=0.005)
    assert [part.end - part.start for part in restored] == pytest.approx([0.2] * 3)
    assert [piece.spans[0][0], piece.spans[-1][1]] == pytest.approx([0.5, 47.5], abs=0.1)


def test_times_at_the_edge_of_a_silence_stay_on_their_side() -> None:
    sent = [(0.0, 5.0), (20.0, 25.0)]
    before, after, late = restore(
        [TimedText(4, 5, "before"), TimedText(5, 6, "after"), TimedText(9.5, 11, "late")], sent
    )
    assert (before.start, before.end) == (4, 5)
    assert (after.start, after.end) == (20, 21)
    assert (late.start, late.end) == (24.5, 26)
    assert leave_out([(0.0, 12.0), (30.0, 60.0)], 60) == ((11.0, 31.0),)
    assert leave_out([(0.0, 60.0)], 60) == ((0.0, 60.0),)
    assert leave_out([], 60) == ((0.0, 60.0),)


@pytest.mark.parametrize(("form", "codec"), [("flac", "flac"), ("mp3", "mp3float"), ("wav", "pcm_s16le")])
def test_a_piece_comes_in_the_format_that_the_model_takes(form: AudioFormat, codec: str) -> None:
    source, out = io.BytesIO(recording("m4b")), io.BytesIO()
    piece = audio.cut(source, audio.probe(source), Cut(0, 9.0, 15.5, None, None, None, False), out, form)
    with av.open(io.BytesIO(out.getvalue()), "r") as container:
        stream = container.streams.audio[0]
        assert (container.format.name, stream.codec_context.name) == (form, codec)
        assert (stream.rate, stream.channels) == (16_000, 1)
        seconds = sum(frame.samples for frame in container.decode(stream)) / stream.rate
    assert seconds == pytest.approx(6.5, abs=0.08)
    assert piece.duration_seconds == 6.5
    assert piece.spans


def test_a_cut_through_sound_is_marked_as_hard() -> None:
    _, plan, _, _ = cut_all(make_audio("flac", 20, sounds=[(0, 20)]))
    assert [cut.hard for cut in plan.cuts] == [True, True, False]


def test_a_short_file_is_one_piece() -> None:
    _, plan, _, samples = cut_all(make_audio("mp3", 6, [0.2]), 330, 15)
    assert len(plan.cuts) == 1
    assert markers_in(plan, samples) == pytest.approx([0.2], abs=0.005)


def test_sound_is_found_above_the_noise_of_the_room() -> None:
    _, _, (piece,), _ = cut_all(make_audio("wav", 6, sounds=[(1, 2.5), (4, 5)]), 330)
    assert piece.silent is False
    for found, true in zip(piece.spans, [(1, 2.5), (4, 5)], strict=True):
        assert found == pytest.approx(true, abs=0.1)
    assert piece.loudness_dbfs == pytest.approx(-33, abs=1.5)


def test_silence_is_told_from_sound() -> None:
    _, _, (piece,), _ = cut_all(make_audio("mp3", 3), 330)
    assert (piece.silent, piece.spans) == (True, ())
    assert piece.loudness_dbfs <= -90


def test_a_human_voice_is_heard_where_it_speaks() -> None:
    _, plan, (piece,), _ = cut_all((DATA / "librivox-0870.wav").read_bytes(), 330)
    assert plan.duration_seconds == pytest.approx(7.1, abs=0.01)
    heard = sum(end - start for start, end in piece.spans)
    assert 4.5 < heard < 7.1
    assert all(0 <= start < end <= 7.1 for start, end in piece.spans)


def remote(content: bytes, cache: BlockCache) -> tuple[list[int], BlockReader]:
    """Return a reader of `content`, and the list to which the size of each fetch is added."""
    fetched: list[int] = []

    def fetch(offset: int, length: int) -> bytes:
        fetched.append(length)
        return content[offset : offset + length]

    return fetched, BlockReader(fetch, len(content), cache, "book")


@pytest.mark.parametrize("kind", ["bare mp3", "m4b", "flac"])
def test_a_long_book_is_read_about_once_and_exact_to_its_end(kind: str) -> None:
    content, last_marker = make_long(kind)
    with BlockCache(block_bytes=32 * 1024) as cache:
        fetched, source = remote(content, cache)
        probe = audio.probe(source)
        assert sum(fetched) < max(200_000, len(content) * 0.1)
        plan = audio.plan(source, probe)
        lengths = [cut.end_seconds - cut.start_seconds for cut in plan.cuts]
        assert all(300 <= length <= 360 for length in lengths[:-2])
        assert 150 < min(lengths) <= max(lengths) <= 360
        for cut in (*plan.cuts[::3], plan.cuts[-1]):
            out = io.BytesIO()
            audio.cut(source, probe, cut, out)
    last = plan.cuts[-1].start_seconds + find_markers(read_flac(out.getvalue()))[-1]
    assert last == pytest.approx(last_marker, abs=0.01)
    assert sum(fetched) <= len(content)


def make_long(kind: str) -> tuple[bytes, float]:
    """Return 40 minutes of mp3 or m4b, or 20 of flac, and when its last tone begins."""
    rate = 16_000
    if kind == "flac":
        return make_audio(kind, 1_200, [2, 1_190], [(3, 1_000), (1_001, 1_180)], rate=rate), 1_190
    once = make_audio(kind, 60, [2], [(3, 30), (31, 59)], rate=rate)
    repeat, delay = (repeat_m4b, 1_024) if kind == "m4b" else (bytes.__mul__, 1_105)
    period = duration(repeat(once, 2)) - duration(repeat(once, 1))
    return repeat(once, 40), 39 * period + 2 + delay / rate


def duration(content: bytes) -> float:
    source = io.BytesIO(content)
    return audio.plan(source, audio.probe(source)).duration_seconds


@pytest.mark.parametrize("kind", ["mp3", "m4b", "flac", "opus"])
def test_an_error_of_the_storage_is_never_taken_for_damage(kind: str) -> None:
    content = make_audio(kind, 12, sounds=[(0, 12)], cover=make_png() if kind in ("mp3", "m4b") else None)
    work_through(content, fail_at=None)
    fetch = 0
    while not work_through(content, fail_at=fetch):
        fetch += 1
    assert fetch > 2


def work_through(content: bytes, fail_at: int | None) -> bool:
    """Probe, plan and cut; with the fetch of that number failing, check that its error comes out.

    Return whether all was done before that fetch came.
    """
    count = 0

    def fetch(offset: int, length: int) -> bytes:
        nonlocal count
        count += 1
        if count - 1 == fail_at:
            raise ConnectionError("the storage is away")
        return content[offset : offset + length]

    block = max(8 * 1024, len(content) // 6)
    with BlockCache(block_bytes=block, max_bytes=2 * block) as cache:
        source = BlockReader(fetch, len(content), cache, "book")
        try:
            probe = audio.probe(source)
            plan = audio.plan(source, probe, 6, 1)
            for cut in plan.cuts:
                audio.cut(source, probe, cut, io.BytesIO())
        except ConnectionError:
            return False
    assert fail_at is None or count <= fail_at
    return True


def test_progress_is_told_from_start_to_end() -> None:
    source = io.BytesIO(recording("mp3"))
    told: list[float] = []
    audio.plan(source, audio.probe(source), 8, 1, told.append)
    assert told == sorted(told)
    assert told[-1] == 1


def test_the_decoder_is_loaded_only_when_it_is_used() -> None:
    rooms = ("audio", "blocks", "timing", "formats", "transcript")
    imports = "; ".join(f"import core.transcription.{room}" for room in rooms)
    check = f"import sys; {imports}; print(sorted({{'av', 'numpy'}} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
