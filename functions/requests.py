"""What was sent: bodies and queries are read and validated here, once."""

from __future__ import annotations

import json
import re
from typing import Any

import azure.functions as func
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.errors import (
    InvalidError,
    MalformedRequestError,
    NotFoundError,
    TooLargeError,
    UnsupportedMediaError,
)
from core.ids import new_id
from functions.services import signer

MAX_BODY_BYTES = 1024 * 1024
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_MAX_FAULTS = 20


class Payload(BaseModel):
    """Base of every request body and query: what is not named is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listing(Payload):
    """Query of every list."""

    limit: int = Field(20, ge=1, le=100, description="How many items a page holds.")
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")


class NoQuery(Payload):
    """Query of a route that takes none."""


def request_id_of(req: func.HttpRequest) -> str:
    """Return the caller's request id where it is sane, else a new one."""
    given = req.headers.get("x-request-id", "")
    return given if _REQUEST_ID.match(given) else new_id()


def check_id(text: str) -> str:
    """Return a path's id if it can be one. Raises NotFoundError, as for one that does not exist."""
    if not re.fullmatch(r"[0-9a-z]{1,64}", text):
        raise NotFoundError("There is nothing with this id.")
    return text


def fields_of(error: ValidationError) -> tuple[tuple[str, str], ...]:
    """Return which fields are wrong and why; of very many, the first."""
    return tuple(
        (".".join(str(part) for part in item["loc"]) or "body", item["msg"].removeprefix("Value error, "))
        for item in error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_FAULTS]
    )


def read_query(req: func.HttpRequest, shape: type[BaseModel]) -> BaseModel:
    """Raises InvalidError naming each parameter that is wrong."""
    try:
        return shape.model_validate(dict(req.params))
    except ValidationError as error:
        raise InvalidError("Check the query.", fields_of(error)) from None


def read_content(
    req: func.HttpRequest, accepts: tuple[str, ...], max_bytes: int, too_large: str = ""
) -> bytes:
    """Raises TooLargeError, UnsupportedMediaError or MalformedRequestError."""
    content = req.get_body()
    if len(content) > max_bytes:
        raise TooLargeError(too_large or f"At most {max_bytes / 2**20:.0f} MB, please.")
    if req.headers.get("content-type", "").partition(";")[0].strip().lower() not in accepts:
        raise UnsupportedMediaError(f"Send one of {', '.join(accepts)}.")
    if not content:
        raise MalformedRequestError("There is nothing in the body.")
    return content


def read_json(req: func.HttpRequest, adapter: TypeAdapter[Any], max_bytes: int = MAX_BODY_BYTES) -> Any:
    """Raises TooLargeError, UnsupportedMediaError, MalformedRequestError or InvalidError."""
    content = req.get_body()
    if len(content) > max_bytes:
        raise TooLargeError(f"A body may have {max_bytes} bytes.")
    media_type = req.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaError("Send application/json.")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise MalformedRequestError("The body is not JSON.") from None
    try:
        return adapter.validate_python(value, strict=False)
    except ValidationError as error:
        raise InvalidError("Check the fields of the body.", fields_of(error)) from None


def cursor_purpose(req: func.HttpRequest) -> str:
    return f"cursor:{req.url.partition('?')[0].rstrip('/').rpartition('/api/')[2]}"


def read_cursor(req: func.HttpRequest, cursor: str | None) -> Any:
    if cursor is None:
        return None
    try:
        return signer().read(cursor_purpose(req), cursor)
    except ValueError:
        raise InvalidError("Check the query.", (("cursor", "is not one that this list gave"),)) from None
