"""Sentences get times that a listener can follow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ai.speech import TimedText
from core.transcription.sentences import split_sentences
from core.transcription.timing import (
    ChunkText,
    from_words,
    spread,
    time_segments,
)
from core.transcription.transcript import Segment, to_json
from tests.transcripts import Whole, join_all

STORY = (
    "Mr. Dashwood had then leisure to consider. How much might there be, prudently, in his power to do? "
    "“He was not an ill-disposed young man!” Unless to be cold-hearted is to be ill-disposed."
)
PLAIN = (
    "and mister john dashwood had then leisure to consider how much there might be prudently in his power "
    "to do for them he was not an ill disposed young man unless to be rather cold hearted and rather selfish "
    "is to be ill disposed"
)


def assert_in_order(segments: list[Segment] | tuple[Segment, ...], duration: float) -> None:
    times = [time for s in segments for time in (s.start_seconds, s.end_seconds)]
    assert times == sorted(times)
    assert all(0 <= time <= duration for time in times)
    assert [s.index for s in segments] == list(range(len(segments)))
    for segment in segments:
        inner = [time for word in segment.words for time in (word.start_seconds, word.end_seconds)]
        assert inner == sorted(inner)
        assert all(segment.start_seconds <= time <= segment.end_seconds for time in inner)


def timed(text: str, word: float = 0.3, pauses: dict[int, float] | None = None) -> list[TimedText]:
    """Speak each word of `text` for `word` seconds; `pauses` come before the words with those numbers."""
    now, words = 0.0, []
    for index, token in enumerate(text.split()):
        now += (pauses or {}).get(index, 0)
        words.append(TimedText(now, now + word, token))
        now += word
    return words


def test_sentences_end_where_a_reader_would_end_them() -> None:
    assert split_sentences(STORY) == [
        "Mr. Dashwood had then leisure to consider.",
        "How much might there be, prudently, in his power to do?",
        "“He was not an ill-disposed young man!”",
        "Unless to be cold-hearted is to be ill-disposed.",
    ]
    assert split_sentences("J. R. R. Tolkien wrote it at 3.15 p.m. on a Sunday. Then he slept.") == [
        "J. R. R. Tolkien wrote it at 3.15 p.m. on a Sunday.",
        "Then he slept.",
    ]
    assert split_sentences("吾輩は猫である。名前はまだ無い。") == ["吾輩は猫である。", "名前はまだ無い。"]
    assert split_sentences(" \n ") == []


def test_text_without_punctuation_becomes_lines_of_readable_length() -> None:
    lines = split_sentences(PLAIN * 3)
    assert " ".join(lines) == " ".join((PLAIN * 3).split())
    assert all(8 <= len(line.split()) <= 16 for line in lines)


def test_an_endless_sentence_is_split_at_its_commas() -> None:
    sentence = ", ".join(["and then he walked a very long way over the hills"] * 8) + "."
    lines = split_sentences(sentence)
    assert " ".join(lines) == sentence
    assert len(lines) > 1
    assert all(line.endswith((",", ".")) for line in lines)


def test_sentences_are_laid_over_the_sound_and_end_at_pauses() -> None:
    spans = [(0.5, 3.0), (3.9, 7.2), (8.0, 10.1), (11.0, 14.0)]
    segments = spread(STORY, spans, 15)
    assert [(s.start_seconds, s.end_seconds) for s in segments] == spans
    assert {s.timing for s in segments} == {"estimated"}
    assert_in_order(segments, 15)


def test_a_reader_who_slows_down_is_followed_by_the_pauses() -> None:
    text = " ".join(["This is a sentence of the usual length."] * 20)
    now, spans = 0.0, []
    for index in range(20):
        length = 2.0 + index * 0.08
        spans += [(now, now + length * 0.4), (now + length * 0.4 + 0.16, now + length + 0.16)]
        now += length + 0.16 + 0.5
    segments = spread(text, spans, now)
    assert [s.start_seconds for s in segments] == pytest.approx([start for start, _ in spans[::2]], abs=0.001)


def test_without_pauses_a_sentence_lasts_its_share() -> None:
    first, second = spread("One two three four. Five six seven four.", [(10, 20)], 30)
    assert (first.start_seconds, second.end_seconds) == (10, 20)
    assert first.end_seconds == second.start_seconds == pytest.approx(15, abs=0.5)


def test_without_any_sound_the_whole_time_is_shared() -> None:
    (segment,) = spread("Hello there.", [], 4)
    assert (segment.start_seconds, segment.end_seconds) == (0, 4)


@given(
    st.text(max_size=400),
    st.lists(st.floats(0, 60), max_size=12).map(sorted),
    st.floats(0.1, 60),
)
def test_any_text_over_any_sound_is_in_order_and_complete(
    text: str, edges: list[float], duration: float
) -> None:
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    segments = spread(text, spans, duration)
    assert_in_order(segments, round(duration, 3))
    assert "".join(s.text for s in segments).split() == "".join(split_sentences(text)).split()


def test_times_of_words_make_sentences_with_the_punctuation_of_the_text() -> None:
    bare = STORY.replace(".", "").replace(",", "").replace("!", "").replace("?", "").lower()
    segments = from_words(STORY, timed(bare), 60)
    assert [s.text for s in segments] == split_sentences(STORY)
    assert segments[1].start_seconds == pytest.approx(7 * 0.3)
    assert segments[1].words[0].text == "How"
    assert {s.timing for s in segments} == {"model"}
    assert_in_order(segments, 60)


def test_words_that_the_model_counts_otherwise_still_find_their_place() -> None:
    words = timed("he was not an ill disposed young man unless to be selfish is to be so")
    segments = from_words(
        "He was not an ill-disposed young man. Unless to be selfish is to be so.", words, 60
    )
    assert [s.text for s in segments] == [
        "He was not an ill-disposed young man.",
        "Unless to be selfish is to be so.",
    ]
    assert segments[0].words[4].text == "ill-disposed"
    assert segments[1].start_seconds == pytest.approx(8 * 0.3)


def test_words_without_punctuation_are_parted_at_pauses() -> None:
    words = timed(PLAIN, pauses={10: 0.4, 22: 0.9, 30: 0.35})
    segments = time_segments(PLAIN, words, [], [(0, 60)], 60)
    lines = [s.text for s in segments]
    assert " ".join(lines) == PLAIN
    assert lines[0].endswith("how")
    assert any(line.endswith(("for them", "power to")) for line in lines[:3])
    assert all(2 <= len(line.split()) <= 16 for line in lines)
    assert_in_order(segments, 60)


def test_segments_of_the_model_are_kept() -> None:
    parts = [TimedText(3, 5.5, " Second. "), TimedText(0.2, 2.9, "First."), TimedText(5.5, 99, "Third.")]
    segments = time_segments("First. Second. Third.", [], parts, [(0, 9)], 9)
    assert [(s.text, s.start_seconds, s.end_seconds) for s in segments] == [
        ("First.", 0.2, 2.9),
        ("Second.", 3, 5.5),
        ("Third.", 5.5, 9),
    ]
    assert {s.timing for s in segments} == {"model"}


def test_a_voice_is_known_within_its_chunk_and_told_from_those_of_others() -> None:
    parts = [TimedText(0, 2, "Who is there?", "A"), TimedText(2, 3, "Nobody.", "B")]
    chunk = time_segments("", [], parts, [], 5)
    whole = join_all([ChunkText(0, 5, chunk, voices="1."), ChunkText(5, 5, chunk, voices="2.")], 10)
    assert [s.speaker for s in whole.segments] == ["1.A", "1.B", "2.A", "2.B"]
    assert [s.speaker for s in join_all([ChunkText(0, 5, chunk)], 5).segments] == ["A", "B"]
    assert {s.speaker for s in spread("Nobody knows.", [(0, 2)], 2)} == {None}


def test_segments_of_the_model_that_overlap_are_put_in_order() -> None:
    segments = time_segments("", [], [TimedText(0, 3, "One."), TimedText(2.5, 5, "Two.")], [], 9)
    assert [(s.start_seconds, s.end_seconds) for s in segments] == [(0, 3), (3, 5)]


def test_chunks_are_joined_by_their_true_starts_and_what_is_missing_is_a_gap() -> None:
    first = from_words("One two.", timed("One two."), 330)
    third = spread("Five six.", [(1, 3)], 100)
    whole = join_all(
        [
            ChunkText(0, 331.5, first, "en"),
            ChunkText(331.5, 329.75, None, None, "the model refused it"),
            ChunkText(661.25, 100, third, "en"),
        ],
        761.25,
    )
    assert [(s.index, s.text, s.start_seconds) for s in whole.segments] == [
        (0, "One two.", 0),
        (1, "Five six.", 662.25),
    ]
    assert [(g.start_seconds, g.end_seconds, g.reason) for g in whole.gaps] == [
        (331.5, 661.25, "the model refused it")
    ]
    assert whole.coverage == pytest.approx(1 - 329.75 / 761.25, abs=1e-4)
    assert (whole.timing, whole.language) == ("mixed", "en")
    assert_in_order(whole.segments, 761.25)
    assert Whole.model_validate_json("".join(to_json(whole))) == whole


def test_times_of_a_model_that_run_on_or_back_are_put_in_order() -> None:
    words = [TimedText(0, 2, "One"), TimedText(1.5, 1.2, "two"), TimedText(9, 14, "three.")]
    chunk = from_words("One two three.", words, 10)
    whole = join_all([ChunkText(0, 10, chunk), ChunkText(10, 5, spread("Four.", [(0, 1)], 5))], 15)
    assert_in_order(whole.segments, 15)
    assert whole.segments[1].start_seconds == 10


def test_a_recording_without_words_is_covered() -> None:
    whole = join_all([ChunkText(0, 60, ())], 60)
    assert (whole.segments, whole.gaps, whole.coverage) == ((), (), 1)
