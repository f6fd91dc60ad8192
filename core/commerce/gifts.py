"""Gifts: an order for somebody else, mailed as a link, redeemed by whoever is signed in.

The row of a gift says whose each book is; what people own follows it, and is put right by `see_to` wherever a
crash came between the two.
"""

import hashlib
import hmac
from datetime import datetime

from core.accounts.models import User
from core.accounts.service import Accounts
from core.caller import Caller
from core.commerce.giving import Gift, GiftBook, GiftWish
from core.commerce.models import SHELVES, Order, Owned, SeeToGift, ShelfChanged
from core.commerce.store import CommerceStore
from core.errors import ConflictError, InvalidError, NotFoundError
from core.ids import derived_id, fingerprint, now
from core.mail import Letter, Template
from core.operations.service import Operations
from core.settings import Settings
from core.storage.queues import Queues
from core.storage.tables import Table

QUEUE = "settle"
FINISH_SECONDS = 120.0
_MAX_TRIES = 20
_MAX_CODES = 60
_GIFT = "gift"
_SECRET_DIGITS = 32
_ID_DIGITS = 26


class Gifts:
    def __init__(
        self,
        settings: Settings,
        table: Table,
        store: CommerceStore,
        accounts: Accounts,
        queues: Queues,
        operations: Operations,
    ) -> None:
        key = settings.jwt_signing_key.get_secret_value().split()[0]
        self._key = hmac.digest(key.encode(), b"gifts", "sha256")
        self._site = settings.public_base_url.rstrip("/")
        self._table = table
        self._store = store
        self._accounts = accounts
        self._queues = queues
        self._operations = operations

    # Given

    async def check(self, user_id: str, wish: GiftWish, total: int) -> None:
        """Raises InvalidError, or ThrottledError for who mails too many: a gift is a mail in our name."""
        if total == 0:
            sentence = "What is free needs no gift: send the address of the book's page."
            raise InvalidError(sentence, (("gift", sentence),))
        await self._accounts.throttles.attempt(fingerprint("user", user_id), "gift", _MAX_TRIES)

    async def send(self, order: Order) -> None:
        """Mail the link to the books of a paid order; a repeat mails the same link."""
        gift = await self._find(gift_of(order.id))
        if gift is None and order.state == "paid":
            gift = await self._make(order)
        if gift is None or gift.state != "open":
            return
        secret_hash = _hash(self._secret(gift.id))  # of another key, if it was changed since
        gift = await self._table.update(
            Gift, gift.id, _GIFT, lambda gift: gift.model_copy(update={"secret_hash": secret_hash})
        )
        giver = await self._find_account(gift.giver_id)
        link = f"{self._site}/gifts/{gift.id}-{self._secret(gift.id)}"
        locale = giver.locale if giver else "en"
        await self._mail("gift", gift, gift.email, locale, message=gift.message, link=link)

    async def _make(self, order: Order, refunded_at: datetime | None = None) -> Gift:
        """Add the gift of an order, or return the one that is there."""
        giver = await self._find_account(order.user_id)
        gift_id = gift_of(order.id)
        gift = Gift(
            id=gift_id,
            giver_id=order.user_id,
            giver=giver.display_name if giver else "",
            email=order.gift.email if order.gift else "",
            message=order.gift.message if order.gift else "",
            books=tuple(GiftBook(book_id=item.book_id, title=item.title) for item in order.items),
            secret_hash=_hash(self._secret(gift_id)),
            created_at=now(),
            refunded_at=refunded_at,
        )
        try:
            await self._table.insert(gift, gift_id, _GIFT)
        except ConflictError:
            return (await self._table.get(Gift, gift_id, _GIFT)).value
        return gift

    async def take_back(self, order: Order) -> None:
        """Let the link of a refunded order open nothing, take its books from who has them, and tell them.

        Where there is no gift yet, one that is refunded keeps a late `send` from making it.
        """

        def refund(gift: Gift) -> Gift | None:
            return None if gift.refunded_at else gift.model_copy(update={"refunded_at": now()})

        gift_id = gift_of(order.id)
        if await self._find(gift_id) is None:
            await self._make(order, now())
        gift = await self._table.update(Gift, gift_id, _GIFT, refund)
        await self.see_to(gift_id)
        for user_id in gift.redeemers:
            account = await self._find_account(user_id)
            if account is not None:
                name = account.display_name
                await self._mail("gift-refunded", gift, account.email, account.locale, name=name)

    async def forget_giver(self, order_id: str) -> None:
        """Forget who gave a gift to whom, and what was written; its link goes on to work."""

        def forget(gift: Gift) -> Gift:
            return gift.model_copy(update={"giver_id": "", "giver": "", "email": "", "message": ""})

        if await self._find(gift_of(order_id)) is not None:
            await self._table.update(Gift, gift_of(order_id), _GIFT, forget)

    async def forget_redeemer(self, gift_id: str, user_id: str) -> None:
        """Forget who has redeemed a gift, so that nothing is given any more to somebody who has left."""
        if await self._find(gift_id) is not None:
            await self._table.update(Gift, gift_id, _GIFT, lambda gift: gift.forget(user_id))

    # Received

    async def find(self, code: str) -> Gift:
        """Return the gift of a link. Raises NotFoundError."""
        gift_id, _, secret = code.partition("-")
        gift = await self._find(gift_id) if gift_id.isascii() and gift_id.isalnum() else None
        if gift is None or not hmac.compare_digest(gift.secret_hash, _hash(secret)):
            raise NotFoundError("This link leads to no gift. Check that it is whole.")
        return gift

    async def redeem(self, caller: Caller, code: str) -> Gift:
        """Make those books of a gift the caller's own that nobody has redeemed; a repeat changes nothing.

        Books that the caller has already stay in the gift, for whoever else gets the link. Raises
        NotFoundError for the code, ConflictError where there is nothing to get, ThrottledError for who tries
        too many.
        """
        subject = fingerprint("user", caller.user_id)
        await self._accounts.throttles.attempt(subject, "redeem", _MAX_CODES)
        gift = await self.find(code)
        await self._accounts.profiles.show(caller.user_id)
        wanted = await self._choose(caller.user_id, gift)
        if not wanted:
            return gift
        await self._queues.send(QUEUE, SeeToGift(gift_id=gift.id), FINISH_SECONDS)

        def give(gift: Gift) -> Gift:
            if gift.refunded_at is not None:
                raise ConflictError("This gift was refunded, so it cannot be redeemed any more.")
            given = gift.give(caller.user_id, wanted, now())
            if not given.books_of(caller.user_id):
                raise ConflictError("Somebody has redeemed this gift at this moment.")
            return given

        await self._table.update(Gift, gift.id, _GIFT, give)
        gift = await self.see_to(gift.id) or gift
        if not gift.books_of(caller.user_id):
            raise ConflictError("You are buying this book at this moment, or the gift was just refunded.")
        return gift

    async def _choose(self, user_id: str, gift: Gift) -> frozenset[str]:
        """Return the books to redeem; none where the user has redeemed this gift and it is all done."""
        if gift.state == "refunded":
            raise ConflictError("This gift was refunded, so it cannot be redeemed any more.")
        mine = gift.books_of(user_id)
        left = [book.book_id for book in gift.books if book.redeemed_by is None]
        if not left and not mine:
            raise ConflictError("This gift was redeemed already.")
        owned = await self._store.owned_among(user_id, [*left, *(book.book_id for book in mine)])
        wanted = frozenset(book_id for book_id in left if book_id not in owned)
        unfinished = frozenset(book.book_id for book in mine if book.book_id not in owned)
        if not mine and not wanted:
            raise ConflictError(
                "You have this already. Send the link on to somebody else, or ask whoever gave it to you to "
                "have it refunded."
            )
        return wanted | unfinished

    # Kept right

    async def see_to(self, gift_id: str) -> Gift | None:
        """Let people own what a gift says, and nothing of it once it is refunded.

        A book that the redeemer got in another way meanwhile is anybody's again. Returns the gift as it is
        afterwards, None where there is none.
        """
        gift = await self._find(gift_id)
        while gift is not None:
            for book in gift.books:
                if book.redeemed_by:
                    await self._put_right(gift, book, book.redeemed_by)
            latest = await self._find(gift_id)
            if latest == gift:
                break
            gift = latest  # refunded or redeemed meanwhile
        for user_id in gift.redeemers if gift is not None else ():
            await self._queues.send(SHELVES, ShelfChanged(user_id=user_id))
        return gift

    async def _put_right(self, gift: Gift, book: GiftBook, user_id: str) -> None:
        if gift.refunded_at is not None:
            await self._store.take_away(user_id, book.book_id, gift.id)
            return
        at = book.redeemed_at or gift.created_at
        owned = Owned(book_id=book.book_id, order_id=gift.id, state="owned", acquired_at=at)
        if not await self._store.give(user_id, owned):
            await self._table.update(Gift, gift.id, _GIFT, lambda gift: gift.leave(user_id, book.book_id))

    # Rows and letters

    async def _find(self, gift_id: str) -> Gift | None:
        found = await self._table.find(Gift, gift_id, _GIFT)
        return None if found is None else found.value

    def _secret(self, gift_id: str) -> str:
        return hmac.digest(self._key, gift_id.encode(), "sha256").hex()[:_SECRET_DIGITS]

    async def _find_account(self, user_id: str) -> User | None:
        """Return an account, None for who is gone or going."""
        try:
            return await self._accounts.profiles.show(user_id)
        except NotFoundError:
            return None

    async def _mail(self, template: Template, gift: Gift, to: str, locale: str, **values: str) -> None:
        values |= {"giver": gift.giver, "lines": "\n".join(book.title for book in gift.books)}
        letter_id = derived_id(gift.created_at, template, gift.id, to)
        await self._operations.deliver(
            Letter(id=letter_id, to=to, template=template, locale=locale, values=values)
        )


def gift_of(order_id: str) -> str:
    """Return the id of an order's gift."""
    return fingerprint("gift", order_id)[:_ID_DIGITS]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
