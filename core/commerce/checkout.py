"""The checkout: two transactions around the charge, once for each key that a client sends."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar, cast

from core.accounts.service import Accounts
from core.caller import Caller
from core.catalog.models import Book
from core.catalog.service import Catalog
from core.commerce.cart import say_owned
from core.commerce.discounts import Voucher
from core.commerce.fulfilment import answer_of, begin_history
from core.commerce.gifts import Gifts
from core.commerce.models import (
    Answer,
    Bill,
    Cart,
    CheckoutWish,
    ExpectedTotal,
    Failure,
    Idempotency,
    Item,
    Order,
    OrderRequest,
    Owned,
    Payment,
    add_up,
    sellable,
)
from core.commerce.orders import Orders
from core.commerce.pricing import choose_currency, price_items, take_off, write_money
from core.commerce.store import CommerceStore, idempotency_key
from core.commerce.taxes import TaxRates
from core.commerce.vouchers import Vouchers
from core.errors import (
    AloudError,
    ConflictError,
    InvalidError,
    PriceChangedError,
    ThrottledError,
    UnavailableError,
)
from core.ids import fingerprint, new_id, now, owner_of, scoped_id, time_of
from core.payments import Provider
from core.storage.tables import Stored

T = TypeVar("T")

ROUTE = "checkout"
_HASTE = timedelta(seconds=60)  # T1 is long done when the message for its order comes for the last time
_PATIENCE = timedelta(seconds=15)
_WAITS = (0.1, 0.2, 0.4, 0.8)
_MAX_TRIES = 120  # new keys of one account in ATTEMPT_WINDOW_SECONDS: each leaves a row for 30 days


class Checkout:
    def __init__(
        self,
        store: CommerceStore,
        catalog: Catalog,
        accounts: Accounts,
        orders: Orders,
        vouchers: Vouchers,
        gifts: Gifts,
        providers: Mapping[str, Provider],
        rates: TaxRates,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._accounts = accounts
        self._orders = orders
        self._vouchers = vouchers
        self._gifts = gifts
        self._providers = providers
        self._rates = rates

    @property
    def methods(self) -> list[str]:
        """The ways to pay, as a wish names them."""
        return list(self._providers)

    async def quote(
        self,
        caller: Caller,
        voucher_code: str | None = None,
        preferred: str | None = None,
        named: Sequence[str] = (),
    ) -> Bill:
        """Return what the named books, or else those of the cart, cost now.

        Nothing is written, but a try of the code counts. It is in the preferred currency if all books have a
        price in it. Raises ConflictError for a cart that is empty and for a book that cannot be sold,
        InvalidError or ThrottledError for the code.
        """
        cart = None if named else await self._store.find_cart(caller.user_id)
        books = [stored.value for stored in await self._choose(cart, named)]
        currency = choose_currency(books, preferred)
        voucher = await self._find_voucher(caller, voucher_code)
        return add_up(self._price(books, currency, None, voucher), currency)

    async def take(self, caller: Caller, book_id: str, key: str, request_id: str) -> tuple[Answer, bool]:
        """Get a free book, whatever is in the cart; answers as `check_out`."""
        nothing = ExpectedTotal(amount=0)
        wish = CheckoutWish(payment_method="free", expected_total=nothing)
        return await self.check_out(caller, key, wish, request_id, only=(book_id,))

    async def check_out(
        self, caller: Caller, key: str, wish: CheckoutWish, request_id: str, only: Sequence[str] = ()
    ) -> tuple[Answer, bool]:
        """Buy what is in the cart, or only some books; returns the answer, and whether it is a repeat.

        A key counts for 30 days: whatever was answered then, an error too, is the answer. Raises InvalidError
        where the same key came with another wish, ThrottledError for too many new keys, UnavailableError
        where the client has to ask again.
        """
        order_id = scoped_id(new_id(), caller.user_id)
        request = OrderRequest(
            key=idempotency_key(ROUTE, key),
            hash=fingerprint(wish.model_dump_json(exclude_none=True), *only),
            id=request_id,
        )
        subject, throttles = fingerprint("user", caller.user_id), self._accounts.throttles
        known, cart, buyer, seen = await asyncio.gather(
            self._store.find_request(caller.user_id, request.key),
            self._store.find_cart(caller.user_id),
            self._accounts.profiles.show(caller.user_id),
            throttles.seen(subject, ROUTE),
        )
        if known is not None:
            return await self._repeat(caller, request, known.value), True
        try:
            throttles.check(seen, _MAX_TRIES)
            books = await _do_beside(
                self._choose(cart, only or _books_of_gift(wish)),
                throttles.note(subject, ROUTE, seen, _MAX_TRIES),
                self._orders.announce(order_id, wish.voucher_code, request.key),
            )
            voucher = await self._find_voucher(caller, wish.voucher_code)
            order = self._draft(
                order_id, [stored.value for stored in books], wish, request, buyer.email, voucher
            )
            if wish.gift is not None:
                await self._gifts.check(caller.user_id, wish.gift, order.total)
            stored = await self._reserve(order, books)
        except ThrottledError:
            first = await self._store.find_request(caller.user_id, request.key)
            if first is None:
                raise
            return await self._repeat(caller, request, first.value), True
        except AloudError as error:
            if error.status >= 500:
                raise  # the same request may well succeed later
            twin = await self._find_twin(caller, request, wish.voucher_code)
            if twin is not None:
                return await self._repeat(caller, request, twin), True
            return await self._refuse(caller, request, error)
        if isinstance(stored, Idempotency):
            return await self._repeat(caller, request, stored), True
        return answer_of(await self._orders.charge(stored, cart)), False

    async def _choose(self, cart: Stored[Cart] | None, named: Sequence[str] = ()) -> list[Stored[Book]]:
        """Return the named books, or else those of the cart, as they are now.

        Raises ConflictError where there is none, or one is not on sale.
        """
        book_ids = named or _books_of(cart)
        if not book_ids:
            raise ConflictError("The cart is empty.")
        found = await self._catalog.read(book_ids)
        for book_id in book_ids:
            stored = found.get(book_id)
            if stored is None or not sellable(stored.value):
                if stored is None or book_id not in _books_of(cart):  # who names a draft learns nothing of it
                    raise ConflictError(f"The book {book_id} is not on sale any more.")
                title = stored.value.title
                raise ConflictError(f"“{title}” is not on sale any more. Take it out of the cart.")
        return [found[book_id] for book_id in book_ids]

    async def _find_voucher(self, caller: Caller, code: str | None) -> Voucher | None:
        return None if code is None else await self._vouchers.find(caller.user_id, code)

    def _price(
        self, books: Sequence[Book], currency: str, country: str | None, voucher: Voucher | None
    ) -> list[Item]:
        items = price_items(books, currency, self._rates, country)
        if voucher is None:
            return items
        lines = [(item.book_id, item.price) for item in items]
        return take_off(items, self._vouchers.discounts(voucher, lines, currency))

    async def _reserve(self, order: Order, books: Sequence[Stored[Book]]) -> Stored[Order] | Idempotency:
        """Begin an order after its voucher was reserved; where there will be no order, it is given back.

        Where nobody knows that, the message that was sent ahead finds out.
        """
        if order.voucher is None:
            return await self._begin(order, books)
        await self._vouchers.reserve(order.voucher, order.user_id, order.id)
        try:
            begun = await self._begin(order, books)
        except ConflictError:
            await self._vouchers.release(order.voucher, order.id)
            raise
        if isinstance(begun, Idempotency):
            await self._vouchers.release(order.voucher, order.id)
        return begun

    def _draft(
        self,
        order_id: str,
        books: Sequence[Book],
        wish: CheckoutWish,
        request: OrderRequest,
        email: str,
        voucher: Voucher | None,
    ) -> Order:
        """Return the order that a wish means at the prices of this moment."""
        at = now()
        currency = wish.currency or choose_currency(books)
        items = self._price(books, currency, wish.country, voucher)
        order = Order(
            id=order_id,
            user_id=owner_of(order_id),
            items=tuple(items),
            currency=currency,
            country=wish.country,
            payment=Payment(method=wish.payment_method, email=email),
            voucher=voucher.code if voucher else None,
            gift=wish.gift,
            request=request,
            history=begin_history(at),
            created_at=at,
            updated_at=at,
        )
        expected = wish.expected_total
        if expected is not None and (expected.amount, expected.currency) != (order.total, currency):
            raise PriceChangedError(f"The books cost {write_money(order.total, currency)} together now.")
        if order.total > 0 and wish.payment_method not in self._providers:
            known = ", ".join(sorted(self._providers)) or "none at the moment"
            raise InvalidError("Check the fields.", (("payment_method", f"Choose one of: {known}."),))
        return order

    async def _begin(self, order: Order, books: Sequence[Stored[Book]]) -> Stored[Order] | Idempotency:
        """Write the order and take what it needs, or return the request that was made before with its key.

        Raises ConflictError where a book is owned or being bought.
        """
        if now() - time_of(order.id) > _HASTE:
            raise UnavailableError("The storage is slow.", retry_after=1)
        request = Idempotency(request_hash=order.request.hash, order_id=order.id, at=order.created_at)
        taken = [
            Owned(book_id=book_id, order_id=order.id, state="pending", acquired_at=order.created_at)
            for book_id in order.grants
        ]
        begun, marked = await asyncio.gather(
            self._store.begin(order, request, taken), self._catalog.mark_sold(books), return_exceptions=True
        )
        if isinstance(begun, ConflictError):
            return await self._see_who_was_first(order)
        if isinstance(begun, BaseException):
            raise begun
        if marked is not None:
            raise marked
        return begun

    async def _see_who_was_first(self, order: Order) -> Stored[Order] | Idempotency:
        known = await self._store.find_request(order.user_id, order.request.key)
        if known is not None and known.value.order_id != order.id:
            return known.value
        if known is not None:  # our own writing, whose answer was lost on its way
            stored = await self._store.find_order(order.id)
            if stored is not None:
                return stored
        owned = await self._store.owned_among(order.user_id, order.grants)
        titles = {item.book_id: item.title for item in order.items}
        said = [say_owned(titles[book_id], one) for book_id, one in owned.items()]
        raise ConflictError(" ".join(said) or "One of these books was being bought. Try again.")

    async def _find_twin(
        self, caller: Caller, request: OrderRequest, voucher_code: str | None
    ) -> Idempotency | None:
        """Return the same request that came at the same time and is about to use what is refused to this one.

        To refuse that key would be to refuse both.
        """
        for wait in _WAITS if voucher_code else ():
            is_reserved = await self._vouchers.is_reserved_by(caller.user_id, voucher_code or "")
            known = await self._store.find_request(caller.user_id, request.key)
            if known is not None:
                return known.value
            if not is_reserved:
                break
            await asyncio.sleep(wait)
        return None

    async def _refuse(self, caller: Caller, request: OrderRequest, error: AloudError) -> tuple[Answer, bool]:
        """Keep an error as the answer of its key."""
        answer = Answer(failure=Failure.of(error, request.id))
        row = Idempotency(request_hash=request.hash, at=now(), answer=answer)
        try:
            await self._store.add_request(caller.user_id, request.key, row)
        except ConflictError:
            known = await self._store.find_request(caller.user_id, request.key)
            if known is None:
                raise
            return await self._repeat(caller, request, known.value), True
        return answer, False

    async def _repeat(self, caller: Caller, request: OrderRequest, known: Idempotency) -> Answer:
        """Return what an earlier request with this key was answered; waits a while if it is still under way.

        After that its process has probably ended, and its order is driven on.
        """
        if known.request_hash != request.hash:
            message = "This key came with another body before; a new wish needs a new key."
            raise InvalidError("Check the header.", (("Idempotency-Key", message),))
        waits = iter(_WAITS)
        while known.answer is None and now() - known.at < _PATIENCE:
            await asyncio.sleep(next(waits, _WAITS[-1]))
            known = await self._request(caller, request)
        if known.answer is None and known.order_id is not None:
            await self._drive_on(known.order_id)
            known = await self._request(caller, request)
        if known.answer is None:
            raise UnavailableError("This checkout is still under way.", retry_after=2)
        return known.answer

    async def _request(self, caller: Caller, request: OrderRequest) -> Idempotency:
        found = await self._store.find_request(caller.user_id, request.key)
        if found is None:
            raise UnavailableError("This checkout was too long ago.", retry_after=1)
        return found.value

    async def _drive_on(self, order_id: str) -> None:
        """Go on where the process has ended that had begun an order."""
        stored = await self._store.find_order(order_id)
        if stored is None or stored.value.answered:
            return
        books, cart = await asyncio.gather(
            self._catalog.read(stored.value.book_ids), self._store.find_cart(stored.value.user_id)
        )
        await self._catalog.mark_sold(books.values())
        await self._orders.charge(stored, cart)


async def _do_beside(work: Awaitable[T], *others: Awaitable[object]) -> T:
    """Do all of it at once and to its end; what the others raise is raised rather than what the work does."""
    *ends, done = await asyncio.gather(*others, work, return_exceptions=True)
    for end in (*ends, done):
        if isinstance(end, BaseException):
            raise end
    return cast(T, done)


def _books_of(cart: Stored[Cart] | None) -> list[str]:
    return [] if cart is None else cart.value.book_ids


def _books_of_gift(wish: CheckoutWish) -> list[str]:
    return list(dict.fromkeys(wish.gift.audiobook_ids)) if wish.gift else []
