"""A checkout: its storage calls, and how many a second, beside PostgreSQL with one transaction."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from bench.postgres import PEERS, has_peer, start_app, start_postgres
from bench.process import read_cpu_seconds
from bench.rows import Limit, Peer, Row
from core.accounts.keys import KeyRing
from core.accounts.models import Session, User
from core.accounts.tokens import AccessTokens
from core.caller import Caller
from core.catalog.models import Book, Money
from core.commerce.models import Cart, CartEntry, CheckoutWish
from core.ids import new_id, now
from core.payments import PaymentRequest
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.account import count_calls
from core.storage.tables import Insert
from core.wiring import build
from localhost.azurite import STORAGE
from tests.aloud import Aloud

CONNECTIONS = 32
_KEY = "a-signing-key-for-the-bench-and-nothing-else"
_POSTGRES = "PostgreSQL, FastAPI"
_SIZES = (1, 10)
_LATENCY_SECONDS = 0.05


@dataclass
class Load:
    """What checkouts took: milliseconds of each, seconds of all; how many requests were repeated."""

    each: list[float] = field(default_factory=list)
    seconds: float = 0
    repeats: int = 0

    @property
    def rate(self) -> float:
        return len(self.each) / self.seconds

    def part(self, share: float) -> float:
        return sorted(self.each)[min(len(self.each) - 1, int(len(self.each) * share))]


async def measure(quick: bool) -> AsyncIterator[Row]:
    count = 60 if quick else 300
    books = [_book(number) for number in range(max(_SIZES))]
    ours: dict[int, Load] = {}
    environment = {"JWT_SIGNING_KEY": _KEY, "CATALOG_REFRESH_SECONDS": "3600"}
    async with Aloud.start(openai_base_url="http://127.0.0.1:9/v1", **environment) as aloud:
        settings = Settings.read({STORAGE: aloud.connection_string, "JWT_SIGNING_KEY": _KEY})
        account = StorageAccount(settings)
        tokens = AccessTokens(KeyRing.read(_KEY, "access tokens"), aloud.base_url, timedelta(minutes=15))
        address = f"{aloud.base_url}/api/v1/checkout"
        try:
            for book in books:
                await account.table("books").insert(book, book.id, "book")
            for size in _SIZES:
                for row in await _measure_calls(settings, await _callers(account, books[:size], 3)):
                    yield row
            for size in _SIZES:
                for number in (40, count):  # the first ones warm up
                    people = await _callers(account, books[:size], number)
                    said = [tokens.issue(one.user_id, one.session_id, ("listener",)) for one in people]
                    before = read_cpu_seconds(aloud.pid) or 0
                    ours[size] = await _load(address, said)
                    each = ((read_cpu_seconds(aloud.pid) or 0) - before) / number * 1000
                note = "the local host's and the receipts' included, which the same process sends meanwhile"
                yield Row(f"checkout of {size}: CPU of the app", each or None, "ms", note=note)
        finally:
            await account.close()
    theirs = await _measure_peer(books, count * 4) if has_peer() else {}
    for size in _SIZES:
        for row in _compare(size, ours[size], theirs.get(size)):
            yield row


async def _measure_calls(settings: Settings, people: Sequence[Caller]) -> list[Row]:
    """Check out with a storage as far away as one in a cloud; the last time counts."""

    @asynccontextmanager
    async def far_away(_: str, __: str) -> AsyncIterator[None]:
        await asyncio.sleep(_LATENCY_SECONDS)
        yield

    services = build(settings, StorageAccount(settings, far_away))
    try:
        for person in people:
            size = len((await services.commerce.cart.show(person)).items)
            whole = count_calls()
            caller = await services.accounts.sessions.confirm(person)
            wish = CheckoutWish(payment_method="simulated")
            answer, _ = await services.commerce.checkout.check_out(caller, new_id(), wish, new_id())
            assert answer.order is not None and answer.order.state == "paid", answer
            provider = count_calls()
            await services.providers["simulated"].charge(_request())
    finally:
        await services.close()
    note = f"and {provider.count} calls in {provider.rounds} rounds of the simulated provider"
    return [
        Row(f"checkout of {size}: storage calls", whole.count - provider.count, "calls", note=note),
        Row(f"checkout of {size}: rounds", whole.rounds - provider.rounds, "rounds", Limit("<", 6),
            f"the session's included; each call takes {_LATENCY_SECONDS * 1000:.0f} ms more here"),
    ]  # fmt: skip


def _request() -> PaymentRequest:
    return PaymentRequest(
        user_id=new_id(), order_id=new_id(), amount=999, currency="USD", email="ada@aloud.example",
        description="Bench", method="simulated", return_url="http://localhost/",
    )  # fmt: skip


def _compare(size: int, own: Load, other: Load | None) -> list[Row]:
    name = f"checkout of {size}, {CONNECTIONS} connections"
    return [
        Row(f"{name}: orders", own.rate, "/s", Peer(_POSTGRES, other.rate) if other else None,
            f"{own.repeats} requests repeated after a 503"),
        *(
            Row(f"{name}: p{share:.0%}"[:-1], own.part(share), "ms",
                Peer(_POSTGRES, other.part(share)) if other else None)
            for share in (0.5, 0.95)
        ),
    ]  # fmt: skip


async def _load(address: str, people: Sequence[str]) -> Load:
    """Check out once for each person, over so many connections."""
    load, left = Load(), list(people)

    async def work(http: aiohttp.ClientSession) -> None:
        while left:
            headers = {"Authorization": f"Bearer {left.pop()}", "Idempotency-Key": new_id()}
            began = time.perf_counter()
            while not await ask(http, headers):  # with the same key, as a client does
                load.repeats += 1
                await asyncio.sleep(0.5)
            load.each.append((time.perf_counter() - began) * 1000)

    async def ask(http: aiohttp.ClientSession, headers: dict[str, str]) -> bool:
        async with http.post(address, json={"payment_method": "simulated"}, headers=headers) as answer:
            content = await answer.read()
            if answer.status not in (201, 503):
                raise RuntimeError(f"the checkout answers {answer.status}: {content[:300]!r}")
            return answer.status == 201

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as http:
        started = time.perf_counter()
        await asyncio.gather(*(work(http) for _ in range(CONNECTIONS)))
        load.seconds = time.perf_counter() - started
    return load


# Those who buy


def _book(number: int) -> Book:
    at = now()
    return Book(
        id=new_id(at),
        title=f"Book {number}",
        price=Money(amount=999),
        visibility="published",
        processing_status="ready",
        created_at=at,
        updated_at=at,
    )


async def _callers(account: StorageAccount, books: Sequence[Book], count: int) -> list[Caller]:
    """Make people with a session and a full cart."""
    users, at = account.table("users"), now()
    cart = Cart(entries=tuple(CartEntry(book_id=book.id, added_at=at) for book in books))
    gate = asyncio.Semaphore(16)

    async def make() -> Caller:
        user_id, session_id = new_id(), new_id()
        email = f"{user_id}@aloud.example"
        user = User(id=user_id, email=email, email_verified=True, display_name="Ada", created_at=at)
        session = Session(
            id=session_id,
            family_key=new_id(),
            secret_hash="",
            epoch=user.epoch,
            kind="api",
            address="",
            device="",
            created_at=at,
            renewed_at=at,
            expires_at=at + timedelta(days=1),
        )
        rows = [Insert("user", user), Insert(f"session_{session_id}", session), Insert("cart", cart)]
        async with gate:
            await users.transact(user_id, rows)
        return Caller(user_id=user_id, session_id=session_id, roles=frozenset({"listener"}))

    return list(await asyncio.gather(*(make() for _ in range(count))))


# The peer


async def _measure_peer(books: Sequence[Book], count: int) -> dict[int, Load]:
    """Give the peer the same books and as many carts of each size, and check them out."""
    with TemporaryDirectory(prefix="aloud-bench-") as folder:
        async with start_postgres(Path(folder)) as postgres:
            await postgres.run("-f", PEERS / "shop.sql")
            rows = ", ".join(f"('{b.id}', '{b.title}', 999, 'USD', 'published')" for b in books)
            await postgres.run(
                "-c", f"INSERT INTO books (id, title, price, currency, visibility) VALUES {rows}"
            )
            async with start_app("shop", postgres) as address:
                loads = {}
                for size in _SIZES:
                    for turn, number in (("warm", 200), ("done", count)):
                        people = [f"{turn}-{size}-{one}" for one in range(number)]
                        await postgres.run("-c", _fill(turn, size, number, [b.id for b in books[:size]]))
                        loads[size] = await _load(f"{address}/checkout", people)
    return loads


def _fill(turn: str, size: int, number: int, books: Sequence[str]) -> str:
    """Return the statements that make people whose sessions are called as they are, with full carts."""
    name = f"'{turn}-{size}-' || n"
    series = f"generate_series(0, {number - 1}) n"
    listed = ", ".join(f"'{book}'" for book in books)
    return (
        f"INSERT INTO users SELECT {name}, {name} || '@aloud.example', 1 FROM {series};"
        f"INSERT INTO sessions SELECT {name}, {name}, 1, now() + interval '1 day' FROM {series};"
        f"INSERT INTO cart_items (user_id, book_id) SELECT {name}, b FROM {series}, "
        f"unnest(ARRAY[{listed}]) b;"
    )
