"""What every HTTP function has in common, in one decorator.

`@endpoint` finds the caller, checks the role, reads and validates body and query, opens the cursor, runs
the handler, answers 304 where the ETag fits, turns errors into problem+json, adds request id and security
headers, and enters the route into the OpenAPI description.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import azure.functions as func
from pydantic import BaseModel, TypeAdapter

from core.caller import Caller, Origin
from core.errors import UnauthenticatedError
from core.storage.account import count_calls
from core.wiring import Services
from functions.callers import OPEN, SAFE_METHODS, Access, check_access, find_caller, origin_of
from functions.replies import Reply, finish, problem, respond
from functions.requests import (
    MAX_BODY_BYTES,
    Listing,
    NoQuery,
    Payload,
    check_id,
    cursor_purpose,
    read_content,
    read_cursor,
    read_json,
    read_query,
    request_id_of,
)
from functions.services import services, signer

__all__ = [
    "API",
    "ENDPOINTS",
    "Call",
    "Endpoint",
    "Listing",
    "Payload",
    "Reply",
    "check_id",
    "endpoint",
]

API = "/api/v1"

B = TypeVar("B")
Q = TypeVar("Q")


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
        return None if after is None else signer().sign(cursor_purpose(self.request), after)


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
    failures: tuple[int, ...]
    other: Mapping[int, tuple[str, type[BaseModel]]]
    conditional: bool
    idempotent: bool
    tag: str


ENDPOINTS: list[Endpoint] = []

Handler = Callable[[Call[Any, Any]], Awaitable[Reply | BaseModel | None]]


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
    failures: tuple[int, ...] = (),
    other: Mapping[int, tuple[str, type[BaseModel]]] | None = None,
    conditional: bool = False,
    idempotent: bool = False,
    listed: bool = True,
) -> Callable[[Handler], Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]]:
    """Register an async handler as the HTTP function of its name.

    `body` and `query` are pydantic models (body None: the route takes none; `bytes`: a file of one of the
    media types in `accepts`, where `too_large` says where a larger one than `max_bytes` goes), `reply` the
    model of the answer (None: no JSON), `status` the success code. With `confirmed`, and for administrators,
    reading too takes a session that is alive. `failures` are the statuses that a route's shape does not tell,
    `other` further statuses with what they mean and their model, `conditional` says that the handler looks at
    `If-Match`, `idempotent` that it wants an `Idempotency-Key`. The docstring's first line is the summary in
    the OpenAPI description, the rest its text; `listed=False` keeps a route out of it.
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
                    failures=failures,
                    other=other or {},
                    conditional=conditional,
                    idempotent=idempotent,
                    tag=handler.__module__.rpartition(".")[2],
                )
            )
        adapter = None if body in (None, bytes) else TypeAdapter(body)

        def read_body(req: func.HttpRequest) -> Any:
            if body is bytes:
                return read_content(req, accepts, max_bytes, too_large)
            return None if adapter is None else read_json(req, adapter, max_bytes)

        async def run(req: func.HttpRequest) -> func.HttpResponse:
            started = time.perf_counter()
            calls = count_calls()
            request_id = request_id_of(req)
            try:
                # what anyone may change, nobody's credentials are asked for: an expired token does not hinder
                needs_none = access in OPEN and method not in SAFE_METHODS
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
                    after=read_cursor(req, getattr(parsed_query, "cursor", None)),
                    request_id=request_id,
                )
                answer = await handler(call)
                if not isinstance(answer, Reply):
                    answer = Reply(answer)
                response = respond(req, answer, status)
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
