"""A shop on a real storage: instances of the product, people, books, and a look at what was written."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from core.accounts.models import User
from core.caller import Caller, Origin
from core.catalog.models import AudioPart, Book
from core.commerce.discounts import Voucher
from core.commerce.models import Answer, CheckoutWish, OrderView, Outbox, Owned
from core.commerce.orders import QUEUE
from core.commerce.store import CommerceStore
from core.ids import new_id, now
from core.payments import Simulated, SimulatedCharge
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.wiring import build
from localhost.azurite import Azurite
from tests.core.catalog.conftest import make_book
from tests.instances import closing_all

SETTINGS = {"JWT_SIGNING_KEY": "k" * 32}


class Shop:
    """One instance of the product."""

    def __init__(self, settings: Settings, watch: Watch | None = None) -> None:
        self.account = account = StorageAccount(settings, watch)
        self._connection = settings.storage_connection
        self._queues: QueueServiceClient | None = None
        self.services = build(settings, account)
        self.catalog = self.services.catalog
        self.cart = self.services.commerce.cart
        self.checkout = self.services.commerce.checkout
        self.orders = self.services.commerce.orders
        self.gifts = self.services.commerce.gifts
        self.webhooks = self.services.commerce.webhooks
        offered = self.services.providers.get("simulated")
        assert offered is None or isinstance(offered, Simulated)
        self.provider = offered or Simulated(account.table("charges"), settings)
        self.users = account.table("users")
        self.books = account.table("books")
        self.media = account.container("media")
        self.store = CommerceStore(self.users)

    async def close(self) -> None:
        await self.services.close()
        if self._queues is not None:
            await self._queues.close()

    @property
    def queue(self) -> QueueClient:
        """The queue `settle`."""
        if self._queues is None:
            assert self._connection is not None
            self._queues = QueueServiceClient.from_connection_string(self._connection.get_secret_value())
        return self._queues.get_queue_client(QUEUE, message_decode_policy=TextBase64DecodePolicy())

    async def join(self, **fields: Any) -> Caller:
        """Return a new person who is signed in."""
        user_id = new_id()
        facts = {"email": f"{user_id}@example.com", "email_verified": True, "display_name": "Ada"}
        await self.users.insert(User(id=user_id, created_at=now(), **(facts | fields)), user_id, "user")
        return Caller(user_id=user_id, session_id="", roles=frozenset({"listener"}))

    async def stock(self, title: str = "A book", **fields: Any) -> Book:
        """Put a book with audio and transcript on the shelf, but not into the index."""
        book = make_book(title, **fields)
        audio = AudioPart(blob=f"{book.id}.mp3", content_type="audio/mpeg", size=1)
        book = book.model_copy(update={"parts": (audio,), "transcript_prefix": book.id})
        await self.books.insert(book, book.id, "book")
        await self.media.write(f"{book.id}.txt", b"words", "text/plain")
        return book

    async def put_in_cart(self, person: Caller, *books: Book) -> None:
        """Put books into a person's cart."""
        await self.cart.merge(person, [book.id for book in books])

    async def buy(
        self, person: Caller, key: str | None = None, method: str = "simulated", **wish: Any
    ) -> tuple[Answer, bool]:
        """Check out with a key of one's own; returns the answer, and whether it is a repeat."""
        wanted = CheckoutWish.model_validate({"payment_method": method, **wish})
        return await self.checkout.check_out(person, key or new_id(), wanted, "test")

    async def bought(self, person: Caller, *books: Book, method: str = "simulated") -> OrderView:
        """Return an order of these books."""
        await self.put_in_cart(person, *books)
        answer, _ = await self.buy(person, method=method)
        assert answer.order is not None, answer
        return answer.order

    async def in_cart(self, person: Caller) -> list[str]:
        stored = await self.store.find_cart(person.user_id)
        return [] if stored is None else stored.value.book_ids

    async def charges(self, person: Caller) -> list[SimulatedCharge]:
        """Return what the simulated provider has been asked for."""
        return await self.provider.charges(person.user_id)

    async def orders_of(self, person: Caller) -> list[OrderView]:
        return (await self.orders.history(person, 100, None))[0]

    async def make_voucher(self, **limits: int) -> str:
        """Return the code of a voucher of 10 %."""
        voucher = Voucher.model_validate(
            {"code": f"V-{new_id().upper()}", "percent": 10, "created_at": now(), **limits}
        )
        origin = Origin(address="", request_id="")
        return (await self.services.commerce.vouchers.create(await self.join(), voucher, origin)).code

    async def uses_of(self, code: str) -> int:
        """Return how often a voucher is used or reserved."""
        return (await self.account.table("vouchers").get(Voucher, code, "voucher")).value.uses

    async def refund(self, order_id: str) -> OrderView:
        admin = Caller(user_id="admin", session_id="", roles=frozenset({"admin"}))
        return await self.orders.refund(admin, order_id, "", Origin(address="", request_id=""))

    async def settle_all(self) -> None:
        """Do what waits on the queue `settle`, as the host would."""
        queue = self.queue
        with suppress(ResourceNotFoundError):
            async for message in queue.receive_messages(messages_per_page=32):
                await self.orders.run(message.content)
                await queue.delete_message(message)

    async def check_books(self, person: Caller) -> None:
        """Money, orders and what is owned have to agree, for a person none of whose orders is open."""
        orders = {order.id: order for order in await self.orders_of(person)}
        open_orders = [order.state for order in orders.values() if order.state == "pending"]
        assert open_orders == [], "an order without an end"
        taken = {charge.order_id: charge for charge in await self.charges(person) if charge.state == "paid"}
        kept = {order_id for order_id, charge in taken.items() if not charge.refunded}
        paid = {order.id for order in orders.values() if order.state == "paid" and order.total.amount}
        assert kept == paid, "money and orders differ"
        for order_id, charge in taken.items():
            assert charge.amount == orders[order_id].total.amount
            assert charge.refunded in (0, charge.amount)
            assert orders[order_id].state in ("paid", "refunded")
        sold = [
            item.audiobook_id for order in orders.values() if order.state == "paid" for item in order.items
        ]
        assert len(set(sold)) == len(sold), "a book was bought twice"
        assert await self.owned(person) == dict.fromkeys(sold, "owned")
        for order in orders.values():
            assert order.history[-1].state == order.state
        letters = [row async for row in self.users.each(Outbox, person.user_id, "outbox_")]
        assert letters == [], "a letter that nobody sends"

    async def withdraw(self, book: Book) -> None:
        await self.catalog.update(book.id, lambda now: now.model_copy(update={"visibility": "withdrawn"}))

    async def give(self, person: Caller, book: Book, state: str = "owned") -> None:
        """Let a person own a book, or be about to."""
        owned = Owned.model_validate(
            {"book_id": book.id, "order_id": "none", "state": state, "acquired_at": now()}
        )
        await self.users.insert(owned, person.user_id, f"owned_{book.id}")

    async def owned_by_order(self, person: Caller) -> dict[tuple[str, str], str]:
        """Return the state of each book that a person has, by order and book."""
        return {
            (owned.order_id, owned.book_id): owned.state async for owned in self.store.owned(person.user_id)
        }

    async def owned(self, person: Caller) -> dict[str, str]:
        """Return the state of each book that a person has."""
        return {owned.book_id: owned.state async for owned in self.store.owned(person.user_id)}


Start = Callable[..., Shop]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Start]:
    """Return a function that starts an instance with these settings; all are closed after the test."""

    def build_one(watch: Watch | None = None, **settings: str) -> Shop:
        given = {"AzureWebJobsStorage": azurite.connection_string, **SETTINGS, **settings}
        return Shop(Settings.read(given), watch)

    async with closing_all(build_one) as start:
        yield start


@pytest_asyncio.fixture
async def shop(start: Start) -> Shop:
    return start()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its time is due at once: the test says when that time has come."""
    monkeypatch.setattr("core.commerce.checkout._PATIENCE", timedelta(0))
    monkeypatch.setattr("core.commerce.orders._UNDER_WAY", timedelta(0))
    monkeypatch.setattr("core.commerce.orders._DUE_AFTER", timedelta(0))
    monkeypatch.setattr("core.commerce.orders._FIRST_SECONDS", 0)
