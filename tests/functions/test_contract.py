"""These routes keep to their description, whatever is sent: made up from it, against it, or by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.result import Ok

from tests.aloud import Aloud
from tests.person import PASSWORD, Person

Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]

API = "/api/v1"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EXAMPLES = 2
PROVING = {
    "delete_own_user",
    "set_up_mfa",
    "confirm_mfa",
    "remove_mfa",
    "request_own_email",
    "change_own_password",
}
ENDING = {"logout_user", "logout_user_everywhere"}


@dataclass
class Contract:
    """The description of these routes, who asks, and somebody to be administered."""

    aloud: Aloud
    description: dict[str, Any]
    tokens: dict[str, str]
    someone: str
    session: requests.Session

    def operations(self) -> list[Operation]:
        schema = schemathesis.openapi.from_dict(self.description)
        found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
        rooms = (
            "auth/",
            "users/",
            "admin/users",
            "admin/audit",
            "progress",
            "listening/",
            "cart",
            "checkout",
            "orders",
        )
        return [
            operation
            for operation in found
            if operation.path.startswith(tuple(f"{API}/{room}" for room in rooms))
        ]

    def token(self, operation: Operation) -> str:
        """Return the token for an operation; those that count tries or end sessions have their own."""
        raw = operation.definition.raw
        if not raw["security"]:
            return ""
        return self.tokens.get(raw["operationId"], self.tokens[raw["x-access"]])


@pytest_asyncio.fixture(scope="module")
async def contract(aloud: Aloud) -> AsyncIterator[Contract]:
    description = await aloud.get("/openapi.json")
    tokens = {"admin": await aloud.token()}
    names = ("listener", *PROVING, *ENDING)
    people = await asyncio.gather(*(Person.join(aloud) for _ in names))
    tokens |= {name: person.tokens["access_token"] for name, person in zip(names, people, strict=True)}
    someone = (await (await Person.join(aloud)).get("/users/me"))["id"]
    with requests.Session() as session:
        yield Contract(aloud, description, tokens, someone, session)


def make_up(contract: Contract, operation: Operation, mode: GenerationMode, number: int) -> set[int]:
    """Ask with as many made-up requests, the same ones each time, and return the statuses."""
    token = contract.token(operation)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    statuses = set()

    def ask(case: Case) -> None:
        if mode.is_positive and "/admin/users/{id}" in operation.path:
            case.path_parameters = {"id": contract.someone}
        answer = case.call(base_url=contract.aloud.base_url, session=contract.session, headers=headers)
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS, headers=headers)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]

    bounds = settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    bounds(given(case=operation.as_strategy(generation_mode=mode))(ask))()
    return statuses


def test_made_up_requests_are_answered_as_the_description_says(
    contract: Contract, subtests: pytest.Subtests
) -> None:
    reached: set[int] = set()
    for operation in contract.operations():
        raw = operation.definition.raw
        takes = "requestBody" in raw or any(parameter["in"] == "query" for parameter in raw["parameters"])
        with subtests.test(operation=raw["operationId"]):
            reached |= make_up(contract, operation, GenerationMode.POSITIVE, EXAMPLES if takes else 1)
            if takes:
                reached |= make_up(contract, operation, GenerationMode.NEGATIVE, EXAMPLES)
    assert {200, 202, 204, 400, 401, 404, 422} <= reached


# By hand

ODD_TEXTS = {
    "lone surrogate": '"\\ud800"',
    "NUL": '"a\\u0000b"',
    "long": '"' + "x" * 5000 + '"',
    "huge number": "1" + "0" * 4000,
    "not a number": "NaN",
    "infinite": "-1e999",
    "true": "true",
    "object": '{"\\ud800": 1}',
}
ODD_BODIES = {
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "two": b"{} {}",
    "not UTF-8": b'{"email": "\xff"}',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "lone surrogate as a name": b'{"\\ud800": 1}',
    "many names": b"{" + b",".join(b'"k%d": 1' % n for n in range(500)) + b"}",
}
VALID = {
    "email": '"odd@example.com"',
    "password": json.dumps(PASSWORD),
    "new_password": json.dumps(PASSWORD),
    "token": '"a.b"',
    "refresh_token": '"a.b.c"',
    "id_token": '"a.b.c"',
    "mfa_code": '"123456"',
    "roles": "[]",
    "audiobook_ids": "[]",
    "payment_method": '"simulated"',
    "audiobook_id": '"none"',
    "items": '[{"audiobook_id": "none", "position_seconds": 1}]',
    "position_seconds": "1.5",
    "start_position_seconds": "0",
    "seconds_listened": "1e3",
}


async def send(
    contract: Contract, operation: Operation, body: bytes, content_type: str = "application/json"
) -> tuple[int, Any]:
    """Send a body and return status and answer, after looking at what every answer has to be."""
    path = operation.path.replace("{id}", contract.someone)
    status, content, headers = await contract.aloud.call(
        operation.method.upper(),
        path,
        token=contract.token(operation),
        data=body,
        headers={"Content-Type": content_type},
    )
    assert str(status) in operation.definition.raw["responses"], (operation.label, body[:80], status)
    if status >= 400:
        assert headers["Content-Type"] == "application/problem+json"
        assert content["request_id"] == headers["X-Request-Id"]
    return status, content


def of_json(contract: Contract) -> list[tuple[Operation, Mapping[str, Any]]]:
    """Return the operations that take JSON, each with the schema of its body."""
    found = []
    for operation in contract.operations():
        content = operation.definition.raw.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
            found.append((operation, contract.description["components"]["schemas"][name]))
    return found


@pytest.mark.parametrize("odd", ODD_BODIES)
async def test_a_body_that_is_no_request_is_refused(contract: Contract, odd: str) -> None:
    asked = [send(contract, operation, ODD_BODIES[odd]) for operation, _ in of_json(contract)]
    assert {status for status, _ in await asyncio.gather(*asked)} <= {400, 422}


@pytest.mark.parametrize("odd", ODD_TEXTS)
async def test_odd_text_in_a_field_is_refused_or_kept_whole(contract: Contract, odd: str) -> None:
    async def ask(operation: Operation, schema: Mapping[str, Any]) -> None:
        for name in schema["properties"]:
            fields = {required: VALID[required] for required in schema.get("required", [])}
            fields[name] = ODD_TEXTS[odd]
            body = "{" + ", ".join(f'"{field}": {value}' for field, value in fields.items()) + "}"
            status, content = await send(contract, operation, body.encode())
            if status == 200 and operation.label == f"PUT {API}/users/me":
                token = contract.tokens["listener"]
                after = await contract.aloud.call("GET", f"{API}/users/me", token=token)
                assert after[:2] == (200, content), name

    await asyncio.gather(*(ask(operation, schema) for operation, schema in of_json(contract)))


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ";;;", "a" * 3000]
)
async def test_only_json_is_taken_for_json(contract: Contract, kind: str) -> None:
    asked = [send(contract, operation, b"{}", kind) for operation, _ in of_json(contract)]
    assert {status for status, _ in await asyncio.gather(*asked)} == {415}


async def test_the_name_of_json_has_any_case(contract: Contract) -> None:
    kind = "Application/JSON; charset=utf-8"
    asked = [send(contract, operation, b"[]", kind) for operation, _ in of_json(contract)]
    assert {status for status, _ in await asyncio.gather(*asked)} == {422}


async def test_the_last_of_two_equal_names_counts(contract: Contract) -> None:
    change = next(op for op, _ in of_json(contract) if op.label == f"PUT {API}/users/me")
    status, content = await send(
        contract, change, b'{"locale": "no such", "bio": "a", "bio": "b", "locale": "de"}'
    )
    assert (status, content["bio"], content["locale"]) == (200, "b", "de")


async def test_other_methods_and_paths_are_not_served(contract: Contract) -> None:
    async def ask(operation: Operation) -> None:
        described = contract.description["paths"][operation.path]
        path = operation.path.replace("{id}", "x").replace("{session_id}", "x").replace("{export_id}", "x")
        token = contract.token(operation)
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {name.upper() for name in described}:
            if (method, operation.path.rpartition("/")[0]) == ("DELETE", f"{API}/cart"):
                continue  # takes a book with that id out of the cart
            status, content, _ = await contract.aloud.call(method, path, token=token)
            assert (status, content["type"]) == (404, "/problems/not-found"), (method, path)
        status, content, _ = await contract.aloud.call(operation.method.upper(), f"{path}//", token=token)
        assert (status, content["type"]) == (404, "/problems/not-found"), path

    await asyncio.gather(*(ask(operation) for operation in contract.operations()))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=1&limit=2", 422),
        ("limit=%D9%A1", 422),
        ("limit=9" + "9" * 4500, 422),
        ("limit=-1", 422),
        ("cursor=%00", 422),
        ("cursor=%C3%A9.a.b", 422),
        ("cursor=" + "a" * 4000, 422),
        ("email=%00", 422),
        ("email=%FF", 422),
        ("email=nobody%40example.com", 200),
        ("x%5B%5D=1", 422),
    ],
)
async def test_odd_queries_are_refused(contract: Contract, query: str, expected: int) -> None:
    status, content, _ = await contract.aloud.call("GET", f"{API}/admin/users?{query}")
    assert status == expected, content


@pytest.mark.parametrize("odd", ["%00", "%F0%9F%98%80", "a%2Fb", "A", "'", "a" * 1000, "%25", "x y"])
async def test_an_id_that_cannot_be_one_is_not_found(contract: Contract, odd: str) -> None:
    for method, path in (("GET", "/users/me/export/"), ("DELETE", "/users/me/sessions/")):
        token = contract.tokens["listener"]
        status, content, _ = await contract.aloud.call(method, f"{API}{path}{odd}", token=token)
        assert (status, content["type"]) == (404, "/problems/not-found")
