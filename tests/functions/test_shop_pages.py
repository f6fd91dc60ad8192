"""The shop's pages with forms alone, as a browser without scripts sends them."""

import asyncio
import html
import io
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from core.catalog.models import Book, Money
from core.ids import new_id
from tests.aloud import Aloud
from tests.audio import make_audio
from tests.functions.test_names import publish
from tests.person import PASSWORD
from tests.visitor import Visitor, visit

PLAY_MONEY = {"payment_method": "simulated"}


def form_of(page: str, action: str) -> dict[str, str]:
    """Return the hidden fields of the form that is sent to this address."""
    found = re.search(rf'<form [^>]*action="{re.escape(action)}"(.*?)</form>', page, re.S)
    assert found, f"no form for {action}"
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', found[1])
    return {name: html.unescape(value) for name, value in hidden}


class Buyer(Visitor):
    """A visitor who has just joined."""

    async def post(self, path: str, **fields: str) -> tuple[int, str, str]:
        """Send a form; returns the status, the page, and where it leads."""
        async with self.http.post(path, data=fields, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer.headers.get("Location", "")

    async def read(self, path: str) -> str:
        status, content, _ = await self.get(path)
        assert status == 200, (path, status, content)
        return content

    async def add(self, book: Book) -> None:
        path = f"/books/{book.slug}"
        status, _, target = await self.post("/cart/add", **form_of(await self.read(path), "/cart/add"))
        assert (status, target.partition("?")[0]) == (303, path)

    async def review(self, **choices: str) -> dict[str, str]:
        """Go from the cart to the checkout, and return what its button sends."""
        fields = form_of(await self.read("/cart"), "/checkout")
        status, page, _ = await self.post("/checkout", **fields, **choices)
        assert status == 200, page
        return form_of(page, "/checkout/pay")


@asynccontextmanager
async def joined(aloud: Aloud) -> AsyncIterator[Buyer]:
    async with visit(aloud) as visitor:
        fields = {"email": f"{new_id()}@example.com", "password": PASSWORD, "display_name": "Ann"}
        status, _, _ = await visitor.send("/register", "/register", **fields)
        assert status == 303
        yield Buyer(visitor.http)


@pytest_asyncio.fixture
async def buyer(aloud: Aloud) -> AsyncIterator[Buyer]:
    async with joined(aloud) as one:
        yield one


@pytest_asyncio.fixture(scope="module")
async def dear(aloud: Aloud) -> Book:
    prices = {"price": Money(amount=1299), "other_prices": (Money(amount=1199, currency="EUR"),)}
    return await publish(aloud, title="A dear <book>", **prices)


@pytest_asyncio.fixture(scope="module")
async def free(aloud: Aloud) -> Book:
    return await publish(aloud, title="A free book", price=Money(amount=0))


async def test_a_book_is_bought_once_however_often_the_form_is_sent(
    aloud: Aloud, buyer: Buyer, dear: Book
) -> None:
    page = await buyer.read(f"/books/{dear.slug}")
    assert "12.99 USD" in page
    await buyer.add(dear)
    assert "In your cart" in await buyer.read(f"/books/{dear.slug}")
    cart = await buyer.read("/cart")
    assert "A dear &lt;book&gt;" in cart
    assert 'data-count="1"' in cart
    fields = await buyer.review()
    assert (fields["total"], fields["total_currency"]) == ("1299", "USD")
    broken = fields | {"total": "9" * 5000}
    assert (await buyer.post("/checkout/pay", **broken, **PLAY_MONEY))[0] == 400
    answers = await asyncio.gather(*(buyer.post("/checkout/pay", **fields, **PLAY_MONEY) for _ in range(2)))
    assert {status for status, _, _ in answers} == {303}
    (target,) = {target.partition("?")[0] for _, _, target in answers}
    order = await buyer.read(target)
    assert "Paid" in order
    assert "12.99 USD" in order
    history = await buyer.read("/orders")
    assert history.count('href="/orders/') == 1
    assert "It is empty" in await buyer.read("/cart")
    assert "A dear &lt;book&gt;" in await buyer.read("/library")
    assert "In your library" in await buyer.read(f"/books/{dear.slug}")

    async with joined(aloud) as other:
        assert (await other.get(target))[0] == 404
        assert "No orders yet" in await other.read("/orders")
        assert (await other.post("/checkout/pay", **fields, **PLAY_MONEY))[0] == 403  # another's form


async def test_what_is_bought_is_what_the_page_has_shown(aloud: Aloud, buyer: Buyer, dear: Book) -> None:
    """The cart changes in another window, to a book of the same price."""
    other = await publish(aloud, title="As dear", price=Money(amount=1299))
    await buyer.add(dear)
    fields = await buyer.review()
    cart = await buyer.read("/cart")
    await buyer.post("/cart/remove", **form_of(cart, "/cart/remove"))
    await buyer.add(other)
    _, _, target = await buyer.post("/checkout/pay", **fields, **PLAY_MONEY)
    order = await buyer.read(target.partition("?")[0])
    assert "A dear &lt;book&gt;" in order
    assert "As dear" not in order
    assert "As dear" in await buyer.read("/cart")
    for books in ("", "x", " ".join(new_id() for _ in range(51))):
        broken = fields | {"books": books}
        assert (await buyer.post("/checkout/pay", **broken, **PLAY_MONEY))[0] == 400


async def test_what_cannot_be_bought_is_told_on_the_page_and_costs_nothing(
    aloud: Aloud, buyer: Buyer
) -> None:
    book = await publish(aloud, title="A changing book", price=Money(amount=500))
    await buyer.add(book)
    fields = await buyer.review()
    path = f"/api/v1/audiobooks/{book.id}"
    assert (await aloud.call("PATCH", path, json={"price": {"amount": 700}}))[0] == 200
    status, page, _ = await buyer.post("/checkout/pay", **fields, **PLAY_MONEY)
    assert status == 409
    assert "cost 7.00 USD together now" in page
    again = form_of(page, "/checkout/pay")
    assert (again["total"], again["key"] != fields["key"]) == ("700", True)

    status, page, _ = await buyer.post("/checkout/pay", **again, payment_method="simulated-decline")
    assert status == 402
    assert "The card was declined" in page
    assert "Nothing was paid" in page
    status, page, _ = await buyer.post("/checkout/pay", **again, **PLAY_MONEY)
    assert status == 422, "an old page with another wish"
    assert "sent before" in page
    last = form_of(page, "/checkout/pay")
    status, page, _ = await buyer.post("/checkout/pay", **last, payment_method="cowries")
    assert status == 422
    assert "Choose one of" in html.unescape(page)

    assert (await aloud.call("DELETE", path))[0] == 204
    status, page, _ = await buyer.post("/checkout/pay", **form_of(page, "/checkout/pay"), **PLAY_MONEY)
    assert status == 409
    assert "is not on sale any more" in page
    cart = await buyer.read("/cart")
    assert "Not on sale any more" in cart
    assert 'action="/checkout"' not in cart
    status, _, target = await buyer.post("/cart/remove", **form_of(cart, "/cart/remove"))
    assert (status, target.partition("?")[0]) == (303, "/cart")
    assert (await buyer.get("/checkout"))[0] == 303
    assert "No orders yet" not in await buyer.read("/orders")


async def test_a_payment_elsewhere_is_followed_and_can_be_cancelled(buyer: Buyer, dear: Book) -> None:
    await buyer.add(dear)
    fields = await buyer.review()
    _, _, target = await buyer.post("/checkout/pay", **fields, payment_method="simulated-late")
    order = await buyer.read(target)
    assert re.search(r'href="[^"]*/pay/[^"]+"[^>]*>Pay 12.99 USD now', order)
    assert "see the order" in await buyer.read(f"/books/{dear.slug}")
    confirm, cancel = f"{target}/confirm", f"{target}/cancel"
    status, _, back = await buyer.post(confirm, **form_of(order, confirm))
    assert (status, back.partition("?")[0]) == (303, target)
    assert "It is not paid yet" in await buyer.read(back)
    await buyer.post(cancel, **form_of(order, cancel))
    assert "Nothing was paid" in await buyer.read(target)
    assert "In your cart" in await buyer.read(f"/books/{dear.slug}"), "it is in the cart again"

    fields = await buyer.review()
    _, _, target = await buyer.post("/checkout/pay", **fields, payment_method="simulated-timeout")
    order = await buyer.read(target)
    assert "We wait for the payment" in order
    confirm = f"{target}/confirm"
    await buyer.post(confirm, **form_of(order, confirm))
    assert "Receipt" in await buyer.read(target)


async def test_vouchers_and_gifts_are_looked_at_before_they_are_paid(
    aloud: Aloud, buyer: Buyer, dear: Book
) -> None:
    code = f"HALF-{new_id()[-6:].upper()}"
    made = await aloud.call("POST", "/api/v1/admin/vouchers", json={"code": code, "percent": 50})
    assert made[0] == 201, made
    await buyer.add(dear)
    fields = form_of(await buyer.read("/cart"), "/checkout")
    status, page, _ = await buyer.post("/checkout", **fields, voucher_code="NO-SUCH-CODE")
    assert status == 422
    assert "We do not know this code" in page
    assert form_of(page, "/checkout/pay")["total"] == "1299"
    status, page, _ = await buyer.post("/checkout", **fields, gift_email="nobody")
    assert status == 422
    assert 'aria-describedby="gift_email-error"' in page
    assert "gift_email" not in form_of(page, "/checkout/pay")

    friend = f"{new_id()}@example.com"
    gift = {"gift_email": friend, "gift_message": "Enjoy it,\r\nyour Ann"}
    pay = await buyer.review(voucher_code=code.lower(), **gift)
    assert (pay["total"], pay["gift_email"]) == ("649", friend)
    _, _, target = await buyer.post("/checkout/pay", **pay, **PLAY_MONEY)
    order = await buyer.read(target.partition("?")[0])
    assert "6.49 USD" in order
    assert friend in order
    assert "No books yet" in await buyer.read("/library")
    link = re.findall(r"/gifts/\S+", await aloud.mail(friend, "/gifts/"))[0]
    async with joined(aloud) as other:
        await other.post(link, **form_of(await other.read(link), link))
        assert "A dear &lt;book&gt;" in await other.read("/library")


async def test_a_book_that_one_has_is_given_to_somebody(buyer: Buyer, dear: Book) -> None:
    await buyer.add(dear)
    await buyer.post("/checkout/pay", **await buyer.review(), **PLAY_MONEY)
    page = await buyer.read(f"/books/{dear.slug}")
    give = f"/checkout?give={dear.id}"
    assert give in page
    page = await buyer.read(give)
    assert "First say to whom it goes" in page
    fields = form_of(page, "/checkout")
    assert (await buyer.post("/checkout", **fields))[0] == 422
    friend = f"{new_id()}@example.com"
    status, page, _ = await buyer.post("/checkout", **fields, gift_email=friend)
    assert status == 200
    _, _, target = await buyer.post("/checkout/pay", **form_of(page, "/checkout/pay"), **PLAY_MONEY)
    order = await buyer.read(target.partition("?")[0])
    assert friend in order
    assert "Paid" in order
    assert (await buyer.get("/checkout?give=0000"))[0] == 303
    assert (await buyer.get("/checkout?give=%2F%27"))[0] == 404
    assert (await buyer.post("/checkout", **{**fields, "give": "/'"}))[0] == 404


async def test_prices_are_in_the_currency_of_whoever_looks(
    aloud: Aloud, buyer: Buyer, dear: Book, free: Book
) -> None:
    german = {"Accept-Language": "de-DE,de;q=0.9,en-US;q=0.5"}
    path = f"/books/{dear.slug}"
    for headers, price in ((german, "11.99 EUR"), ({"Accept-Language": "ja-JP,ja"}, "12.99 USD")):
        async with aloud.http.get(path, headers=headers) as answer:
            assert price in await answer.text()
    await buyer.add(dear)
    assert "12.99 USD" in await buyer.read("/cart")
    assert "11.99 EUR" in await buyer.read("/cart?currency=EUR")
    assert "11.99 EUR" in await buyer.read(path), "what was chosen is kept"
    assert (await buyer.review())["total_currency"] == "EUR"
    await buyer.read("/cart?currency=%22%3E")
    assert "11.99 EUR" in await buyer.read("/cart")


async def test_a_free_book_is_taken_past_the_cart(buyer: Buyer, dear: Book, free: Book) -> None:
    await buyer.add(dear)
    path = f"/books/{free.slug}"
    page = await buyer.read(path)
    assert "Free" in page
    fields = form_of(page, "/library/take")
    for _ in range(2):
        status, _, target = await buyer.post("/library/take", **fields)
        assert (status, target.partition("?")[0]) == (303, path)
    assert (await buyer.read("/orders")).count('href="/orders/') == 1
    assert "A free book" in await buyer.read("/library")
    cart = await buyer.read("/cart")
    assert "A dear &lt;book&gt;" in cart
    fields = {**fields, "book_id": dear.id, "key": "another"}
    await buyer.post("/library/take", **fields)
    assert "A dear" not in await buyer.read("/library"), "what costs something is not free"


async def test_who_has_not_signed_in_is_asked_to_and_forms_need_our_token(
    aloud: Aloud, buyer: Buyer, dear: Book
) -> None:
    async with visit(aloud) as stranger:
        page = (await stranger.get(f"/books/{dear.slug}"))[1]
        assert "Sign in to buy" in page
        assert "data-cart-add" in page
        assert "data-basket" in (await stranger.get("/cart"))[1]
        for path in ("/checkout", "/orders", "/library", f"/orders/{new_id()}"):
            status, _, answer = await stranger.get(path)
            assert (status, answer.headers["Location"]) == (303, f"/login?next={path}")
        assert (await stranger.send("/cart/add", book_id=dear.id))[0] == 303
    for path in ("/cart/add", "/cart/remove", "/checkout", "/checkout/pay", "/library/take"):
        status, _, _ = await buyer.post(path, csrf="not.ours.atall", book_id=dear.id, key="a")
        assert status == 403, path
    await buyer.add(dear)
    token = form_of(await buyer.read("/cart"), "/checkout")
    for fields in ({"key": "a"}, {"total": "1", "total_currency": "USD"}, {"key": "a", "total": "-1"}):
        assert (await buyer.post("/checkout/pay", **{**token, **fields}))[0] == 400, fields


@pytest.fixture(scope="module")
def sound() -> bytes:
    return make_audio("mp3", 3, sounds=[(0, 3)])


async def test_what_is_owned_is_loaded_one_by_one_and_as_a_zip(
    aloud: Aloud, buyer: Buyer, sound: bytes
) -> None:
    name = f"loaded {new_id()}.mp3"
    await aloud.upload(name, sound)
    await aloud.settled(name)
    found = await aloud.book_of(name)
    page = await buyer.read(f"/books/{found['slug']}")
    await buyer.post("/library/take", **form_of(page, "/library/take"))
    library = await buyer.read("/library")
    links = re.findall(r'href="(/api/v1/my-books/[^"]+)"', library)
    assert len(links) == 5
    assert "sig=" not in library
    async with aiohttp.ClientSession() as http:
        for link in links:
            _, _, answer = await buyer.get(link)
            async with http.get(answer.headers["Location"]) as file:
                assert file.status == 200
                assert "attachment" in file.headers["Content-Disposition"]
        fields: dict[str, Any] = form_of(library, "/library/downloads")
        status, _, target = await buyer.post("/library/downloads", **fields)
        assert (status, target.partition("?")[0]) == (303, "/library")
        _, _, target = await buyer.post("/library/downloads", **fields, **{f"book-{found['id']}": "on"})
        async with asyncio.timeout(30):
            while "It is ready" not in (page := await buyer.read(target)):
                assert "It is being made" in page
                await asyncio.sleep(0.1)
        _, _, answer = await buyer.get(f"{target}/file")
        async with http.get(answer.headers["Location"]) as file:
            names = zipfile.ZipFile(io.BytesIO(await file.read())).namelist()
    assert len(names) >= 5
    async with joined(aloud) as other:
        assert (await other.get(target))[0] == 404
        assert (await other.get(f"{target}/file"))[0] == 404


# What administrators do


@asynccontextmanager
async def managing(aloud: Aloud) -> AsyncIterator[Buyer]:
    async with visit(aloud) as visitor:
        await visitor.sign_in(aloud.admin_email, aloud.admin_password)
        yield Buyer(visitor.http)


async def test_an_order_is_found_by_its_id_and_refunded_once(aloud: Aloud, buyer: Buyer, dear: Book) -> None:
    await buyer.add(dear)
    _, _, target = await buyer.post("/checkout/pay", **await buyer.review(), **PLAY_MONEY)
    order_id = target.partition("?")[0].rpartition("/")[2]
    found, refund = f"/manage/orders?id={order_id}", f"/manage/orders/{order_id}/refund"
    async with managing(aloud) as admin:
        assert "no order with this id" in await admin.read("/manage/orders?id=0000")
        fields = form_of(await admin.read(found), refund)
        status, _, back = await admin.post(refund, **fields, reason="Asked <for>")
        assert (status, back.partition("&")[0]) == (303, found)
        page = await admin.read(found)
        assert "refund begun: Asked &lt;for&gt;" in page
        assert "Refund this order" not in page
        assert (await admin.post(refund, **fields))[0] == 303, "again changes nothing"
        assert (await admin.post(refund, csrf="not.ours.atall"))[0] == 403
    assert "went back to where it came from" in await buyer.read(f"/orders/{order_id}")
    assert "No books yet" in await buyer.read("/library")
    for path in (found, "/manage/vouchers", "/manage/pipeline"):
        assert (await buyer.get(path))[0] == 404
    assert (await buyer.post(refund, **fields))[0] == 404


async def test_vouchers_are_made_and_ended(aloud: Aloud, buyer: Buyer, dear: Book) -> None:
    code = f"MADE-{new_id()[-6:].upper()}"
    path = "/manage/vouchers"
    async with managing(aloud) as admin:
        own = {"csrf": form_of(await admin.read(path), path)["csrf"], "code": code}
        wrong = (
            ({"worth": "percent"}, "Set either percent or amount"),
            ({"percent": "101"}, 'id="percent-error"'),
            ({"percent": "5", "code": "x"}, 'id="code-error"'),
            ({"percent": "5", "books": "none!"}, 'id="books-error"'),
            ({"percent": "5", "starts_at": "soon"}, 'id="starts_at-error"'),
            ({"worth": "amount", "amount": "1.001", "currency": "USD"}, 'id="amount-error"'),
            ({"worth": "amount", "amount": "5", "currency": "money"}, 'id="currency-error"'),
        )
        for fields, fault in wrong:
            status, page, _ = await admin.post(path, **{**own, **fields})
            assert (status, fault in page) == (422, True), (fields, page)
        terms = {"worth": "amount", "amount": "2.50", "currency": "usd", "books": dear.id, "max_uses": "3"}
        assert (await admin.post(path, **own, **terms, expires_at="2999-12-24T18:00"))[0] == 303
        page = await admin.read(path)
        assert f"<strong>{code}</strong>" in page
        assert "2.50 USD, 1 book" in page
        assert (await admin.post(path, **own, **terms))[0] == 409
        await buyer.add(dear)
        assert (await buyer.review(voucher_code=code))["total"] == "1049"
        assert (await admin.post(f"{path}/end", csrf=own["csrf"], voucher=code))[0] == 303
    fields = form_of(await buyer.read("/cart"), "/checkout")
    assert "This code has expired" in (await buyer.post("/checkout", **fields, voucher_code=code))[1]


async def test_the_pipeline_is_paused_with_a_reason_that_administrators_see(aloud: Aloud) -> None:
    path = "/manage/pipeline"
    async with managing(aloud) as admin, visit(aloud) as stranger:
        own = form_of(await admin.read(path), path)
        assert own.pop("turn") == "pause"
        status, page, _ = await admin.post(path, **own, turn="pause", reason="x" * 501)
        assert (status, 'id="reason-error"' in page) == (422, True)
        await admin.post(path, **own, turn="pause", reason="A <new> model.")
        try:
            assert "A &lt;new&gt; model." in await admin.read(path)
            assert "The pipeline is paused: A &lt;new&gt; model." in await admin.read("/")
            assert "pipeline is paused" not in (await stranger.get("/"))[1]
        finally:
            await admin.post(path, **own, turn="resume")
        assert "It runs" in await admin.read(path)
        assert "pipeline is paused" not in await admin.read("/")
        redrive = f"{path}/redrive"
        status, _, target = await admin.post(redrive, **own, queue="notify")
        assert (status, target.partition("?")[0]) == (303, path)
        assert (await admin.post(redrive, **own, queue="none"))[0] == 404
