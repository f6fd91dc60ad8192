"""Identifiers, keys and the clock.

Ids sort by the time of their making: 48 bits of milliseconds, then 80 bits that are random or
derived, written as 26 characters of Crockford's base 32 (the layout of a ULID, in lower case).
"""

import hashlib
import re
import secrets
import unicodedata
from datetime import UTC, datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_FORBIDDEN_IN_KEYS = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_LAST_MILLISECOND = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z

_ID_LENGTH = 26

ID_PATTERN = rf"^[{_ALPHABET}]{{26}}$"


def now() -> datetime:
    """Return the current time in UTC, in whole milliseconds, which every store keeps exactly."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _compose(at: datetime, tail: bytes) -> str:
    number = int.from_bytes(_milliseconds(at).to_bytes(6, "big") + tail, "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def new_id(at: datetime | None = None) -> str:
    """Return a new id that sorts by time."""
    return _compose(at or now(), secrets.token_bytes(10))


def derived_id(at: datetime, *parts: str) -> str:
    """Return the one id of these parts at this time, so that a repeated event finds what it made."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()
    return _compose(at, digest[:10])


def scoped_id(made_id: str, owner_id: str) -> str:
    """Return an id that tells whose it is, for what is asked for without its owner."""
    return made_id + owner_id


def owner_of(scoped: str) -> str:
    """Return whose a scoped id is."""
    return scoped[_ID_LENGTH:]


def time_of(made_id: str) -> datetime:
    """Return when an id was made; a scoped one begins with such an id."""
    number = 0
    for letter in made_id[:_ID_LENGTH]:
        number = number << 5 | _ALPHABET.index(letter)
    return datetime.fromtimestamp((number >> 80) / 1000, UTC)


def is_id(text: str) -> bool:
    """Tell whether `text` can be an id that was made here."""
    if not re.fullmatch(ID_PATTERN, text):
        return False
    try:
        return time_of(text) is not None
    except (ValueError, OverflowError):  # its time would be after the year 9999
        return False


def inverted(at: datetime) -> str:
    """Return 15 digits that sort the newest first."""
    return f"{_LAST_MILLISECOND - _milliseconds(at):015d}"


def is_key(text: str) -> bool:
    """Tell whether Table Storage takes `text` as a partition or row key."""
    return len(text.encode()) <= 1024 and not _FORBIDDEN_IN_KEYS.search(text)


def normalise_email(address: str) -> str:
    """Return the form in which two spellings of one address are equal.

    Lower case, not case folding: that would make `straße.de` and `strasse.de`, two domains, one.
    """
    return unicodedata.normalize("NFC", address.strip()).lower()


def fingerprint(*parts: str) -> str:
    """Return a key of 64 hex digits for text that may hold anything (a mail address, a path)."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
