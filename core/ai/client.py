"""One connection to an AI service, and the wall where its errors stop.

The SDK's own retries are off. It would sleep up to 120 s with a claimed message and its audio in
hand, would try again where the account is out of money, and would hide the attempts that are kept
per chunk; the queue waits better, and for as long as the service says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ValidationError

from core.ai.refusals import TOO_SLOW, reference_of, translate_status
from core.errors import ModelAccountError, ModelUnavailableError
from core.redaction import redact

if TYPE_CHECKING:
    import openai
    from azure.core.credentials_async import AsyncTokenCredential

OPENAI = "https://api.openai.com/v1"
CONNECT_SECONDS = 10.0

Key = str | Callable[[], Awaitable[str]]
"""What a request shows as its bearer token: a key, or what is asked for one before each request."""


class Connection:
    """Makes the SDK's client at the first call, so that starting the app neither loads nor needs it."""

    def __init__(self, key: Key | None, base_url: str | None, timeout_seconds: float) -> None:
        self._key = key
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._client: openai.AsyncOpenAI | None = None

    def client(self) -> openai.AsyncOpenAI:
        """Raises ModelAccountError where neither a key nor an address is set."""
        if self._client is None:
            if not self._key and not self._base_url:
                raise ModelAccountError("No AI is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL.")
            import openai

            self._client = openai.AsyncOpenAI(
                api_key=self._key or "none",
                base_url=self._base_url or OPENAI,
                max_retries=0,
                timeout=openai.Timeout(self._timeout_seconds, connect=CONNECT_SECONDS),
            )
        return self._client

    async def close(self) -> None:
        """Closes the sockets; a later call would open new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def token_provider(credential: Callable[[], AsyncTokenCredential], scope: str) -> Key:
    """Return what gives a token of Entra ID for each request; the credential keeps it until it gets old."""

    async def provide() -> str:
        from azure.core.exceptions import AzureError

        try:
            return (await credential().get_token(scope)).token
        except AzureError as error:
            raise ModelUnavailableError(
                f"The managed identity gives no token for the AI ({type(error).__name__})."
            ) from error

    return provide


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
                "The AI's answer cannot be used.",
                said=redact(f"{where}: {fault['msg']}"),
                reference=reference_of(request_id),
            ) from None


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn the SDK's errors into ModelUnavailableError (time heals it) or ModelRefusedError (it does not)."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        response = error.response
        raise translate_status(error.status_code, response.headers, response.content) from error
    except openai.APIConnectionError as error:
        late = isinstance(error, openai.APITimeoutError)
        cause = f": {error.__cause__!r}" if error.__cause__ else ""
        raise ModelUnavailableError(
            TOO_SLOW if late else "The AI cannot be reached.", said=redact(f"{error.message}{cause}")
        ) from error
