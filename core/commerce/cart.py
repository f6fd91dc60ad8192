"""The cart: what somebody wants to buy, shown at the prices of the moment."""

import asyncio
from collections.abc import Sequence

from core.caller import Caller
from core.catalog.models import Book, Money, summarise
from core.catalog.service import Catalog
from core.commerce.models import (
    MAX_BOOKS,
    Cart,
    CartEntry,
    CartItem,
    CartProblem,
    CartView,
    Owned,
    Skipped,
    Standing,
    sellable,
)
from core.commerce.pricing import choose_currency, shared_currencies
from core.commerce.store import CommerceStore
from core.commerce.taxes import TaxRates, contained
from core.errors import ConflictError, NotFoundError
from core.ids import now


class Carts:
    def __init__(self, store: CommerceStore, catalog: Catalog, rates: TaxRates) -> None:
        self._store = store
        self._catalog = catalog
        self._rates = rates

    async def show(
        self, caller: Caller, currency: str | None = None, preferred: str | None = None
    ) -> CartView:
        """Return the cart at today's prices, with what hinders a book from being bought.

        It is shown in `currency`, or, without one, in the preferred one if all books have a price in it.
        """
        stored = await self._store.find_cart(caller.user_id)
        return await self._view(caller, Cart() if stored is None else stored.value, currency, preferred)

    async def standing(self, caller: Caller, book_id: str) -> Standing:
        """Tell whether a book is the caller's already, is being bought, or is in the cart."""
        stored, owned = await asyncio.gather(
            self._store.find_cart(caller.user_id), self._store.find_owned(caller.user_id, book_id)
        )
        book_ids = [] if stored is None else stored.value.book_ids
        return Standing(owned=owned, is_in_cart=book_id in book_ids, cart_size=len(book_ids))

    async def size(self, caller: Caller) -> int:
        """Return how many books the cart has."""
        stored = await self._store.find_cart(caller.user_id)
        return 0 if stored is None else len(stored.value.entries)

    async def add(self, caller: Caller, book_id: str) -> CartView:
        """Put a book into the cart; one that is there stays.

        Raises NotFoundError; ConflictError for a book that is owned or not on sale, and over 50 books.
        """
        books, owned = await asyncio.gather(
            self._catalog.read([book_id]), self._store.find_owned(caller.user_id, book_id)
        )
        if book_id not in books:
            raise NotFoundError("There is no such book.")
        book = books[book_id].value
        if owned is not None:
            raise ConflictError(say_owned(book.title, owned))
        if not sellable(book):
            raise ConflictError("This book is not on sale.")

        def put_in(cart: Cart) -> Cart:
            if book_id in cart.book_ids:
                return cart
            if len(cart.entries) >= MAX_BOOKS:
                raise ConflictError(f"A cart holds {MAX_BOOKS} books. Buy these first, or take some out.")
            return Cart(entries=(*cart.entries, CartEntry(book_id=book_id, added_at=now())))

        return await self._view(caller, await self._store.change_cart(caller.user_id, put_in))

    async def remove(self, caller: Caller, book_id: str) -> CartView:
        """Take a book out; one that is not there is fine."""
        cart = await self._store.change_cart(caller.user_id, lambda cart: cart.without(book_id))
        return await self._view(caller, cart)

    async def empty(self, caller: Caller) -> None:
        """Take all books out."""
        await self._store.change_cart(caller.user_id, lambda _: Cart())

    async def merge(self, caller: Caller, book_ids: Sequence[str]) -> tuple[CartView, list[Skipped]]:
        """Take what a browser has kept into the cart; says what was left out, and why."""
        wanted = list(dict.fromkeys(book_ids))
        books, owned = await asyncio.gather(
            self._catalog.read(wanted), self._store.owned_among(caller.user_id, wanted)
        )
        skipped: list[Skipped] = []

        def put_in(cart: Cart) -> Cart:
            skipped.clear()
            entries = list(cart.entries)
            at = now()
            for book_id in wanted:
                stored = books.get(book_id)
                if book_id in cart.book_ids:
                    continue
                if book_id in owned:
                    skipped.append(Skipped(audiobook_id=book_id, reason="owned"))
                elif not sellable(stored.value if stored else None):
                    skipped.append(Skipped(audiobook_id=book_id, reason="unavailable"))
                elif len(entries) >= MAX_BOOKS:
                    skipped.append(Skipped(audiobook_id=book_id, reason="full"))
                else:
                    entries.append(CartEntry(book_id=book_id, added_at=at))
            return Cart(entries=tuple(entries))

        cart = await self._store.change_cart(caller.user_id, put_in)
        return await self._view(caller, cart), skipped

    async def _view(
        self, caller: Caller, cart: Cart, currency: str | None = None, preferred: str | None = None
    ) -> CartView:
        stored, owned = await asyncio.gather(
            self._catalog.read(cart.book_ids), self._store.owned_among(caller.user_id, cart.book_ids)
        )
        books = {book_id: one.value for book_id, one in stored.items()}
        buyable = [book for book_id, book in books.items() if sellable(book) and book_id not in owned]
        currency = currency or choose_currency(buyable, preferred)
        items = [
            _item(entry, books[entry.book_id], entry.book_id in owned, currency)
            for entry in cart.entries
            if entry.book_id in books
        ]
        prices = [item.price.amount for item in items if item.price is not None and item.problem is None]
        rate = self._rates.rate(None, currency)
        return CartView(
            items=items,
            currency=currency,
            currencies=shared_currencies(buyable),
            tax=Money(amount=sum(contained(price, rate) for price in prices), currency=currency),
            total=Money(amount=sum(prices), currency=currency),
        )


def _item(entry: CartEntry, book: Book, is_owned: bool, currency: str) -> CartItem:
    summary, price = summarise(book), book.price_in(currency)
    problem: CartProblem | None = None
    if is_owned:
        problem = "owned"
    elif not sellable(book):
        problem = "unavailable"
    elif price is None:
        problem = "no-price"
    return CartItem(
        audiobook_id=book.id,
        slug=book.slug,
        title=book.title,
        authors=[author.name for author in book.authors],
        cover_url=summary.cover_url,
        price=price,
        problem=problem,
        added_at=entry.added_at,
    )


def say_owned(title: str, owned: Owned) -> str:
    """Say of a book that it cannot be bought again."""
    if owned.state == "owned":
        return f"“{title}” is yours already."
    return f"“{title}” is being bought already, with order {owned.order_id}."
