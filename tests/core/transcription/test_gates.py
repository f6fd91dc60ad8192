"""Texts that cannot be what was said are noticed, and what was really said is left alone."""

from pathlib import Path

import pytest

from core.ai import Speech, Usage
from core.transcription.gates import find_doubt
from core.transcription.languages import detect_language
from core.transcription.sentences import count_words

PLAIN = (
    "and mister john dashwood had then leisure to consider how much there might be prudently in his power "
    "to do for them he was not an ill disposed young man unless to be rather cold hearted and rather selfish "
    "is to be ill disposed"
)
NAMES = "Elinor Dashwood, Marianne Dashwood, Norland Park, Sir John Middleton"
TEXTS = dict(
    line.split("\t")
    for line in Path(__file__).with_name("languages.txt").read_text(encoding="utf-8").splitlines()
)


def speech(text: str, output_tokens: int = 0, prompt: str = "", *, is_cut_off: bool = False) -> Speech:
    usage = Usage(output_tokens=output_tokens)
    return Speech(text, (), (), None, usage, None, 0.1, is_cut_off, prompt)


def doubt(text: str, seconds: float, language: str | None = None, prompt: str = "") -> tuple[str, str] | None:
    found = find_doubt(speech(text, prompt=prompt), [(0, seconds)], 2_000, language)
    return None if found is None else (found.remedy, found.describe(is_private=False))


DIFFERENT = " ".join(f"w{n}" for n in range(1_500))


@pytest.mark.parametrize(
    ("text", "seconds", "remedy", "sentence"),
    [
        ("", 300, "insist", "No text came back"),
        (" \n", 5, "insist", "No text came back"),
        ("word " * 1_000, 300, "repeat", "repeats itself: “word”"),
        (DIFFERENT, 300, "repeat", "300 words a minute are more than anyone speaks"),
        (PLAIN + " thank you for watching" * 5, 30, "repeat", "repeats itself: “"),
        (PLAIN + " " + (PLAIN + " ") * 3, 60, "repeat", "repeats itself: “"),
        (PLAIN, 300, "keep", "few for this much sound"),
    ],
)
def test_texts_that_cannot_be_what_was_said_are_noticed(
    text: str, seconds: float, remedy: str, sentence: str
) -> None:
    found = doubt(text, seconds)
    assert found is not None
    assert found[0] == remedy
    assert sentence in found[1]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (PLAIN, 16),
        (PLAIN, 30),
        ("Yes.", 0.6),
        ("Yes.", 5),
        ("No, no, no, no! Never, never, never.", 4),
        ("I do not know what you mean", 1.2),
        (" ".join(f"w{n}" for n in range(800)), 300),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", 9),
    ],
)
def test_what_may_have_been_said_is_left_alone(text: str, seconds: float) -> None:
    assert doubt(text, seconds) is None


def test_only_the_seconds_with_sound_count() -> None:
    text = " ".join(f"w{n}" for n in range(300))
    assert find_doubt(speech(text), [(0, 60), (200, 260)], None, None) is None
    fast = find_doubt(speech(text), [(0, 30), (200, 230)], None, None)
    assert fast is not None
    assert fast.remedy == "repeat"
    assert find_doubt(speech(PLAIN), [(0, 10), (300, 306)], None, None) is None


def test_a_text_that_ends_at_the_models_limit_is_asked_for_in_halves() -> None:
    text = " ".join(f"w{n}" for n in range(800))
    near = find_doubt(speech(text, 1_990), [(0, 300)], 2_000, None)
    said = find_doubt(speech(text, 10, is_cut_off=True), [(0, 300)], None, None)
    for found in (near, said):
        assert found is not None
        assert found.remedy == "split"
    assert find_doubt(speech(text, 1_200), [(0, 300)], 2_000, None) is None
    assert find_doubt(speech(text, 1_990), [(0, 300)], None, None) is None


def test_a_prompt_that_comes_back_is_noticed_but_not_its_names_in_the_story() -> None:
    story = (
        f"{PLAIN} said Elinor Dashwood to Marianne Dashwood, and left Norland Park with Sir John Middleton."
    )
    assert doubt(story, 30, prompt=NAMES) is None
    for text in (f"{PLAIN} {NAMES}", NAMES, "Norland Park, Sir John Middleton."):
        found = doubt(text, 30, prompt=NAMES)
        assert found is not None
        assert found[0] == "repeat"
        assert "what the model was told" in found[1]
    assert doubt(f"{PLAIN} {NAMES}", 30) is None


@pytest.mark.parametrize("code", TEXTS)
def test_languages_are_told_apart(code: str) -> None:
    assert detect_language(TEXTS[code]) == code
    seconds = count_words(TEXTS[code]) / 2.5
    assert doubt(TEXTS[code], seconds, code) is None
    assert doubt(TEXTS[code], seconds, None) is None
    found = doubt(TEXTS[code], seconds, "en" if code != "en" else "fr")
    assert found is not None
    assert found[0] == "repeat"
    assert f"another language ({code})" in found[1]


def test_a_language_that_nobody_told_us_about_is_no_doubt() -> None:
    swedish = (
        "Det var en vacker morgon i början av våren och den gamle mannen hade gått ner till hamnen för att "
        "se vad båtarna hade fört med sig. Han hade inte bråttom, för han visste att tiden räckte till och "
        "att de andra inte skulle komma förrän på eftermiddagen."
    )
    ukrainian = "Був чудовий ранок одного з перших днів весни, і старий спустився до гавані подивитися."
    assert detect_language(swedish) is None
    assert detect_language(ukrainian) is None
    assert detect_language("Guten Tag, und auf Wiedersehen.") is None
    assert doubt(TEXTS["de"], 20, "sv") is None
