"""Transcripts are written so that players and people can read them."""

import html
import json
import re
import tracemalloc
from io import BytesIO
from tempfile import TemporaryFile

from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalog.service import TranscriptForm
from core.transcription.formats import WRITERS
from core.transcription.timing import ChunkText, join
from core.transcription.transcript import Gap, Segment, Transcript, Word, from_json, read_lines
from tests.transcripts import Whole, join_all, whole

LONG = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
    "foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light."
)


def segment(start: float, end: float, text: str, words: tuple[Word, ...] = ()) -> Segment:
    return Segment(index=0, start_seconds=start, end_seconds=end, text=text, timing="estimated", words=words)


def transcript(*segments: Segment, gaps: tuple[Gap, ...] = (), duration: float = 600) -> Whole:
    return Whole(
        language="en",
        duration_seconds=duration,
        timing="estimated",
        coverage=1,
        gaps=gaps,
        segments=tuple(s.model_copy(update={"index": i}) for i, s in enumerate(segments)),
    )


def write(form: TranscriptForm, transcript: Transcript) -> str:
    return "".join(WRITERS[form](transcript))


def read(subtitles: str, point: str) -> list[tuple[int, int, list[str]]]:
    """Read SRT or VTT as a strict player would: (start, end, lines), in milliseconds."""
    clock = rf"(\d{{2,}}):([0-5]\d):([0-5]\d){re.escape(point)}(\d{{3}})"
    blocks = subtitles.removeprefix("WEBVTT\n\n").removesuffix("\n").split("\n\n")
    cues = []
    for number, block in enumerate(blocks, 1):
        lines = block.split("\n")
        if point == ",":
            assert lines.pop(0) == str(number)
        match = re.fullmatch(f"{clock} --> {clock}", lines.pop(0))
        assert match is not None
        n = [int(group) for group in match.groups()]
        start, end = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in (n[:4], n[4:]))
        assert lines
        assert all(line.strip() for line in lines)
        cues.append((start, end, lines))
    return cues


def assert_readable(cues: list[tuple[int, int, list[str]]]) -> None:
    latest = 0
    for start, end, lines in cues:
        assert latest <= start < end <= start + 7_000
        assert len(lines) <= 2
        latest = end


def test_short_segments_are_one_cue_each() -> None:
    book = transcript(segment(0.5, 2.25, "Hello there."), segment(3_723.004, 3_725, "Good night."))
    assert write("srt", book) == (
        "1\n00:00:00,500 --> 00:00:02,250\nHello there.\n\n2\n01:02:03,004 --> 01:02:05,000\nGood night.\n"
    )
    assert write("vtt", book) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nHello there.\n\n"
        "01:02:03.004 --> 01:02:05.000\nGood night.\n"
    )


def test_a_hundred_hours_are_written_in_full() -> None:
    book = transcript(segment(360_000, 360_001, "Still reading."))
    assert "100:00:00,000 --> 100:00:01,000" in write("srt", book)
    assert "100:00:00.000 --> 100:00:01.000" in write("vtt", book)


def test_long_segments_are_split_into_cues_of_two_short_lines() -> None:
    cues = read(write("srt", transcript(segment(10, 24, LONG))), ",")
    assert_readable(cues)
    assert all(len(line) <= 42 for _, _, lines in cues for line in lines)
    assert " ".join(line for _, _, lines in cues for line in lines) == LONG
    assert (cues[0][0], cues[-1][1]) == (10_000, 24_000)


def test_slow_speech_is_split_by_time() -> None:
    cues = read(
        write("vtt", transcript(segment(0, 30, "Ten very slow words that take half a minute, all."))), "."
    )
    assert_readable(cues)
    assert len(cues) >= 5


def test_much_text_at_one_moment_is_still_in_order() -> None:
    book = transcript(segment(5, 5, LONG), segment(5, 6, "And then?"))
    assert_readable(read(write("srt", book), ","))


def test_times_of_words_are_kept() -> None:
    tokens = LONG.split()
    words = tuple(
        Word(start_seconds=i * 0.2, end_seconds=i * 0.2 + 0.1, text=t) for i, t in enumerate(tokens)
    )
    cues = read(write("srt", transcript(segment(0, 8, LONG, words))), ",")
    spoken = 0
    for start, _, lines in cues:
        assert start == spoken * 200
        spoken += len(" ".join(lines).split())


def test_markup_in_speech_is_only_text() -> None:
    book = transcript(segment(0, 3, "<script>alert(1)</script> & 1 --> 2 {\\an8}"))
    vtt = write("vtt", book)
    body = vtt.split("\n", 3)[3]
    assert "<" not in body
    assert "-->" not in body
    assert html.unescape(" ".join(body.split())) == book.segments[0].text
    srt = write("srt", book).split("\n", 2)[2]
    assert not set("<>{}") & set(srt)


def test_breaks_in_the_text_cannot_forge_a_cue() -> None:
    book = transcript(segment(0, 3, "One\n\n2\n00:00:09,000 --> 00:00:10,000\r\nforged\u2028\x00two"))
    assert len(read(write("srt", book), ",")) == 1
    assert len(read(write("vtt", book), ".")) == 1


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20), st.text(min_size=1, max_size=300)), max_size=6))
def test_any_transcript_is_valid_and_in_order(parts: list[tuple[float, float, str]]) -> None:
    chunks = [ChunkText(20 * i, 20, (segment(a, b, text),)) for i, (a, b, text) in enumerate(parts)]
    book = join_all(chunks, 20 * len(parts))
    points: dict[TranscriptForm, str] = {"srt": ",", "vtt": "."}
    for form, point in points.items():
        written = write(form, book)
        if written.strip() not in ("", "WEBVTT"):
            assert_readable(read(written, point))
    plain = write("txt", book)
    assert "\n\n\n" not in plain
    assert all(character == "\n" or character >= " " for character in plain)


def test_an_empty_transcript_is_valid() -> None:
    assert (write("srt", transcript()), write("vtt", transcript()), write("txt", transcript())) == (
        "",
        "WEBVTT\n",
        "",
    )


def test_text_has_paragraphs_at_long_pauses_and_says_what_is_missing() -> None:
    book = transcript(
        segment(0, 2, "One."),
        segment(2.3, 4, "Two."),
        segment(6, 8, "Three."),
        segment(420, 422, "Four."),
        gaps=(Gap(start_seconds=60, end_seconds=400.4, reason="the model refused it"),),
    )
    assert write("txt", book) == (
        "One. Two.\n\nThree.\n\n[No transcript from 0:01:00 to 0:06:40: the model refused it]\n\nFour.\n"
    )


def test_a_gap_in_the_middle_of_fast_speech_parts_the_text() -> None:
    chunks = [
        ChunkText(0, 5, (segment(0, 5, "Before."),)),
        ChunkText(5, 1, None, None, "lost"),
        ChunkText(6, 5, (segment(0, 5, "After."),)),
    ]
    assert (
        write("txt", join_all(chunks, 11))
        == "Before.\n\n[No transcript from 0:00:05 to 0:00:06: lost]\n\nAfter.\n"
    )


def test_speakers_are_the_voices_of_webvtt_and_cannot_leave_their_place() -> None:
    first = segment(0, 2, "Good evening.").model_copy(update={"speaker": "1.A"})
    second = segment(2, 4, "<i>Who</i> is there?").model_copy(update={"speaker": "B>\n\n00:00 & <b>"})
    spoken = transcript(first, second, segment(4, 6, "Nobody."))
    assert write("vtt", spoken).split("\n\n")[1:] == [
        "00:00:00.000 --> 00:00:02.000\n<v 1.A>Good evening.",
        "00:00:02.000 --> 00:00:04.000\n<v B&gt; 00:00 &amp; &lt;b&gt;>&lt;i&gt;Who&lt;/i&gt; is there?",
        "00:00:04.000 --> 00:00:06.000\nNobody.\n",
    ]
    assert "1.A" not in write("srt", spoken)
    stored = json.loads(write("json", spoken))["segments"]
    assert [part.get("speaker", "none") for part in stored] == ["1.A", "B>\n\n00:00 & <b>", "none"]
    assert Whole.model_validate_json(write("json", spoken)) == spoken


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), max_size=4))
def test_what_is_stored_is_read_as_it_was_whatever_is_said_in_it(texts: list[str]) -> None:
    said = ['"segments":[', '"]}', *texts]
    segments = [
        segment(n, n + 1, text, (Word(n, n + 0.5, text), Word(n + 0.5, n + 1, "é")))
        for n, text in enumerate(said)
    ]
    for said_so in (
        transcript(*segments, gaps=(Gap(start_seconds=8, end_seconds=9, reason='"segments":[{"'),)),
        transcript(),
    ):
        stored = from_json(BytesIO(write("json", said_so).encode()))
        for _ in range(2):
            assert whole(stored) == said_so
        assert read_lines(stored) == [(s.start_seconds, s.text) for s in said_so.segments]


def test_a_long_transcript_takes_no_more_memory_than_a_short_one() -> None:
    def need(chunks: int) -> int:
        words = tuple(Word(n / 2, n / 2 + 0.4, f"word{n}") for n in range(12))
        lines = tuple(segment(6 * n, 6 * n + 6, " ".join(w.text for w in words), words) for n in range(10))
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        with TemporaryFile() as heard, TemporaryFile() as file:
            book = join((ChunkText(60 * n, 60, lines) for n in range(chunks)), 60 * chunks, heard)
            for write_form in reversed(WRITERS.values()):
                file.truncate(file.seek(0))
                file.writelines(part.encode() for part in write_form(book))
            assert len(read_lines(from_json(file))) == 10 * chunks
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        need(1)  # what is loaded once
        # other threads of this process may take some meanwhile
        short, long = need(5), min(need(40) for _ in range(3))
    finally:
        tracemalloc.stop()
    assert long < 2 * short
