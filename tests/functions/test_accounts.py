"""Register, sign in, stay signed in, sign out, over the running app."""

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import jwt
import pytest

from core.ids import new_id
from tests.aloud import Aloud

PASSWORD = "the rain in spain"


async def post(aloud: Aloud, path: str, token: str = "", **body: Any) -> tuple[int, Any]:
    status, content, _ = await aloud.call("POST", f"/api/v1/auth/{path}", json=body, token=token)
    return status, content


async def new_account(aloud: Aloud) -> str:
    email = f"{new_id()}@example.com"
    status, user = await post(aloud, "register", email=email, password=PASSWORD)
    assert status == 201, user
    return email


async def test_an_account_is_made_once_whatever_the_spelling(aloud: Aloud) -> None:
    name = new_id()
    spellings = [f"{name}@example.com", f"{name.upper()}@Example.com", f" {name}@example.com "]
    answers = await asyncio.gather(
        *(post(aloud, "register", email=spelling, password=PASSWORD) for spelling in spellings * 3)
    )
    assert sorted(status for status, _ in answers) == [201] + [409] * 8
    user = next(content for status, content in answers if status == 201)
    assert user["email"] == f"{name}@example.com"
    assert user["roles"] == ["listener"]
    assert "password" not in json.dumps(user)
    status, tokens = await post(aloud, "login", email=spellings[1], password=PASSWORD)
    assert status == 200
    status, me, _ = await aloud.call("GET", "/api/v1/users/me", token=tokens["access_token"])
    assert (status, me) == (200, user)


async def test_the_admin_of_the_settings_is_one(aloud: Aloud) -> None:
    assert (await aloud.get("/api/v1/users/me"))["roles"] == ["listener", "admin"]


async def test_a_wrong_login_does_not_tell_what_is_wrong(aloud: Aloud) -> None:
    email = await new_account(aloud)
    wrong = await post(aloud, "login", email=email, password="not the password")
    unknown = await post(aloud, "login", email=f"x{email}", password=PASSWORD)
    for status, content in (wrong, unknown):
        assert status == 401
        content.pop("request_id")
    assert wrong == unknown


async def test_a_refresh_token_works_once(aloud: Aloud) -> None:
    email = await new_account(aloud)
    _, first = await post(aloud, "login", email=email, password=PASSWORD)
    status, second = await post(aloud, "refresh", refresh_token=first["refresh_token"])
    assert status == 200
    status, _, _ = await aloud.call("GET", "/api/v1/users/me", token=second["access_token"])
    assert status == 200
    assert (await post(aloud, "refresh", refresh_token=first["refresh_token"]))[0] == 401
    assert (await post(aloud, "refresh", refresh_token=second["refresh_token"]))[0] == 401


async def test_after_logout_the_session_is_over(aloud: Aloud) -> None:
    email = await new_account(aloud)
    _, tokens = await post(aloud, "login", email=email, password=PASSWORD)
    status, content, _ = await aloud.call("POST", "/api/v1/auth/logout", token=tokens["access_token"])
    assert (status, content) == (204, "")
    assert (await post(aloud, "refresh", refresh_token=tokens["refresh_token"]))[0] == 401


def forged(token: str, change: dict[str, Any]) -> str:
    header, payload, signature = token.split(".")
    claims = json.loads(urlsafe_b64decode(payload + "==")) | change
    return f"{header}.{urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{signature}"


async def test_no_forged_token_opens_anything(aloud: Aloud) -> None:
    token = await aloud.token()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] <= 900
    others = [
        forged(token, {"sub": "someone-else"}),
        jwt.encode(claims, "a key of thirty-two bytes or more!!", "HS256"),
        jwt.encode(claims, "", "none"),
        token[:-4],
        "nonsense",
        "ä.ö.ü",
        "",
    ]
    for other in others:
        status, content, headers = await aloud.call(
            "GET",
            "/api/v1/users/me",
            token="",
            headers={"Authorization": f"Bearer {other}".encode().decode("latin-1")},
        )
        assert status == 401, other
        assert headers["WWW-Authenticate"] == "Bearer"
        assert content["type"].endswith("unauthenticated")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"email": "a@example.com", "password": "short"}, {"password"}),
        ({"email": "a@example.com", "password": "password123"}, {"password"}),
        ({"email": "nobody", "password": PASSWORD}, {"email"}),
        ({"email": "a@example.com", "password": PASSWORD, "roles": ["admin"]}, {"roles"}),
        ({}, {"email", "password"}),
    ],
)
async def test_bad_fields_are_named(aloud: Aloud, body: dict[str, Any], fields: set[str]) -> None:
    status, content = await post(aloud, "register", **body)
    assert status == 422
    assert {error["field"] for error in content["errors"]} == fields


async def test_the_hash_is_argon2id_and_no_password_is_logged(aloud: Aloud) -> None:
    await new_account(aloud)
    assert PASSWORD not in aloud.log.read_text()
    from azure.data.tables.aio import TableServiceClient

    async with TableServiceClient.from_connection_string(aloud.connection_string) as tables:
        rows = [
            row async for row in tables.get_table_client("users").query_entities("RowKey eq 'credentials'")
        ]
    assert rows
    assert all(row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$") for row in rows)
