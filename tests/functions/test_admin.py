"""Administrators and accounts: find them, give roles, close and reopen; and the audit of it."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from core.ids import new_id
from tests.aloud import Aloud
from tests.person import Person

USERS = "/api/v1/admin/users"
AUDIT = "/api/v1/admin/audit"


async def id_of(person: Person) -> str:
    return str((await person.get("/users/me"))["id"])


async def roles_of(person: Person) -> list[str]:
    return list((await person.get("/users/me"))["roles"])


async def set_roles(
    aloud: Aloud, user_id: str, *roles: str, **request: Any
) -> tuple[int, Any, Mapping[str, str]]:
    return await aloud.call("PUT", f"{USERS}/{user_id}/roles", json={"roles": list(roles)}, **request)


async def log_in(person: Person, password: str) -> tuple[int, Any, Mapping[str, str]]:
    body = {"email": person.email, "password": password}
    return await person.aloud.call("POST", "/api/v1/auth/login", token="", json=body)


async def audit_of(aloud: Aloud, request_id: str) -> list[dict[str, Any]]:
    """Return the newest rows of the audit that a request has left."""
    entries = (await aloud.get(f"{AUDIT}?limit=100"))["items"]
    return [entry for entry in entries if entry["request_id"] == request_id]


async def test_accounts_are_listed_page_by_page_the_last_to_join_first(aloud: Aloud) -> None:
    joined = [await id_of(await Person.join(aloud)) for _ in range(3)]
    pages, cursor = [], ""
    for _ in range(2):
        page = await aloud.get(f"{USERS}?limit=2{cursor}")
        assert len(page["items"]) == 2
        pages.append([user["id"] for user in page["items"]])
        cursor = f"&cursor={page['next_cursor']}"
    listed = [user_id for page in pages for user_id in page]
    assert listed[:3] == joined[::-1]
    assert len(set(listed)) == 4
    status, content, _ = await aloud.call("GET", f"{AUDIT}?limit=2{cursor}")
    assert (status, content["errors"][0]["field"]) == (422, "cursor")


async def test_an_account_is_found_by_its_address_in_any_spelling(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    for spelling in (person.email, person.email.upper()):
        found = await aloud.get(f"{USERS}?email={spelling}")
        assert [user["email"] for user in found["items"]] == [person.email]
        assert found["next_cursor"] is None
    row = found["items"][0]
    assert (row["disabled"], row["roles"], row["mfa_enabled"]) == (False, ["listener"], False)
    assert row["last_login_at"] is not None
    assert (await aloud.get(f"{USERS}?email={new_id()}@example.com"))["items"] == []


async def test_the_role_of_administrators_holds_and_ends_at_once(aloud: Aloud) -> None:
    person, other = await asyncio.gather(Person.join(aloud), Person.join(aloud))
    user_id, other_id = await id_of(person), await id_of(other)

    async def change() -> int:
        return (await set_roles(aloud, other_id, token=person.tokens["access_token"]))[0]

    async def read() -> int:
        return (await person.call("GET", "/admin/users"))[0]

    assert (await change(), await read()) == (403, 403)
    status, row, _ = await set_roles(aloud, user_id, "admin", "admin", "publisher")
    assert (status, row["roles"]) == (200, ["listener", "admin", "publisher"])
    assert (await change(), await read()) == (200, 200)
    assert (await set_roles(aloud, user_id))[1]["roles"] == ["listener"]
    assert (await change(), await read()) == (403, 403)
    assert await roles_of(person) == ["listener"]


async def test_there_are_no_other_roles(aloud: Aloud) -> None:
    user_id = await id_of(await Person.join(aloud))
    wrong: list[Any] = [["owner"], ["admin"] * 4, "admin", None, [None], [["admin"]], ["Admin"]]
    for roles in wrong:
        status, content, _ = await aloud.call("PUT", f"{USERS}/{user_id}/roles", json={"roles": roles})
        assert (status, content["type"]) == (422, "/problems/invalid"), roles


async def test_administrators_cannot_lock_themselves_out(aloud: Aloud) -> None:
    admin = await Person.join(aloud)
    user_id = await id_of(admin)
    await set_roles(aloud, user_id, "admin")
    await admin.refresh()
    token = admin.tokens["access_token"]
    assert (await set_roles(aloud, user_id, "publisher", token=token))[0] == 409
    assert (await admin.call("POST", f"/admin/users/{user_id}/disable"))[0] == 409
    assert await roles_of(admin) == ["listener", "admin"]
    assert (await set_roles(aloud, user_id, "admin", "publisher", token=token))[0] == 200


async def test_a_closed_account_changes_nothing_and_reads_until_its_token_ends(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    user_id, first = await id_of(person), person.tokens
    await person.sign_in()
    status, row, _ = await aloud.call("POST", f"{USERS}/{user_id}/disable")
    assert (status, row["disabled"]) == (200, True)

    for tokens in (first, person.tokens):
        for method, path, body in (
            ("PUT", "/users/me", {"bio": "still here"}),
            ("POST", "/users/me/export", None),
            ("POST", "/auth/logout", None),
            ("DELETE", "/users/me", {"password": person.password}),
        ):
            status, _, headers = await aloud.call(
                method, f"/api/v1{path}", token=tokens["access_token"], json=body
            )
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer"), path
        assert await person.refresh(tokens["refresh_token"]) == 401
    shown = await person.get("/users/me")
    assert shown["bio"] == ""
    assert (await person.get("/users/me/sessions"))["items"] == []

    status, content, _ = await log_in(person, person.password)
    assert (status, content["type"]) == (403, "/problems/account-disabled")
    status, wrong, _ = await log_in(person, "not the password")
    _, unknown, _ = await log_in(Person(aloud, f"{new_id()}@example.com"), "not the password")
    for answer in (wrong, unknown):
        answer.pop("request_id")
    assert (status, wrong) == (401, unknown)

    status, row, _ = await aloud.call("POST", f"{USERS}/{user_id}/enable")
    assert (status, row["disabled"]) == (200, False)
    assert await person.refresh(first["refresh_token"]) == 401
    assert (await person.call("PUT", "/users/me", json={"bio": "back"}))[0] == 401
    await person.sign_in()
    assert (await person.call("PUT", "/users/me", json={"bio": "back"}))[0] == 200


async def test_each_act_leaves_its_row_and_no_row_holds_a_secret(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    user_id, admin_id = await id_of(person), (await aloud.get("/api/v1/users/me"))["id"]
    for path, body, action, detail in (
        ("roles", {"roles": ["publisher"]}, "user.roles-set", "listener, publisher"),
        ("disable", None, "user.disabled", ""),
        ("enable", None, "user.enabled", ""),
    ):
        method = "PUT" if path == "roles" else "POST"
        status, _, headers = await aloud.call(method, f"{USERS}/{user_id}/{path}", json=body)
        assert status == 200
        entries = await audit_of(aloud, headers["X-Request-Id"])
        assert [(e["action"], e["actor"], e["target"], e["address"], e["detail"]) for e in entries] == [
            (action, admin_id, user_id, "127.0.0.1", detail)
        ]
    await log_in(person, "a wrong pass phrase")
    await person.sign_in()
    rows = json.dumps(await aloud.get(f"{AUDIT}?limit=100"))
    assert "session.refused" in rows
    tokens = (person.tokens["access_token"], person.tokens["refresh_token"].rpartition(".")[2])
    for secret in (person.password, "a wrong pass phrase", "@", "argon2", *tokens):
        assert secret not in rows


async def test_a_refusal_without_an_actor_is_in_the_audit(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    _, _, headers = await log_in(person, "not the password")
    entry = (await audit_of(aloud, headers["X-Request-Id"]))[0]
    assert (entry["action"], entry["actor"]) == ("session.refused", None)
    assert entry["target"] == await id_of(person)


async def test_the_audit_is_listed_page_by_page_the_newest_first(aloud: Aloud) -> None:
    user_id = await id_of(await Person.join(aloud))
    acts = ["disable", "enable", "disable", "enable", "disable"]
    for act in acts:
        await aloud.call("POST", f"{USERS}/{user_id}/{act}")
    seen: list[str] = []
    cursor = ""
    while len(seen) < len(acts):
        page = await aloud.get(f"{AUDIT}?limit=2{cursor}")
        seen += [entry["action"] for entry in page["items"] if entry["target"] == user_id]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen[: len(acts)] == [f"user.{act}d" for act in acts[::-1]]
    status, content, _ = await aloud.call("GET", f"{USERS}?limit=2{cursor}")
    assert (status, content["errors"][0]["field"]) == (422, "cursor")


async def test_nobody_is_there_by_an_unknown_id(aloud: Aloud) -> None:
    for user_id in (new_id(), "no-such", "joined", "a" * 65):
        for act in ("disable", "enable"):
            status, content, _ = await aloud.call("POST", f"{USERS}/{user_id}/{act}")
            assert (status, content["type"]) == (404, "/problems/not-found")
        assert (await set_roles(aloud, user_id, "publisher"))[0] == 404


async def test_the_audit_cannot_be_changed(aloud: Aloud) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await aloud.call(method, AUDIT))[0] == 404
