"""Carts, checkouts, late payments, cancellations and refunds in any order, more than once, and at once."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from core.caller import Caller
from core.catalog.models import Book, Money
from core.commerce.models import Answer
from core.errors import AloudError, InvalidError
from core.settings import Settings
from localhost.azurite import Azurite
from tests.core.commerce.conftest import SETTINGS, Shop
from tests.core.commerce.test_crashes import ADMIN, ORIGIN

METHODS = (
    "simulated",
    "simulated-decline",
    "simulated-timeout",
    "simulated-lost",
    "simulated-late",
    "simulated-late",
)
KEYS = ("a", "b", "c", "d")


class Buying(RuleBasedStateMachine):
    """One buyer, three books (one is free), and everything that can be done, also by several at once."""

    runner: ClassVar[asyncio.Runner]
    shop: ClassVar[Shop]
    books: ClassVar[list[Book]]

    def run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(doing)

    @initialize()
    def begin(self) -> None:
        self.buyer: Caller = self.run(self.shop.join())
        self.answers: dict[str, tuple[str, Answer]] = {}
        self.orders: list[str] = []

    # What people do

    @rule(number=st.integers(0, 2))
    def add(self, number: int) -> None:
        owned = self.run(self.shop.owned(self.buyer))
        try:
            self.run(self.shop.cart.add(self.buyer, self.books[number].id))
            assert self.books[number].id not in owned
        except AloudError as error:
            assert (error.status, self.books[number].id in owned) == (409, True)

    @rule(key=st.sampled_from(KEYS), method=st.sampled_from(METHODS), times=st.integers(1, 3))
    def check_out(self, key: str, method: str, times: int) -> None:
        self.run(self.check_out_at_once(key, method, times))

    async def check_out_at_once(self, key: str, method: str, times: int) -> None:
        asked = (self.shop.buy(self.buyer, key, method) for _ in range(times))
        for done in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(done, InvalidError):
                assert self.answers[key][0] != method
                continue
            assert not isinstance(done, BaseException), done
            answer, _ = done
            before = self.answers.setdefault(key, (method, answer))
            assert before == (method, answer), "a key with two answers"
            if answer.order is not None and answer.order.id not in self.orders:
                self.orders.append(answer.order.id)

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def pay(self, data: st.DataObject) -> None:
        """The buyer pays on the provider's page, and the webhook comes late or never."""
        try:
            self.run(self.shop.provider.pay(self.buyer.user_id, self.any_order(data)))
        except AloudError as error:
            assert error.status in (404, 409)

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), times=st.integers(1, 3))
    def tell(self, data: st.DataObject, times: int) -> None:
        """A webhook comes, again and again."""
        order_id = self.any_order(data)
        self.run(self.all_at_once(*(self.shop.orders.settle(order_id) for _ in range(times))))

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        self.run(self.shop.orders.confirm(self.buyer, self.any_order(data)))

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        assert self.run(self.shop.orders.cancel(self.buyer, self.any_order(data))).state != "pending"

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), times=st.integers(1, 2))
    def refund(self, data: st.DataObject, times: int) -> None:
        order_id = self.any_order(data)
        asked = (self.shop.orders.refund(ADMIN, order_id, "", ORIGIN) for _ in range(times))
        self.run(self.all_at_once(*asked))

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def race(self, data: st.DataObject) -> None:
        """The buyer pays in one window and gives up in another, while the webhook comes."""
        order_id = self.any_order(data)
        orders, provider = self.shop.orders, self.shop.provider
        self.run(
            self.all_at_once(
                provider.pay(self.buyer.user_id, order_id),
                orders.cancel(self.buyer, order_id),
                orders.settle(order_id),
                orders.refund(ADMIN, order_id, "", ORIGIN),
            )
        )

    def any_order(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.orders))

    async def all_at_once(self, *doing: Coroutine[Any, Any, Any]) -> None:
        for done in await asyncio.gather(*doing, return_exceptions=True):
            assert not isinstance(done, BaseException) or getattr(done, "status", 500) in (404, 409), done

    # What always holds

    @invariant()
    def nobody_is_cheated(self) -> None:
        if hasattr(self, "buyer"):
            self.run(self.look())

    async def look(self) -> None:
        orders, charges, rows = await asyncio.gather(
            self.shop.orders_of(self.buyer),
            self.shop.charges(self.buyer),
            self.shop.owned_by_order(self.buyer),
        )
        taken = {charge.order_id: charge for charge in charges}
        wanted = {
            (order.id, item.audiobook_id): "owned" if order.state == "paid" else "pending"
            for order in orders
            if order.state in ("paid", "pending")
            for item in order.items
        }
        assert rows == wanted, "what is owned is not what was bought"
        assert len({book_id for _, book_id in wanted}) == len(wanted), "a book was bought twice"
        assert taken.keys() <= {order.id for order in orders}, "money without an order"
        for order in orders:
            causes = [event.cause for event in order.history]
            assert len(set(causes)) == len(causes), "something was done twice"
            charge = taken.get(order.id)
            if order.total.amount == 0:
                assert charge is None
            elif order.state == "paid":
                assert charge is not None
                assert (charge.state, charge.refunded) == ("paid", 0)
            elif order.state == "failed":
                assert charge is None or charge.state == "declined"
            elif order.state == "refunded":
                assert charge is not None
                assert charge.refunded == charge.amount

    def teardown(self) -> None:
        if hasattr(self, "buyer"):
            self.run(self.finish())

    async def finish(self) -> None:
        """The time to pay is over for all orders, and the sweep has been."""
        for order_id in self.orders:
            await self.shop.orders.settle(order_id, give_up=True)
        await self.shop.check_books(self.buyer)


@pytest.fixture
def machine(azurite: Azurite) -> Iterator[type[Buying]]:
    with asyncio.Runner() as runner:

        async def build() -> Shop:
            given = {"AzureWebJobsStorage": azurite.connection_string, **SETTINGS}
            return Shop(Settings.read(given))

        async def stock(shop: Shop) -> list[Book]:
            free = {"price": Money(amount=0)}
            return [await shop.stock("One"), await shop.stock("Two"), await shop.stock("Free", **free)]

        Buying.runner = runner
        Buying.shop = runner.run(build())
        Buying.books = runner.run(stock(Buying.shop))
        yield Buying
        runner.run(Buying.shop.close())


def test_whatever_is_done_in_whatever_order_money_orders_and_books_agree(machine: type[Buying]) -> None:
    bounds = settings(
        max_examples=10,
        stateful_step_count=15,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=bounds)
