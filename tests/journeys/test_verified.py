"""Where addresses have to be verified, and where people sign in with Google."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import expect

from core.ids import new_id
from tests.aloud import Aloud
from tests.browser import OpenPage, sign_in
from tests.google_issuer import GoogleIssuer
from tests.person import PASSWORD, Person
from tests.visitor import visit


@pytest_asyncio.fixture(scope="module")
async def google() -> AsyncIterator[GoogleIssuer]:
    async with GoogleIssuer.start() as issuer:
        yield issuer


@pytest_asyncio.fixture(scope="module")
async def strict(google: GoogleIssuer) -> AsyncIterator[Aloud]:
    settings = {"REQUIRE_VERIFIED_EMAIL": "true", **google.settings}
    async with Aloud.start(openai_base_url="http://127.0.0.1:9/v1", **settings) as running:
        yield running


def new_address() -> str:
    return f"{new_id()}@example.com"


async def join(aloud: Aloud, address: str) -> Person:
    """Register, follow the link, sign in."""
    person = Person(aloud, address)
    status, content, _ = await person.post("/auth/register", email=address, password=PASSWORD)
    assert (status, content) == (202, {"email": address})
    token = await aloud.mailed_token(address, "/verify")
    assert (await person.post("/auth/verify-email", token=token))[0] == 204
    await person.sign_in()
    return person


async def test_nobody_signs_in_before_the_link_was_followed(strict: Aloud) -> None:
    person = Person(strict, new_address())
    await person.post("/auth/register", email=person.email, password=PASSWORD)
    token = await strict.mailed_token(person.email, "/verify")
    login = {"email": person.email, "password": PASSWORD}
    status, problem, _ = await person.post("/auth/login", **login)
    assert (status, problem["type"]) == (403, "/problems/email-unverified")
    status, problem, _ = await person.post("/auth/login", **login | {"password": "not the password"})
    assert (status, problem["type"]) == (401, "/problems/unauthenticated")
    assert (await person.post("/auth/verify-email", token=token))[0] == 204
    await person.sign_in()
    assert (await person.get("/users/me"))["email_verified"] is True


async def test_registering_does_not_tell_who_has_an_account(strict: Aloud) -> None:
    person = await join(strict, new_address())
    answers = []
    for address in (person.email, new_address()):
        body = {"email": address, "password": "another fine sentence", "display_name": "Mallory"}
        status, content, headers = await person.post("/auth/register", **body)
        answers.append((status, content.pop("email") == address, content, sorted(headers)))
    assert answers[0] == answers[1]
    assert "/reset" in await strict.mail(person.email, "/reset")
    await person.sign_in()
    assert (await person.get("/users/me"))["display_name"] != "Mallory"


async def test_a_second_registration_does_not_replace_one_that_waits(strict: Aloud) -> None:
    """Else a stranger could put a password of theirs under a link that the owner is about to follow."""
    person = Person(strict, new_address())
    await person.post("/auth/register", email=person.email, password=PASSWORD)
    token = await strict.mailed_token(person.email, "/verify")
    body = {"email": person.email, "password": "the stranger's sentence"}
    assert (await person.post("/auth/register", **body))[0] == 202
    text = await strict.mail(person.email, "UTC")
    assert "token=" not in text
    assert (await person.post("/auth/verify-email", token=token))[0] == 204
    await person.sign_in()
    assert (await person.post("/auth/login", **body))[0] == 401


async def test_joining_takes_the_link_in_the_mail(strict: Aloud, open_page: OpenPage) -> None:
    email = f"{new_id()}@example.com"
    tab = await open_page(f"{strict.base_url}/register", width=360, height=700)
    page = tab.page
    await page.get_by_label("Your name").fill("Ann")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
    assert await page.get_by_role("button", name="Sign out").count() == 0
    token = await strict.mailed_token(email, "/verify")

    await page.goto(f"{strict.base_url}/login")
    await sign_in(page, email, PASSWORD)
    await expect(page.get_by_role("alert")).to_contain_text("Follow the link in the mail")
    await expect(page.get_by_role("button", name="Send the mail again")).to_be_visible()

    await page.goto(f"{strict.base_url}/verify?token={token}")
    await page.reload()  # to have seen the page is not to have confirmed
    await page.get_by_role("button", name="Confirm my address").click()
    await expect(page.get_by_role("status")).to_have_text("Your address is confirmed. Sign in now.")
    await sign_in(page, email, PASSWORD)
    await page.get_by_role("link", name="Your account: Ann").click()
    await expect(page.get_by_text("Confirmed", exact=True)).to_be_visible()
    tab.complaints = [text for text in tab.complaints if "403" not in text]
    await tab.check_quiet()

    await page.goto(f"{strict.base_url}/verify?token={token}")
    await page.get_by_role("button", name="Confirm my address").click()
    await expect(page.get_by_role("alert")).to_contain_text("was used already")
    await expect(page.get_by_role("button", name="Send me the link")).to_be_visible()
    assert token.partition(".")[2] not in strict.log.read_text()


async def test_pages_do_not_tell_who_has_an_account(strict: Aloud) -> None:
    known = f"known-{new_id()}@example.com"
    async with visit(strict) as visitor:
        await visitor.send("/register", "/register", email=known, password=PASSWORD)
        token = await strict.mailed_token(known, "/verify")
        assert (await visitor.send("/verify", f"/verify?token={token}", token=token))[0] == 303
        for path, page in (
            ("/register", "/register"),
            ("/reset", "/reset"),
            ("/verify/resend", "/verify"),
            ("/login", "/login"),
        ):
            answers = []
            for email in (known, f"other-{new_id()}@example.com"):
                status, text, answer = await visitor.send(path, page, email=email, password="not of anyone")
                assert "aloud=" not in answer.headers["Set-Cookie"].replace("aloud-form=", "")
                text = re.sub(r'name="csrf" value="[^"]+"', "", text)
                answers.append((status, text.replace(email, "")))
            assert answers[0] == answers[1], path


async def google_login(person: Person, id_token: str, **more: str) -> tuple[int, Any]:
    status, content, _ = await person.post("/auth/google-login", id_token=id_token, **more)
    if status == 200:
        person.tokens = content
    return status, content


async def test_google_makes_an_account_once(strict: Aloud, google: GoogleIssuer) -> None:
    person = Person(strict, new_address())
    token = google.token(email=person.email, sub=person.email, name="Grace")
    assert (await google_login(person, token))[0] == 200
    user = await person.get("/users/me")
    assert (user["email"], user["email_verified"], user["display_name"]) == (person.email, True, "Grace")
    assert (user["google_linked"], user["has_password"]) == (True, False)
    moved = google.token(email=new_address(), sub=person.email)
    assert (await google_login(person, moved))[0] == 200
    assert (await person.get("/users/me"))["id"] == user["id"], "who it is, is told by `sub`"
    assert (await person.post("/auth/login", email=person.email, password=PASSWORD))[0] == 401

    status, _, _ = await person.call("DELETE", "/users/me", json={"id_token": token})
    assert status == 202
    await strict.mail(person.email, "deleted")


async def test_google_opens_the_verified_account_of_a_mailbox_that_it_runs(
    strict: Aloud, google: GoogleIssuer
) -> None:
    person = await join(strict, new_address())
    user = await person.get("/users/me")
    token = google.token(email=person.email, sub=person.email, hd="example.com")
    assert (await google_login(person, token))[0] == 200
    assert (await person.get("/users/me"))["id"] == user["id"]
    await strict.mail(person.email, "Google")
    other = google.token(email=person.email, sub=new_id(), hd="example.com")
    assert (await google_login(person, other))[0] == 409
    stale = google.token(email=person.email, sub=person.email)
    change = {"id_token": stale, "new_password": "a sentence that is new"}
    status, _, _ = await person.call("PUT", "/users/me/password", json=change)
    assert status == 401, "who has a password proves it by the password"


async def test_a_mailbox_that_google_does_not_run_is_linked_by_its_owner(
    strict: Aloud, google: GoogleIssuer
) -> None:
    person = await join(strict, new_address())
    token = google.token(email=person.email, sub=person.email)
    assert (await google_login(person, token))[0] == 409
    link = {"id_token": token, "password": "wrong"}
    assert (await person.call("PUT", "/auth/google", json=link))[0] == 401
    link["password"] = PASSWORD
    status, user, _ = await person.call("PUT", "/auth/google", json=link)
    assert (status, user["google_linked"]) == (200, True)
    assert (await google_login(person, token))[0] == 200
    status, _, _ = await person.call("DELETE", "/auth/google", json={"password": PASSWORD})
    assert status == 204
    assert (await google_login(person, token))[0] == 409


async def test_a_reset_shuts_out_whoever_had_linked_a_google_account(
    strict: Aloud, google: GoogleIssuer
) -> None:
    person = await join(strict, new_address())
    user = await person.get("/users/me")
    link = {"id_token": google.token(email=new_address(), sub=person.email), "password": PASSWORD}
    assert (await person.call("PUT", "/auth/google", json=link))[0] == 200
    await person.post("/auth/password-reset", email=person.email)
    token = await strict.mailed_token(person.email, "/reset")
    status, _, _ = await person.post("/auth/password-reset/confirm", token=token, password=f"{PASSWORD} 2")
    assert status == 204
    thief = Person(strict, "")
    assert (await google_login(thief, google.token(email=new_address(), sub=person.email)))[0] == 200
    assert (await thief.get("/users/me"))["id"] != user["id"]


async def test_two_domains_that_fold_to_one_are_two_accounts(strict: Aloud, google: GoogleIssuer) -> None:
    name = new_id()
    plain, sharp = Person(strict, f"{name}@strasse.de"), Person(strict, f"{name}@xn--strae-oqa.de")
    for person in (plain, sharp):
        token = google.token(email=person.email, sub=person.email, hd="any")
        assert (await google_login(person, token))[0] == 200
    assert (await plain.get("/users/me"))["id"] != (await sharp.get("/users/me"))["id"]


async def test_google_takes_over_a_registration_that_nobody_has_verified(
    strict: Aloud, google: GoogleIssuer
) -> None:
    person = Person(strict, new_address())
    await person.post("/auth/register", email=person.email, password=PASSWORD)
    verify = await strict.mailed_token(person.email, "/verify")
    assert (await google_login(person, google.token(email=person.email, sub=person.email)))[0] == 200
    assert (await person.get("/users/me"))["has_password"] is False
    assert (await person.post("/auth/verify-email", token=verify))[0] == 422
    assert (await person.post("/auth/login", email=person.email, password=PASSWORD))[0] == 401


async def test_bad_google_tokens_are_refused(strict: Aloud, google: GoogleIssuer) -> None:
    person = Person(strict, new_address())
    for token in (
        google.token(email=person.email, aud="another app"),
        google.token(email=person.email, iss="https://evil.example"),
        google.token(email=person.email, exp=1),
        google.token(email=person.email, email_verified=False),
        "nonsense",
    ):
        status, problem = await google_login(person, token)
        assert (status, problem["type"]) == (401, "/problems/unauthenticated")
    assert not [mail for mail in await strict.mails() if person.email in mail]
