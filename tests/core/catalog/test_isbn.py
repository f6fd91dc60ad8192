"""ISBNs in every spelling, and numbers that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalog.isbn import normalise_isbn


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("0306406152", "9780306406157"),
        ("0-306-40615-2", "9780306406157"),
        ("978-0-306-40615-7", "9780306406157"),
        (" ISBN-13: 978 0 306 40615 7", "9780306406157"),
        ("urn:isbn:9780306406157", "9780306406157"),
        ("080442957x", "9780804429573"),
        ("979-10-90636-07-1", "9791090636071"),
        ("978‑0‑306‑40615‑7", "9780306406157"),
    ],
)
def test_one_number_is_written_in_one_way(written: str, stored: str) -> None:
    assert normalise_isbn(written) == stored


@pytest.mark.parametrize(
    "text",
    [
        "0306406153",
        "9780306406158",
        "9770306406157",
        "030640615",
        "97803064061577",
        "",
        "X" * 10,
        "٠٣٠٦٤٠٦١٥٢",
    ],
)
def test_what_is_no_isbn_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is not an ISBN"):
        normalise_isbn(text)


@given(st.integers(0, 10**12 - 1), st.integers(0, 12), st.integers(1, 9))
def test_every_single_wrong_digit_is_noticed(body: int, place: int, change: int) -> None:
    digits = f"978{body:012d}"[:12]
    right = next(f"{digits}{last}" for last in range(10) if _is_isbn(f"{digits}{last}"))
    wrong = right[:place] + str((int(right[place]) + change) % 10) + right[place + 1 :]
    assert not _is_isbn(wrong)


def _is_isbn(text: str) -> bool:
    try:
        return normalise_isbn(text) == text
    except ValueError:
        return False
