"""What every HTTP function has in common, in one decorator.

`@endpoint` finds the caller, checks the role, reads and validates body and query, opens the cursor, runs
the handler, answers 304 where the ETag fits, turns errors into problem+json, adds request id and security
headers, and enters the route into the OpenAPI description.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.cookies import CookieError, SimpleCookie
from typing import Any, Generic, Literal, TypeVar

import azure.functions as func
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.accounts.keys import KeyRing
from core.caller import Caller, Origin, Role
from core.errors import (
    AloudError,
    ForbiddenError,
    InvalidError,
    MalformedRequestError,
    NotFoundError,
    ThrottledError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaError,
)
from core.ids import new_id
from core.settings import Settings
from core.storage.account import Calls, count_calls
from core.wiring import Services, build
from functions.signing import Signer

_log = logging.getLogger("aloud.http")

API = "/api/v1"
MAX_BODY_BYTES = 1024 * 1024
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_COOKIE = re.compile(r"[\w.-]+", re.ASCII)
_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")
_SAFE_METHODS = {"GET", "HEAD"}
_MAX_FAULTS = 20

Access = Literal["anyone", "listener", "publisher", "publisher-of-it", "admin"]
_EVERYONE: frozenset[Role] = frozenset({"listener", "publisher", "admin"})
_ALLOWED: dict[Access, frozenset[Role]] = {
    "listener": _EVERYONE,
    "publisher-of-it": _EVERYONE,  # the room knows whose it is, and whether the caller may know of it
    "publisher": frozenset({"publisher", "admin"}),
    "admin": frozenset({"admin"}),
}

B = TypeVar("B")
Q = TypeVar("Q")


class Payload(BaseModel):
    """Base of every request body and query: what is not named is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listing(Payload):
    """Query of every list."""

    limit: int = Field(20, ge=1, le=100, description="How many items a page holds.")
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")


class NoQuery(Payload):
    """Query of a route that takes none."""


@dataclass(frozen=True)
class Call(Generic[B, Q]):
    """One request, validated. `after` is what an earlier page's cursor holds (None: the first page)."""

    request: func.HttpRequest
    services: Services
    caller: Caller | None
    params: Mapping[str, str]
    body: B
    query: Q
    after: Any
    request_id: str

    @property
    def user(self) -> Caller:
        """The caller, on routes that need one."""
        if self.caller is None:
            raise UnauthenticatedError("Sign in first.")
        return self.caller

    @property
    def origin(self) -> Origin:
        """Where the request comes from, for the audit and for what counts attempts."""
        return origin_of(self.request, self.request_id)

    @property
    def if_match(self) -> frozenset[str] | None:
        """The ETags of `If-Match`, of which what is changed must have one; None where any will do."""
        given = self.request.headers.get("if-match")
        if given is None or given.strip() == "*":
            return None
        return frozenset(tag.strip().removeprefix("W/").strip('"') for tag in given.split(","))

    def next_cursor(self, after: object | None) -> str | None:
        """Sign the place where the next page of this list begins."""
        return None if after is None else signer().sign(_cursor_purpose(self.request), after)


@dataclass(frozen=True)
class Reply:
    """An answer that is more than a model with the usual status."""

    body: BaseModel | bytes | str | None = None
    status: int | None = None
    content_type: str = "application/json"
    etag: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoint:
    """What the OpenAPI description needs to know of a route."""

    name: str
    method: str
    path: str
    access: Access
    summary: str
    description: str
    body: Any
    query: type[BaseModel]
    reply: Any
    status: int
    content_types: tuple[str, ...]
    accepts: tuple[str, ...]
    tag: str


ENDPOINTS: list[Endpoint] = []

Handler = Callable[[Call[Any, Any]], Awaitable[Reply | BaseModel | None]]


@cache
def services() -> Services:
    """Return the app's services, built when the first request or message needs them."""
    return build(Settings.read())


@cache
def signer() -> Signer:
    """Return the signer of cursors and form tokens."""
    return Signer(KeyRing.read(services().settings.jwt_signing_key.get_secret_value(), "signed values"))


def endpoint(
    blueprint: func.Blueprint,
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
    path: str,
    *,
    access: Access = "anyone",
    body: Any = None,
    query: type[BaseModel] = NoQuery,
    reply: Any = None,
    status: int = 200,
    content_types: tuple[str, ...] = ("application/json",),
    accepts: tuple[str, ...] = ("application/json",),
    max_bytes: int = MAX_BODY_BYTES,
    too_large: str = "",
    confirmed: bool = False,
    listed: bool = True,
) -> Callable[[Handler], Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]]:
    """Register an async handler as the HTTP function of its name.

    `body` and `query` are pydantic models (body None: the route takes none; `bytes`: a file of one of the
    media types in `accepts` of at most `max_bytes`, `too_large` says where a larger one goes), `reply` the
    model of the answer (None: no JSON), `status` the success code. With `confirmed`, and for administrators,
    reading too takes a session that is alive. The docstring's first line is the summary in the OpenAPI
    description, the rest its text; `listed=False` keeps a route out of it.
    """

    def register(handler: Handler) -> Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]:
        summary, _, description = (handler.__doc__ or handler.__name__).strip().partition("\n")
        if listed:
            ENDPOINTS.append(
                Endpoint(
                    name=handler.__name__,
                    method=method,
                    path=path,
                    access=access,
                    summary=summary.strip(),
                    description=" ".join(description.split()),
                    body=body,
                    query=query,
                    reply=reply,
                    status=status,
                    content_types=content_types,
                    accepts=accepts,
                    tag=handler.__module__.rpartition(".")[2],
                )
            )
        adapter = None if body in (None, bytes) else TypeAdapter(body)

        def read_body(req: func.HttpRequest) -> Any:
            if body is bytes:
                return read_content(req, accepts, max_bytes, too_large)
            return None if adapter is None else read_json(req, adapter)

        async def run(req: func.HttpRequest) -> func.HttpResponse:
            started = time.perf_counter()
            calls = count_calls()
            request_id = request_id_of(req)
            try:
                # what anyone may change, nobody's credentials are asked for: an expired token does not hinder
                needs_none = access == "anyone" and method not in _SAFE_METHODS
                is_confirmed = confirmed or access == "admin"
                caller = None if needs_none else await find_caller(req, is_confirmed)
                check_access(caller, access)
                parsed_query = read_query(req, query)
                call: Call[Any, Any] = Call(
                    request=req,
                    services=services(),
                    caller=caller,
                    params=dict(req.route_params),
                    body=read_body(req),
                    query=parsed_query,
                    after=_read_cursor(req, getattr(parsed_query, "cursor", None)),
                    request_id=request_id,
                )
                answer = await handler(call)
                if not isinstance(answer, Reply):
                    answer = Reply(answer)
                response = _respond(req, answer, status)
            except Exception as error:
                response = problem(error, req, request_id)
            seconds = time.perf_counter() - started
            return finish(response, req, request_id, seconds, calls)

        run.__name__ = handler.__name__
        run.__doc__ = handler.__doc__
        run.__module__ = handler.__module__
        blueprint.route(route=path.lstrip("/"), methods=[method], auth_level=func.AuthLevel.ANONYMOUS)(run)
        return run

    return register


# Who calls


def cookie_name() -> str:
    """Return the name of the site's session cookie; loopback over plain http cannot hold a `__Host-` one."""
    return "__Host-aloud" if services().settings.public_base_url.startswith("https:") else "aloud"


def site_cookie(req: func.HttpRequest) -> str | None:
    """Return the value of the site's session cookie, if the browser sent one."""
    jar = SimpleCookie()
    try:
        jar.load(req.headers.get("cookie", ""))
    except CookieError:
        return None
    morsel = jar.get(cookie_name())
    return morsel.value if morsel and _COOKIE.fullmatch(morsel.value) else None


async def find_caller(req: func.HttpRequest, confirmed: bool = False) -> Caller | None:
    """Return who sends the request, by bearer token or by the site's cookie; None without credentials.

    For unsafe methods, and where it has to be `confirmed`, a bearer token's session is looked up: one that
    was ended, of an account that was closed or lost a role, does nothing any more. A cookie speaks for unsafe
    methods only together with the form token, in the header `X-CSRF-Token`.
    Raises UnauthenticatedError for bad credentials, ForbiddenError for a missing form token.
    """
    sessions = services().accounts.sessions
    authorization = req.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("Use the scheme Bearer.")
        caller = sessions.caller_of_token(token.strip())
        return await sessions.confirm(caller) if confirmed or req.method not in _SAFE_METHODS else caller
    cookie = site_cookie(req)
    if cookie is None:
        return None
    caller, _ = await sessions.visitor(cookie)
    if req.method not in _SAFE_METHODS:
        check_form_token(caller.session_id, req.headers.get("x-csrf-token", ""))
    return caller


def origin_of(req: func.HttpRequest, request_id: str) -> Origin:
    """Return where a request comes from."""
    device = "".join(c for c in req.headers.get("user-agent", "")[:200] if c.isprintable())
    return Origin(address=client_address(req), request_id=request_id, device=device)


def client_address(req: func.HttpRequest) -> str:
    """Return what attempts are counted by: an IPv4 address, a /64 network of IPv6, or `unknown`.

    Azure's front end appends the address that it sees, with its port, to whatever X-Forwarded-For the client
    has sent, so that only entries counted from the end, as many as there are proxies of ours, are to be
    believed; the local host does as Azure's.
    """
    return read_address(req.headers.get("x-forwarded-for", ""), services().settings.proxy_hops)


def read_address(forwarded: str, hops: int) -> str:
    """Return the address of entry `hops` from the end of X-Forwarded-For; one home is one /64 of IPv6."""
    entries = forwarded.split(",")
    entry = entries[-hops].strip() if hops <= len(entries) else ""
    with_port = _PORT.fullmatch(entry)
    try:
        address = ipaddress.ip_address((with_port[1] or with_port[2] or "") if with_port else entry)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def form_token(session: str) -> str:
    """Return the token that forms of this session (or, before login, of this form cookie) carry."""
    return signer().sign("form", session)


def check_form_token(session: str, token: str) -> None:
    """Raises ForbiddenError unless the token is of this session and less than a day old."""
    try:
        fits = signer().read("form", token, 86400) == session
    except ValueError:
        fits = False
    if not fits:
        raise ForbiddenError("This form is too old or not ours. Load the page again and repeat.")


def check_access(caller: Caller | None, access: Access) -> None:
    """Raises UnauthenticatedError or ForbiddenError."""
    if access == "anyone":
        return
    if caller is None:
        raise UnauthenticatedError("Sign in first.")
    if not caller.roles & _ALLOWED[access]:
        raise ForbiddenError(f"This needs the role {access}.")


# What was sent


def request_id_of(req: func.HttpRequest) -> str:
    """Return the caller's request id where it is sane, else a new one."""
    given = req.headers.get("x-request-id", "")
    return given if _REQUEST_ID.match(given) else new_id()


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


def read_json(req: func.HttpRequest, adapter: TypeAdapter[Any]) -> Any:
    """Raises TooLargeError, UnsupportedMediaError, MalformedRequestError or InvalidError."""
    content = req.get_body()
    if len(content) > MAX_BODY_BYTES:
        raise TooLargeError(f"A body may have {MAX_BODY_BYTES} bytes.")
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


def _cursor_purpose(req: func.HttpRequest) -> str:
    return f"cursor:{req.url.partition('?')[0].rstrip('/').rpartition('/api/')[2]}"


def _read_cursor(req: func.HttpRequest, cursor: str | None) -> Any:
    if cursor is None:
        return None
    try:
        return signer().read(_cursor_purpose(req), cursor)
    except ValueError:
        raise InvalidError("Check the query.", (("cursor", "is not one that this list gave"),)) from None


# What is answered


def _respond(req: func.HttpRequest, reply: Reply, status: int) -> func.HttpResponse:
    headers = dict(reply.headers)
    if reply.etag is not None:
        headers |= {"ETag": f'"{reply.etag}"', "Vary": "Authorization, Cookie"}
        headers.setdefault("Cache-Control", "private, no-cache")
        seen = {
            tag.strip().removeprefix("W/").strip('"')
            for tag in req.headers.get("if-none-match", "").split(",")
        }
        if req.method in _SAFE_METHODS and reply.etag in seen:
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


def problem(error: Exception, req: func.HttpRequest, request_id: str) -> func.HttpResponse:
    """Turn an error into application/problem+json (RFC 9457); a 5xx never shows an exception's text."""
    known = describe_error(error, request_id)
    content: dict[str, Any] = {
        "type": f"/problems/{known.slug}",
        "title": known.title,
        "status": known.status,
        "detail": known.detail if known.status < 500 else "Please try again later.",
        "instance": req.url.partition("?")[0],
        "request_id": request_id,
    }
    headers: dict[str, str] = {}
    if isinstance(known, InvalidError):
        content["errors"] = [{"field": name, "message": message} for name, message in known.fields]
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
    headers["X-Request-Id"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    if "Referrer-Policy" not in headers:
        headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if settings.public_base_url.startswith("https:"):
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    if "Cache-Control" not in headers:
        headers["Cache-Control"] = "no-store"
    if "Content-Security-Policy" not in headers:
        headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    if settings.server_timing:
        storage = f"{calls.count} calls in {calls.rounds} rounds"
        headers["Server-Timing"] = f'total;dur={seconds * 1000:.1f}, storage;desc="{storage}"'
    _log.info(
        "%s %s %s %.0f ms, %s storage calls in %s rounds [%s]",
        req.method,
        req.url.partition("?")[0],
        response.status_code,
        seconds * 1000,
        calls.count,
        calls.rounds,
        request_id,
    )
    return response


def check_id(text: str) -> str:
    """Return a path's id if it can be one. Raises NotFoundError, as for one that does not exist."""
    if not re.fullmatch(r"[0-9a-z]{1,64}", text):
        raise NotFoundError("There is nothing with this id.")
    return text
