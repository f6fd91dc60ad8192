"""How pages write times and states, and where a sign-in may lead."""

import pytest

from functions.pages import clock, length_of_time, local_path, words


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (7.9, "0:07"), (750, "12:30"), (3723, "1:02:03"), (72000, "20:00:00")],
)
def test_a_position_is_shown_as_on_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(7.1, "7 s"), (59.4, "59 s"), (59.9, "1 min"), (231, "4 min"), (3600, "1 h"), (36300, "10 h 5 min")],
)
def test_a_duration_is_shown_in_words(seconds: float, shown: str) -> None:
    assert length_of_time(seconds) == shown


def test_a_status_is_shown_in_words() -> None:
    assert words("transcription_failed") == "Transcription failed"


@pytest.mark.parametrize(
    "wish",
    [
        "//example.com",
        "https://example.com",
        "javascript:alert(1)",
        "/\\example.com",
        "/\t/example.com",
        "",
        None,
    ],
)
def test_a_sign_in_never_leads_off_the_site(wish: str | None) -> None:
    assert local_path(wish) == "/"


def test_a_sign_in_leads_back_to_a_page_of_ours() -> None:
    assert local_path("/books/a-tale-1?x=1") == "/books/a-tale-1?x=1"
