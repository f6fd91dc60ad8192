"""The OpenAPI 3.1 description, made from what `@endpoint` was told."""

import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from functions.callers import OPEN
from functions.http import ENDPOINTS, Endpoint

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "A stable slug as a URI reference."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "stored": {"type": "object", "description": "What is stored, where it is newer than what was sent."},
        "sent": {"type": "object", "description": "What was sent, as it was understood."},
    },
}
_FAILURES = {
    400: "The request cannot be read.",
    401: "Credentials are missing or bad.",
    402: "The payment was declined.",
    403: "Known, but not allowed.",
    404: "Absent, or not yours to know of.",
    409: "In conflict with what is stored.",
    412: "Changed by someone else in the meantime.",
    413: "Too large.",
    415: "Not a media type that this route takes.",
    422: "Fields are not valid.",
    429: "Too many requests; Retry-After tells when to come again.",
    503: "A part that is needed does not answer.",
}


def _failures(endpoint: Endpoint) -> list[int]:
    codes = {422, 503} | set(endpoint.failures)
    is_change, is_open = endpoint.method != "GET", endpoint.access in OPEN
    if not (is_change and is_open):
        codes |= {401}
    if endpoint.conditional:
        codes |= {412}
    if endpoint.access in ("publisher", "publisher-of-it", "admin") or (is_change and not is_open):
        codes |= {403}  # the role, or the form token that a cookie needs
    if endpoint.body is not None:
        codes |= {400, 413, 415}
    if "{" in endpoint.path:
        codes |= {404}
    return sorted(codes)


def describe() -> str:
    """Return the description as JSON."""
    bodies = {(e.body, "validation") for e in ENDPOINTS if e.body not in (None, bytes)}
    replies = {(e.reply, "serialization") for e in ENDPOINTS if e.reply is not None}
    replies |= {(model, "serialization") for e in ENDPOINTS for _, model in e.other.values()}
    shapes = sorted(bodies | replies, key=lambda pair: (pair[0].__name__, pair[1]))
    references, schema = models_json_schema(shapes, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        operation: dict[str, Any] = {
            "operationId": endpoint.name,
            "tags": [endpoint.tag],
            "summary": endpoint.summary,
            "description": endpoint.description,
            "parameters": _parameters(endpoint),
            "responses": _responses(endpoint, references),
            "security": [] if endpoint.access in OPEN else [{"bearer": []}],
            "x-access": endpoint.access,
        }
        if endpoint.body is not None:
            content = {
                media_type: {"schema": references.get((endpoint.body, "validation"), {})}
                for media_type in endpoint.accepts
            }
            operation["requestBody"] = {"required": True, "content": content}
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Aloud",
                "version": "1",
                "description": "An audiobook store whose books can be read as well as heard.",
            },
            "paths": dict(sorted(paths.items())),
            "components": {
                "schemas": {**schema.get("$defs", {}), "Problem": _PROBLEM},
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }
    )


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    query: type[BaseModel] = endpoint.query
    schema = query.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, property_ in schema.get("properties", {}).items():
        found.append(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", []),
                "description": property_.pop("description", ""),
                "schema": property_,
            }
        )
    if endpoint.conditional:
        found.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": False,
                "description": "The ETag that what is changed still has to have.",
                "schema": {"type": "string"},
            }
        )
    if endpoint.idempotent:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "Of the client's own making; the same one for the same wish, for 30 days.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
            }
        )
    return found


def _responses(endpoint: Endpoint, references: Any) -> dict[str, Any]:
    success: dict[str, Any] = {"description": endpoint.summary}
    if endpoint.reply is not None and endpoint.status != 302:
        success["content"] = {"application/json": {"schema": references[endpoint.reply, "serialization"]}}
    elif endpoint.reply is None and endpoint.status == 200:
        success["content"] = {media_type: {} for media_type in endpoint.content_types}
    responses = {str(endpoint.status): success}
    if endpoint.status == 302:
        content = {"application/json": {"schema": references[endpoint.reply, "serialization"]}}
        responses["200"] = {"description": "The address itself.", "content": content}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for code in _failures(endpoint):
        responses[str(code)] = {"description": _FAILURES[code], "content": problem}
    for status, (description, model) in endpoint.other.items():
        content = {"application/json": {"schema": references[model, "serialization"]}}
        responses[str(status)] = {"description": description, "content": content}
    return responses
