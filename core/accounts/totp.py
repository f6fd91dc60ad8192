"""Codes of a second factor: from an authenticator app (TOTP, RFC 6238), and for the day the phone is gone.

The libraries are imported where they are used: few requests need them, and every cold start would pay.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime

_STEP_SECONDS = 30
_CODE = re.compile(r"[0-9]{6}")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, 5 bits each
_READ_WRONG = str.maketrans("ilo", "110")


def new_secret() -> str:
    """Return 160 random bits in base 32."""
    import pyotp

    return pyotp.random_base32()


def provisioning_uri(secret: str, account: str, issuer: str = "Aloud") -> str:
    """Return the `otpauth://` address that an authenticator app reads."""
    import pyotp

    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)


def qr_code(uri: str) -> str:
    """Return a QR code as a data URI with an SVG, black on white with the quiet zone that cameras need."""
    import segno

    code = segno.make(uri, error="m", micro=False)
    return code.svg_data_uri(scale=4, border=4, dark="#000", light="#fff")


def find_step(secret: str, code: str, at: datetime, after_step: int | None) -> int | None:
    """Return the time step that `code` is right for, or None.

    Accepted are the step of `at` and its two neighbours (30 s each: clocks differ), if later than
    `after_step`, the step of the last code that was used: so each code works once.
    """
    import pyotp

    digits = "".join(code.split())
    if _CODE.fullmatch(digits) is None:
        return None
    app = pyotp.TOTP(secret, interval=_STEP_SECONDS)
    found = None
    for offset in (-1, 0, 1):
        step = app.timecode(at) + offset
        is_right = hmac.compare_digest(app.generate_otp(step), digits)
        if is_right and (after_step is None or step > after_step):
            found = step
    return found


def new_recovery_codes(count: int = 10) -> list[str]:
    """Return codes of 80 random bits in four groups, without letters that look like digits."""
    return [
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4)) for _ in range(count)
    ]


def hash_recovery_code(code: str) -> str:
    """Return the SHA-256 of a code, whatever its case, spaces and dashes.

    A slow hash protects what people choose; 80 random bits cannot be tried out, at any speed.
    """
    letters = re.sub(r"[^0-9a-z]", "", code.casefold()).translate(_READ_WRONG)
    return hashlib.sha256(letters.encode()).hexdigest()


def find_recovery_code(code: str, hashes: Iterable[str]) -> str | None:
    """Return the hash that belongs to `code`, or None; takes as long wherever in the list it is."""
    wanted = hash_recovery_code(code)
    found = None
    for known in hashes:
        if hmac.compare_digest(known, wanted):
            found = known
    return found
