"""Gifts: bought, mailed, redeemed once, taken back; and what crashes and races may not do to them."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from azure.data.tables.aio import TableServiceClient
from pydantic import ValidationError

from core.caller import Caller
from core.catalog.models import Book, Money
from core.commerce.giving import Gift, GiftWish
from core.commerce.models import Idempotency, Item, Order, OrderRequest, OrderView, Owned, Payment
from core.commerce.store import CommerceStore, idempotency_key
from core.errors import ConflictError, NotFoundError, ThrottledError
from core.ids import new_id, now, scoped_id
from core.storage.tables import Stored
from localhost.azurite import Azurite
from tests.core.commerce.conftest import Shop, Start
from tests.faults import crash_everywhere

Given = tuple[Caller, list[Book], OrderView, str]


def a_wish(**fields: str) -> dict[str, str]:
    return {"email": f"{new_id()}@example.com", "message": "Enjoy!\nAda", **fields}


async def give(shop: Shop, books: int = 1, **fields: str) -> Given:
    """Buy books for somebody; returns the giver, the books, the order and the code of the mailed link."""
    giver = await shop.join()
    shelf = [await shop.stock(f"Book {number}") for number in range(books)]
    await shop.put_in_cart(giver, *shelf)
    wish = a_wish(**fields)
    answer, _ = await shop.buy(giver, gift=wish)
    assert answer.order is not None, answer
    await shop.orders.settle(answer.order.id)
    return giver, shelf, answer.order, await mailed_code(shop, wish["email"])


async def mails(shop: Shop, address: str) -> list[str]:
    container = shop.account.container("mail")
    with suppress(NotFoundError):  # it is made with the first mail
        return [(await container.read(name)).decode() async for name in container.names(f"{address}/")]
    return []


async def mailed_code(shop: Shop, address: str) -> str:
    (mail,) = await mails(shop, address)
    found = re.search(r"/gifts/([\w-]+)", mail)
    assert found is not None
    return found[1]


async def test_a_gift_goes_by_mail_to_whoever_redeems_its_link(shop: Shop) -> None:
    giver, (book,), order, code = await give(shop, email="bob@example.com")
    assert order.state == "paid"
    assert order.gift is not None
    assert await shop.owned(giver) == {}
    (mail,) = await mails(shop, "bob@example.com")
    assert "Subject: Ada has given you a book" in mail
    assert "Book 0" in mail
    assert "Enjoy!" in mail
    await shop.orders.settle(order.id)
    assert len(await mails(shop, "bob@example.com")) == 1

    bob = await shop.join()
    gift = await shop.gifts.find(code)
    assert (gift.state, gift.giver, gift.message) == ("open", "Ada", "Enjoy!\nAda")
    assert (await shop.gifts.redeem(bob, code)).state == "redeemed"
    assert await shop.owned(bob) == {book.id: "owned"}
    await shop.catalog.stream(book.id, bob)
    assert (await shop.gifts.redeem(bob, code)).state == "redeemed", "a repeat"
    with pytest.raises(ConflictError, match="redeemed already"):
        await shop.gifts.redeem(await shop.join(), code)


async def test_a_book_that_the_giver_has_can_be_given_without_the_cart(shop: Shop) -> None:
    giver, loved, wanted = await shop.join(), await shop.stock("Loved"), await shop.stock("Wanted")
    await shop.give(giver, loved)
    await shop.put_in_cart(giver, wanted)
    wish = a_wish()
    answer, _ = await shop.buy(giver, gift={**wish, "audiobook_ids": [loved.id, loved.id]})
    assert answer.order is not None, answer
    assert [item.audiobook_id for item in answer.order.items] == [loved.id]
    assert await shop.in_cart(giver) == [wanted.id]
    await shop.orders.settle(answer.order.id)
    bob = await shop.join()
    await shop.gifts.redeem(bob, await mailed_code(shop, wish["email"]))
    assert await shop.owned(bob) == {loved.id: "owned"}
    draft = await shop.stock("Not to be known of", visibility="draft")
    for book_id in (draft.id, new_id()):
        answer, _ = await shop.buy(giver, gift={**a_wish(), "audiobook_ids": [book_id]})
        assert answer.failure is not None
        assert answer.failure.status == 409
        assert answer.failure.detail.startswith(f"The book {book_id} is not on sale")


async def test_a_book_given_away_stays_in_ones_own_cart(shop: Shop) -> None:
    giver, book = await shop.join(), await shop.stock()
    await shop.put_in_cart(giver, book)
    await shop.buy(giver, gift={**a_wish(), "audiobook_ids": [book.id]})
    assert await shop.in_cart(giver) == [book.id]
    await shop.buy(giver, gift=a_wish())
    assert await shop.in_cart(giver) == []


async def test_who_redeems_a_gift_learns_no_id_of_who_gave_it(shop: Shop) -> None:
    giver, _, _, code = await give(shop)
    bob = await shop.join()
    await shop.gifts.redeem(bob, code)
    (book,), _ = await shop.services.commerce.library.books(bob.user_id, 10)
    assert book.order_id is None
    copies = [one async for _, rows in shop.services.commerce.records.held(bob.user_id) for one in rows]
    assert copies and not [one for one in copies if giver.user_id in one.model_dump_json()]


async def test_a_code_that_was_made_up_leads_nowhere(shop: Shop) -> None:
    *_, code = await give(shop)
    gift_id, _, secret = code.partition("-")
    for wrong in ("", gift_id, f"{gift_id}-", f"{gift_id}-{'0' * 32}", f"x-{secret}", f"{code}é", "a/b#?-c"):
        with pytest.raises(NotFoundError):
            await shop.gifts.find(wrong)
    (row,) = [stored.value async for stored in shop.account.table("gifts").each(Gift, gift_id)]
    assert secret not in row.model_dump_json()


async def test_of_many_who_redeem_at_once_one_gets_it(shop: Shop) -> None:
    _, (book,), _, code = await give(shop)
    people = [await shop.join() for _ in range(6)]
    answers = await asyncio.gather(
        *(shop.gifts.redeem(person, code) for person in people), return_exceptions=True
    )
    assert sum(isinstance(answer, ConflictError) for answer in answers) == 5
    owned = [await shop.owned(person) for person in people]
    assert sorted(map(len, owned)) == [0] * 5 + [1]
    assert {book.id: "owned"} in owned


async def test_who_has_the_book_can_pass_the_link_on(shop: Shop) -> None:
    _, (book,), _, code = await give(shop)
    owner, other = await shop.join(), await shop.join()
    await shop.give(owner, book)
    with pytest.raises(ConflictError, match="You have this already"):
        await shop.gifts.redeem(owner, code)
    assert (await shop.gifts.find(code)).state == "open"
    await shop.gifts.redeem(other, code)
    assert await shop.owned(other) == {book.id: "owned"}


async def test_of_several_books_each_goes_to_who_does_not_have_it(shop: Shop) -> None:
    _, (first, second), _, code = await give(shop, 2)
    owner, other = await shop.join(), await shop.join()
    await shop.give(owner, first)
    gift = await shop.gifts.redeem(owner, code)
    assert [book.book_id for book in gift.books_of(owner.user_id)] == [second.id]
    assert gift.state == "open"
    assert (await shop.gifts.redeem(other, code)).state == "redeemed"
    assert await shop.owned(other) == {first.id: "owned"}


async def test_a_book_that_is_bought_meanwhile_stays_in_the_gift(shop: Shop) -> None:
    """The gift was claimed and then, before it was there, another order took the same place."""
    _, (book,), order, code = await give(shop)
    buyer = await shop.join()
    gift = await shop.gifts.find(code)
    table = shop.account.table("gifts")
    await table.update(
        Gift, gift.id, "gift", lambda gift: gift.give(buyer.user_id, frozenset({book.id}), gift.created_at)
    )
    await shop.give(buyer, book)
    await shop.orders.settle(order.id)
    assert (await shop.gifts.find(code)).state == "open"


async def test_a_refund_takes_an_unredeemed_gift_out_of_its_link(shop: Shop) -> None:
    _, _, order, code = await give(shop, email="carol@example.com")
    refunded = await shop.refund(order.id)
    assert refunded.state == "refunded"
    assert (await shop.gifts.find(code)).state == "refunded"
    with pytest.raises(ConflictError, match="refunded"):
        await shop.gifts.redeem(await shop.join(), code)
    assert len(await mails(shop, "carol@example.com")) == 1


async def test_a_refund_takes_a_redeemed_gift_back_and_says_so(shop: Shop) -> None:
    giver, (_, kept), order, code = await give(shop, 2)
    email = f"{new_id()}@example.com"
    bob = await shop.join(email=email, display_name="Bob")
    await shop.give(bob, kept)
    await shop.gifts.redeem(bob, code)
    await shop.refund(order.id)
    assert await shop.owned(bob) == {kept.id: "owned"}, "what was bought in another way stays"
    (mail,) = await mails(shop, email)
    assert "Subject: A gift was taken back" in mail
    assert "Hello Bob," in mail
    (charge,) = await shop.charges(giver)
    assert charge.refunded == charge.amount
    await shop.orders.settle(order.id)
    assert len(await mails(shop, email)) == 1


async def test_a_gift_that_is_refunded_before_it_was_mailed_never_is(shop: Shop) -> None:
    giver, book = await shop.join(), await shop.stock()
    await shop.put_in_cart(giver, book)
    wish = a_wish()
    answer, _ = await shop.buy(giver, gift=wish)
    assert answer.order is not None
    stored = await shop.store.find_order(answer.order.id)
    assert stored is not None
    await shop.refund(answer.order.id)
    await shop.gifts.send(stored.value)  # by an instance that has read the order before
    assert await mails(shop, wish["email"]) == []


async def test_a_gift_works_on_after_its_giver_has_left_and_names_nobody(
    shop: Shop, azurite: Azurite, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.commerce.gifts.FINISH_SECONDS", 0)
    giver, (book, _), _, code = await give(shop, 2)
    bob, early = await shop.join(), await shop.join()
    await shop.give(early, book)
    await shop.gifts.redeem(early, code)
    await shop.services.commerce.records.leave(giver.user_id)
    gift = await shop.gifts.find(code)
    assert (gift.giver_id, gift.giver, gift.email, gift.message) == ("", "", "", "")
    await shop.gifts.redeem(bob, code)
    assert await shop.owned(bob) == {book.id: "owned"}
    await shop.store.take_away(bob.user_id, book.id, gift.id)  # as if a crash had come between
    await shop.settle_all()
    assert await shop.owned(bob) == {book.id: "owned"}
    async with TableServiceClient.from_connection_string(azurite.connection_string) as tables:
        rows = [
            row
            async for row in tables.get_table_client("gifts").query_entities(f"PartitionKey eq '{gift.id}'")
        ]
        for person in (bob, early):
            found = tables.get_table_client("users").query_entities(f"PartitionKey eq '{person.user_id}'")
            rows += [row async for row in found]
    assert len(rows) >= 5
    assert giver.user_id not in str(rows)


async def test_a_mail_service_that_is_away_keeps_no_order_from_its_end(start: Start) -> None:
    away = start(MAIL_CONNECTION="endpoint=https://127.0.0.1:1/;accesskey=a2V5")
    giver, book = await away.join(), await away.stock()
    await away.put_in_cart(giver, book)
    wish = a_wish()
    answer, _ = await away.buy(giver, method="simulated-late", gift=wish)
    assert answer.order is not None
    await away.webhooks.receive(
        *away.provider.write_webhook(await away.provider.pay(giver.user_id, answer.order.id))
    )
    assert (await away.orders.confirm(giver, answer.order.id)).state == "paid"
    shop = start()
    assert await mails(shop, wish["email"]) == []
    await shop.orders.settle(answer.order.id)
    bob = await shop.join()
    await shop.gifts.redeem(bob, await mailed_code(shop, wish["email"]))
    assert await shop.owned(bob) == {book.id: "owned"}


async def test_what_costs_nothing_is_no_gift_since_mails_would_be_free(shop: Shop) -> None:
    giver, book = await shop.join(), await shop.stock(price=Money(amount=0))
    await shop.put_in_cart(giver, book)
    answer, _ = await shop.buy(giver, gift=a_wish())
    assert answer.failure is not None
    assert (answer.failure.status, answer.failure.fields[0][0]) == (422, "gift")


def test_a_message_is_words_and_no_links() -> None:
    assert GiftWish(email="a@example.com", message=" Hi.\nThere ").message == "Hi.\nThere"
    for message in ("Read it and/or sing it... at 9.30 a.m. 😀", "Love, A. B."):
        assert GiftWish(email="a@example.com", message=message).message == message
    wrong: list[dict[str, Any]] = [
        {"message": "see https://example.com"},
        {"message": "see WWW.example"},
        {"message": "write to a@b.example"},
        {"message": "You have won: evil.example/prize"},
        {"message": "x" * 501},
        {"message": "\x1b[1m"},
        {"email": "nobody"},
        {"from": "x"},
        {"audiobook_ids": ["x"]},
    ]
    for fields in wrong:
        with pytest.raises(ValidationError):
            GiftWish.model_validate({"email": "a@example.com", **fields})


# Crashes


async def test_buying_a_gift_cut_off_anywhere_is_charged_and_mailed_once_or_not_at_all(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.commerce.checkout._PATIENCE", timedelta(0))
    monkeypatch.setattr("core.commerce.orders._DUE_AFTER", timedelta(0))
    key = new_id()

    async def prepare(shop: Shop) -> tuple[Caller, str, str]:
        giver = await shop.join()
        await shop.put_in_cart(giver, await shop.stock())
        voucher = await shop.make_voucher(max_uses=1, max_uses_per_user=1)
        return giver, f"{new_id()}@example.com", voucher

    async def buy(shop: Shop, data: tuple[Caller, str, str]) -> None:
        giver, email, voucher = data
        wish = a_wish(email=email)
        answer, _ = await shop.buy(giver, key, gift=wish, voucher_code=voucher)
        assert answer.order is not None, answer
        await shop.orders.settle(answer.order.id)

    async def check(shop: Shop, data: tuple[Caller, str, str]) -> None:
        giver, _, voucher = data
        charges = await shop.charges(giver)
        assert len(charges) <= len(await shop.orders_of(giver)) <= 1, "paid without an order"
        assert await shop.uses_of(voucher) <= 1

    async def again(shop: Shop, data: tuple[Caller, str, str]) -> None:
        """What the crash has left is swept up, and the client asks again."""
        for order in await shop.orders_of(data[0]):
            await shop.orders.settle(order.id)
        await shop.orders.sweep()
        await buy(shop, data)

    async def check_done(shop: Shop, data: tuple[Caller, str, str]) -> None:
        giver, email, voucher = data
        (order,) = await shop.orders_of(giver)
        (charge,) = await shop.charges(giver)
        assert (order.state, charge.state, charge.amount) == ("paid", "paid", order.total.amount)
        assert await shop.owned(giver) == {}
        assert await shop.uses_of(voucher) == 1
        assert (await shop.gifts.find(await mailed_code(shop, email))).state == "open"

    places = await crash_everywhere(start, prepare, buy, check, again, check_done, in_sequence=True)
    assert len(places) >= 12


Received = tuple[Order, str, Caller, str]


async def receive(shop: Shop) -> Received:
    """Write down that a gift was bought; returns order, code, and who can redeem it, with the address."""
    giver, email = await shop.join(), f"{new_id()}@example.com"
    order = paid_order(giver.user_id, email)
    await shop.users.insert(order, giver.user_id, order.key)
    await shop.gifts.send(order)
    return order, await mailed_code(shop, email), await shop.join(email=f"of-{email}"), f"of-{email}"


def paid_order(user_id: str, email: str) -> Order:
    at = now()
    return Order(
        id=scoped_id(new_id(at), user_id),
        user_id=user_id,
        state="paid",
        is_open=False,
        items=(Item(book_id=new_id(), title="Emma", price=1299),),
        currency="USD",
        payment=Payment(method="simulated", email="ada@example.com"),
        gift=GiftWish(email=email),
        request=OrderRequest(key=idempotency_key("checkout", new_id()), hash="", id=""),
        answered=True,
        history=(),
        created_at=at,
        updated_at=at,
    )


async def test_redeeming_cut_off_anywhere_is_nothing_or_all(start: Start) -> None:
    async def redeem(shop: Shop, data: Received) -> None:
        await shop.gifts.redeem(data[2], data[1])

    async def check(shop: Shop, data: Received) -> None:
        order, code, bob, _ = data
        if (await shop.gifts.find(code)).books_of(bob.user_id):
            await shop.orders.settle(order.id)  # as the message does that was sent before
            assert await shop.owned(bob) != {}
        else:
            assert await shop.owned(bob) == {}, "owned without a claim"

    async def check_done(shop: Shop, data: Received) -> None:
        order, code, bob, _ = data
        assert (await shop.gifts.find(code)).state == "redeemed"
        assert await shop.owned(bob) == {order.items[0].book_id: "owned"}

    places = await crash_everywhere(start, receive, redeem, check, redeem, check_done, in_sequence=True)
    assert len(places) >= 3


async def test_a_refund_of_a_redeemed_gift_cut_off_anywhere_is_finished(start: Start) -> None:
    async def prepare(shop: Shop) -> Received:
        data = await receive(shop)
        await shop.provider.charge(shop.orders.ask(data[0]))
        await shop.gifts.redeem(data[2], data[1])
        return data

    async def refund(shop: Shop, data: Received) -> None:
        await shop.refund(data[0].id)
        await shop.orders.settle(data[0].id)

    async def check(shop: Shop, data: Received) -> None:
        _, code, bob, _ = data
        if (await shop.gifts.find(code)).state != "refunded":
            assert await shop.owned(bob) != {}, "taken back before the refund"

    async def check_done(shop: Shop, data: Received) -> None:
        order, code, bob, email = data
        assert (await shop.orders.find(order.id)).state == "refunded"
        assert (await shop.gifts.find(code)).state == "refunded"
        assert await shop.owned(bob) == {}
        (charge,) = await shop.provider.charges(order.user_id)
        assert charge.refunded == charge.amount
        assert len(await mails(shop, email)) == 1

    places = await crash_everywhere(start, prepare, refund, check, refund, check_done, in_sequence=True)
    assert len(places) >= 8


async def test_a_gift_that_is_redeemed_and_refunded_at_once_is_nobodys_in_the_end(shop: Shop) -> None:
    for _ in range(3):
        order, code, bob, _ = await receive(shop)
        await shop.provider.charge(shop.orders.ask(order))
        await asyncio.gather(
            shop.gifts.redeem(bob, code),
            shop.refund(order.id),
            return_exceptions=True,
        )
        await shop.orders.settle(order.id)
        assert (await shop.gifts.find(code)).state == "refunded"
        assert await shop.owned(bob) == {}


@pytest.mark.parametrize("method", ["simulated-decline", "simulated"])
async def test_a_voucher_and_its_order_have_one_end(shop: Shop, method: str) -> None:
    buyer, book = await shop.join(), await shop.stock(price=Money(amount=1000))
    voucher = await shop.make_voucher(max_uses=1, max_uses_per_user=1)
    await shop.put_in_cart(buyer, book)
    answer, _ = await shop.buy(buyer, method=method, voucher_code=voucher.lower())
    if method == "simulated":
        assert answer.order is not None
        assert answer.order.voucher_code == voucher
        assert (answer.order.discount.amount, answer.order.total.amount) == (100, 900)
        assert (await shop.charges(buyer))[0].amount == 900
    else:
        assert answer.failure is not None
        assert answer.failure.status == 402
    assert await shop.uses_of(voucher) == (1 if method == "simulated" else 0), "at once, for another try"


async def test_codes_that_cannot_be_used_are_told_before_anything_is_bought(shop: Shop) -> None:
    buyer = await shop.join()
    await shop.put_in_cart(buyer, await shop.stock())
    used = await shop.make_voucher(max_uses=1)
    await shop.services.commerce.vouchers.reserve(used, "other", new_id())
    for code in ("UNKNOWN-CODE", used):
        answer, _ = await shop.buy(buyer, voucher_code=code)
        assert answer.failure is not None
        assert (answer.failure.status, answer.failure.fields[0][0]) == (422, "voucher_code")
    assert await shop.orders_of(buyer) == []


async def test_a_key_that_comes_twice_at_once_uses_a_voucher_once_and_is_not_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes while the first has the last use and no order yet; it has to wait for that one."""
    came_to_wait = asyncio.Event()
    asked = 0

    async def find_request(self: CommerceStore, user_id: str, key: str) -> Stored[Idempotency] | None:
        nonlocal asked
        asked += 1
        if asked > 2:
            came_to_wait.set()
        return await real_find(self, user_id, key)

    async def add_request(self: CommerceStore, user_id: str, key: str, request: Idempotency) -> None:
        await real_add(self, user_id, key, request)
        came_to_wait.set()

    async def begin(
        self: CommerceStore, order: Order, request: Idempotency, owned: Sequence[Owned]
    ) -> Stored[Order]:
        await came_to_wait.wait()
        return await real_begin(self, order, request, owned)

    real_find, real_add, real_begin = (
        CommerceStore.find_request,
        CommerceStore.add_request,
        CommerceStore.begin,
    )
    monkeypatch.setattr(CommerceStore, "find_request", find_request)
    monkeypatch.setattr(CommerceStore, "add_request", add_request)
    monkeypatch.setattr(CommerceStore, "begin", begin)
    ada, code = await shop.join(), await shop.make_voucher(max_uses_per_user=1)
    await shop.put_in_cart(ada, await shop.stock())
    answers = await asyncio.gather(*(shop.buy(ada, "one key", voucher_code=code) for _ in range(2)))
    orders = {answer.order.id for answer, _ in answers if answer.order}
    assert (len(orders), sorted(is_repeat for _, is_repeat in answers)) == (1, [False, True])
    assert await shop.uses_of(code) == 1


async def test_ten_checkouts_at_once_use_a_voucher_of_three_three_times(shop: Shop) -> None:
    voucher = await shop.make_voucher(max_uses=3)
    book = await shop.stock()
    buyers = [await shop.join() for _ in range(10)]
    for buyer in buyers:
        await shop.put_in_cart(buyer, book)
    answers = await asyncio.gather(*(shop.buy(buyer, voucher_code=voucher) for buyer in buyers))
    assert sum(answer.order is not None for answer, _ in answers) == 3
    assert await shop.uses_of(voucher) == 3


async def test_who_tries_many_codes_has_to_wait_even_with_the_right_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.commerce.gifts._MAX_CODES", 2)
    *_, code = await give(shop)
    guesser = await shop.join()
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await shop.gifts.redeem(guesser, f"{code[:-1]}x")
    with pytest.raises(ThrottledError):
        await shop.gifts.redeem(guesser, code)
    assert (await shop.gifts.redeem(await shop.join(), code)).state == "redeemed"
