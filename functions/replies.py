"""What is answered: models, 304s, problems, and the headers that every response has."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import azure.functions as func
from pydantic import BaseModel

from core.errors import (
    AloudError,
    InvalidError,
    OutdatedError,
    ThrottledError,
    UnauthenticatedError,
    UnavailableError,
)
from core.storage.account import Calls
from functions.callers import SAFE_METHODS
from functions.services import services

Fields = tuple[tuple[str, str], ...]

_log = logging.getLogger("aloud.http")

_USUAL = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True)
class Reply:
    """An answer that is more than a model with the usual status."""

    body: BaseModel | bytes | str | None = None
    status: int | None = None
    content_type: str = "application/json"
    etag: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def respond(req: func.HttpRequest, reply: Reply, status: int) -> func.HttpResponse:
    headers = dict(reply.headers)
    if reply.etag is not None:
        headers |= {"ETag": f'"{reply.etag}"', "Vary": "Authorization, Cookie"}
        headers.setdefault("Cache-Control", "private, no-cache")
        seen = {
            tag.strip().removeprefix("W/").strip('"')
            for tag in req.headers.get("if-none-match", "").split(",")
        }
        if req.method in SAFE_METHODS and reply.etag in seen:
            return func.HttpResponse(status_code=304, headers=headers)
    content: str | bytes | None
    content = reply.body.model_dump_json() if isinstance(reply.body, BaseModel) else reply.body
    return func.HttpResponse(
        content,
        status_code=reply.status or (204 if content is None and status == 200 else status),
        headers=headers,
        mimetype=None if content is None else reply.content_type,
        charset="utf-8",
    )


def describe_error(error: Exception, request_id: str) -> AloudError:
    """Return a known error as it is, and a blank one, after logging, in place of an unknown one."""
    if isinstance(error, AloudError):
        if error.status >= 500:
            _log.error("%s: %s [%s]", type(error).__name__, error.detail, request_id)
        return error
    _log.exception("unexpected %s [%s]", type(error).__name__, request_id)
    return AloudError()


class Problem(Protocol):
    """What an error tells."""

    @property
    def status(self) -> int: ...
    @property
    def slug(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def detail(self) -> str: ...


def describe_problem(
    known: Problem, req: func.HttpRequest, request_id: str, fields: Fields = ()
) -> dict[str, Any]:
    """Return the members of application/problem+json; a 422 has `errors`, too."""
    content: dict[str, Any] = {
        "type": f"/problems/{known.slug}",
        "title": known.title,
        "status": known.status,
        "detail": known.detail if known.status < 500 else "Please try again later.",
        "instance": req.url.partition("?")[0],
        "request_id": request_id,
    }
    if known.status == InvalidError.status:
        content["errors"] = [{"field": name, "message": message} for name, message in fields]
    return content


def problem(error: Exception, req: func.HttpRequest, request_id: str) -> func.HttpResponse:
    """Turn an error into application/problem+json (RFC 9457); a 5xx never shows an exception's text."""
    known = describe_error(error, request_id)
    fields = known.fields if isinstance(known, InvalidError) else ()
    content = describe_problem(known, req, request_id, fields)
    headers: dict[str, str] = {}
    if isinstance(known, OutdatedError):
        content |= {"stored": known.stored, "sent": known.sent}
    if isinstance(known, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(known, (ThrottledError, UnavailableError)):
        headers["Retry-After"] = str(round(known.retry_after or 5))
    return func.HttpResponse(
        json.dumps(content), status_code=known.status, headers=headers, mimetype="application/problem+json"
    )


def finish(
    response: func.HttpResponse, req: func.HttpRequest, request_id: str, seconds: float, calls: Calls
) -> func.HttpResponse:
    """Add the headers that every response has, and log the request in one line."""
    settings = services().settings
    headers = response.headers
    given = {name.lower() for name, _ in headers}
    headers.extend({name: value for name, value in _USUAL.items() if name.lower() not in given})
    headers["X-Request-Id"] = request_id
    if settings.public_base_url.startswith("https:"):
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    if settings.server_timing:
        storage = f"{calls.count} calls in {calls.rounds} rounds"
        headers["Server-Timing"] = f'total;dur={seconds * 1000:.1f}, storage;desc="{storage}"'
    _log.info(
        "%s %s %s %.0f ms, %s storage calls in %s rounds [%s]",
        req.method,
        _loggable_path(req),
        response.status_code,
        seconds * 1000,
        calls.count,
        calls.rounds,
        request_id,
    )
    return response


def _loggable_path(req: func.HttpRequest) -> str:
    """Return the address without its query and without a code in it, which may open something."""
    path: str = req.url.partition("?")[0]
    code = req.route_params.get("code")
    return path.replace(str(code), "…") if code else path
