"""What an error of the service means: whether time heals it, how long that takes, who has to act.

OpenAI and Azure answer `{"error": {"message", "type", "code"}}`; Azure's `code` may be the status. Gemini
answers in Google's form, in a list: `[{"error": {"code": 429, "message", "status", "details": [...]}}]`; the
time to wait stands in the details, and a bad key is a 400.

People are told of a failure in our own words, one sentence for each kind of cause. What the service said may
hold keys, names of accounts, addresses and what was asked: it goes to the log and to administrators alone,
without what looks like a secret.
"""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from core.errors import (
    ModelAccountError,
    ModelFilteredError,
    ModelRefusedError,
    ModelUnavailableError,
)
from core.redaction import redact

TOO_SLOW = "The AI took too long to answer."
FILTERED = "The AI's content filter refuses this."

_TRANSIENT = {
    408: TOO_SLOW,
    409: "The AI is busy with something else at the moment.",
    429: "The AI is asked more than it allows at the moment.",
}
_FAULT = "The AI has a fault of its own at the moment."
_NO_MONEY = {"insufficient_quota", "billing_hard_limit_reached"}
_BAD_KEY = "API_KEY_INVALID"
_FILTERS = {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"}
_TOO_LONG = {"context_length_exceeded", "string_above_max_length"}
_REFUSED = {
    404: "The AI does not know the model that is set.",
    413: "This is too large for the AI.",
    415: "The AI does not accept the format of the audio.",
}
_UNREADABLE = re.compile(r"audio file|file format|corrupted|could not be decoded", re.IGNORECASE)

Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else str(value))]


class _Detail(BaseModel):
    reason: Text = ""
    retry_delay: Text = Field("", alias="retryDelay")


class _Inner(BaseModel):
    code: Text = ""


class _Fault(BaseModel):
    message: Text = ""
    type: Text = ""
    code: Text = ""
    details: list[_Detail] | None = None
    inner: _Inner | None = Field(None, alias="innererror")


class _Body(BaseModel):
    error: _Fault


_FORMS: TypeAdapter[_Body | list[_Body]] = TypeAdapter(
    _Body | Annotated[list[_Body], Field(min_length=1, max_length=1)]
)


def translate_status(
    status: int, headers: Mapping[str, str], body: bytes
) -> ModelUnavailableError | ModelRefusedError:
    """Return the error of ours for an answer with an error status."""
    fault = _read(body)
    details = fault.details or []
    said, reference = redact(fault.message), reference_of(request_id_of(headers), status)
    if status == 401 or any(detail.reason == _BAD_KEY for detail in details):
        # The service's own sentence may quote a part of the key that does not look like one.
        return ModelAccountError(
            "The AI does not accept the API key, or the app's identity.", reference=reference
        )
    if _NO_MONEY & {fault.code, fault.type}:
        return ModelAccountError("The AI's account has no money left.", said=said, reference=reference)
    if status == 403:
        return ModelAccountError("The AI does not serve this account.", said=said, reference=reference)
    if status in _TRANSIENT or status >= 500:
        wait = read_retry_after(headers)
        if wait is None:
            wait = next((seconds for d in details if (seconds := _seconds(d.retry_delay))), None)
        return ModelUnavailableError(_TRANSIENT.get(status, _FAULT), wait, said=said, reference=reference)
    if _FILTERS & {fault.code, fault.type, fault.inner.code if fault.inner else ""}:
        return ModelFilteredError(FILTERED, said=said, reference=reference)
    return ModelRefusedError(_explain_refusal(status, fault), said=said, reference=reference)


def _explain_refusal(status: int, fault: _Fault) -> str:
    if _TOO_LONG & {fault.code, fault.type}:
        return "This is too long for the AI."
    if status not in _REFUSED and _UNREADABLE.search(fault.message):
        return "The AI cannot read the audio that it was sent."
    return _REFUSED.get(status, "The AI does not accept this request.")


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the name that the service gives a request; Azure's gateway has a header of its own."""
    return headers.get("x-request-id") or headers.get("apim-request-id")


def reference_of(request_id: str | None, status: int | None = None) -> str:
    """Return what a support request to the vendor needs."""
    facts = [f"status {status}"] if status else []
    facts += [f"request {request_id}"] if request_id else []
    return ", ".join(facts)


def _read(body: bytes) -> _Fault:
    try:
        form = _FORMS.validate_json(body)
    except ValidationError:
        return _Fault()
    return form[0].error if isinstance(form, list) else form.error


def _seconds(duration: str) -> float | None:
    """Read a duration in Google's form: 37s, 1.5s."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s", duration)
    return float(found[1]) if found else None


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or a date); None without either."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except ValueError:
        return None
