"""HTTP functions behave here as behind the real host."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.localhost.sample import StartHost


async def fetch(method: str, url: str) -> tuple[int, str]:
    async with aiohttp.request(method, url) as response:
        return response.status, await response.text()


async def test_the_first_fitting_route_by_function_name_wins(start_host: StartHost) -> None:
    async with start_host() as host:
        assert await fetch("GET", f"{host.base_url}/books/mine") == (200, "mine")
        assert await fetch("GET", f"{host.base_url}/books/zero") == (200, "book zero")
        assert await fetch("DELETE", f"{host.base_url}/books/zero") == (200, "zero")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", (200, "home")),
        ("/BOOKS/a%20b/", (200, "book a b")),
        ("/items/7", (200, '{"number": "7"}')),
        ("/items/7/x/y%2Fz", (200, '{"number": "7", "rest": "x/y%2Fz"}')),
        ("/items/seven", (404, "")),
        ("/items/99999999999", (404, "")),
        ("/elsewhere", (404, "")),
        ("/admin/elsewhere", (404, "")),
        ("/nothing", (500, "")),
        ("/mapping", (500, "")),
    ],
)
async def test_paths(start_host: StartHost, path: str, expected: tuple[int, str]) -> None:
    async with start_host() as host:
        assert await fetch("GET", host.base_url + path) == expected


async def test_a_wrong_method_is_not_found(start_host: StartHost) -> None:
    async with start_host() as host:
        for method in ("POST", "HEAD", "OPTIONS"):
            status, _ = await fetch(method, f"{host.base_url}/books/1")
            assert status == 404


async def test_what_a_function_is_told_and_what_it_replies(start_host: StartHost) -> None:
    headers = {"X-Thing": "1", "traceparent": "00-abc-def-01"}
    async with start_host() as host, aiohttp.ClientSession() as session:
        url = f"{host.base_url}/echo?a=1&a=2&empty="
        async with session.post(url, data=b"caf\xc3\xa9", headers=headers) as response:
            told = await response.json()
            assert response.headers["Transfer-Encoding"] == "chunked"
            assert "Content-Length" not in response.headers
            cookies = response.headers.getall("Set-Cookie")
    assert told["body"] == "café"
    assert told["headers"]["x-thing"] == "1"
    assert told["params"] == {"a": "1,2"}
    assert told["url"] == url
    assert (told["function"], told["trace"]) == ("echo", "00-abc-def-01")
    assert told["thread"] != "MainThread"
    assert cookies == ["a=1; HttpOnly; Path=/; SameSite=Lax", "b=2; Max-Age=60"]


async def test_the_address_of_the_client_ends_what_it_claims(start_host: StartHost) -> None:
    claims = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "198.51.100.1, [2001:db8::1]:443")]
    async with start_host() as host, aiohttp.ClientSession() as session:
        for given, expected in (([], []), (claims, ["203.0.113.9", "198.51.100.1", "[2001:db8::1]:443"])):
            async with session.post(f"{host.base_url}/echo", headers=given) as response:
                told = (await response.json())["headers"]["x-forwarded-for"].split(", ")
            assert told[:-1] == expected
            address, _, port = told[-1].partition(":")
            assert address == "127.0.0.1"
            assert 0 < int(port) < 65536


async def test_a_chunked_upload_arrives_empty(start_host: StartHost) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"lost"

    async with (
        start_host() as host,
        aiohttp.request("POST", f"{host.base_url}/echo", data=parts()) as response,
    ):
        assert (await response.json())["body"] == ""


async def test_a_body_over_100_mib_is_an_error(start_host: StartHost) -> None:
    async with start_host() as host, aiohttp.ClientSession() as session:
        headers = {"Content-Length": str(100 * 1024 * 1024 + 1), "Expect": "100-continue"}
        async with session.post(f"{host.base_url}/echo", headers=headers) as response:
            assert response.status == 500


async def test_the_homepage_hides_the_root_unless_disabled(
    start_host: StartHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start_host() as host:
        monkeypatch.delenv("AzureWebJobsDisableHomepage")
        assert await fetch("GET", host.base_url) != (200, "home")


async def test_the_admin_endpoints(start_host: StartHost) -> None:
    async with start_host() as host, aiohttp.ClientSession() as session:
        async with session.get(f"{host.base_url}/admin/host/status") as response:
            assert (await response.json())["state"] == "Running"
        async with session.get(f"{host.base_url}/admin/functions") as response:
            functions = {item["name"]: item for item in await response.json()}
        async with session.post(f"{host.base_url}/admin/functions/home", json={}) as response:
            assert response.status == 400
        async with session.post(f"{host.base_url}/admin/functions/absent", json={}) as response:
            assert response.status == 404
    assert functions["books_show"]["invoke_url_template"] == f"{host.base_url}/books/{{id}}"
    assert functions["work"]["config"]["bindings"][0]["queueName"] == "%SAMPLE_PREFIX%-work"
