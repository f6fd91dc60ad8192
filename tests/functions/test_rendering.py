"""How pages write times, states, sizes and devices."""

from datetime import UTC, datetime

import pytest

from functions.rendering import among_speeds, clock, device, length_of_time, moment, size, words


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


def test_a_time_is_shown_with_its_zone() -> None:
    assert moment(datetime(2026, 5, 3, 4, 5, tzinfo=UTC)) == "3 May 2026, 04:05 UTC"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (12_345, "12 kB"), (999_600, "1.0 MB"), (3.4e6, "3.4 MB")],
)
def test_a_size_is_shown_as_people_read_it(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
            "Safari on an iPhone",
        ),
        ("python-requests/2.32", "python-requests"),
        ("", "A device that does not say what it is"),
    ],
)
def test_a_device_is_shown_as_its_owner_knows_it(agent: str, shown: str) -> None:
    assert device(agent) == shown


def test_a_speed_that_was_chosen_elsewhere_is_among_those_to_choose_from() -> None:
    assert among_speeds(1.3)[4:7] == [1.25, 1.3, 1.5]
    assert among_speeds(1.0) == sorted(set(among_speeds(1.0)))
