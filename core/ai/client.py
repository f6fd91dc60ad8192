"""One connection to the AI service, shared by speech and text, and the wall where its errors stop.

The SDK's own retries are off. It would sleep up to 120 s with a claimed message and its audio in
hand, would try again where the account is out of money, and would hide the attempts that are kept
per chunk; the queue waits better, and for as long as `Retry-After` says.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ValidationError

from core.errors import ModelRefusedError, ModelUnavailableError

if TYPE_CHECKING:
    import openai

TIMEOUT_SECONDS = 180.0
CONNECT_SECONDS = 10.0


class Connection:
    """Makes the SDK's client at the first call, so that starting the app neither loads nor needs it."""

    def __init__(
        self, api_key: str | None, base_url: str | None, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._client: openai.AsyncOpenAI | None = None

    def client(self) -> "openai.AsyncOpenAI":
        """Raises ModelRefusedError where neither a key nor an address is set."""
        if self._client is None:
            if not self._api_key and not self._base_url:
                raise ModelRefusedError("No AI is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL.")
            import openai

            self._client = openai.AsyncOpenAI(
                api_key=self._api_key or "none",
                base_url=self._base_url,
                max_retries=0,
                timeout=openai.Timeout(self._timeout_seconds, connect=CONNECT_SECONDS),
            )
        return self._client

    async def close(self) -> None:
        """Closes the sockets; a later call would open new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


class Answer(BaseModel):
    """A reply's body, read by us: the SDK hands through whatever came, we do not."""

    @classmethod
    def read(cls, body: bytes, request_id: str | None) -> Self:
        """Raises ModelUnavailableError where the body is not what was asked for."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, fault["loc"])) or "body"
            raise ModelUnavailableError(
                label(f"The AI's answer cannot be used ({where}: {fault['msg']})", request_id)
            ) from None


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn the SDK's errors into ModelUnavailableError (time heals it) or ModelRefusedError (it does not)."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _translate_status(error) from error
    except openai.APIConnectionError as error:
        cause = f": {error.__cause__!r}" if error.__cause__ else ""
        raise ModelUnavailableError(f"The AI cannot be reached ({error.message}{cause})") from error


def label(sentence: str, request_id: str | None, status: int | None = None) -> str:
    """Add what a support request to the vendor needs."""
    facts = [f"status {status}"] if status else []
    facts += [f"request {request_id}"] if request_id else []
    return f"{sentence} [{', '.join(facts)}]" if facts else sentence


def _translate_status(error: "openai.APIStatusError") -> ModelUnavailableError | ModelRefusedError:
    status = error.status_code
    if status == 401:
        # OpenAI's own sentence quotes a part of the key.
        return ModelRefusedError(label("The AI does not accept the API key", error.request_id, status))
    sentence = label(error.message[:300], error.request_id, status)
    out_of_money = "insufficient_quota" in (error.code, error.type)
    if (status in (408, 409, 429) or status >= 500) and not out_of_money:
        return ModelUnavailableError(sentence, retry_after=read_retry_after(error.response.headers))
    return ModelRefusedError(sentence)


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
