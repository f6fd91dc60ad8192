"""ISBNs: checked, and written in one way, so that two spellings of one number meet."""

import re

_DECORATION = re.compile(r"^(urn:isbn:|isbn(-1[03])?:?)|[\s‐‑–-]", re.IGNORECASE)


def normalise_isbn(text: str) -> str:
    """Return an ISBN-10 or ISBN-13 as 13 digits. Raises ValueError with a sentence for people."""
    plain = _DECORATION.sub("", text.strip()).upper()
    if re.fullmatch(r"\d{9}[\dX]", plain, re.ASCII):
        weighted = sum((10 - place) * _value(letter) for place, letter in enumerate(plain))
        if weighted % 11 == 0:
            return "978" + plain[:9] + _check_digit("978" + plain[:9])
    elif re.fullmatch(r"97[89]\d{10}", plain, re.ASCII):
        if _check_digit(plain[:12]) == plain[12]:
            return plain
    else:
        raise ValueError("is not an ISBN: those have 10 digits, or 13 that begin with 978 or 979")
    raise ValueError("is not an ISBN: its last digit does not fit the others, so one is mistyped")


def _value(letter: str) -> int:
    return 10 if letter == "X" else int(letter)


def _check_digit(first_twelve: str) -> str:
    weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(first_twelve))
    return str(-weighted % 10)
