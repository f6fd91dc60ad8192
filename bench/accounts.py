"""Whether login, reset and registration tell by their time who has an account, and how fast they are."""

import asyncio
import math
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bench.rows import Peer, Row
from core.accounts.passwords import hash_password, verify_password
from core.ids import new_id
from tests.aloud import Aloud

_PASSWORD = "a sentence for the bench"
_SETTINGS = {
    "REQUIRE_VERIFIED_EMAIL": "true",
    "ACCOUNT_ATTEMPTS": "500",
    "ADDRESS_ATTEMPTS": "500",
    "ATTEMPT_WINDOW_SECONDS": "1",  # fewer tries than any limit fit into it
    "PROXY_HOPS": "2",  # so that each of those who sign in at once has a network address of their own
    # the work that reset and registration leave to the queue runs beside later calls: evenly, not in bursts
    "AzureFunctionsJobHost__extensions__queues__batchSize": "1",
    "AzureFunctionsJobHost__extensions__queues__newBatchThreshold": "0",
}
_AT_ONCE = 8
_CALLS_PER_ADDRESS = 4  # as often for the known as for the unknown, since a first call writes another row
_DEALS = 1000
_ROUTES = {
    "login with a wrong password": ("login", {"password": "not the password"}, 401),
    "password reset": ("password-reset", {}, 202),
    "registration": ("register", {"password": "another fine sentence"}, 202),
}


@dataclass(frozen=True)
class Account:
    """An account that has verified its address, and a network address that nobody else has."""

    email: str
    network_address: str


async def measure(quick: bool) -> AsyncIterator[Row]:
    each, repeats = (40, 5) if quick else (200, 25)
    hashing = await _time_hashing(20 if quick else 100)
    async with Aloud.start(openai_base_url="http://127.0.0.1:9/v1", **_SETTINGS) as aloud:
        accounts = await _make_accounts(aloud, max(_AT_ONCE, each // _CALLS_PER_ADDRESS))
        for name, (path, fields, expected) in _ROUTES.items():
            known, unknown = await _compare(aloud, path, fields, expected, accounts, each)
            yield _row(name, known, unknown)
        yield Row(
            "argon2: one password",
            hashing,
            "ms",
            note="alone in its process; each login takes one",
        )
        async for row in _measure_throughput(aloud, accounts[:_AT_ONCE], repeats):
            yield row


# Known and unknown


async def _compare(
    aloud: Aloud, path: str, fields: dict[str, str], expected: int, accounts: list[Account], each: int
) -> tuple[list[float], list[float]]:
    """Return the milliseconds of calls for known and for unknown addresses: in pairs, either one first."""
    # a registration makes an unknown address a known one
    per_stranger = 1 if path == "register" else _CALLS_PER_ADDRESS
    known = [account.email for account in accounts[: each // _CALLS_PER_ADDRESS]] * _CALLS_PER_ADDRESS
    unknown = [_new_email() for _ in range(each // per_stranger)] * per_stranger
    for _ in range(8):  # warms the connection, the caches and the stand-in for an unknown person's hash
        await _time_post(aloud, path, {"email": _new_email(), **fields}, expected)
    times: dict[bool, list[float]] = {True: [], False: []}
    for pair in zip(known, unknown, strict=True):
        calls = list(zip(pair, (True, False), strict=True))
        random.shuffle(calls)
        for email, is_known in calls:
            times[is_known].append(await _time_post(aloud, path, {"email": email, **fields}, expected))
    return times[True], times[False]


def _row(name: str, known: list[float], unknown: list[float]) -> Row:
    value, peer = statistics.median(known), statistics.median(unknown)
    floor = max(_spread_of_halves(known), _spread_of_halves(unknown))
    note = (
        f"known ÷ unknown is {_percent(value / peer)}, two halves of one kind are within ±{floor:.1%}; "
        f"quartiles {_quartiles(known)}, unknown {_quartiles(unknown)} ms; {len(known)} calls of each"
    )
    return Row(f"{name}: a known address", value, "ms", Peer("unknown", peer), note)


def _spread_of_halves(times: list[float]) -> float:
    """Return how many parts of one the medians of two random halves are apart at most, in 95 of 100 deals."""
    dealt = list(times)
    half = len(dealt) // 2
    ratios = []
    for _ in range(_DEALS):
        random.shuffle(dealt)
        ratios.append(abs(math.log(statistics.median(dealt[:half]) / statistics.median(dealt[half:]))))
    return math.expm1(sorted(ratios)[round(0.95 * _DEALS)])


def _percent(ratio: float) -> str:
    return f"1 {'+' if ratio >= 1 else '−'} {abs(ratio - 1):.1%}"


def _quartiles(times: list[float]) -> str:
    first, _, third = statistics.quantiles(times, n=4)
    return f"{first:.1f} to {third:.1f}"


# How fast


async def _time_hashing(repeats: int) -> float:
    """Return the median milliseconds of one check of a password, in this process."""
    password_hash = await hash_password(_PASSWORD)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        if not await verify_password(_PASSWORD, password_hash):
            raise RuntimeError("the hash does not fit its password")
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


async def _measure_throughput(aloud: Aloud, accounts: list[Account], repeats: int) -> AsyncIterator[Row]:
    """Each account signs in again and again, all at once; then each renews one session again and again."""
    sessions: dict[str, Any] = {}

    async def log_in(account: Account) -> None:
        body = {"email": account.email, "password": _PASSWORD}
        sessions[account.email] = await _post(aloud, "login", body, 200, account.network_address)

    async def refresh(account: Account) -> None:
        body = {"refresh_token": sessions[account.email]["refresh_token"]}
        sessions[account.email] = await _post(aloud, "refresh", body, 200, account.network_address)

    for name, act in (("logins", log_in), ("refreshes", refresh)):
        per_second, latency = await _run_at_once(act, accounts, repeats)
        note = f"{len(accounts)} accounts at once, {repeats} times each; the median takes {latency:.0f} ms"
        yield Row(f"{name} per second", per_second, "/s", note=note)


async def _run_at_once(
    act: Callable[[Account], Awaitable[None]], accounts: list[Account], repeats: int
) -> tuple[float, float]:
    """Return acts per second and the median milliseconds of one, after one round that warms up."""
    await asyncio.gather(*(act(account) for account in accounts))
    times: list[float] = []

    async def repeat(account: Account) -> None:
        for _ in range(repeats):
            started = time.perf_counter()
            await act(account)
            times.append((time.perf_counter() - started) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(repeat(account) for account in accounts))
    return len(times) / (time.perf_counter() - began), statistics.median(times)


# Accounts and calls


async def _make_accounts(aloud: Aloud, count: int) -> list[Account]:
    """Register accounts and follow the links of their mails."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def make(number: int) -> Account:
        account = Account(_new_email(), f"10.0.0.{number}")
        async with gate:
            body = {"email": account.email, "password": _PASSWORD}
            await _post(aloud, "register", body, 202, account.network_address)
            link = {"token": await aloud.mailed_token(account.email, "/verify")}
            await _post(aloud, "verify-email", link, 204, account.network_address)
        return account

    return list(await asyncio.gather(*(make(number) for number in range(1, count + 1))))


def _new_email() -> str:
    return f"{new_id()}@aloud.example"


async def _time_post(aloud: Aloud, path: str, body: dict[str, str], expected: int) -> float:
    started = time.perf_counter()
    await _post(aloud, path, body, expected, "10.0.1.1")
    return (time.perf_counter() - started) * 1000


async def _post(aloud: Aloud, path: str, body: dict[str, str], expected: int, network_address: str) -> Any:
    """Send a request as if a proxy had passed it on from this network address."""
    status, content, _ = await aloud.call(
        "POST", f"/api/v1/auth/{path}", token="", json=body, headers={"X-Forwarded-For": network_address}
    )
    if status != expected:
        raise RuntimeError(f"{path} answers {status} in place of {expected}: {content}")
    return content
