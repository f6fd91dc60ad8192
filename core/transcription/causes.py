"""What is said of a failure: to everybody in our own words, to administrators with what is known besides."""

from dataclasses import dataclass

from core.errors import ModelRefusedError, ModelUnavailableError, UnavailableError
from core.redaction import redact

_UNFORESEEN = "Something went wrong that nobody foresaw."


@dataclass(frozen=True)
class Cause:
    """`words` are for everybody; `evidence`, for the log and administrators, holds no secret.

    Of a private recording the evidence has no text of others, since that may quote what was said in it.
    """

    words: str
    evidence: str | None = None

    def __str__(self) -> str:
        return f"{self.words} {self.evidence}" if self.evidence else self.words


def explain(error: Exception, *, is_private: bool) -> Cause:
    """Return what can be said of a failure of a step."""
    if isinstance(error, ModelUnavailableError | ModelRefusedError):
        found = ["" if is_private else error.said, f"[{error.reference}]" if error.reference else ""]
        return Cause(error.detail, " ".join(filter(None, found)) or None)
    if isinstance(error, UnavailableError):
        notes = "" if is_private else redact("; ".join(getattr(error, "__notes__", ())))
        return Cause(error.detail, notes or None)
    kind = type(error).__name__
    return Cause(_UNFORESEEN, kind if is_private else redact(f"{kind}: {error}"))
