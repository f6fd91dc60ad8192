"""Whatever is cut off between two storage calls: never money without books, nor books without an order."""

from dataclasses import dataclass

import pytest

from core.caller import Caller, Origin
from core.catalog.models import Book, Money
from core.commerce.models import (
    Cart,
    CartEntry,
    Item,
    Order,
    OrderEvent,
    OrderRequest,
    OrderView,
    Owned,
    Payment,
    show,
)
from core.commerce.store import put_owned
from core.errors import NotFoundError
from core.ids import new_id, now, scoped_id
from core.payments import PaymentRequest
from core.storage.tables import Insert
from tests.core.catalog.conftest import make_book
from tests.core.commerce.conftest import Shop, Start
from tests.faults import crash_everywhere

ADMIN = Caller(user_id=new_id(), session_id="", roles=frozenset({"admin"}))
ORIGIN = Origin(address="192.0.2.1", request_id="test")

pytestmark = pytest.mark.usefixtures("at_once")


@dataclass
class Case:
    """A buyer, with a book in the cart, and the key of the checkout; later the order."""

    buyer: Caller
    books: list[Book]
    key: str
    order: OrderView | None = None

    @property
    def order_id(self) -> str:
        assert self.order is not None
        return self.order.id


async def sell(shop: Shop, buyer: Caller) -> Order:
    """Write a paid order with its charge and what it gave, as a checkout leaves them."""
    at = now()
    order = Order(
        id=scoped_id(new_id(at), buyer.user_id),
        user_id=buyer.user_id,
        state="paid",
        is_open=False,
        items=(Item(book_id=new_id(), title="A book", price=999),),
        currency="USD",
        payment=Payment(method="simulated", email="ada@example.com"),
        request=OrderRequest(key="idem_test", hash="", id=""),
        answered=True,
        history=(OrderEvent(state="paid", at=at, actor="provider", cause="paid"),),
        created_at=at,
        updated_at=at,
    )
    (book_id,) = order.book_ids
    owned = Owned(book_id=book_id, order_id=order.id, state="owned", acquired_at=at)
    await shop.users.transact(buyer.user_id, [Insert(order.key, order), put_owned(owned)])
    request = PaymentRequest(
        user_id=order.user_id,
        order_id=order.id,
        amount=order.total,
        currency=order.currency,
        email=order.payment.email,
        description="",
        method=order.payment.method,
        return_url="",
    )
    await shop.provider.charge(request)
    return order


async def nothing(shop: Shop, case: Case) -> None:
    """Where the end says it all."""


async def want(shop: Shop) -> Case:
    buyer, books = await shop.join(), [make_book(), make_book(price=Money(amount=0))]
    for book in books:
        await shop.books.insert(book, book.id, "book")
    cart = Cart(entries=tuple(CartEntry(book_id=book.id, added_at=now()) for book in books))
    await shop.users.insert(cart, buyer.user_id, "cart")
    return Case(buyer, books, new_id())


async def settle_by_message(shop: Shop, case: Case) -> None:
    await shop.settle_all()


async def agree(shop: Shop, case: Case) -> None:
    await shop.settle_all()
    await shop.check_books(case.buyer)


@pytest.mark.parametrize("method", ["simulated", "simulated-late"])
async def test_a_checkout_cut_off_that_nobody_repeats_ends_by_its_message(start: Start, method: str) -> None:
    async def act(shop: Shop, case: Case) -> None:
        await shop.buy(case.buyer, case.key, method)

    async def pay(shop: Shop, case: Case) -> None:
        """What is pending is paid, where that is possible, before anybody looks."""
        for charge in await shop.charges(case.buyer):
            if charge.state == "pending":
                await shop.provider.pay(case.buyer.user_id, charge.order_id)

    async def check_done(shop: Shop, case: Case) -> None:
        await pay(shop, case)
        await agree(shop, case)
        owned = await shop.owned(case.buyer)
        assert len(owned) in (0, 2), "half an order"
        assert sorted(await shop.in_cart(case.buyer)) == sorted(
            book.id for book in case.books if book.id not in owned
        )

    once = method != "simulated"  # the calls before the provider's are the same
    places = await crash_everywhere(start, want, act, pay, settle_by_message, check_done, in_sequence=once)
    assert len(places) >= 7


@pytest.mark.parametrize("method", ["simulated", "simulated-decline"])
async def test_a_checkout_cut_off_goes_on_when_it_is_repeated(start: Start, method: str) -> None:
    async def act(shop: Shop, case: Case) -> None:
        answer, _ = await shop.buy(case.buyer, case.key, method)
        paid = answer.order is not None and answer.order.state == "paid"
        assert paid == (method == "simulated"), answer

    async def check_done(shop: Shop, case: Case) -> None:
        await act(shop, case)
        (order,) = await shop.orders_of(case.buyer)
        assert order.state == ("paid" if method == "simulated" else "failed")
        await agree(shop, case)
        assert len(await shop.charges(case.buyer)) == 1
        for stored in (await shop.catalog.read([book.id for book in case.books])).values():
            assert stored.value.sold, "a book that was sold could be deleted"

    once = method != "simulated"
    places = await crash_everywhere(start, want, act, nothing, act, check_done, in_sequence=once)
    assert len(places) >= 7


async def test_a_settlement_cut_off_is_finished_by_the_next(start: Start) -> None:
    async def prepare(shop: Shop) -> Case:
        case = await want(shop)
        case.order = (await shop.buy(case.buyer, case.key, "simulated-late"))[0].order
        await shop.provider.pay(case.buyer.user_id, case.order_id)
        return case

    async def act(shop: Shop, case: Case) -> None:
        await shop.orders.settle(case.order_id)

    async def check_done(shop: Shop, case: Case) -> None:
        await act(shop, case)
        await shop.check_books(case.buyer)
        assert len(await shop.owned(case.buyer)) == 2
        assert await shop.in_cart(case.buyer) == []

    places = await crash_everywhere(start, prepare, act, nothing, act, check_done, in_sequence=True)
    assert len(places) >= 3


async def test_a_cancellation_cut_off_is_finished_by_the_next(start: Start) -> None:
    async def prepare(shop: Shop) -> Case:
        case = await want(shop)
        case.order = (await shop.buy(case.buyer, case.key, "simulated-late"))[0].order
        return case

    async def act(shop: Shop, case: Case) -> None:
        await shop.orders.cancel(case.buyer, case.order_id)

    async def check_done(shop: Shop, case: Case) -> None:
        await act(shop, case)
        await shop.check_books(case.buyer)
        assert await shop.owned(case.buyer) == {}
        assert len(await shop.in_cart(case.buyer)) == 2

    places = await crash_everywhere(start, prepare, act, nothing, act, check_done, in_sequence=True)
    assert len(places) >= 5


@pytest.mark.parametrize("repeated_by", ["the message", "the administrator"])
async def test_a_refund_cut_off_gives_money_back_once_and_takes_the_books(
    start: Start, repeated_by: str
) -> None:
    async def prepare(shop: Shop) -> Case:
        buyer = await shop.join()
        return Case(buyer, [], "", show(await sell(shop, buyer)))

    async def refund(shop: Shop, case: Case) -> None:
        await shop.orders.refund(ADMIN, case.order_id, "Asked", ORIGIN)

    async def check(shop: Shop, case: Case) -> None:
        owned, (charge,) = await shop.owned(case.buyer), await shop.charges(case.buyer)
        assert owned or charge.refunded, "neither money nor books"

    async def check_done(shop: Shop, case: Case) -> None:
        await agree(shop, case)
        await refund(shop, case)
        await agree(shop, case)
        (order,) = await shop.orders_of(case.buyer)
        assert order.state == "refunded"
        assert [charge.refunded for charge in await shop.charges(case.buyer)] == [999]

    by_message = repeated_by == "the message"
    repeat = settle_by_message if by_message else refund
    places = await crash_everywhere(
        start, prepare, refund, check, repeat, check_done, in_sequence=not by_message
    )
    assert len(places) >= 7


async def test_the_sweep_finds_what_lost_its_message(start: Start) -> None:
    shop = start()
    case = await want(shop)
    order = (await shop.buy(case.buyer, case.key, "simulated-late"))[0].order
    assert order is not None
    await shop.provider.pay(case.buyer.user_id, order.id)
    await shop.queue.clear_messages()
    await shop.orders.sweep()
    await shop.settle_all()
    await shop.check_books(case.buyer)
    assert len(await shop.owned(case.buyer)) == 2


async def test_a_message_for_an_order_that_never_was_is_dropped(start: Start) -> None:
    shop = start()
    buyer = await shop.join()
    await shop.buy(buyer)
    await shop.settle_all()
    assert await shop.orders_of(buyer) == []
    with pytest.raises(NotFoundError):
        await shop.orders.settle(new_id() + buyer.user_id)
