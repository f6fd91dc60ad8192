"""Who may call what: every route, by every kind of caller, over the running app, against `access.txt`."""

import asyncio
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jwt
import pyotp
import pytest
import pytest_asyncio
import schemathesis
from requests import Request
from schemathesis.schemas import BaseSchema

from core.accounts.keys import KeyRing
from core.accounts.tokens import AccessTokens
from core.catalog.models import (
    AudioPart,
    Book,
    MediaFile,
    Money,
    PersonName,
    SeriesPlace,
    Visibility,
    name_id,
)
from core.errors import UnauthenticatedError
from core.ids import new_id, now
from core.payments import PaymentEvent, Simulated
from core.settings import Settings
from core.storage import StorageAccount
from core.wiring import Services, build
from tests.aloud import ROOT, Aloud
from tests.audio import make_audio, make_png
from tests.google_issuer import GoogleIssuer
from tests.person import Person, form_with_file, write_blob
from tests.scripted_ai import ScriptedAi

TABLE = ROOT / "tests" / "functions" / "access.txt"
SIGNING_KEY = "development-key-that-tests-know-too"
API = "/api/v1"
SIGNED_IN = ("listener", "other", "publisher", "admin")
CALLERS = ("nobody", *SIGNED_IN, "closed", "expired")
MAILED = ("nobody", "listener", "expired")
ACCESS = dict.fromkeys(("self", "entitled", "publishing", "owner"), "listener")
WORDS = "Shelf"
ANNOUNCED = {"purpose": "audiobook", "filename": "a.mp3", "size_bytes": 5, "content_type": "audio/mpeg"}
HEARD = "heard.mp3"
UNUSABLE = ("not audio.mp3", "not audio either.mp3", "nor this.mp3")


@dataclass(frozen=True)
class Question:
    """A line of the table."""

    method: str
    path: str
    about: str
    who: str
    success: int
    expected: Mapping[str, int]

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"


def read_table() -> list[Question]:
    questions = []
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            asked, _, statuses = line.partition("|")
            method, path, about, who, success = asked.split()
            expected = dict(zip(CALLERS, map(int, statuses.split()), strict=True))
            questions.append(Question(method, path, about, who, int(success), expected))
    return questions


def forge(
    token: str, *, key: bytes | None = None, headers: Mapping[str, Any] | None = None, **claims: Any
) -> str:
    """Return a token like this one with other claims (None: without it), signed with the app's key."""
    ring = KeyRing.read(SIGNING_KEY, "access tokens")
    content = jwt.decode(token, options={"verify_signature": False}) | claims
    content = {name: value for name, value in content.items() if value is not None}
    return jwt.encode(content, key or ring.first.secret, "HS256", {"kid": ring.first.kid, **(headers or {})})


@dataclass
class Player:
    """A caller: an account, the token that it sends (`renews`: its latest one), and what it was told."""

    person: Person
    token: str = ""
    renews: bool = False
    moved: str = ""
    links: dict[str, str] = field(default_factory=dict)
    totp_secret: str = "unknown"
    recovery_code: str = "unknown"

    async def ask_for_links(self) -> None:
        """Have mailed what verifies the address, and what moves the account to another."""
        person, self.moved = self.person, new_address()
        await person.post("/auth/verify-email/resend", email=person.email)
        await person.post("/users/me/email", email=self.moved, password=person.password)
        self.links["/verify"] = await person.aloud.mailed_token(person.email, "/verify")
        self.links["/verify/email"] = await person.aloud.mailed_token(self.moved, "/verify/email")

    async def prepare(self, route: str) -> None:
        """Have mailed what the question needs that comes next."""
        if route == "POST /auth/password-reset/confirm" and self.links:
            await self.person.post("/auth/password-reset", email=self.person.email)
            self.links["/reset"] = await self.person.aloud.mailed_token(self.person.email, "/reset")

    async def note(self, route: str, content: Any) -> None:
        """Keep what later questions need of this answer, and sign in again where the session has ended."""
        match route:
            case "POST /auth/mfa/setup":
                self.totp_secret = content["secret"]
            case "POST /auth/mfa/confirm":
                self.recovery_code = content["recovery_codes"][0]
            case "POST /users/me/email/confirm":
                self.person.email = self.moved
            case "POST /auth/password-reset/confirm" | "POST /auth/logout" | "POST /auth/logout-all":
                if self.renews:
                    await self.person.sign_in()
                    self.token = self.person.tokens["access_token"]


@dataclass
class World:
    """The app, who calls it, and the ids of what there is to ask about."""

    aloud: Aloud
    issuer: GoogleIssuer
    schema: BaseSchema
    players: dict[str, Player]
    ids: dict[str, str]

    async def ask(self, question: Question, caller: str) -> int:
        """Return the status; the answer has to be as the description says."""
        player = self.players[caller]
        route = f"{question.method} {question.path.removeprefix(API)}"
        await player.prepare(route)
        about = self.ids.get(f"{question.about} of {caller}") or self.ids.get(question.about, "")
        path = re.sub(r"{\w+}", about, question.path.replace("{version}", "1").replace("{index}", "0"))
        sent = SENT[route](self, player) if route in SENT else {}
        headers = {"Authorization": f"Bearer {player.token}"} if player.token else {}
        headers |= sent.pop("headers", {})
        async with self.aloud.http.request(
            question.method, path, headers=headers, allow_redirects=False, **sent
        ) as answer:
            content = await answer.read()
            self.check(question, answer.status, answer.headers, content)
            if answer.ok:
                await player.note(route, await answer.json() if content else None)
            return answer.status

    def check(self, question: Question, status: int, headers: Mapping[str, str], content: bytes) -> None:
        operation = self.schema[question.path][question.method]
        assert str(status) in operation.definition.raw["responses"], (question.route, status)
        request = Request(question.method, f"{self.aloud.base_url}{question.path}").prepare()
        lists = {name.lower(): [value] for name, value in headers.items()}
        operation.validate_response(schemathesis.Response(status, lists, content, request, 0, verify=False))
        assert (headers.get("WWW-Authenticate") == "Bearer") == (status == 401)
        if status >= 400:
            assert headers["Content-Type"] == "application/problem+json"
        for secret in (b"argon2", b"password_hash", b"secret_hash", b"family_key", b"epoch"):
            assert secret not in content, question.route


@pytest_asyncio.fixture(scope="module")
async def app(session_ai: ScriptedAi) -> AsyncIterator[tuple[Aloud, GoogleIssuer]]:
    """An Aloud whose signing key we know, with Google sign-in."""
    async with GoogleIssuer.start() as issuer:
        settings = issuer.settings | {"JWT_SIGNING_KEY": SIGNING_KEY}
        async with Aloud.start(openai_base_url=session_ai.base_url, **settings) as aloud:
            yield aloud, issuer


@pytest_asyncio.fixture(scope="module")
async def world(app: tuple[Aloud, GoogleIssuer]) -> World:
    aloud, issuer = app
    for name in UNUSABLE:
        await aloud.upload(name, b"words " * 100, "audio/mpeg")
    await aloud.upload(HEARD, make_audio("mp3", 3, sounds=[(0.5, 2.5)]))
    people, person = await asyncio.gather(
        asyncio.gather(*(Person.join(aloud) for _ in CALLERS)), Person.join(aloud)
    )
    players = {name: Player(person) for name, person in zip(CALLERS, people, strict=True)}
    await asyncio.gather(*(players[name].ask_for_links() for name in MAILED))
    ids = {"person": (await person.get("/users/me"))["id"]}
    for name in ("publisher", "admin"):
        user = await players[name].person.get("/users/me")
        status, _, _ = await aloud.call(
            "PUT", f"{API}/admin/users/{user['id']}/roles", json={"roles": [name]}
        )
        assert status == 200
        await players[name].person.sign_in()
    publisher = await players["publisher"].person.get("/users/me")
    ids |= await stock(aloud, publisher["id"])
    await wait_for_index(aloud, ids)
    listener = players["listener"].person
    ids["session"] = (await listener.get("/users/me/sessions"))["items"][0]["id"]
    await listener.sign_in()
    _, export, _ = await listener.call("POST", "/users/me/export")
    ids["export"] = export["id"]
    sound = make_audio("bare mp3", 3, sounds=[(0, 3)], rate=16_000)
    ids["recording"] = await recorded(listener, sound, "ready")
    ids["rejected"] = await recorded(listener, b"words", "rejected")
    for name in ("task", "old-task"):
        status, task, _ = await listener.post("/tasks", name=name)
        assert status == 201, task
        ids[name] = task["id"]
    _, stretch, _ = await listener.post(
        "/listening/sessions", audiobook_id=ids["free"], start_position_seconds=0
    )
    ids["listening"] = stretch["id"]
    _, archive, _ = await listener.post("/my-books/downloads", audiobook_ids=[ids["free"]])
    ids["archive"] = archive["id"]
    jobs = [await aloud.settled(name) for name in (*UNUSABLE, HEARD)]
    ids["job"] = jobs[0]["id"]
    ids["alert"] = await alert(aloud)
    ids["queue"] = "notify"
    ids |= await hand_over(aloud, publisher["id"], [job["audiobook_id"] for job in jobs[1:]])
    for path, word in (
        ("authors", "author"),
        ("narrators", "narrator"),
        ("genres", "genre"),
        ("series",) * 2,
    ):
        status, row, _ = await aloud.call("POST", f"{API}/{path}", json={"name": f"An unused {word}"})
        assert status == 201, row
        ids[f"own-{word}"] = row["id"]
    lines: dict[str, Any] = {
        "data": b'{"title": "Imported"}',
        "headers": {"Content-Type": "application/jsonl"},
    }
    _, begun, _ = await aloud.call("POST", f"{API}/admin/import", **lines)
    ids["import"] = begun["id"]
    _, whole, _ = await aloud.call("POST", f"{API}/admin/export", json={})
    ids["all-books"] = whole["id"]
    ids["order"] = await order_of(listener, ids["bought"])
    ids["sale"] = await order_of(person, ids["bought"])
    ids["gift"] = await gift_of(person, ids["given"])
    ids["voucher"] = "FOR-CHANGES"
    terms = {"code": ids["voucher"], "percent": 10}
    assert (await aloud.call("POST", f"{API}/admin/vouchers", json=terms))[0] == 201
    ids["upload"] = await uploaded(players["publisher"].person)
    for name in SIGNED_IN:
        players[name].token = players[name].person.tokens["access_token"]
        players[name].renews = True
    closed = players["closed"]
    closed.token = closed.person.tokens["access_token"]
    user_id = (await closed.person.get("/users/me"))["id"]
    status, _, _ = await aloud.call("POST", f"{API}/admin/users/{user_id}/disable")
    assert status == 200
    living = players["expired"].person.tokens["access_token"]
    players["expired"].token = forge(living, iat=now() - timedelta(hours=1), exp=now() - timedelta(seconds=1))
    schema = schemathesis.openapi.from_dict(await aloud.get("/openapi.json"))
    return World(aloud, issuer, schema, players, ids)


def join(aloud: Aloud) -> Services:
    connection = {"AzureWebJobsStorage": aloud.connection_string, "JWT_SIGNING_KEY": SIGNING_KEY}
    return build(Settings.read(connection))


async def stock(aloud: Aloud, owner_id: str) -> dict[str, str]:
    """Put books of one publisher on the shelf, with audio and transcript, and return their ids."""
    services = join(aloud)
    shelf: list[tuple[str, Visibility, int]] = [
        ("free", "published", 0),
        ("priced", "published", 1299),
        ("draft", "draft", 0),
        ("withdrawn", "withdrawn", 0),
        ("sold", "published", 1299),
        ("sold of publisher", "published", 1299),
        ("sold of admin", "published", 1299),
        ("goods", "published", 1299),
        ("given", "published", 1299),
        ("bought", "published", 1299),
    ]
    ids = {}
    media = aloud.blobs.get_container_client("media")
    try:
        for name, visibility, amount in shelf:
            book = Book(
                id=new_id(),
                owner_id=owner_id,
                title=f"{WORDS} {name}",
                authors=(PersonName.of("Ann Author"),),
                narrators=(PersonName.of("Ned Narrator"),),
                genres=("Matrix",),
                series=SeriesPlace(id=name_id("series", "Access"), name="Access"),
                duration_seconds=10,
                price=Money(amount=amount),
                visibility=visibility,
                processing_status="ready",
                parts=(AudioPart(blob=f"{name}.mp3", content_type="audio/mpeg", size=1),),
                sample=MediaFile(blob=f"{name} sample.mp3", content_type="audio/mpeg", size=1),
                transcript_prefix=name,
                created_at=now(),
                updated_at=now(),
            )
            await services.catalog.create(book)
            await media.upload_blob(f"{name}.json", b'{"segments": []}')
            ids[name] = book.id
    finally:
        await services.close()
    ids["author"] = name_id("person", "Ann Author")
    ids["narrator"] = name_id("person", "Ned Narrator")
    ids["series"] = name_id("series", "Access")
    return ids


async def wait_for_index(aloud: Aloud, ids: dict[str, str]) -> None:
    """Wait until the catalog shows what was put on the shelf."""
    async with asyncio.timeout(20):
        for path in (f"/series/{ids['series']}", f"/audiobooks/{ids['priced']}/similar"):
            while (await aloud.call("GET", f"{API}{path}"))[0] != 200:
                await asyncio.sleep(0.1)


async def order_of(person: Person, book_id: str, **wish: Any) -> str:
    """Buy a book, and return the order's id."""
    await person.post("/cart/add", audiobook_id=book_id)
    headers = {"Idempotency-Key": new_id()}
    status, order, _ = await person.call(
        "POST", "/checkout", headers=headers, json={"payment_method": "simulated", **wish}
    )
    assert status == 201, order
    return str(order["id"])


async def gift_of(person: Person, book_id: str) -> str:
    """Buy a book for somebody, and return the code of the mailed link."""
    email = new_address()
    await order_of(person, book_id, gift={"email": email})
    return (await person.aloud.mail(email, "/gifts/")).partition("/gifts/")[2].split()[0]


def webhook() -> dict[str, Any]:
    """Return what the simulated provider sends, signed."""
    settings = Settings.read({"AzureWebJobsStorage": "none", "JWT_SIGNING_KEY": SIGNING_KEY})
    provider = Simulated(StorageAccount(settings).table("charges"), settings)
    event = PaymentEvent(id=new_id(), user_id=new_id(), order_id=new_id() + new_id())
    body, headers = provider.write_webhook(event)
    return {"data": body, "headers": headers}


async def recorded(person: Person, content: bytes, end: str) -> str:
    """Send a recording in private, which has to come to this end, and return the task's id."""
    status, answer, _ = await person.call("POST", "/transcribe?wait=60", data=form_with_file(content))
    assert (status, answer["task"]["status"]) == (200, end), answer
    return str(answer["task"]["id"])


async def uploaded(person: Person) -> str:
    """Announce a file and write it, and return the upload's id."""
    status, upload, _ = await person.post("/uploads", **ANNOUNCED)
    assert status == 201, upload
    await write_blob(upload["url"], b"words")
    return str(upload["id"])


async def alert(aloud: Aloud) -> str:
    """Raise an alert and return its id."""
    services = join(aloud)
    try:
        raised = await services.operations.raise_alert("test", "A test", "", new_id(), now(), mail=False)
        return raised.id
    finally:
        await services.close()


async def hand_over(aloud: Aloud, owner_id: str, books: list[str]) -> dict[str, str]:
    """Make dropped books the publisher's: failed ones, for each of those who try again, and a whole one."""
    services = join(aloud)
    try:
        for book_id in books:
            await services.catalog.update(
                book_id, lambda book: book.model_copy(update={"owner_id": owner_id})
            )
    finally:
        await services.close()
    return {
        "failed": books[0],
        "failed of publisher": books[0],
        "failed of admin": books[1],
        "heard": books[2],
    }


# What each caller sends along


def new_address() -> str:
    return f"{new_id()}@example.com"


def credentials(player: Player) -> dict[str, Any]:
    return {"json": {"email": player.person.email, "password": player.person.password}}


def password(player: Player, **more: str) -> dict[str, Any]:
    return {"json": {"password": player.person.password, **more}}


def address(player: Player) -> dict[str, Any]:
    return {"json": {"email": player.person.email}}


def code(player: Player) -> dict[str, Any]:
    known = player.totp_secret != "unknown"
    return {"json": {"mfa_code": pyotp.TOTP(player.totp_secret).now() if known else "000000"}}


SENT: dict[str, Callable[[World, Player], dict[str, Any]]] = {
    "POST /auth/register": lambda _, p: password(p, email=new_address()),
    "POST /auth/login": lambda _, p: credentials(p),
    "POST /auth/google-login": lambda w, _: {
        "json": {"id_token": w.issuer.token(email=new_address(), sub=new_id())}
    },
    "PUT /auth/google": lambda w, p: password(p, id_token=w.issuer.token(email=new_address(), sub=new_id())),
    "DELETE /auth/google": lambda _, p: password(p),
    "POST /auth/refresh": lambda _, p: {"json": {"refresh_token": p.person.tokens["refresh_token"]}},
    "POST /auth/verify-email": lambda _, p: {"json": {"token": p.links.get("/verify", "none")}},
    "POST /auth/verify-email/resend": lambda _, p: address(p),
    "POST /auth/password-reset": lambda _, p: address(p),
    "POST /auth/password-reset/confirm": lambda _, p: password(p, token=p.links.get("/reset", "none")),
    "POST /users/me/email": lambda _, p: password(p, email=new_address()),
    "POST /users/me/email/confirm": lambda _, p: {"json": {"token": p.links.get("/verify/email", "none")}},
    "PUT /users/me": lambda _, p: {"json": {"bio": "Reads at night."}},
    "PUT /users/me/picture": lambda _, p: {"data": make_png(), "headers": {"Content-Type": "image/png"}},
    "PUT /users/me/password": lambda _, p: {
        "json": {"current_password": p.person.password, "new_password": p.person.password}
    },
    "DELETE /users/me": lambda _, p: password(p),
    "POST /auth/mfa/setup": lambda _, p: password(p),
    "POST /auth/mfa/confirm": lambda _, p: code(p),
    "DELETE /auth/mfa": lambda _, p: password(p, mfa_code=p.recovery_code),
    "GET /audiobooks/search": lambda _, __: {"params": {"q": WORDS}},
    "GET /audiobooks/suggest": lambda _, __: {"params": {"q": WORDS}},
    "POST /audiobooks/upload": lambda _, __: {"data": form_with_file(b"words", title="By form")},
    **{
        f"POST /{kind}": lambda _, __: {"json": {"name": new_id()}}
        for kind in ("authors", "narrators", "genres", "series")
    },
    **{
        f"PUT /{kind}/{{id}}": lambda _, __, kind=kind: {"json": {"name": f"Unused {kind}"}}  # type: ignore[misc]
        for kind in ("authors", "narrators", "genres", "series")
    },
    "POST /admin/import": lambda _, __: {
        "data": b'{"title": "Imported"}',
        "headers": {"Content-Type": "application/jsonl"},
    },
    "POST /admin/export": lambda _, __: {"json": {"format": "jsonl"}},
    **{
        f"{method} /progress/{{audiobook_id}}": lambda _, __: {"json": {"position_seconds": 5}}
        for method in ("POST", "PUT")
    },
    "PUT /progress": lambda w, _: {
        "json": {"items": [{"audiobook_id": w.ids["free"], "position_seconds": 6}]}
    },
    "POST /listening/sessions": lambda w, _: {
        "json": {"audiobook_id": w.ids["free"], "start_position_seconds": 0}
    },
    "PUT /listening/sessions/{id}": lambda _, __: {"json": {"seconds_listened": 1}},
    "POST /uploads": lambda _, __: {"json": ANNOUNCED},
    "POST /transcribe": lambda _, __: {"data": form_with_file(b"words")},
    "POST /tasks": lambda _, __: {"json": {"name": "New"}},
    "PUT /tasks": lambda w, _: {"json": {"items": [{"id": w.ids["task"], "tags": ["changed"]}]}},
    "DELETE /tasks": lambda w, _: {"json": {"ids": [w.ids["old-task"]]}},
    "PUT /tasks/{id}": lambda _, __: {"json": {"name": "Renamed"}},
    "POST /my-books/downloads": lambda w, _: {"json": {"audiobook_ids": [w.ids["free"]]}},
    "POST /audiobooks": lambda _, __: {"json": {"title": "New"}},
    "PUT /audiobooks/{id}": lambda _, __: {"json": {"title": "Replaced", "price": {"amount": 1299}}},
    "PATCH /audiobooks/{id}": lambda _, __: {"json": {"subtitle": "Patched"}},
    "PUT /audiobooks/{id}/transcript/segments/{index}": lambda _, __: {"json": {"text": new_id()}},
    "PATCH /audiobooks/{id}/transcript": lambda _, __: {"json": {"segments": [{"index": 0, "text": WORDS}]}},
    "PUT /audiobooks/{id}/chapters": lambda _, __: {"json": {"items": []}},
    "POST /audiobooks/{id}/cover": lambda _, __: {
        "data": make_png(),
        "headers": {"Content-Type": "image/png"},
    },
    "PUT /admin/pipeline": lambda _, __: {"json": {"is_paused": False}},
    "POST /cart/add": lambda w, _: {"json": {"audiobook_id": w.ids["goods"]}},
    "POST /cart/merge": lambda w, _: {"json": {"audiobook_ids": [w.ids["goods"]]}},
    "POST /checkout": lambda _, __: {
        "json": {"payment_method": "simulated"},
        "headers": {"Idempotency-Key": new_id()},
    },
    "POST /gifts/redeem": lambda w, p: {
        "json": {"code": w.ids["gift"] if p is w.players["listener"] else "made-up"}
    },
    "POST /payments/webhook": lambda _, __: webhook(),
    "POST /admin/vouchers": lambda _, __: {"json": {"code": f"V-{new_id()}", "percent": 10}},
    "PUT /admin/vouchers/{code}": lambda _, __: {"json": {"percent": 20}},
    "PUT /admin/users/{id}/roles": lambda _, p: {"json": {"roles": ["publisher"]}},
}


def test_the_table_keeps_its_own_rules() -> None:
    questions = read_table()
    assert len({(q.route, q.about) for q in questions}) == len(questions)
    for question in questions:
        statuses = question.expected
        assert question.success in statuses.values(), question
        if question.who in ("anyone", "signed"):
            assert statuses["nobody"] in (question.success, 404), question
        else:
            assert statuses["nobody"] == statuses["expired"] == 401, question
        if question.who == "admin":
            passed = {caller for caller, status in statuses.items() if status == question.success}
            assert passed == {"admin"}, question
        if question.who == "self":
            passed = {caller for caller, status in statuses.items() if status == question.success}
            assert passed == {"listener"}, question
            assert all(statuses[caller] == 404 for caller in SIGNED_IN if caller not in passed), question


async def test_every_route_is_in_the_table(app: tuple[Aloud, GoogleIssuer]) -> None:
    described = {
        f"{method.upper()} {path}": operation
        for path, operations in (await app[0].get("/openapi.json"))["paths"].items()
        for method, operation in operations.items()
    }
    questions = read_table()
    assert {question.route for question in questions} == described.keys()
    for question in questions:
        operation = described[question.route]
        assert operation["x-access"] == ACCESS.get(question.who, question.who), question.route
        assert bool(operation["security"]) == (question.who not in ("anyone", "signed")), question.route
        assert str(question.success) in operation["responses"], question.route


async def test_every_route_answers_every_caller_as_the_table_says(world: World) -> None:
    questions = read_table()

    async def ask_all(caller: str) -> list[int]:
        return [await world.ask(question, caller) for question in questions]

    answers = await asyncio.gather(*(ask_all(caller) for caller in CALLERS))
    wrong = [
        (question.route, question.about, caller, status, question.expected[caller])
        for caller, statuses in zip(CALLERS, answers, strict=True)
        for question, status in zip(questions, statuses, strict=True)
        if status != question.expected[caller]
    ]
    assert wrong == []


# Access tokens that are none

BY_ROLE = [
    ("GET", "/users/me"),
    ("GET", "/audiobooks"),
    ("GET", "/admin/users"),
    ("PUT", "/users/me"),
    ("POST", "/users/me/export"),
    ("POST", "/auth/logout-all"),
    ("DELETE", "/users/me"),
    ("POST", "/admin/jobs/none/retry"),
]


def encoded(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return urlsafe_b64encode(raw).decode().rstrip("=")


def bad_tokens(good: str, other: str) -> dict[str, str]:
    """Return tokens that differ from `good` in one thing each; `other` is someone else's."""
    head, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    ring = KeyRing.read(SIGNING_KEY, "access tokens")
    kid = {"kid": ring.first.kid}
    links = KeyRing.read(SIGNING_KEY, "links")
    past = now() - timedelta(hours=1)
    return {
        "expired": forge(good, iat=past, exp=past + timedelta(minutes=15)),
        "issued later": forge(good, iat=now() + timedelta(hours=1)),
        "audience": forge(good, aud="another"),
        "audiences": forge(good, aud=["another", "else"]),
        "issuer": forge(good, iss="https://aloud.example"),
        "payload of another": f"{head}.{other.split('.')[1]}.{signature}",
        "signature cut": good[:-4],
        "signature gone": f"{head}.{body}.",
        "key": forge(good, key=b"k" * 32),
        "key of another purpose": forge(good, key=links.first.secret),
        "kid of another purpose": forge(good, key=links.first.secret, headers={"kid": links.first.kid}),
        "kid unknown": forge(good, headers={"kid": "0" * 12}),
        "kid a path": forge(good, headers={"kid": "../../dev/null"}),
        "kid none": jwt.encode(claims, ring.first.secret, "HS256"),
        "alg none": jwt.encode(claims, "", "none", kid),
        "alg None": f"{encoded(json.dumps({'alg': 'None', **kid}))}.{body}.",
        "alg HS512": jwt.encode(claims, ring.first.secret * 2, "HS512", kid),
        **{f"without {name}": forge(good, **{name: None}) for name in claims},
        "sub a number": forge(good, sub=1),
        "roles a text": forge(good, roles="admin"),
        "roles unknown": forge(good, roles=["owner"]),
        "exp a text": forge(good, exp="tomorrow"),
        "exp infinite": forge(good, exp=float("inf")),
        "head a list": f"{encoded('[]')}.{body}.{signature}",
        "head deep": f"{encoded(b'[' * 4000)}.{body}.{signature}",
        "head a huge number": f"{encoded(b'1' * 5000)}.{body}.{signature}",
        "head no text": f"{encoded(bytes(range(256)))}.{body}.{signature}",
        "huge": "a" * 7000,
        "huge parts": f"{'a' * 2000}.{'b' * 2000}.{'c' * 2000}",
        "dots": "." * 100,
        "not ASCII": "ä.ö.ü",
        "not ASCII at its end": good + "é",
        "spaces": good.replace(".", " . "),
        "nothing": "",
    }


async def test_a_token_that_is_not_wholly_ours_is_401_everywhere(app: tuple[Aloud, GoogleIssuer]) -> None:
    aloud, _ = app
    good, other = await aloud.token(), (await Person.join(aloud)).tokens["access_token"]
    tokens = bad_tokens(good, other)
    assert tokens["nothing"] == ""
    status, _, _ = await aloud.call("GET", f"{API}/users/me", token=forge(good))
    assert status == 200
    for number, (name, token) in enumerate(tokens.items()):
        sent = f"Bearer {token}".encode().decode("latin-1")
        everywhere = BY_ROLE if number % 8 == 0 else [BY_ROLE[0], BY_ROLE[1 + number % 7]]
        for method, path in everywhere:
            status, content, headers = await aloud.call(
                method, f"{API}{path}", token="", headers={"Authorization": sent}, json={}
            )
            assert (status, headers.get("WWW-Authenticate")) == (401, "Bearer"), (name, method, path)
            assert content["type"].endswith("/unauthenticated"), name
    assert "unexpected" not in aloud.log.read_text()


@pytest.mark.parametrize("sent", ["Basic YTpi", "Bearer", "bearer", "Token abc", "Bearer a, Bearer b", ","])
async def test_another_way_to_sign_in_is_401(app: tuple[Aloud, GoogleIssuer], sent: str) -> None:
    status, _, headers = await app[0].call(
        "GET", f"{API}/users/me", token="", headers={"Authorization": sent}
    )
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")


def test_keys_change_with_an_overlap_and_then_end() -> None:
    old, new = "the-old-key-" + "o" * 32, "the-new-key-" + "n" * 32
    life = timedelta(minutes=15)
    before, during, after = (
        AccessTokens(KeyRing.read(keys, "access tokens"), "https://aloud.example", life)
        for keys in (old, f"{new} {old}", new)
    )
    first = before.issue("ada", "s1", ("listener",))
    second = during.issue("ada", "s2", ("listener",))
    assert during.read(first).session_id == "s1"
    assert during.read(second).session_id == after.read(second).session_id == "s2"
    for tokens, token in ((before, second), (after, first)):
        with pytest.raises(UnauthenticatedError):
            tokens.read(token)
    assert during.read(before.issue("ada", "s3", ("listener",))).session_id == "s3"
