"""Buying over HTTP: headers, repeats to the letter, another's orders, and what the log may not hold."""

from collections.abc import Mapping
from typing import Any

import pytest_asyncio

from core.ids import new_id
from tests.aloud import Aloud
from tests.audio import make_audio
from tests.person import Person

PLAY_MONEY = {"payment_method": "simulated"}


async def check_out(
    person: Person, key: str | None, body: Mapping[str, Any] = PLAY_MONEY
) -> tuple[int, Any, Mapping[str, str]]:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await person.call("POST", "/checkout", headers=headers, json=body)


@pytest_asyncio.fixture(scope="module")
async def goods(aloud: Aloud) -> str:
    """Return the id of a book with audio that costs something."""
    name = f"goods {new_id()}.mp3"
    await aloud.upload(name, make_audio("mp3", 3, sounds=[(0, 3)]))
    await aloud.settled(name)
    book = await aloud.book_of(name)
    path = f"/api/v1/audiobooks/{book['id']}"
    status, _, _ = await aloud.call("PATCH", path, json={"price": {"amount": 1299}})
    assert status == 200
    return str(book["id"])


async def test_a_journey_from_the_cart_to_the_refund(aloud: Aloud, goods: str) -> None:
    buyer, other = await Person.join(aloud), await Person.join(aloud)
    links: list[str] = []
    status, _, _ = await buyer.call("GET", f"/audiobooks/{goods}/stream")
    assert status == 403
    status, cart, _ = await buyer.post("/cart/merge", audiobook_ids=[goods, new_id()])
    assert (status, [item["reason"] for item in cart["skipped"]]) == (200, ["unavailable"])
    assert cart["total"] == {"amount": 1299, "currency": "USD"}
    status, order, headers = await check_out(buyer, "first")
    assert (status, order["state"]) == (201, "paid")
    assert headers["Location"] == f"/api/v1/orders/{order['id']}"
    assert "Idempotent-Replayed" not in headers
    status, same, headers = await check_out(buyer, "first")
    assert (status, same, headers["Idempotent-Replayed"]) == (201, order, "true")
    status, stream, _ = await buyer.call("GET", f"/audiobooks/{goods}/stream?redirect=false")
    links.append(stream["url"].partition("?")[2])
    status, problem, _ = await buyer.post("/cart/add", audiobook_id=goods)
    assert (status, problem["type"]) == (409, "/problems/conflict")
    for method, path in (("GET", ""), ("POST", "/confirm"), ("POST", "/cancel")):
        status, problem, _ = await other.call(method, f"/orders/{order['id']}{path}")
        assert (status, problem["type"]) == (404, "/problems/not-found")
    assert [item["id"] for item in (await buyer.get("/orders?limit=1"))["items"]] == [order["id"]]
    assert await buyer.get(f"/orders/{order['id']}") == order
    text = await aloud.mail(buyer.email, order["number"])
    assert "12.99 USD" in text

    status, refunded, _ = await aloud.call("POST", f"/api/v1/orders/{order['id']}/refund?reason=Asked")
    assert (status, refunded["state"]) == (200, "refunded")
    status, again, _ = await aloud.call("POST", f"/api/v1/orders/{order['id']}/refund")
    assert (status, again) == (200, refunded)
    status, _, _ = await buyer.call("GET", f"/audiobooks/{goods}/stream")
    assert status == 403
    await aloud.mail(buyer.email, "goes back")

    log = aloud.log.read_text()
    secrets = [buyer.tokens["access_token"], buyer.tokens["refresh_token"], buyer.password, buyer.email]
    assert f"/api/v1/orders/{order['id']}" in log
    assert [secret for secret in (*secrets, *links, "sig=", "Bearer ") if secret in log] == []


async def test_a_failure_is_repeated_to_the_letter(aloud: Aloud, goods: str) -> None:
    buyer = await Person.join(aloud)
    for key, body, expected in (
        ("empty", PLAY_MONEY, (409, "conflict")),
        ("declined", {"payment_method": "simulated-decline"}, (402, "payment-declined")),
        ("dear", {**PLAY_MONEY, "expected_total": {"amount": 1, "currency": "USD"}}, (409, "price-changed")),
        ("odd", {"payment_method": "cowries"}, (422, "invalid")),
    ):
        status, problem, headers = await check_out(buyer, key, body)
        assert (status, problem["type"]) == (expected[0], f"/problems/{expected[1]}")
        assert problem["request_id"] == headers["X-Request-Id"]
        again = await check_out(buyer, key, body)
        assert again[:2] == (status, problem)
        assert again[2]["Idempotent-Replayed"] == "true"
        assert again[2]["Content-Type"] == "application/problem+json"
        await buyer.post("/cart/add", audiobook_id=goods)


async def test_a_checkout_needs_a_key_and_a_new_wish_a_new_one(aloud: Aloud, goods: str) -> None:
    buyer = await Person.join(aloud)
    await buyer.post("/cart/add", audiobook_id=goods)
    for key in (None, "", "a b", "k" * 201):
        status, problem, _ = await check_out(buyer, key)
        assert (status, problem["type"]) == (400, "/problems/malformed-request"), key
    assert (await check_out(buyer, "key"))[0] == 201
    status, problem, headers = await check_out(buyer, "key", {"payment_method": "simulated-late"})
    assert (status, problem["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert "Idempotent-Replayed" not in headers


async def test_a_pending_order_is_confirmed_or_cancelled(aloud: Aloud, goods: str) -> None:
    buyer = await Person.join(aloud)
    await buyer.post("/cart/add", audiobook_id=goods)
    status, order, _ = await check_out(buyer, "late", {"payment_method": "simulated-late"})
    assert (status, order["state"]) == (201, "pending")
    status, confirmed, _ = await buyer.call("POST", f"/orders/{order['id']}/confirm")
    assert (status, confirmed["state"]) == (200, "pending")
    assert (await check_out(buyer, "other"))[0] == 409
    status, cancelled, _ = await buyer.call("POST", f"/orders/{order['id']}/cancel")
    assert (status, cancelled["state"]) == (200, "failed")
    status, _, _ = await aloud.call("POST", f"/api/v1/orders/{order['id']}/refund")
    assert status == 409
    status, order, _ = await check_out(buyer, "timeout", {"payment_method": "simulated-timeout"})
    assert (status, order["state"]) == (201, "pending")
    status, confirmed, _ = await buyer.call("POST", f"/orders/{order['id']}/confirm")
    assert (status, confirmed["state"]) == (200, "paid")
