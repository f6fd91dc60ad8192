"""The pages of accounts: in a real Chromium what people do, over plain HTTP what others might try."""

import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pyotp
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from core.ids import new_id
from tests.aloud import Aloud
from tests.audio import make_png
from tests.browser import OpenPage, sign_in
from tests.person import Person
from tests.visitor import TOKEN, Visitor, visit

NEW_PASSWORD = "falls mainly in the plain"
FORMS_WITH_FILES = {"/account/picture": "picture", "/tasks": "file"}


@pytest_asyncio.fixture
async def visitor(aloud: Aloud) -> AsyncIterator[Visitor]:
    async with visit(aloud) as visiting:
        yield visiting


async def open_account(
    aloud: Aloud, open_page: OpenPage, visitor: Visitor, person: Person, scripts: bool = True
) -> Page:
    """Open one's account in a browser that gets the session of `visitor`, who signs in before."""
    answer = await visitor.sign_in(person.email, person.password)
    name, _, value = answer.headers["Set-Cookie"].partition(";")[0].partition("=")
    cookie = {"name": name, "value": value, "url": aloud.base_url}
    tab = await open_page(f"{aloud.base_url}/account", cookie=cookie, scripts=scripts)
    page: Page = tab.page
    return page


# The way back


async def test_a_forgotten_password_is_replaced_by_mail(
    aloud: Aloud, open_page: OpenPage, visitor: Visitor
) -> None:
    person = await Person.join(aloud)
    await visitor.sign_in(person.email, person.password)
    page = (await open_page(f"{aloud.base_url}/login", scripts=False)).page
    await page.get_by_role("link", name="Forgot your password?").click()
    await page.get_by_label("Email").fill(person.email)
    await page.get_by_role("button", name="Send me the link").click()
    await expect(page.get_by_text("If there is an account with the address")).to_be_visible()

    token = await aloud.mailed_token(person.email, "/reset")
    await page.goto(f"{aloud.base_url}/reset?token={token}")
    await page.get_by_label("New password").fill("password")
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_label("New password")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_role("status")).to_contain_text("Your new password is set")
    await sign_in(page, person.email, NEW_PASSWORD)
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()

    assert (await visitor.get("/account"))[0] == 303
    await page.goto(f"{aloud.base_url}/reset?token={token}")
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Email")).to_be_visible()
    assert token.partition(".")[2] not in aloud.log.read_text()


async def test_a_second_factor_is_asked_for_from_then_on(
    aloud: Aloud, open_page: OpenPage, visitor: Visitor
) -> None:
    person = await Person.join(aloud)
    page = await open_account(aloud, open_page, visitor, person)
    factor = page.get_by_role("region", name="Second factor")
    await factor.get_by_text("Set it up").click()
    await factor.get_by_label("Your password").fill("not the password")
    await factor.get_by_role("button", name="Go on").click()
    await expect(factor.get_by_label("Your password")).to_be_focused()
    await expect(factor.get_by_label("Your password")).to_have_accessible_description(
        "The password is not right."
    )
    await factor.get_by_label("Your password").fill(person.password)
    await factor.get_by_role("button", name="Go on").click()
    drawn = "image => image.decode().then(() => image.naturalWidth > 100)"
    assert await page.get_by_role("img", name="A QR code").evaluate(drawn)
    app = pyotp.TOTP((await page.locator("[data-secret]").inner_text()).replace(" ", ""))
    await page.get_by_label("Code").fill("000000")
    await page.get_by_role("button", name="Switch it on").click()
    await expect(page.get_by_label("Code")).to_have_accessible_description(re.compile("code is not right"))
    await page.get_by_label("Code").fill(app.now())
    await page.get_by_role("button", name="Switch it on").click()
    codes = await page.locator("[data-codes] code").all_inner_texts()
    assert len(set(codes)) == 10
    await page.get_by_role("link", name="I have kept them").click()
    await expect(factor).to_contain_text("10 recovery codes left")
    await page.get_by_role("button", name="Sign out", exact=True).click()

    await page.goto(f"{aloud.base_url}/login?next=/account")
    await sign_in(page, person.email, person.password)
    await expect(page.get_by_role("heading", level=1)).to_have_text("One more step")
    await expect(page.get_by_label("Password")).to_be_focused()
    await expect(page.get_by_label("Password")).to_have_value("")
    await page.get_by_label("Code").fill("12")
    await sign_in(page, person.email, person.password)
    await expect(page.get_by_label("Code")).to_have_accessible_description(re.compile("code is not right"))
    await page.get_by_label("Code").fill(codes[0].upper())
    await sign_in(page, person.email, person.password)
    await expect(factor).to_contain_text("9 recovery codes left")
    await page.get_by_role("button", name="Sign out", exact=True).click()

    await page.goto(f"{aloud.base_url}/login?next=/account")
    await page.get_by_text("My account asks for a code").click()
    await page.get_by_label("Code").fill(codes[1])
    await sign_in(page, person.email, person.password)
    await factor.get_by_text("Switch it off").first.click()
    await factor.get_by_label("Your password").fill(person.password)
    await factor.get_by_label("Code").fill(codes[2])
    await factor.get_by_role("button", name="Switch it off").click()
    await expect(page.get_by_role("status").first).to_contain_text("The second factor is off")


# Profile, address, password, devices


async def test_a_profile_and_a_picture_are_shown_wherever_their_owner_goes(
    aloud: Aloud, open_page: OpenPage, visitor: Visitor
) -> None:
    page = await open_account(aloud, open_page, visitor, await Person.join(aloud))
    profile = page.get_by_role("region", name="Profile")
    await profile.get_by_label("Your name").fill("<i>Ann</i>")
    await profile.get_by_label("About you").fill("Line one\n</textarea>two")
    await profile.get_by_label("Playback speed").select_option("1.5")
    await profile.get_by_label("Books you may like").check()
    await profile.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status").first).to_have_text("Your profile is saved.")
    await expect(profile.get_by_label("About you")).to_have_value("Line one\n</textarea>two")
    await expect(profile.get_by_label("Playback speed")).to_have_value("1.5")
    await expect(profile.get_by_label("Books you may like")).to_be_checked()

    await profile.get_by_label("Picture").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": make_png()}
    )
    await expect(profile.get_by_role("img", name="The picture that you have chosen")).to_be_visible()
    await profile.get_by_role("button", name="Use this picture").click()
    await page.goto(f"{aloud.base_url}/")
    link = page.get_by_role("link", name="Your account: <i>Ann</i>")
    width = "image => image.decode().then(() => image.naturalWidth)"
    assert await link.locator("img").evaluate(width) > 0
    picture = await link.locator("img").get_attribute("src")
    await link.click()

    await profile.get_by_label("Picture").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    await profile.get_by_role("button", name="Use this picture").click()
    await expect(profile.get_by_label("Picture")).to_have_accessible_description(re.compile("Choose a JPEG"))
    await profile.get_by_role("button", name="Remove the picture").click()
    await expect(link.locator("img")).to_have_count(0)
    assert picture is not None
    status, _, _ = await aloud.call("GET", picture, token="")
    assert status == 404


async def test_a_device_is_signed_out_from_another(
    aloud: Aloud, open_page: OpenPage, visitor: Visitor
) -> None:
    person = await Person.join(aloud)
    mine = (await open_page(f"{aloud.base_url}/login?next=/account")).page
    await visitor.sign_in(person.email, person.password)
    await sign_in(mine, person.email, person.password)
    devices = mine.get_by_role("region", name="Devices").get_by_role("listitem")
    await expect(devices).to_have_count(3)
    here = mine.get_by_text("This device", exact=True)
    await expect(devices.filter(has=here)).to_have_count(1)
    await expect(devices.filter(has=here)).to_contain_text("Chrome on Linux")
    await (
        devices.filter(has_not=here)
        .filter(has_not_text="Program")
        .get_by_role("button", name="Sign out this device")
        .click()
    )
    await expect(devices).to_have_count(2)
    assert (await visitor.get("/account"))[0] == 303
    await mine.get_by_role("button", name="Sign out everywhere").click()
    await expect(mine.get_by_role("status")).to_have_text("You are signed out everywhere.")
    assert (await person.call("POST", "/auth/logout"))[0] == 401


async def test_address_and_password_change_without_any_script(
    aloud: Aloud, open_page: OpenPage, visitor: Visitor
) -> None:
    person = await Person.join(aloud)
    page = await open_account(aloud, open_page, visitor, person, scripts=False)
    moved = f"moved-{person.email}"
    address = page.get_by_role("region", name="Address")
    await address.get_by_text("Move to another address").click()
    await address.get_by_label("New address").fill(moved)
    await address.get_by_label("Your password").fill(person.password)
    await address.get_by_role("button", name="Send the link").click()
    await expect(page.get_by_role("status").first).to_contain_text("Look into the mail of the new address")
    await expect(address).to_contain_text(person.email)
    token = await aloud.mailed_token(moved, "/verify/email")
    await page.goto(f"{aloud.base_url}/verify/email?token={token}")
    await page.get_by_role("button", name="Confirm my address").click()
    await expect(address).to_contain_text(moved)
    await expect(address).to_contain_text("Confirmed")

    password = page.get_by_role("region", name="Password")
    await password.get_by_text("Choose a new password").click()
    await password.get_by_label("Your password").fill(person.password)
    await password.get_by_label("New password").fill(NEW_PASSWORD)
    await password.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_role("status").first).to_contain_text("Your new password is set")
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await page.goto(f"{aloud.base_url}/login")
    await sign_in(page, moved, NEW_PASSWORD)
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()


# What is held


async def test_a_copy_is_loaded_and_then_everything_is_deleted(
    aloud: Aloud, open_page: OpenPage, visitor: Visitor, tmp_path: Path
) -> None:
    person = await Person.join(aloud)
    page = await open_account(aloud, open_page, visitor, person)
    copy = page.get_by_role("region", name="A copy of your data")
    await copy.get_by_role("button", name="Make a copy").click()
    async with page.expect_download() as loading:
        await copy.get_by_role("link", name="Download").click()
    file = tmp_path / "copy.zip"
    await (await loading.value).save_as(file)
    with zipfile.ZipFile(file) as archive:
        assert person.email in archive.read("account.json").decode()

    end = page.get_by_role("region", name="Delete your account")
    await end.get_by_text("I want to delete my account").click()
    await end.get_by_label("Your password").fill(person.password)
    await end.get_by_role("button", name="Delete my account for good").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Goodbye")
    receipt = await page.locator(".receipt code").inner_text()
    assert receipt in await aloud.mail(person.email, receipt)
    assert await page.context.cookies() == [
        cookie for cookie in await page.context.cookies() if cookie["name"] != "aloud"
    ]
    await page.goto(f"{aloud.base_url}/login")
    await sign_in(page, person.email, person.password)
    await expect(page.get_by_role("alert")).to_be_visible()


# Administrators


async def test_an_administrator_gives_roles_and_closes_accounts(
    aloud: Aloud, open_page: OpenPage, visitor: Visitor
) -> None:
    person = await Person.join(aloud)
    page = (await open_page(f"{aloud.base_url}/login?next=/manage/users")).page
    await sign_in(page, aloud.admin_email, aloud.admin_password)
    await page.get_by_label("Whole mail address").fill(person.email.upper())
    await page.get_by_role("button", name="Find").click()
    row = page.get_by_role("main").get_by_role("listitem").filter(has_text=person.email)
    await row.get_by_label("Publisher").check()
    await row.get_by_role("button", name="Set the roles").click()
    await expect(row.get_by_label("Publisher")).to_be_checked()
    await row.get_by_text("Close the account").click()
    await row.get_by_role("button", name="Close it now").click()
    await expect(row.get_by_text("Closed", exact=True)).to_be_visible()

    login = {"email": person.email, "password": person.password}
    assert "This account was closed" in (await visitor.send("/login", "/login", **login))[1]
    await row.get_by_role("button", name="Open the account again").click()
    await expect(row.get_by_text("Closed", exact=True)).to_have_count(0)
    await visitor.sign_in(person.email, person.password)
    assert "/manage/" not in (await visitor.get("/account"))[1]
    assert (await visitor.get("/manage/users"))[0] == 404

    await page.get_by_role("link", name="Audit").click()
    entry = page.get_by_role("row").filter(has_text="user.enabled").first
    await expect(entry).to_contain_text("127.0.0.1")
    await page.goto(f"{aloud.base_url}/manage/users?email={aloud.admin_email}")
    own = page.get_by_role("main").get_by_role("listitem").filter(has_text=aloud.admin_email)
    assert await own.get_by_text("Close the account").count() == 0


# What others might try


def pages_with_forms() -> list[str]:
    """The path of every page that takes a form, as the app itself lists them."""
    import function_app

    routes = [
        cast(Any, function.get_trigger()).get_dict_repr()
        for function in function_app.app.get_functions()
        if str(function.get_function_name()).startswith("page_")
    ]
    return sorted("/" + route["route"] for route in routes if "POST" in map(str, route["methods"]))


async def test_no_form_from_elsewhere_is_taken(aloud: Aloud, visitor: Visitor) -> None:
    paths = pages_with_forms()
    assert len(paths) > 20
    person = await Person.join(aloud)
    await visitor.sign_in(person.email, person.password)
    await visitor.get("/reset")
    _, task, _ = await person.post("/tasks", name="Mine")
    for path in paths:
        status, _, _ = await visitor.send(path.replace("{id}", task["id"]))
        expected = 404 if path.startswith("/manage/") else 415 if path in FORMS_WITH_FILES else 403
        assert status == expected, path
    for path, field in FORMS_WITH_FILES.items():
        form = aiohttp.FormData({"csrf": "not.ours.atall"})
        form.add_field(field, make_png(), filename="a.png")
        async with visitor.http.post(path, data=form, allow_redirects=False) as answer:
            assert answer.status == 403, path
    assert (await person.get("/users/me"))["picture_url"] is None
    assert [item["name"] for item in (await person.get("/tasks"))["items"]] == ["Mine"]

    await visitor.send("/logout", "/account")
    await visitor.sign_in(aloud.admin_email, aloud.admin_password)
    for path in paths:
        if path.startswith("/manage/"):
            status, _, _ = await visitor.send(path.replace("{user_id}", "0" * 26))
            assert status == 403, path


async def test_strangers_are_led_to_the_sign_in_and_find_no_management(visitor: Visitor) -> None:
    for path in ("/account", "/account/export/1"):
        status, _, answer = await visitor.get(path)
        assert (status, answer.headers["Location"]) == (303, f"/login?next={path}")
    for path in ("/account/delete", "/account/picture", "/account/mfa/confirm"):
        status, _, answer = await visitor.send(path)
        assert (status, answer.headers["Location"]) == (303, "/login?next=/account")
    for path in ("/manage/users", "/manage/audit"):
        assert (await visitor.get(path))[0] == 404


async def test_a_sign_in_makes_a_new_session_and_ends_the_one_before(aloud: Aloud, visitor: Visitor) -> None:
    person = await Person.join(aloud)
    page = await visitor.get("/login")
    csrf = TOKEN.findall(page[1])[-1]
    answers = []
    for _ in range(2):
        fields = {"csrf": csrf, "email": person.email, "password": person.password, "next": "//example.com"}
        async with visitor.http.post("/login", data=fields, allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/"
            answers.append(answer.headers["Set-Cookie"])
    for cookie in answers:
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    first, second = (cookie.partition(";")[0] for cookie in answers)
    assert first != second
    for cookie, expected in ((first, 303), (second, 200)):
        status, _, _ = await aloud.call("GET", "/account", token="", headers={"Cookie": cookie})
        assert status == expected


async def test_a_link_from_a_mail_is_told_to_nobody(visitor: Visitor) -> None:
    for path in ("/verify?token=a.b", "/verify/email?token=a.b", "/reset?token=a.b"):
        status, text, answer = await visitor.get(path)
        assert status == 200
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert 'value="a.b"' in text
        assert not re.search(r'(href|src|action)="[^"]*a\.b', text)


async def test_news_are_only_ours(visitor: Visitor) -> None:
    for forged in ("You+have+won", "IllvdSBoYXZlIHdvbiI.aaaaaa.bbbb"):
        _, text, _ = await visitor.get(f"/login?news={forged}")
        assert "won" not in text
        assert 'role="status"' not in text


async def test_who_tries_too_often_is_told_when_to_come_again(visitor: Visitor) -> None:
    email = f"{new_id()}@example.com"
    for _ in range(10):
        await visitor.send("/login", "/login", email=email, password="not the password")
    status, text, answer = await visitor.send("/login", "/login", email=email, password="x")
    assert status == 429
    assert "Too many tries. Try again in" in text
    assert 0 < int(answer.headers["Retry-After"]) <= 60


async def test_a_picture_is_kept_by_browsers_under_its_own_address(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    status, user, _ = await person.call(
        "PUT", "/users/me/picture", data=make_png(), headers={"Content-Type": "image/png"}
    )
    assert status == 200
    status, content, headers = await aloud.call("GET", user["picture_url"], token="")
    assert (status, headers["Content-Type"], content[8:12]) == (200, "image/webp", b"WEBP")
    assert headers["Cache-Control"] == "private, max-age=31536000, immutable"
    unchanged = await aloud.call(
        "GET", user["picture_url"], token="", headers={"If-None-Match": headers["ETag"]}
    )
    assert unchanged[0] == 304
    for path in (f"/pictures/{user['id']}/{new_id()}", "/pictures/..%2f/x", f"/pictures/{user['id']}/%2e"):
        assert (await aloud.call("GET", path, token=""))[0] == 404


@pytest.mark.parametrize("path", ["/account", "/manage/users", "/manage/audit"])
async def test_what_is_personal_is_not_stored(aloud: Aloud, visitor: Visitor, path: str) -> None:
    await visitor.sign_in(aloud.admin_email, aloud.admin_password)
    status, _, answer = await visitor.get(path)
    assert (status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert (await visitor.get(f"{path}?after=forged"))[0] == (200 if path == "/account" else 404)
