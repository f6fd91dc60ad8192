"""What an error of the service means: whether time heals it, how long that takes, who has to act.

OpenAI and Azure answer `{"error": {"message", "type", "code"}}`; Azure's `code` may be the status. Gemini
answers in Google's form, in a list: `[{"error": {"code": 429, "message", "status", "details": [...]}}]`; the
time to wait stands in the details, and a bad key is a 400.
"""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from core.errors import ModelAccountError, ModelRefusedError, ModelUnavailableError

_TRANSIENT = (408, 409, 429)
_NO_MONEY = {"insufficient_quota", "billing_hard_limit_reached"}
_BAD_KEY = "API_KEY_INVALID"
_MESSAGE_CHARACTERS = 300

Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else str(value))]


class _Detail(BaseModel):
    reason: Text = ""
    retry_delay: Text = Field("", alias="retryDelay")


class _Fault(BaseModel):
    message: Text = ""
    type: Text = ""
    code: Text = ""
    details: list[_Detail] | None = None


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
    request_id = request_id_of(headers)
    if status == 401 or any(detail.reason == _BAD_KEY for detail in details):
        # The service's own sentence may quote a part of the key.
        return ModelAccountError(
            label("The AI does not accept the API key, or the app's identity", request_id, status)
        )
    sentence = label(
        fault.message[:_MESSAGE_CHARACTERS] or "The AI answered with an error", request_id, status
    )
    if status == 403 or _NO_MONEY & {fault.code, fault.type}:
        return ModelAccountError(sentence)
    if status in _TRANSIENT or status >= 500:
        wait = read_retry_after(headers)
        if wait is None:
            wait = next((seconds for d in details if (seconds := _seconds(d.retry_delay))), None)
        return ModelUnavailableError(sentence, retry_after=wait)
    return ModelRefusedError(sentence)


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the name that the service gives a request; Azure's gateway has a header of its own."""
    return headers.get("x-request-id") or headers.get("apim-request-id")


def label(sentence: str, request_id: str | None, status: int | None = None) -> str:
    """Add what a support request to the vendor needs."""
    facts = [f"status {status}"] if status else []
    facts += [f"request {request_id}"] if request_id else []
    return f"{sentence} [{', '.join(facts)}]" if facts else sentence


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
