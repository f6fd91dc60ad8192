"""Register, sign in, stay signed in, sign out, over the running app."""

import asyncio
from typing import Any

import pytest
from azure.data.tables.aio import TableServiceClient

from core.ids import new_id
from tests.aloud import Aloud
from tests.person import PASSWORD, Person


async def post(aloud: Aloud, path: str, **body: Any) -> tuple[int, Any]:
    status, content, _ = await aloud.call("POST", f"/api/v1/auth/{path}", json=body, token="")
    return status, content


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
    assert not {"password_hash", "second_factor", "epoch"} & user.keys()
    status, tokens = await post(aloud, "login", email=spellings[1], password=PASSWORD)
    assert status == 200
    status, me, _ = await aloud.call("GET", "/api/v1/users/me", token=tokens["access_token"])
    assert (status, me) == (200, user)


async def test_the_admin_of_the_settings_is_one(aloud: Aloud) -> None:
    assert (await aloud.get("/api/v1/users/me"))["roles"] == ["listener", "admin"]


async def test_a_wrong_login_does_not_tell_what_is_wrong(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    wrong = await post(aloud, "login", email=person.email, password="not the password")
    unknown = await post(aloud, "login", email=f"x{person.email}", password=PASSWORD)
    for status, content in (wrong, unknown):
        assert status == 401
        content.pop("request_id")
    assert wrong == unknown


async def test_two_tabs_that_refresh_at_once_stay_signed_in(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    first = person.tokens["refresh_token"]
    answers = await asyncio.gather(*(post(aloud, "refresh", refresh_token=first) for _ in range(2)))
    assert [status for status, _ in answers] == [200, 200]
    assert answers[0][1]["refresh_token"] == answers[1][1]["refresh_token"] != first
    person.tokens = answers[0][1]
    assert await person.get("/users/me")
    assert await person.refresh() == 200


async def test_a_stolen_refresh_token_ends_the_session_of_thief_and_owner(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    stolen = person.tokens["refresh_token"]
    assert await person.refresh() == 200
    assert await person.refresh() == 200
    assert await person.refresh(stolen) == 401
    assert await person.refresh() == 401
    status, _, _ = await person.call("PUT", "/users/me", json={"bio": "still here?"})
    assert status == 401


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "a.b.c.d", "\u00e4.\u00f6.\u00fc", "../x.y.z", "." * 300]
)
async def test_a_refresh_token_of_nobody_is_refused(aloud: Aloud, token: str) -> None:
    status, content = await post(aloud, "refresh", refresh_token=token)
    assert status == (401 if token else 422), content


async def test_after_logout_the_session_is_over(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    status, content, _ = await person.call("POST", "/auth/logout")
    assert (status, content) == (204, "")
    assert await person.refresh() == 401
    status, _, _ = await person.call("PUT", "/users/me", json={"bio": "x"})
    assert status == 401


async def test_an_expired_token_does_not_hinder_signing_in_again(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    refresh_token = person.tokens["refresh_token"]
    person.tokens = {"access_token": "expired"}
    assert await person.refresh(refresh_token) == 200


async def test_devices_are_listed_and_can_be_signed_out(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    phone = dict(person.tokens)
    await person.sign_in()
    items = (await person.get("/users/me/sessions"))["items"]
    assert [item["current"] for item in items] == [True, False]
    assert all(item["address"] == "127.0.0.1" and "aiohttp" in item["device"] for item in items)
    other = next(item["id"] for item in items if not item["current"])
    status, _, _ = await person.call("DELETE", f"/users/me/sessions/{other}")
    assert status == 204
    assert [item["current"] for item in (await person.get("/users/me/sessions"))["items"]] == [True]
    status, _, _ = await person.call("DELETE", f"/users/me/sessions/{other}")
    assert status == 404
    assert (await post(aloud, "refresh", refresh_token=phone["refresh_token"]))[0] == 401
    assert await person.refresh() == 200


async def test_logout_everywhere_ends_every_session(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    phone = dict(person.tokens)
    await person.sign_in()
    status, _, _ = await person.call("POST", "/auth/logout-all")
    assert status == 204
    for token in (phone["refresh_token"], person.tokens["refresh_token"]):
        assert (await post(aloud, "refresh", refresh_token=token))[0] == 401


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"email": "a@example.com", "password": "short"}, {"password"}),
        ({"email": "a@example.com", "password": "password123"}, {"password"}),
        ({"email": "nobody", "password": PASSWORD}, {"email"}),
        ({"email": "a@example.com", "password": PASSWORD, "roles": ["admin"]}, {"roles"}),
        ({"email": "a@example.com", "password": PASSWORD, "display_name": "a\nb"}, {"display_name"}),
        ({}, {"email", "password"}),
    ],
)
async def test_bad_fields_are_named(aloud: Aloud, body: dict[str, Any], fields: set[str]) -> None:
    status, content = await post(aloud, "register", **body)
    assert status == 422
    assert {error["field"] for error in content["errors"]} == fields


async def test_the_hash_is_argon2id_and_no_secret_is_logged(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    assert await person.refresh() == 200
    log = aloud.log.read_text()
    for secret in (PASSWORD, person.tokens["access_token"], person.tokens["refresh_token"]):
        assert secret not in log
        assert secret.rpartition(".")[2] not in log
    user = await person.get("/users/me")
    async with TableServiceClient.from_connection_string(aloud.connection_string) as tables:
        row = await tables.get_table_client("users").get_entity(user["id"], "user")
    assert row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_without_its_settings_google_is_not_there(aloud: Aloud) -> None:
    status, problem = await post(aloud, "google-login", id_token="x")
    assert (status, problem["type"]) == (404, "/problems/not-found")
