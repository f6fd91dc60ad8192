"""Attempts are counted by the address that the platform saw, whatever the client says of itself."""

from collections.abc import Iterator

import azure.functions as func
import pytest

from functions.callers import client_address, read_address
from functions.services import services
from localhost.azurite import Azurite


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("203.0.113.7:61598", "203.0.113.7"),
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7:61598", "203.0.113.7"),
        ("198.51.100.1:1,10.0.0.1 ,203.0.113.7:61598", "203.0.113.7"),
        ("203.0.113.7:61598, not an address", "unknown"),
        ("[2001:db8:1:2:3:4:5:6]:61598", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:ffff::1]", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("[::ffff:203.0.113.7]:61598", "203.0.113.7"),
        ("", "unknown"),
        (",", "unknown"),
        ("203.0.113.7:61598,", "unknown"),
        ("203.0.113.007", "unknown"),
        ("203.0.113.7:port", "unknown"),
        ("[203.0.113.7", "unknown"),
        ("[2001:db8::1]x", "unknown"),
        ("203.0.113.7:1\r\nX: y", "unknown"),
        ("1" * 10_000, "unknown"),
    ],
)
def test_the_last_entry_is_the_client(forwarded: str, expected: str) -> None:
    assert read_address(forwarded, 1) == expected


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("203.0.113.7, 192.0.2.1:443", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 192.0.2.1:443", "203.0.113.7"),
        ("192.0.2.1:443", "unknown"),
    ],
)
def test_with_another_proxy_in_front_it_is_the_one_before(forwarded: str, expected: str) -> None:
    assert read_address(forwarded, 2) == expected


@pytest.fixture(params=["1", "2"])
def hops(request: pytest.FixtureRequest, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("AzureWebJobsStorage", azurite.connection_string)
    monkeypatch.setenv("JWT_SIGNING_KEY", "k" * 32)
    monkeypatch.setenv("PROXY_HOPS", request.param)
    services.cache_clear()
    yield int(request.param)
    services.cache_clear()


def test_the_setting_says_how_many_proxies_there_are(hops: int) -> None:
    headers = {"X-Forwarded-For": "203.0.113.2:1, 203.0.113.1:1"}
    request = func.HttpRequest("GET", "http://localhost/", headers=headers, body=b"")
    assert client_address(request) == f"203.0.113.{hops}"
    assert client_address(func.HttpRequest("GET", "http://localhost/", headers={}, body=b"")) == "unknown"
