"""The catalog keeps to its description, whatever is sent: made up from it, against it, or by hand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from core.ids import new_id
from tests.aloud import Aloud
from tests.functions.test_contract import API, CHECKS, Case, Operation
from tests.functions.test_names import publish

ROOMS = {"catalog", "books", "names", "imports", "uploads"}
EXAMPLES = 2


@dataclass
class Contract:
    """The description, an administrator, and for each kind of path something that is there."""

    aloud: Aloud
    operations: list[Operation]
    headers: dict[str, str]
    ids: dict[str, str]
    session: requests.Session

    def fill(self, operation: Operation) -> dict[str, str]:
        """Return path parameters that lead to something."""
        kind = operation.path.removeprefix(f"{API}/").partition("/{id}")[0]
        return {"id": self.ids[kind]} if "{id}" in operation.path else {}


@pytest_asyncio.fixture(scope="module")
async def contract(aloud: Aloud) -> AsyncIterator[Contract]:
    description = await aloud.get("/openapi.json")
    schema = schemathesis.openapi.from_dict(description)
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    author, series = f"Ann {new_id()}", f"Row {new_id()}"
    book = await publish(aloud, title="Kept", authors=(author,), narrators=(author,))
    ids = {"audiobooks": book.id, "authors": book.authors[0].id, "narrators": book.authors[0].id}
    for kind in ("genres", "series"):
        _, row, _ = await aloud.call("POST", f"{API}/{kind}", json={"name": series})
        ids[kind] = row["id"]
    file = {"filename": "a.mp3", "size_bytes": 5, "content_type": "audio/mpeg"}
    _, upload, _ = await aloud.call("POST", f"{API}/uploads", json={"purpose": "audiobook", **file})
    _, export, _ = await aloud.call("POST", f"{API}/admin/export", json={})
    lines: dict[str, Any] = {"data": b"{}", "headers": {"Content-Type": "application/jsonl"}}
    _, begun, _ = await aloud.call("POST", f"{API}/admin/import", **lines)
    ids |= {"uploads": upload["id"], "admin/export": export["id"], "admin/import": begun["id"]}
    async with asyncio.timeout(20):
        while (await aloud.call("GET", f"{API}/authors/{ids['authors']}"))[0] != 200:
            await asyncio.sleep(0.1)
    headers = {"Authorization": f"Bearer {await aloud.token()}"}
    with requests.Session() as session:
        yield Contract(
            aloud,
            [operation for operation in found if operation.definition.raw["tags"][0] in ROOMS],
            headers,
            ids,
            session,
        )


def ask(contract: Contract, operation: Operation, mode: GenerationMode, number: int) -> set[int]:
    """Ask with as many made-up requests, the same ones each time, and return the statuses."""
    statuses = set()

    def send(case: Case) -> None:
        if mode.is_positive:
            case.path_parameters = contract.fill(operation)
        answer = case.call(
            base_url=contract.aloud.base_url,
            session=contract.session,
            headers=contract.headers,
            allow_redirects=False,
        )
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS, headers=contract.headers)

    bounds = settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    bounds(given(case=operation.as_strategy(generation_mode=mode))(send))()
    return statuses


def test_made_up_requests_are_answered_as_the_description_says(
    contract: Contract, subtests: pytest.Subtests
) -> None:
    reached: set[int] = set()
    for operation in contract.operations:
        raw = operation.definition.raw
        content = raw.get("requestBody", {}).get("content", {"application/json": None})
        if "application/json" not in content:
            continue  # files: by hand, below
        takes = "requestBody" in raw or any(parameter["in"] == "query" for parameter in raw["parameters"])
        with subtests.test(operation=raw["operationId"]):
            reached |= ask(contract, operation, GenerationMode.POSITIVE, EXAMPLES if takes else 1)
            if takes:
                reached |= ask(contract, operation, GenerationMode.NEGATIVE, 1)
    assert {200, 201, 202, 204, 404, 409, 422} <= reached


async def test_files_that_are_none_are_refused_as_the_description_says(contract: Contract) -> None:
    odd = (b"", b"title\r\n\x00", b"<package/>", b"\xff\xd8\xff" * 50)
    asked = 0
    for operation in contract.operations:
        raw = operation.definition.raw
        kinds = raw.get("requestBody", {}).get("content", {"application/json": None})
        if "application/json" in kinds:
            continue
        path = operation.path.replace("{id}", contract.fill(operation).get("id", ""))
        for kind in (*kinds, "text/plain"):
            for content in odd:
                status, answer, _ = await contract.aloud.call(
                    operation.method.upper(), path, data=content, headers={"Content-Type": kind}
                )
                assert str(status) in raw["responses"], (operation.label, kind, content, status, answer)
                assert status < 500
                asked += 1
    assert asked > 30


@pytest.mark.parametrize("path", ["audiobooks", "audiobooks/search", "search", "series", "authors"])
async def test_odd_queries_are_refused_or_answered(contract: Contract, path: str) -> None:
    odd = {
        "q": ["", "%00", "x" * 5000, '"', "(((", "*"],
        "limit": ["0", "101", "٣", "1e1"],
        "cursor": ["", "a.b.c", "x" * 4000],
        "sort": ["newest;", "__"],
        "max_price": ["-1", "NaN", "9" * 400],
        "min_duration": ["inf", "1e400"],
        "released_from": ["2019-99", "٢٠١٩"],
        "author": ["", "x" * 201],
    }
    address = "/search" if path == "search" else f"{API}/{path}"
    for name, values in odd.items():
        for value in values:
            query = {"q": "a", name: value} if "search" in path else {name: value}
            status, answer, _ = await contract.aloud.call("GET", address, params=query)
            assert status in (200, 404, 422), (path, query, status, answer)
