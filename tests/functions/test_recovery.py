"""Passwords and addresses change: by password, or by a link in a mail."""

from typing import Any

from core.ids import new_id
from tests.aloud import Aloud
from tests.person import PASSWORD, Person

NEW_PASSWORD = "falls mainly on the plain"


async def test_a_forgotten_password_is_set_by_mail_and_ends_every_session(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    refresh_token = person.tokens["refresh_token"]
    status, content, _ = await person.post("/auth/password-reset", email=person.email)
    assert (status, content) == (202, {"email": person.email})
    token = await aloud.mailed_token(person.email, "/reset")

    status, problem, _ = await person.post("/auth/password-reset/confirm", token=token, password="12345678")
    assert status == 422
    assert [error["field"] for error in problem["errors"]] == ["password"]
    status, _, _ = await person.post("/auth/password-reset/confirm", token=token, password=NEW_PASSWORD)
    assert status == 204

    assert await person.refresh(refresh_token) == 401
    status, _, _ = await person.call("PUT", "/users/me", json={"bio": "x"})
    assert status == 401
    status, _, _ = await person.post("/auth/login", email=person.email, password=PASSWORD)
    assert status == 401
    person.password = NEW_PASSWORD
    await person.sign_in()
    assert (await person.get("/users/me"))["email_verified"] is True
    await aloud.mail(person.email, "password")

    status, problem, _ = await person.post("/auth/password-reset/confirm", token=token, password=PASSWORD)
    assert status == 422
    assert [error["field"] for error in problem["errors"]] == ["token"]
    assert token.partition(".")[2] not in aloud.log.read_text()


async def test_only_the_newest_reset_link_works(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    await person.post("/auth/password-reset", email=person.email)
    first = await aloud.mailed_token(person.email, "/reset")
    status, _, _ = await person.post("/auth/password-reset", email=person.email)
    assert status == 202
    container = aloud.blobs.get_container_client("mail")
    while len([name async for name in container.list_blob_names(name_starts_with=f"{person.email}/")]) < 2:
        pass  # each turn asks the storage
    status, _, _ = await person.post("/auth/password-reset/confirm", token=first, password=NEW_PASSWORD)
    assert status == 422


async def test_a_reset_does_not_tell_who_has_an_account(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    stranger = f"{new_id()}@example.com"
    answers = []
    for address in (person.email, stranger):
        status, content, headers = await person.post("/auth/password-reset", email=address)
        answers.append((status, content.pop("email") == address, content, sorted(headers)))
    assert answers[0] == answers[1]
    await aloud.mailed_token(person.email, "/reset")
    assert not [mail for mail in await aloud.mails() if f"To: {stranger}" in mail]


async def test_too_many_mails_to_one_address_are_refused(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    for address in (person.email, f"{new_id()}@example.com"):
        answers = [await person.post("/auth/password-reset", email=address) for _ in range(6)]
        assert [status for status, _, _ in answers] == [202] * 5 + [429]
        assert 1 <= int(answers[-1][2]["Retry-After"]) <= 60


async def test_a_reset_link_ends_with_the_password_that_it_was_asked_for(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    await person.post("/auth/password-reset", email=person.email)
    token = await aloud.mailed_token(person.email, "/reset")
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await person.call("PUT", "/users/me/password", json=change))[0] == 204
    status, _, _ = await person.post("/auth/password-reset/confirm", token=token, password=PASSWORD)
    assert status == 422


async def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    phone = person.tokens["refresh_token"]
    await person.sign_in()
    change = {"current_password": "wrong", "new_password": NEW_PASSWORD}
    status, _, _ = await person.call("PUT", "/users/me/password", json=change)
    assert status == 401
    change["current_password"] = PASSWORD
    status, _, _ = await person.call("PUT", "/users/me/password", json=change)
    assert status == 204
    kept = person.tokens["refresh_token"]
    assert await person.refresh(phone) == 401
    assert await person.refresh(kept) == 200
    person.password = NEW_PASSWORD
    await person.sign_in()
    await aloud.mail(person.email, "password")


async def test_the_address_moves_when_the_new_one_is_confirmed(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    old, new = person.email, f"{new_id()}@example.com"

    async def ask(address: str, password: str) -> tuple[int, Any]:
        status, content, _ = await person.post("/users/me/email", email=address, password=password)
        return status, content

    assert (await ask(new, "wrong"))[0] == 401
    assert await ask(new, PASSWORD) == (202, {"email": new})
    token = await aloud.mailed_token(new, "/verify/email")
    await person.sign_in()
    status, _, _ = await person.post("/users/me/email/confirm", token=token)
    assert status == 204
    status, _, _ = await person.post("/auth/login", email=old, password=PASSWORD)
    assert status == 401
    person.email = new
    await person.sign_in()
    user = await person.get("/users/me")
    assert (user["email"], user["email_verified"]) == (new, True)
    assert new in await aloud.mail(old, new)
    status, _, _ = await person.post("/users/me/email/confirm", token=token)
    assert status == 422

    other = await Person.join(aloud)
    status, content, _ = await other.post("/users/me/email", email=new, password=PASSWORD)
    assert (status, content) == (202, {"email": new})
    await aloud.mail(new, "already")
    again, _, _ = await other.post("/auth/register", email=old, password=PASSWORD)
    assert again == 201, "the old address is free again"


async def test_an_address_is_verified_by_the_mail_that_is_asked_for(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    assert (await person.get("/users/me"))["email_verified"] is False
    status, content, _ = await person.post("/auth/verify-email/resend", email=person.email)
    assert (status, content) == (202, {"email": person.email})
    token = await aloud.mailed_token(person.email, "/verify")
    assert (await person.post("/auth/verify-email", token=f"{token}x"))[0] == 422
    assert (await person.post("/auth/verify-email", token=token))[0] == 204
    assert (await person.get("/users/me"))["email_verified"] is True
    assert (await person.post("/auth/verify-email", token=token))[0] == 422
