"""Vouchers: codes that make an order cheaper, each used as often as it may be and no more.

A code's rows share a partition of `vouchers`: its count of uses, each buyer's count and the uses themselves
change in one transaction. A use is reserved for an order before that order is there, and follows what
becomes of it.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from pydantic import BaseModel, ConfigDict

from core.accounts.service import Accounts
from core.caller import Caller, Origin
from core.commerce.discounts import Voucher, split_discount
from core.errors import ConflictError, InvalidError, NotFoundError, StaleError, UnavailableError
from core.ids import fingerprint, now
from core.operations.service import Operations
from core.storage.tables import Delete, Insert, Operation, Put, Replace, Stored, Table, month_keys

_VOUCHER = "voucher"
_LIST = "list"
_RESERVED = "reserved_"
_USED = "used_"
_BUYER = "buyer_"
_RACES = 40
_LONGEST_WAIT = 0.1
_GUESSES = 20
_UNDER_WAY = timedelta(minutes=1)


class VoucherUse(BaseModel):
    """Row `reserved_{order}` until the order is paid, then `used_{order}`."""

    model_config = ConfigDict(frozen=True)

    code: str
    user_id: str
    order_id: str
    at: datetime


class BuyerUses(BaseModel):
    """Row `buyer_{user}`: how often one person uses a code."""

    model_config = ConfigDict(frozen=True)

    uses: int


class Listed(BaseModel):
    """Row of a month's list of codes; one whose voucher never came to be is left out."""

    model_config = ConfigDict(frozen=True)

    code: str


def normalise_code(text: str) -> str:
    """Return a code as it is stored: capitals, without spaces; what cannot be one becomes an empty text."""
    code = "".join(text.split()).upper()
    is_code = text.isascii() and code.replace("-", "").isalnum() and 4 <= len(code) <= 32
    return code if is_code else ""


def make_code() -> str:
    """Return a code that nobody guesses: 64 random bits, in groups of four."""
    digits = secrets.token_hex(8).upper()
    return "-".join(digits[place : place + 4] for place in range(0, len(digits), 4))


class Vouchers:
    def __init__(self, table: Table, accounts: Accounts, operations: Operations) -> None:
        self._table = table
        self._accounts = accounts
        self._operations = operations
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # For buyers

    async def find(self, user_id: str, text: str) -> Voucher:
        """Return the voucher of a code that this user may still use; each try counts.

        Raises InvalidError that says why it cannot be used, ThrottledError for who guesses.
        """
        code = normalise_code(text)
        voucher, buyer, _ = await asyncio.gather(
            self._find(code),
            self._find_buyer(code, user_id),
            self._accounts.throttles.attempt(fingerprint("user", user_id), "voucher", _GUESSES),
        )
        if voucher is None:
            raise _refusal("We do not know this code. Check its spelling.")
        _check(voucher.value, buyer)
        return voucher.value

    def discounts(self, voucher: Voucher, lines: Sequence[tuple[str, int]], currency: str) -> list[int]:
        """Return what is taken off each line (book id, price). Raises InvalidError if that is nothing."""
        if voucher.amount is not None and voucher.amount.currency != currency:
            raise _refusal(f"This code is for orders in {voucher.amount.currency}.")
        shares = split_discount(voucher, lines, currency)
        if not any(shares):
            raise _refusal("This code is not for these books.")
        return shares

    async def reserve(self, code: str, user_id: str, order_id: str) -> None:
        """Keep a use for an order that will be; once for an order. Raises InvalidError as `find` does."""
        use = VoucherUse(code=code, user_id=user_id, order_id=order_id, at=now())

        async def attempt() -> bool:
            voucher, buyer, reserved = await asyncio.gather(
                self._find(code), self._find_buyer(code, user_id), self._find_use(_RESERVED, code, order_id)
            )
            if reserved is not None:
                return True
            if voucher is None:
                raise _refusal("We do not know this code. Check its spelling.")
            _check(voucher.value, buyer)
            return await self._transact(
                code,
                _add(voucher, 1),
                _add_for_buyer(buyer, user_id, 1),
                Insert(f"{_RESERVED}{order_id}", use),
            )

        await self._race(code, attempt)

    async def is_reserved_by(self, user_id: str, text: str) -> bool:
        """Tell whether a use is reserved for somebody's order that may still be about to be written."""
        uses = self._table.each(
            VoucherUse,
            normalise_code(text),
            _RESERVED,
            condition="user_id eq @user_id and at gt @since",
            user_id=user_id,
            since=now() - _UNDER_WAY,
        )
        return [use async for use in uses] != []

    async def release(self, code: str, order_id: str) -> None:
        """Give back what was reserved for an order that came to nothing; nothing reserved is fine."""
        code = normalise_code(code)

        async def attempt() -> bool:
            reserved = await self._find_use(_RESERVED, code, order_id)
            if reserved is None:
                return True
            user_id = reserved.value.user_id
            voucher, buyer = await asyncio.gather(self._find(code), self._find_buyer(code, user_id))
            if voucher is None:
                raise NotFoundError("There is no such voucher.")
            operations: list[Operation] = [_add(voucher, -1), Delete(reserved)]
            if buyer is not None:  # else they have left, and are forgotten
                operations.append(_add_for_buyer(buyer, user_id, -1))
            return await self._transact(code, *operations)

        await self._race(code, attempt)

    async def settle(self, code: str, order_id: str) -> None:
        """Note that an order was paid: what was reserved for it is used; a repeat does nothing."""

        async def attempt() -> bool:
            reserved = await self._find_use(_RESERVED, code, order_id)
            if reserved is None:
                return True
            return await self._transact(code, Delete(reserved), Put(f"{_USED}{order_id}", reserved.value))

        await self._race(code, attempt)

    async def forget_buyer(self, code: str, user_id: str, order_id: str) -> None:
        """Forget who has used a code for an order that has come to its end; the use goes on to count."""
        await self._table.delete(code, f"{_USED}{order_id}")
        await self._table.delete(code, f"{_BUYER}{user_id}")

    # For administrators

    async def create(self, admin: Caller, voucher: Voucher, origin: Origin) -> Voucher:
        """Add a voucher. Raises ConflictError if there is or was one with this code."""
        await self._operations.record("voucher.created", admin.user_id, voucher.code, origin)
        await self._table.put_in_month(Listed(code=voucher.code), _LIST, voucher.created_at, voucher.code)
        try:
            await self._table.insert(voucher, voucher.code, _VOUCHER)
        except ConflictError:
            found = await self._find(voucher.code)
            if found is None or found.value.created_at != voucher.created_at:
                await self._table.delete(*month_keys(_LIST, voucher.created_at, voucher.code))
                raise ConflictError("There is a voucher with this code already.") from None
        return voucher

    async def list_newest(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[Voucher], tuple[str, str] | None]:
        """Return vouchers, ended ones too, newest first, and where the next page begins."""
        rows, following = await self._table.newest(Listed, _LIST, limit, after)
        found = await asyncio.gather(*(self._find(row.code) for row in rows))
        return [stored.value for stored in found if stored is not None], following

    async def change(
        self, admin: Caller, text: str, change: Callable[[Voucher], Voucher], origin: Origin
    ) -> Voucher:
        """Change a voucher by a pure function; orders that have used it keep their prices.

        Raises NotFoundError, and ConflictError where it has ended.
        """
        code = normalise_code(text)
        if await self._find(code) is None:
            raise NotFoundError("There is no voucher with this code.")
        await self._operations.record("voucher.changed", admin.user_id, code, origin)

        def replace(voucher: Voucher) -> Voucher:
            if voucher.ended_at is not None:
                raise ConflictError("This voucher has ended. Make another with a new code.")
            return change(voucher)

        return await self._table.update(Voucher, code, _VOUCHER, replace)

    async def end(self, admin: Caller, text: str, origin: Origin) -> None:
        """Let a code not be used any more; what is reserved stays so. Raises NotFoundError."""
        code = normalise_code(text)
        found = await self._find(code)
        if found is None:
            raise NotFoundError("There is no voucher with this code.")
        if found.value.ended_at is not None:
            return
        await self._operations.record("voucher.ended", admin.user_id, code, origin)
        await self._table.update(
            Voucher, code, _VOUCHER, lambda voucher: voucher.model_copy(update={"ended_at": now()})
        )

    # Rows

    async def _find(self, code: str) -> Stored[Voucher] | None:
        return await self._table.find(Voucher, code, _VOUCHER) if code else None

    async def _find_buyer(self, code: str, user_id: str) -> Stored[BuyerUses] | None:
        return await self._table.find(BuyerUses, code, f"{_BUYER}{user_id}") if code else None

    async def _find_use(self, kind: str, code: str, order_id: str) -> Stored[VoucherUse] | None:
        return await self._table.find(VoucherUse, code, f"{kind}{order_id}")

    async def _race(self, code: str, attempt: Callable[[], Awaitable[bool]]) -> None:
        """Attempt until it is done: all buyers of a code change one row, so who loses waits a little.

        Those of one process take turns, rather than race each other in the storage.
        """
        async with self._turns.setdefault(code, asyncio.Lock()):
            for tries in range(_RACES):
                if await attempt():
                    return
                wait = min(_LONGEST_WAIT, 0.01 * 2**tries)
                await asyncio.sleep(random.uniform(0, wait))  # noqa: S311
        raise UnavailableError("Too many want this voucher at once.", retry_after=1)

    async def _transact(self, code: str, *operations: Operation) -> bool:
        """Tell whether it was done; not where somebody else was first."""
        with suppress(StaleError, ConflictError, NotFoundError):
            await self._table.transact(code, operations)
            return True
        return False


def _check(voucher: Voucher, buyer: Stored[BuyerUses] | None) -> None:
    at = now()
    if voucher.ended_at is not None or (voucher.expires_at is not None and voucher.expires_at <= at):
        raise _refusal("This code has expired.")
    if voucher.starts_at is not None and voucher.starts_at > at:
        raise _refusal(f"This code can be used from {voucher.starts_at:%d %B %Y, %H:%M} UTC on.")
    limit = voucher.max_uses_per_user
    if limit is not None and buyer is not None and buyer.value.uses >= limit:
        raise _refusal("You have used this code already.")
    if voucher.max_uses is not None and voucher.uses >= voucher.max_uses:
        raise _refusal("This code has been used up.")


def _refusal(sentence: str) -> InvalidError:
    return InvalidError(sentence, (("voucher_code", sentence),))


def _add(stored: Stored[Voucher], number: int) -> Replace:
    return Replace(stored, stored.value.model_copy(update={"uses": stored.value.uses + number}))


def _add_for_buyer(stored: Stored[BuyerUses] | None, user_id: str, number: int) -> Operation:
    if stored is None:
        return Insert(f"{_BUYER}{user_id}", BuyerUses(uses=number))
    return Replace(stored, BuyerUses(uses=stored.value.uses + number))
