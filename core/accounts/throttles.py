"""How often something may be tried: sliding windows in Table Storage, which hold across instances."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from core.accounts.models import Attempts
from core.errors import ConflictError, NotFoundError, StaleError, ThrottledError
from core.ids import fingerprint, now
from core.settings import Settings
from core.storage.tables import Stored, Table

SIGN_IN = "sign-in"
_RACES = 50

Times = tuple[datetime, ...]


@dataclass(eq=False)
class _Turn:
    """Tries for one row from one process go one by one, rather than race each other in the storage."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    latest: Stored[Attempts] | None = None


class Throttles:
    """A row per subject holds the times of the tries that still count; one that is refused is not added.

    Sign-ins stand beside what else is known of an address, all others in a table of their own, which holds
    no more than what was tried since the last night.
    """

    def __init__(self, accounts: Table, attempts: Table, settings: Settings) -> None:
        self._accounts = accounts
        self._attempts = attempts
        self._window = timedelta(seconds=settings.attempt_window_seconds)
        self.per_account = settings.account_attempts
        self.per_address = settings.address_attempts
        self._turns: WeakValueDictionary[tuple[str, str], _Turn] = WeakValueDictionary()

    async def attempt(self, key: str, kind: str, limit: int) -> None:
        """Count one try of this kind for a subject. Raises ThrottledError with the time to wait."""
        await self.note(key, kind, await self.seen(key, kind), limit)

    async def seen(self, key: str, kind: str) -> Stored[Attempts] | None:
        """Return what a subject has tried."""
        return await self._table(kind).find(Attempts, key, f"attempts_{kind}")

    def _table(self, kind: str) -> Table:
        return self._accounts if kind == SIGN_IN else self._attempts

    def check(self, seen: Stored[Attempts] | None, limit: int) -> None:
        """Raises ThrottledError if a subject has tried too often."""
        self._check(self._counting(seen), limit)

    async def attempt_from(self, address: str) -> None:
        """Count one try from a network address. Raises ThrottledError."""
        await self.note_from(address, await self.seen_from(address))

    async def seen_from(self, address: str) -> Stored[Attempts] | None:
        """Return what a network address has tried."""
        return await self.seen(_of_address(address), "all")

    async def note_from(self, address: str, seen: Stored[Attempts] | None) -> None:
        """Count one try from a network address after `seen_from`. Raises ThrottledError."""
        await self.note(_of_address(address), "all", seen, self.per_address)

    def check_from(self, seen: Stored[Attempts] | None) -> None:
        """Raises ThrottledError if a network address has tried too often."""
        self.check(seen, self.per_address)

    def _check(self, times: Times, limit: int) -> None:
        if len(times) >= limit:
            wait = (times[-limit] + self._window - now()).total_seconds()
            raise ThrottledError("Too many tries. Wait a while, then try again.", max(1.0, wait))

    async def note(
        self,
        key: str,
        kind: str,
        seen: Stored[Attempts] | None,
        limit: int,
        last_success: Callable[[], Awaitable[datetime | None]] | None = None,
    ) -> None:
        """Count one try, after `seen` was read: one call, more only while others race for the same row.

        Once the tries are used up, `last_success` is asked, and those before it do not count.
        Raises ThrottledError.
        """
        row, table = f"attempts_{kind}", self._table(kind)
        turn = self._turns.setdefault((key, row), _Turn())
        async with turn.lock:
            seen = turn.latest or seen
            for _ in range(_RACES):
                times = self._counting(seen)
                if len(times) >= limit and last_success is not None:
                    success = await last_success()
                    times = tuple(time for time in times if success is None or time > success)
                self._check(times, limit)
                tried = Attempts(times=(*times, now()))
                try:
                    if seen is None:
                        await table.insert(tried, key, row)
                    else:
                        turn.latest = await table.replace(seen, tried)
                    return
                except (ConflictError, StaleError, NotFoundError):
                    seen = turn.latest = await table.find(Attempts, key, row)
        raise ThrottledError("Too many tries at once. Wait a while, then try again.")

    async def sweep(self) -> None:
        """Forget tries that are over, but for sign-ins."""
        async for stored in self._attempts.each(Attempts, None):
            await self._forget(self._attempts, stored)

    async def forget_sign_ins(self, address_key: str) -> bool:
        """Forget the sign-ins that were tried with an address, if they are over; tell whether they went."""
        seen = await self.seen(address_key, SIGN_IN)
        return seen is None or await self._forget(self._accounts, seen)

    async def _forget(self, table: Table, stored: Stored[Attempts]) -> bool:
        is_over = all(time < now() - self._window for time in stored.value.times)
        return is_over and await table.delete_unchanged(stored)

    def _counting(self, seen: Stored[Attempts] | None) -> Times:
        start = now() - self._window
        return () if seen is None else tuple(time for time in seen.value.times if time > start)


def _of_address(address: str) -> str:
    return fingerprint("address", address)
