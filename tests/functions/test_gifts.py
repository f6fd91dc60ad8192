"""Vouchers, gifts and webhooks over HTTP: what administrators, givers, receivers and providers see."""

import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from pydantic import ValidationError

from core.catalog.models import Book, Money
from core.ids import new_id, now
from core.settings import Settings
from core.wiring import build
from functions.vouchers import VoucherTerms
from tests.aloud import Aloud
from tests.person import PASSWORD, Person

API = "/api/v1"
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@pytest_asyncio.fixture(scope="module")
async def book(aloud: Aloud) -> Book:
    """A book for 10 dollars on the shelf."""
    connection = {"AzureWebJobsStorage": aloud.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    services = build(Settings.read(connection))
    at = now()
    book = Book(
        id=new_id(),
        owner_id="nobody",
        title="A book to give",
        price=Money(amount=1000),
        visibility="published",
        processing_status="ready",
        created_at=at,
        updated_at=at,
    )
    await services.catalog.create(book)
    await services.close()
    return book


async def buy(aloud: Aloud, giver: Person, book: Book, **wish: Any) -> dict[str, Any]:
    await giver.post("/cart/add", audiobook_id=book.id)
    headers = {"Idempotency-Key": new_id()}
    body = {"payment_method": "simulated", **wish}
    status, order, _ = await giver.call("POST", "/checkout", headers=headers, json=body)
    assert status == 201, order
    return dict(order)


async def mailed_code(aloud: Aloud, address: str) -> str:
    """Wait for the mail of a gift and return the last part of its link."""
    return (await aloud.mail(address, "/gifts/")).partition("/gifts/")[2].split()[0]


async def make_voucher(aloud: Aloud, **terms: Any) -> dict[str, Any]:
    body = {"code": f"v-{new_id()}", "percent": 25, **terms}
    status, voucher, _ = await aloud.call("POST", f"{API}/admin/vouchers", json=body)
    assert status == 201, voucher
    return dict(voucher)


async def test_administrators_keep_vouchers_that_buyers_use(aloud: Aloud, book: Book) -> None:
    voucher = await make_voucher(aloud, max_uses=1, note="of the spring")
    code = voucher["code"]
    assert code == code.upper()
    assert (voucher["percent"], voucher["uses"], voucher["ended_at"]) == (25, 0, None)
    buyer = await Person.join(aloud)
    order = await buy(aloud, buyer, book, voucher_code=code.lower())
    assert (order["voucher_code"], order["discount"]["amount"], order["total"]["amount"]) == (code, 250, 750)

    status, again, _ = await aloud.call("POST", f"{API}/admin/vouchers", json={"code": code, "percent": 1})
    assert status == 409, again
    terms = {"amount": {"amount": 300, "currency": "USD"}, "max_uses": 2, "audiobook_ids": [book.id]}
    status, changed, _ = await aloud.call("PUT", f"{API}/admin/vouchers/{code}", json=terms)
    assert status == 200, changed
    assert (changed["percent"], changed["amount"], changed["uses"]) == (None, terms["amount"], 1)
    assert changed["note"] == "", "a PUT replaces all terms"
    listed = (await aloud.get(f"{API}/admin/vouchers?limit=100"))["items"]
    assert changed in listed
    status, _, _ = await aloud.call("DELETE", f"{API}/admin/vouchers/{code}")
    assert status == 204
    status, _, _ = await aloud.call("PUT", f"{API}/admin/vouchers/{code}", json=terms)
    assert status == 409
    status, _, _ = await aloud.call("DELETE", f"{API}/admin/vouchers/NOT-THERE")
    assert status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"code": "abc", "percent": 10},
        {"code": "no/slash", "percent": 10},
        {"code": "GOOD-1"},
        {"code": "GOOD-1", "percent": 10, "amount": {"amount": 100, "currency": "USD"}},
        {"code": "GOOD-1", "percent": 0},
        {"code": "GOOD-1", "percent": 101},
        {"code": "GOOD-1", "amount": {"amount": 0, "currency": "USD"}},
        {"code": "GOOD-1", "percent": 10, "max_uses": 0},
        {"code": "GOOD-1", "percent": 10, "expires_at": "2027-01-01T00:00:00"},
        {
            "code": "GOOD-1",
            "percent": 10,
            "starts_at": "2027-01-02T00:00:00Z",
            "expires_at": "2027-01-01T00:00:00Z",
        },
        {"code": "GOOD-1", "percent": 10, "uses": 5},
    ],
)
async def test_a_voucher_that_makes_no_sense_is_refused(aloud: Aloud, body: dict[str, Any]) -> None:
    status, content, _ = await aloud.call("POST", f"{API}/admin/vouchers", json=body)
    assert status == 422, content


@pytest_asyncio.fixture
async def browser(aloud: Aloud) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(aloud.base_url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def read(browser: aiohttp.ClientSession, path: str) -> tuple[int, str, Any]:
    async with browser.get(path, allow_redirects=False) as answer:
        return answer.status, await answer.text(), answer.headers


async def send(browser: aiohttp.ClientSession, path: str, **fields: str) -> tuple[int, str, Any]:
    async with browser.post(path, data=fields, allow_redirects=False) as answer:
        return answer.status, await answer.text(), answer.headers


def token_in(page: str) -> str:
    found = _CSRF.findall(page)
    assert found
    return str(found[-1])


async def test_a_gift_is_unwrapped_on_its_page(
    aloud: Aloud, book: Book, browser: aiohttp.ClientSession
) -> None:
    giver, receiver, late = [await Person.join(aloud) for _ in range(3)]
    await giver.call("PUT", "/users/me", json={"display_name": "Ada"})
    order = await buy(aloud, giver, book, gift={"email": receiver.email, "message": "For you <3"})
    assert order["gift"] == {"email": receiver.email, "message": "For you <3", "audiobook_ids": []}
    code = await mailed_code(aloud, receiver.email)
    path = f"/gifts/{code}"

    status, page, headers = await read(browser, path)
    assert status == 200
    assert "Ada has given you a book" in page
    assert "For you &lt;3" in page
    assert book.title in page
    assert f"/login?next={path}" in page
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert (await read(browser, f"{path[:-4]}0000"))[0] == 404
    assert (await send(browser, path, csrf="x"))[0] == 401

    _, form, _ = await read(browser, f"/login?next={path}")
    status, _, headers = await send(
        browser, "/login", csrf=token_in(form), email=receiver.email, password=PASSWORD, next=path
    )
    assert (status, headers["Location"]) == (303, path)
    _, page, _ = await read(browser, path)
    assert (await send(browser, path, csrf="x"))[0] == 403
    status, _, headers = await send(browser, path, csrf=token_in(page))
    assert status == 303
    _, page, _ = await read(browser, headers["Location"])
    assert "It is yours now" in page
    assert "Take it into my library" not in page
    assert (await receiver.get(f"/audiobooks/{book.id}"))["owned"] is True

    for person, expected in ((receiver, 200), (late, 409)):
        status, content, _ = await person.post("/gifts/redeem", code=code)
        assert status == expected, content
    status, content, _ = await receiver.post("/gifts/redeem", code=code)
    assert content["redeemed"] == [{"audiobook_id": book.id, "title": book.title}]
    assert (await late.post("/gifts/redeem", code=f"{code[:-4]}0000"))[0] == 404

    status, refunded, _ = await aloud.call("POST", f"{API}/orders/{order['id']}/refund", json={})
    assert (status, refunded["state"]) == (200, "refunded")
    _, page, _ = await read(browser, path)
    assert "This gift was refunded" in page
    assert (await receiver.get(f"/audiobooks/{book.id}"))["owned"] is False
    log = aloud.log.read_text()
    assert "/gifts/" in log
    assert code not in log, "whoever reads the log could redeem it"


async def test_a_webhook_without_a_good_signature_is_401(aloud: Aloud) -> None:
    path = f"{API}/payments/webhook"
    headers = {"Content-Type": "application/json"}
    for more in ({}, {"Aloud-Signature": "t=1,v1=0"}, {"Stripe-Signature": "t=1,v1=0"}):
        status, content, answered = await aloud.call(
            "POST", path, token="", headers={**headers, **more}, data=b"{}"
        )
        assert (status, content["type"]) == (401, "/problems/unauthenticated"), more
        assert answered["Content-Type"] == "application/problem+json"
    status, _, _ = await aloud.call("POST", path, token="", headers=headers, data=bytes(300 * 1024))
    assert status == 413


async def test_a_late_payment_is_made_on_the_providers_page(
    aloud: Aloud, book: Book, browser: aiohttp.ClientSession
) -> None:
    for answer, state in (("pay", "paid"), ("no", "failed")):
        buyer = await Person.join(aloud)
        order = await buy(aloud, buyer, book, payment_method="simulated-late")
        assert order["state"] == "pending"
        path = order["pay_url"].removeprefix(aloud.base_url)
        status, page, _ = await read(browser, path)
        assert status == 200
        assert "10.00 USD" in page
        assert (await send(browser, path, csrf="x", answer="pay"))[0] == 403
        status, _, headers = await send(browser, path, csrf=token_in(page), answer=answer)
        assert (status, headers["Location"]) == (303, f"/orders/{order['id']}")
        assert (await buyer.get(f"/orders/{order['id']}"))["state"] == state
        _, page, _ = await read(browser, path)
        assert "Back to the shop" in page
        assert ("This is paid." in page) == (answer == "pay")
    assert (await read(browser, "/pay/a.b.c"))[0] == 404


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"percent": 0},
        {"percent": 101},
        {"percent": 10, "amount": {"amount": 1}},
        {"amount": {"amount": 0}},
        {"amount": {"amount": 10_000_001}},
        {"amount": {"amount": 1, "currency": "usd"}},
        {"amount": {"amount": 1, "percent": 100}},
        {"percent": 10, "uses": -5},
    ],
)
def test_terms_of_a_voucher_that_mean_nothing_are_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VoucherTerms.model_validate(terms)
