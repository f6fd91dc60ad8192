"""What the AI may cost in a month, for each person and in all: reserved before work begins, settled after it.

A reservation and the sums that it is part of are written together, in one partition a budget. A job asks its
owner's budget first, then that of all; what a crash leaves half reserved is completed or given back by the
next who asks.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from core.errors import ConflictError, NotFoundError, StaleError, UnavailableError
from core.ids import now
from core.operations.alerts import Alerts
from core.operations.models import Amount, Ceiling, Claim, Reservation, Sum, Told
from core.settings import Limit, Settings
from core.storage.tables import Delete, Insert, Operation, Replace, Stored, Table

_log = logging.getLogger("aloud.operations")

_SUM = "sum"
_TRIES = 20
_ALL = "all"
_NEARLY = 0.8


class Budgets:
    def __init__(self, settings: Settings, table: Table, alerts: Alerts) -> None:
        self._table = table
        self._alerts = alerts
        self._of_person = _ceiling(settings.user_budget_dollars, settings.user_budget_hours)
        self._of_all = _ceiling(settings.budget_dollars, settings.budget_hours)

    async def reserve(self, claim: Claim, amount: Amount) -> str | None:
        """Reserve what a run may cost; again reserves nothing more. Return None, or why it has to wait."""
        if claim.owner_id is not None and not await self._reserve(claim, claim.owner_id, amount):
            _log.warning("the budget of %s for %s does not suffice", claim.owner_id, f"{claim.at:%Y-%m}")
            if self._of_person.allows(amount):
                return "Your budget of this month is used up."
            return "This is more than your budget allows in a whole month."
        if not await self._reserve(claim, None, amount):
            if claim.owner_id is not None:
                await self._settle(claim, claim.owner_id, None)
            await self._tell("budget-used-up", "Work waits for the budget of this month", claim.at)
            if self._of_all.allows(amount):
                return "The budget of this month is used up."
            return "This is more than the budget allows in a whole month."
        if self._of_all.share((await self.sums(None, claim.at)).used) >= _NEARLY:
            await self._tell("budget-low", "The budget of this month is nearly used up", claim.at)
        return None

    async def settle(self, claim: Claim, spent: Amount) -> None:
        """Replace what a run has reserved by what it has cost.

        Again it adds only what came late: a cost never falls, whoever counts it last.
        """
        if claim.owner_id is not None:
            await self._settle(claim, claim.owner_id, spent)
        await self._settle(claim, None, spent)

    async def sums(self, owner_id: str | None, at: datetime) -> Sum:
        """Return the sums of a person's month; of all with None."""
        found = await self._table.find(Sum, _partition(owner_id, at), _SUM)
        return Sum() if found is None else found.value

    async def unsettled(self, at: datetime) -> AsyncIterator[Reservation]:
        """Yield the reservations of a month that no end has settled yet."""
        async for stored in self._table.each(Reservation, _partition(None, at), "job_"):
            if not stored.value.is_settled:
                yield stored.value

    async def forget(self, owner_id: str) -> None:
        """Delete a person's months; those of all keep what their work has cost, and not whose it was."""
        first = f"user-{owner_id}_"
        condition = "PartitionKey ge @first and PartitionKey lt @end"
        months = self._table.each(Sum, None, condition=condition, first=first, end=f"{first}~")
        for partition in {stored.partition async for stored in months}:
            await self._table.erase(partition)

    def limit(self, owner_id: str | None) -> Ceiling:
        """Return what a person, or all, may spend in a month."""
        return self._of_all if owner_id is None else self._of_person

    async def _tell(self, kind: str, title: str, month: datetime) -> None:
        """Tell administrators how it stands with a month's budget; each of this once a month.

        The row that says so comes last: after a crash they are told twice rather than not at all.
        """
        partition, key = _partition(None, month), f"told_{kind}"
        if await self._table.find(Told, partition, key) is not None:
            return
        used, limit, at = (await self.sums(None, month)).used, self._of_all, now()
        hour = at.replace(minute=0, second=0, microsecond=0)
        await self._alerts.raise_(kind, title, _describe(used, limit), f"{month:%Y-%m}", hour)
        with suppress(ConflictError):
            await self._table.insert(Told(at=at), partition, key)

    async def _reserve(self, claim: Claim, owner_id: str | None, amount: Amount) -> bool:
        partition = _partition(owner_id, claim.at)
        for _ in range(_TRIES):
            rows = await self._read(partition, claim)
            if rows.mine is not None:
                return True
            after = Sum(
                **rows.sum.model_dump(exclude={"reserved_microdollars", "reserved_seconds"}),
                reserved_microdollars=rows.sum.reserved_microdollars + amount.microdollars,
                reserved_seconds=rows.sum.reserved_seconds + amount.seconds,
            )
            if not self.limit(owner_id).allows(after.used):
                return False
            new = Reservation(
                job_id=claim.job_id, run=claim.run, microdollars=amount.microdollars, seconds=amount.seconds
            )
            if await self._write(partition, rows, after, claim.key, new):
                return True
        raise UnavailableError("The budget changes too often.", retry_after=1)

    async def _settle(self, claim: Claim, owner_id: str | None, spent: Amount | None) -> None:
        """Take a reservation out of the sums; with None it never was."""
        partition = _partition(owner_id, claim.at)
        for _ in range(_TRIES):
            rows = await self._read(partition, claim)
            if rows.mine is None:
                return
            mine, cost = rows.mine.value, spent or Amount(0, 0)
            known = Amount(mine.microdollars, mine.seconds)
            held, counted = (Amount(0, 0), known) if mine.is_settled else (known, Amount(0, 0))
            cost = Amount(max(cost.microdollars, counted.microdollars), max(cost.seconds, counted.seconds))
            if mine.is_settled and cost == counted:
                return
            after = Sum(
                reserved_microdollars=rows.sum.reserved_microdollars - held.microdollars,
                reserved_seconds=rows.sum.reserved_seconds - held.seconds,
                spent_microdollars=rows.sum.spent_microdollars - counted.microdollars + cost.microdollars,
                spent_seconds=rows.sum.spent_seconds - counted.seconds + cost.seconds,
            )
            fields = {"microdollars": cost.microdollars, "seconds": cost.seconds, "is_settled": True}
            settled = None if spent is None else mine.model_copy(update=fields)
            if await self._write(partition, rows, after, claim.key, settled):
                return
        raise UnavailableError("The budget changes too often.", retry_after=1)

    async def _read(self, partition: str, claim: Claim) -> "_Rows":
        stored, mine = await asyncio.gather(
            self._table.find(Sum, partition, _SUM), self._table.find(Reservation, partition, claim.key)
        )
        return _Rows(Sum() if stored is None else stored.value, stored, mine)

    async def _write(
        self, partition: str, rows: "_Rows", after: Sum, key: str, mine: Reservation | None
    ) -> bool:
        """Write the sums, and the reservation or its end, as one; False where another was faster."""
        operations: list[Operation] = [
            Insert(_SUM, after) if rows.stored is None else Replace(rows.stored, after)
        ]
        if mine is None:
            operations += [Delete(rows.mine)] if rows.mine is not None else []
        else:
            operations.append(Insert(key, mine) if rows.mine is None else Replace(rows.mine, mine))
        with suppress(ConflictError, StaleError, NotFoundError):
            await self._table.transact(partition, operations)
            return True
        return False


@dataclass(frozen=True)
class _Rows:
    sum: Sum
    stored: Stored[Sum] | None
    mine: Stored[Reservation] | None


def _ceiling(dollars: Limit, hours: Limit) -> Ceiling:
    return Ceiling(
        None if dollars == "unlimited" else int(dollars * 1e6),
        None if hours == "unlimited" else int(hours * 3600),
    )


def _partition(owner_id: str | None, at: datetime) -> str:
    return f"{_ALL if owner_id is None else f'user-{owner_id}'}_{at:%Y-%m}"


def _describe(used: Amount, limit: Ceiling) -> str:
    """Say how much is spent or reserved, of how much, and what can be done."""
    money, hours = f"{used.microdollars / 1e6:.2f}", f"{used.seconds / 3600:.1f}"
    if limit.microdollars is not None:
        money += f" of {limit.microdollars / 1e6:.2f}"
    if limit.seconds is not None:
        hours += f" of {limit.seconds / 3600:.1f}"
    return (
        f"{money} dollars and {hours} hours of sound are spent or reserved. What does not fit in waits for "
        "the next month, or until BUDGET_DOLLARS or BUDGET_HOURS is raised."
    )
