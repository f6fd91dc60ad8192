"""Health, the description of the API, and the answer for paths that nobody serves."""

from functools import cache
from typing import Any, Literal

import azure.functions as func
from pydantic import BaseModel

from core.errors import NotFoundError
from core.storage.account import Calls
from functions.http import Call, Reply, endpoint
from functions.openapi import describe
from functions.page import not_found_page
from functions.replies import finish, problem
from functions.requests import request_id_of

blueprint = func.Blueprint()

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class HealthReply(BaseModel):
    """`parts` maps each part that was asked to `ok` or to what is wrong with it."""

    status: Literal["ok", "unavailable"]
    parts: dict[str, str] = {}


@endpoint(blueprint, "GET", "/health", reply=HealthReply)
async def health(_: Call[None, Any]) -> HealthReply:
    """Tell that the process is up."""
    return HealthReply(status="ok")


@endpoint(
    blueprint,
    "GET",
    "/health/ready",
    reply=HealthReply,
    other={503: ("A part does not answer.", HealthReply)},
)
async def health_ready(call: Call[None, Any]) -> Reply:
    """Tell whether the storage can be reached: 200, or 503 naming the part that cannot."""
    parts = await call.services.operations.readiness()
    good = all(state == "ok" for state in parts.values())
    return Reply(
        HealthReply(status="ok" if good else "unavailable", parts=parts), status=200 if good else 503
    )


@cache
def _description() -> str:
    return describe()


@endpoint(blueprint, "GET", "/openapi.json", listed=False)
async def openapi(_: Call[None, Any]) -> Reply:
    """Return the OpenAPI 3.1 description of this API."""
    return Reply(_description())


@blueprint.route(route="{*path}", methods=_METHODS, auth_level=func.AuthLevel.ANONYMOUS)
async def zz_unknown_path(req: func.HttpRequest) -> func.HttpResponse:
    """Answer for every path and method that no other function serves; its name sorts last."""
    path = "/" + req.route_params.get("path", "")
    if path.startswith(("/api/", "/health", "/openapi")):
        request_id = request_id_of(req)
        response = problem(NotFoundError(f"Nothing answers {req.method} {path}."), req, request_id)
        return finish(response, req, request_id, 0, Calls())
    return await not_found_page(req)
