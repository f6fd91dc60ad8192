"""My own account: profile, picture, second factor, a copy of everything, the end."""

import asyncio
import io
import json
import zipfile
from typing import Any

import aiohttp
import pyotp
import pytest
from azure.core.exceptions import HttpResponseError
from azure.data.tables.aio import TableServiceClient
from PIL import Image

from tests.aloud import Aloud
from tests.audio import make_png
from tests.person import PASSWORD, Person


async def test_a_profile_keeps_what_is_set_and_what_is_left_out(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    change: dict[str, Any] = {
        "display_name": "Ada Ŀøvelace",
        "bio": "Counts.\nAnd <b>writes</b>.",
        "playback_speed": 1.5,
        "locale": "de-AT",
        "notifications": {"new_releases": False, "recommendations": True},
    }
    before = await person.get("/users/me")
    status, user, _ = await person.call("PUT", "/users/me", json=change)
    assert status == 200
    assert user == before | change
    status, user, _ = await person.call("PUT", "/users/me", json={"bio": ""})
    assert user == before | change | {"bio": ""}
    assert await person.get("/users/me") == user


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"display_name": " "}, "display_name"),
        ({"display_name": "x" * 81}, "display_name"),
        ({"bio": "x" * 2001}, "bio"),
        ({"playback_speed": 9}, "playback_speed"),
        ({"playback_speed": "NaN"}, "playback_speed"),
        ({"locale": "klingon"}, "locale"),
        ({"notifications": {"spam": True}}, "notifications.spam"),
        ({"roles": ["admin"]}, "roles"),
        ({"email": "other@example.com"}, "email"),
        ({"email_verified": True}, "email_verified"),
        ({"picture": "x"}, "picture"),
    ],
)
async def test_what_may_not_be_set_is_named(aloud: Aloud, change: dict[str, Any], field: str) -> None:
    status, problem, _ = await aloud.call("PUT", "/api/v1/users/me", json=change)
    assert status == 422
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_a_picture_is_stored_square_and_replaces_the_one_before(aloud: Aloud) -> None:
    person = await Person.join(aloud)

    async def send(content: bytes | io.BytesIO, media_type: str) -> tuple[int, Any]:
        headers = {"Content-Type": media_type}
        status, reply, _ = await person.call("PUT", "/users/me/picture", data=content, headers=headers)
        return status, reply

    photo = io.BytesIO()
    Image.new("RGB", (900, 700), "teal").save(photo, "JPEG")
    status, user = await send(photo.getvalue(), "image/jpeg")
    assert status == 200, user
    first = user["picture_url"]
    status, content, headers = await aloud.call("GET", first, token="")
    assert (status, headers["Content-Type"]) == (200, "image/webp")
    assert Image.open(io.BytesIO(content)).size == (512, 512)

    status, user = await send(make_png(), "image/png")
    assert user["picture_url"] != first
    assert (await aloud.call("GET", first, token=""))[0] == 404

    assert (await send(b"<svg onload=alert(1)>", "image/png"))[0] == 422
    assert (await send(photo.getvalue()[:200], "image/jpeg"))[0] == 422
    assert (await send(b"%PDF", "application/pdf"))[0] == 415
    assert (await send(io.BytesIO(b"\xff\xd8" + b"0" * (10 * 2**20)), "image/jpeg"))[0] == 413
    assert (await person.get("/users/me"))["picture_url"] == user["picture_url"]
    status, user, _ = await person.call("DELETE", "/users/me/picture")
    assert (status, user["picture_url"]) == (200, None)


async def test_a_second_factor_is_set_up_used_and_removed(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    assert (await person.post("/auth/mfa/setup", password="wrong"))[0] == 401
    status, setup, _ = await person.post("/auth/mfa/setup", password=PASSWORD)
    assert status == 200
    assert setup["qr_code"].startswith("data:image/svg+xml")
    app = pyotp.parse_uri(setup["otpauth_uri"])
    assert isinstance(app, pyotp.TOTP)
    assert (await person.post("/auth/mfa/confirm", mfa_code="000000"))[0] == 401
    await person.sign_in()  # nothing asks for a code before one was confirmed

    code = app.now()
    status, reply, _ = await person.post("/auth/mfa/confirm", mfa_code=code)
    assert status == 200
    recovery = reply["recovery_codes"]
    assert len(set(recovery)) == 10
    assert (await person.get("/users/me"))["mfa_enabled"] is True
    assert (await person.post("/auth/mfa/setup", password=PASSWORD))[0] == 409

    login = {"email": person.email, "password": PASSWORD}
    status, problem, _ = await person.post("/auth/login", **login)
    assert (status, problem["type"]) == (401, "/problems/mfa-required")
    status, problem, _ = await person.post("/auth/login", **login | {"password": "wrong"}, mfa_code=code)
    assert (status, problem["type"]) == (401, "/problems/unauthenticated")
    status, problem, _ = await person.post("/auth/login", **login, mfa_code=code)
    assert (status, problem["type"]) == (401, "/problems/mfa-invalid"), "a code works once"
    await person.sign_in(mfa_code=recovery[0].upper().replace("-", " "))
    assert (await person.post("/auth/login", **login, mfa_code=recovery[0]))[0] == 401

    status, _, _ = await person.call("DELETE", "/auth/mfa", json={"password": PASSWORD})
    assert status == 401
    status, _, _ = await person.call(
        "DELETE", "/auth/mfa", json={"password": PASSWORD, "mfa_code": recovery[1]}
    )
    assert status == 204
    await person.sign_in()
    log = aloud.log.read_text()
    assert setup["secret"] not in log
    assert not [used for used in recovery if used in log]


async def test_a_second_factor_guards_password_and_address_too(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    _, setup, _ = await person.post("/auth/mfa/setup", password=PASSWORD)
    app = pyotp.parse_uri(setup["otpauth_uri"])
    assert isinstance(app, pyotp.TOTP)
    _, reply, _ = await person.post("/auth/mfa/confirm", mfa_code=app.now())
    first, second = reply["recovery_codes"][:2]

    change = {"current_password": PASSWORD, "new_password": "falls mainly on the plain"}
    status, problem, _ = await person.call("PUT", "/users/me/password", json=change)
    assert (status, problem["type"]) == (401, "/problems/mfa-required")
    move = {"email": f"x{person.email}", "password": PASSWORD}
    assert (await person.post("/users/me/email", **move))[0] == 401
    assert (await person.post("/users/me/email", **move, mfa_code=first))[0] == 202
    assert (await person.post("/users/me/email", **move, mfa_code=first))[0] == 401
    status, _, _ = await person.call("PUT", "/users/me/password", json=change | {"mfa_code": second})
    assert status == 204


async def test_an_export_holds_what_is_known_of_me_and_no_secret(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    await person.call("PUT", "/users/me", json={"bio": "Everything about me"})
    picture = {"data": make_png(), "headers": {"Content-Type": "image/png"}}
    await person.call("PUT", "/users/me/picture", **picture)
    status, export, headers = await person.call("POST", "/users/me/export")
    assert status == 202
    path = headers["Location"].removeprefix("/api/v1")
    async with asyncio.timeout(20):
        while (shown := await person.get(path))["status"] != "ready":
            assert shown["status"] in ("waiting", "running")
            await asyncio.sleep(0.1)
    async with aiohttp.ClientSession() as http, http.get(shown["url"]) as answer:
        content = await answer.read()
        assert "aloud-" in answer.headers["Content-Disposition"]
    assert len(content) == shown["size_bytes"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert set(archive.namelist()) == {"account.json", "sessions.json", "picture.webp"}
        account = json.loads(archive.read("account.json"))
        everything = archive.read("account.json") + archive.read("sessions.json")
    assert (account["email"], account["bio"]) == (person.email, "Everything about me")
    for secret in (b"argon2", b"secret_hash", b"family_key"):
        assert secret not in everything
    assert "/account" in await aloud.mail(person.email, "/account")
    assert [item["id"] for item in (await person.get("/users/me/export"))["items"]] == [export["id"]]
    other = await Person.join(aloud)
    assert (await other.call("GET", path))[0] == 404


async def test_a_deleted_account_leaves_nothing_behind_but_a_receipt(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    user = await person.get("/users/me")
    picture = {"data": make_png(), "headers": {"Content-Type": "image/png"}}
    await person.call("PUT", "/users/me/picture", **picture)
    status, _, _ = await person.call("DELETE", "/users/me", json={"password": "wrong"})
    assert status == 401
    status, receipt, _ = await person.call("DELETE", "/users/me", json={"password": PASSWORD})
    assert status == 202
    status, _, _ = await person.call("PUT", "/users/me", json={"bio": "x"})
    assert status == 401
    assert await person.refresh() == 401
    assert (await person.post("/auth/login", email=person.email, password=PASSWORD))[0] == 401

    assert receipt["receipt_id"] in await aloud.mail(person.email, receipt["receipt_id"])
    async with (
        asyncio.timeout(20),
        TableServiceClient.from_connection_string(aloud.connection_string) as tables,
    ):
        while await _rows(tables, "users", f"PartitionKey eq '{user['id']}'"):
            await asyncio.sleep(0.05)
        assert not await _rows(tables, "accounts", f"user_id eq '{user['id']}'")
        assert not await _rows(tables, "users", f"user_id eq '{user['id']}'")
    for container in ("pictures", "exports"):
        names = aloud.blobs.get_container_client(container).list_blob_names(name_starts_with=user["id"])
        assert [name async for name in names] == []
    status, again, _ = await person.post("/auth/register", email=person.email, password=PASSWORD)
    assert status == 201
    assert again["id"] != user["id"]


async def _rows(tables: TableServiceClient, table: str, condition: str) -> list[Any]:
    try:
        return [row async for row in tables.get_table_client(table).query_entities(condition)]
    except HttpResponseError:
        return []
