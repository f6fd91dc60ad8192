"""Google sign-in against a real issuer over HTTP: what is believed, what is refused, and what it costs."""

import asyncio
import base64
import hmac
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from core.accounts.google import GoogleTokens
from core.errors import UnauthenticatedError, UnavailableError
from tests.google_issuer import GoogleIssuer, make_key


@pytest_asyncio.fixture
async def issuer() -> AsyncIterator[GoogleIssuer]:
    async with GoogleIssuer.start() as running:
        yield running


def _tokens(issuer: GoogleIssuer, window_seconds: float = 30.0) -> GoogleTokens:
    return GoogleTokens(issuer.client_id, issuer.url, issuer.jwks_url, window_seconds)


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_good_token_says_who_it_is(issuer: GoogleIssuer) -> None:
    identity = await _tokens(issuer).read(issuer.token(email="Ada@Example.com", sub="42"))
    assert (identity.subject, identity.email, identity.email_verified) == ("42", "Ada@example.com", True)
    assert (identity.name, identity.is_fresh, identity.is_authoritative) == ("Ada Lovelace", True, False)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [({"email": "Ada@gmail.com"}, True), ({"hd": "example.com"}, True), ({"email": "a@notgmail.com"}, False)],
)
async def test_google_speaks_for_mailboxes_that_it_runs(
    issuer: GoogleIssuer, claims: dict[str, Any], expected: bool
) -> None:
    assert (await _tokens(issuer).read(issuer.token(**claims))).is_authoritative == expected


async def test_what_google_may_leave_out_may_be_left_out(issuer: GoogleIssuer) -> None:
    bare = issuer.token(name=None, picture=None, azp=None, email_verified=None)
    identity = await _tokens(issuer).read(bare)
    assert (identity.name, identity.email_verified) == (None, False)


async def test_an_unverified_address_is_reported_as_such(issuer: GoogleIssuer) -> None:
    assert not (await _tokens(issuer).read(issuer.token(email_verified=False))).email_verified


async def test_both_spellings_of_the_issuer_are_its_own(issuer: GoogleIssuer) -> None:
    bare = issuer.url.removeprefix("http://")
    tokens = _tokens(issuer)
    assert (await tokens.read(issuer.token(iss=bare))).subject == "1234567890"
    for other in (f"https://{bare}", f"{issuer.url}/", "accounts.google.com", bare[:-1]):
        with pytest.raises(UnauthenticatedError):
            await tokens.read(issuer.token(iss=other))


async def test_clocks_may_differ_by_ten_seconds_and_no_more(issuer: GoogleIssuer) -> None:
    tokens, now = _tokens(issuer), int(time.time())
    await tokens.read(issuer.token(exp=now - 3))
    await tokens.read(issuer.token(iat=now + 5, nbf=now + 5))
    for refused in (issuer.token(exp=now - 11), issuer.token(iat=now + 60), issuer.token(nbf=now + 60)):
        with pytest.raises(UnauthenticatedError):
            await tokens.read(refused)


@pytest.mark.parametrize("claim", ["exp", "iat", "sub", "email", "aud", "iss"])
async def test_a_claim_that_matters_is_required(issuer: GoogleIssuer, claim: str) -> None:
    with pytest.raises(UnauthenticatedError):
        await _tokens(issuer).read(issuer.token(**{claim: None}))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-app"},
        {"aud": ["aloud-tests.apps.example.com", "another-app"]},
        {"aud": {"a": 1}},
        {"azp": "another-app"},
        {"azp": ["aloud-tests.apps.example.com"]},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": 7},
        {"email": "no address"},
        {"email": ["ada@example.com"]},
        {"email_verified": "true"},
        {"name": {"first": "Ada"}},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"iat": [1]},
    ],
    ids=str,
)
async def test_a_claim_that_is_not_right_is_refused(issuer: GoogleIssuer, claims: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError):
        await _tokens(issuer).read(issuer.token(**claims))  # type: ignore[arg-type]


async def test_a_key_of_someone_else_is_refused(issuer: GoogleIssuer) -> None:
    tokens, stranger = _tokens(issuer), make_key(99)
    embedded = json.loads(RSAAlgorithm.to_jwk(stranger.public_key()))
    asked = 0

    async def serve(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"keys": [{**embedded, "kid": "mine", "alg": "RS256"}]})

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        jku = f"http://127.0.0.1:{runner.addresses[0][1]}/certs"
        for headers in ({}, {"jwk": embedded}, {"jku": jku}, {"jku": jku, "kid": "mine"}, {"x5u": jku}):
            with pytest.raises(UnauthenticatedError):
                await tokens.read(issuer.token(key=stranger, headers=headers))
    finally:
        await runner.cleanup()
    assert asked == 0


async def test_no_other_algorithm_is_believed(issuer: GoogleIssuer) -> None:
    tokens, public = _tokens(issuer), issuer.key.public_key()
    claims = issuer.token().split(".")[1]
    forged = []
    for alg in ("none", "None", "NONE", ""):
        forged.append(f"{_part({'alg': alg, 'kid': issuer.kid})}.{claims}.")
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        b"",
    ):
        signed = f"{_part({'alg': 'HS256', 'kid': issuer.kid})}.{claims}"
        mac = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).rstrip(b"=").decode()
        forged.append(f"{signed}.{mac}")
    own = jwt.decode(issuer.token(), options={"verify_signature": False})
    forged += [
        jwt.encode(own, issuer.key, algorithm, headers={"kid": issuer.kid})
        for algorithm in ("RS512", "PS256")
    ]
    for token in forged:
        with pytest.raises(UnauthenticatedError):
            await tokens.read(token)


async def test_garbage_is_refused_and_fetches_nothing(issuer: GoogleIssuer) -> None:
    tokens, good = _tokens(issuer), issuer.token()
    deep = base64.urlsafe_b64encode(b"[" * 3000).decode()
    for garbage in (
        "",
        ".",
        "..",
        "a.b.c",
        "\x00",
        "é.é.é",
        "\ud800",
        deep,
        f"{deep}.{deep}.",
        f"{_part([])}.{_part({})}.x",
        f"{_part({'alg': 'RS256'})}.{_part({})}.x",
        f"{_part({'alg': ['RS256'], 'kid': 'k'})}.{_part({})}.x",
        f"{_part({'alg': 'RS256', 'kid': ['k']})}.{_part({})}.x",
        f"{_part({'alg': 'RS256', 'kid': None})}.{_part({})}.x",
        good + "a" * 1_000_000,
        issuer.token(name="a" * 100_000),
    ):
        with pytest.raises(UnauthenticatedError):
            await tokens.read(garbage)
    assert issuer.fetches == 0


async def test_no_damage_to_a_token_goes_unnoticed_or_breaks_anything(issuer: GoogleIssuer) -> None:
    tokens, chance, good = _tokens(issuer), random.Random(5), issuer.token()
    significant = len(good) - 1  # the last letter of a signature has bits that mean nothing
    for _ in range(200):
        at = chance.randrange(significant)
        damaged = good[:at] + chance.choice("AQgw09_-.=é ") + good[at + 1 :]
        if damaged != good:
            with pytest.raises(UnauthenticatedError):
                await tokens.read(damaged)
    assert (await tokens.read(good)).subject == "1234567890"


async def test_the_keys_are_fetched_once_for_many(issuer: GoogleIssuer) -> None:
    tokens = _tokens(issuer)
    await asyncio.gather(*(tokens.read(issuer.token(sub=str(number))) for number in range(20)))
    assert issuer.fetches == 1


async def test_a_new_key_is_believed_at_once_and_a_withdrawn_one_no_more(issuer: GoogleIssuer) -> None:
    tokens, first = _tokens(issuer), issuer.token()
    await tokens.read(first)
    issuer.rotate(keep_old=True)
    await tokens.read(issuer.token())
    await tokens.read(first)
    issuer.rotate()
    await tokens.read(issuer.token())
    with pytest.raises(UnauthenticatedError):
        await tokens.read(first)
    assert issuer.fetches == 3


async def test_invented_keys_cost_the_issuer_little_and_real_users_nothing(issuer: GoogleIssuer) -> None:
    tokens = _tokens(issuer)
    await tokens.read(issuer.token())
    invented = [issuer.token(headers={"kid": f"invented {number}"}) for number in range(40)]
    answers = await asyncio.gather(*(tokens.read(token) for token in invented), return_exceptions=True)
    assert {type(answer) for answer in answers} == {UnauthenticatedError}
    assert issuer.fetches == 3
    await tokens.read(issuer.token())
    assert issuer.fetches == 3


async def test_after_the_window_an_unknown_key_is_looked_up_again(issuer: GoogleIssuer) -> None:
    tokens = _tokens(issuer, window_seconds=0)
    for _ in range(5):
        with pytest.raises(UnauthenticatedError):
            await tokens.read(issuer.token(headers={"kid": "invented"}))
    issuer.rotate()
    assert (await tokens.read(issuer.token())).subject == "1234567890"
    assert issuer.fetches == 6


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, ""),
        (404, "{}"),
        (302, ""),
        (200, "<html>Sign in to the network</html>"),
        (200, ""),
        (200, "[]"),
        (200, "{}"),
        (200, '{"keys": []}'),
        (200, '{"keys": 5}'),
        (200, '{"keys": ["a", {"kty": "RSA", "kid": "key-0"}]}'),
    ],
)
async def test_an_issuer_that_fails_is_no_fault_of_the_user(
    issuer: GoogleIssuer, status: int, body: str
) -> None:
    tokens = _tokens(issuer)
    issuer.fail_with(status, body)
    with pytest.raises(UnavailableError):
        await tokens.read(issuer.token())
    issuer.heal()
    await tokens.read(issuer.token())
    issuer.fail_with(status, body)
    await tokens.read(issuer.token())
    with pytest.raises(UnavailableError):
        await tokens.read(issuer.token(headers={"kid": "unknown"}))
    await tokens.read(issuer.token())


async def test_an_issuer_that_is_gone_is_asked_three_times_and_then_left_alone() -> None:
    async with GoogleIssuer.start() as issuer:
        tokens, token = _tokens(issuer), issuer.token()
        issuer.fail_with(500)
        for _ in range(6):
            with pytest.raises(UnavailableError):
                await tokens.read(token)
        assert issuer.fetches == 3
        tokens = _tokens(issuer)
    with pytest.raises(UnavailableError):
        await tokens.read(token)
