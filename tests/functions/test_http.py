"""What every route does alike: errors, request ids, methods, slashes, headers, the description."""

import io
from typing import Any

import pytest

from tests.aloud import ROOT, Aloud
from tests.person import Person

FUNCTIONS = ROOT / "tests" / "functions.txt"


def is_problem(content: Any, status: int) -> bool:
    return bool({"type", "title", "status", "detail", "instance", "request_id"} <= set(content)) and (
        content["status"] == status
    )


@pytest.mark.parametrize(
    ("method", "path", "request_", "expected"),
    [
        ("GET", "/api/v1/nothing", {}, 404),
        ("PATCH", "/api/v1/users/me", {}, 404),
        ("GET", "/api/v1/audiobooks/no-such-book", {}, 404),
        ("GET", "/api/v1/audiobooks/01m7yz9p140a8z442a0hnr1713", {}, 404),
        ("GET", "/api/v1/admin/jobs/01m7yz9p140a8z442a0hnr1713", {}, 404),
        ("POST", "/api/v1/auth/login", {"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", "/api/v1/auth/login", {"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/api/v1/auth/login", {"json": {"email": "a@example.com"}}, 422),
        ("GET", "/api/v1/audiobooks?limit=0", {}, 422),
        ("GET", "/api/v1/audiobooks?limit=101", {}, 422),
        ("GET", "/api/v1/audiobooks?cursor=abc", {}, 422),
        ("GET", "/api/v1/audiobooks?what=ever", {}, 422),
    ],
)
async def test_errors_are_problems(
    aloud: Aloud, method: str, path: str, request_: dict[str, Any], expected: int
) -> None:
    status, content, headers = await aloud.call(method, path, **request_)
    assert status == expected, content
    assert headers["Content-Type"] == "application/problem+json"
    assert is_problem(content, expected)
    assert content["request_id"] == headers["X-Request-Id"]
    assert ("errors" in content) == (expected == 422)


async def test_a_body_over_a_mebibyte_is_too_large(aloud: Aloud) -> None:
    body, headers = io.BytesIO(b"[" + b" " * 2**20 + b"]"), {"Content-Type": "application/json"}
    status, content, _ = await aloud.call("POST", "/api/v1/auth/login", data=body, headers=headers)
    assert status == 413
    assert is_problem(content, 413)


@pytest.mark.parametrize("path", ["/api/v1/users/me", "/api/v1/admin/jobs", "/api/v1/admin/jobs/x/retry"])
async def test_without_credentials_it_is_always_401(aloud: Aloud, path: str) -> None:
    method = "POST" if path.endswith("retry") else "GET"
    status, content, headers = await aloud.call(method, path, token="")
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert is_problem(content, 401)


async def test_administration_is_for_administrators(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    for method, path in (("GET", "jobs"), ("GET", "alerts"), ("POST", "jobs/x/retry")):
        status, content, _ = await person.call(method, f"/admin/{path}")
        assert status == 403
        assert is_problem(content, 403)


async def test_a_sane_request_id_is_kept(aloud: Aloud) -> None:
    for given, kept in (("abc-1.2_X", True), ("x" * 65, False), ("a b", False)):
        _, _, headers = await aloud.call("GET", "/health", headers={"X-Request-Id": given})
        assert (headers["X-Request-Id"] == given) == kept


async def test_a_trailing_slash_and_any_case_are_accepted(aloud: Aloud) -> None:
    for path in ("/api/v1/audiobooks/", "/API/V1/AudioBooks"):
        status, _, headers = await aloud.call("GET", path, token="")
        assert status == 200
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_health_tells_of_each_part(aloud: Aloud) -> None:
    assert await aloud.get("/health") == {"status": "ok", "parts": {}}
    parts = {"blobs": "ok", "queues": "ok", "tables": "ok"}
    assert await aloud.get("/health/ready") == {"status": "ok", "parts": parts}


async def test_the_description_names_every_route_and_only_what_it_defines(aloud: Aloud) -> None:
    description = await aloud.get("/openapi.json")
    assert description["openapi"].startswith("3.1")
    operations = [operation for path in description["paths"].values() for operation in path.values()]
    expected = {
        line.split()[0]
        for line in FUNCTIONS.read_text().splitlines()
        if "httpTrigger" in line and " {" not in line and not line.startswith(("page_", "openapi "))
    }
    assert {operation["operationId"] for operation in operations} == expected
    assert all(operation["summary"] for operation in operations)
    text = str(description)
    references = {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}
    assert references == set(description["components"]["schemas"])
    transcript = description["paths"]["/api/v1/audiobooks/{id}/transcript"]["get"]
    assert {"id", "format"} == {parameter["name"] for parameter in transcript["parameters"]}


async def test_the_explorer_is_served_from_here(aloud: Aloud) -> None:
    status, page, headers = await aloud.call("GET", "/docs", token="")
    assert status == 200
    assert "https://" not in page.replace("https://aloud", "")
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    for name in ("swagger-ui.css", "swagger-ui-bundle.js"):
        status, content, _ = await aloud.call("GET", f"/docs/assets/{name}", token="")
        assert status == 200
        assert len(content) > 50_000
    assert (await aloud.call("GET", "/docs/assets/package.json", token=""))[0] == 404
