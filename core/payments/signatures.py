"""Signed webhooks as Stripe signs them: `t=<unix seconds>,v1=<HMAC-SHA256 over time, a dot and the body>`."""

import hmac
from collections.abc import Iterable
from datetime import datetime

from core.errors import UnauthenticatedError
from core.ids import now

WINDOW_SECONDS = 300


def sign(body: bytes, secret: bytes, at: datetime | None = None) -> str:
    """Return the header's value for a body that is sent at this time."""
    seconds = int((at or now()).timestamp())
    return f"t={seconds},v1={_digest(body, secret, seconds)}"


def check(body: bytes, header: str, secrets: Iterable[bytes]) -> None:
    """Raises UnauthenticatedError unless one of the secrets has signed this body in the last five minutes."""
    parts = [part.partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t" and value.isascii() and value.isdecimal()]
    given = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or len(times[0]) > 12:
        raise UnauthenticatedError("This signature cannot be read.")
    seconds = int(times[0])
    wanted = [_digest(body, secret, seconds) for secret in secrets]
    # every pair is compared, so that the time tells nothing
    fits = [hmac.compare_digest(one.encode(), other.encode()) for one in wanted for other in given]
    if not any(fits):
        raise UnauthenticatedError("This signature is not ours.")
    if abs(now().timestamp() - seconds) > WINDOW_SECONDS:
        raise UnauthenticatedError("This signature is too old.")


def _digest(body: bytes, secret: bytes, seconds: int) -> str:
    return hmac.new(secret, f"{seconds}.".encode() + body, "sha256").hexdigest()
