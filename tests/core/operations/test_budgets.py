"""Budgets on a real storage: whoever asks at once, and wherever it is cut off, the books balance."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta

import pytest
import pytest_asyncio

from core.ids import new_id, now
from core.operations.alerts import Alerts
from core.operations.budgets import Budgets
from core.operations.models import Amount, Claim, Reservation
from core.settings import Settings
from core.storage import StorageAccount, Watch
from localhost.azurite import Azurite
from tests.faults import crash_everywhere

DOLLAR = 1_000_000
LIMITS = ("BUDGET_DOLLARS", "BUDGET_HOURS", "USER_BUDGET_DOLLARS", "USER_BUDGET_HOURS")
MONTH = now().replace(day=1)


class Cashier:
    """Budgets on a table of their own, and a look at what is written there."""

    def __init__(
        self,
        azurite: Azurite,
        table: str,
        watch: Watch | None = None,
        limits: Mapping[str, str] | None = None,
    ) -> None:
        environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
        settings = Settings.read(environment | dict(limits or {}))
        self._account = StorageAccount(settings, watch)
        self.table = self._account.table(table)
        self.alerts = Alerts(settings, self._account.table(f"{table}a"), self._account.queues())
        self.budgets = Budgets(settings, self.table, self.alerts)

    async def close(self) -> None:
        await self._account.close()

    async def check(self, owner_id: str | None) -> None:
        """See that the sums are those of the rows."""
        partition = f"{'all' if owner_id is None else f'user-{owner_id}'}_{MONTH:%Y-%m}"
        rows = [stored.value async for stored in self.table.each(Reservation, partition, "job_")]
        sums = await self.budgets.sums(owner_id, MONTH)
        open_rows = [row for row in rows if not row.is_settled]
        assert sums.reserved_microdollars == sum(row.microdollars for row in open_rows)
        assert sums.reserved_seconds == sum(row.seconds for row in open_rows)
        assert sums.spent_microdollars == sum(row.microdollars for row in rows if row.is_settled)
        assert sums.spent_seconds == sum(row.seconds for row in rows if row.is_settled)


@pytest_asyncio.fixture
async def open_cashier(azurite: Azurite) -> AsyncIterator[Callable[..., Cashier]]:
    opened: list[Cashier] = []

    def build(**limits: str) -> Cashier:
        cashier = Cashier(azurite, f"t{new_id()}", limits=limits)
        opened.append(cashier)
        return cashier

    yield build
    for cashier in opened:
        await cashier.close()


def job(owner_id: str | None, run: int = 1) -> Claim:
    return Claim(new_id(), run, owner_id, MONTH)


async def test_thirty_jobs_at_once_reserve_no_more_than_there_is(
    open_cashier: Callable[..., Cashier],
) -> None:
    cashier = open_cashier(BUDGET_DOLLARS="10")
    budgets, owners = cashier.budgets, [new_id() for _ in range(3)]
    claims = [job(owners[number % 3]) for number in range(30)]
    answers = await asyncio.gather(*(budgets.reserve(claim, Amount(DOLLAR, 60)) for claim in claims))
    assert answers.count(None) == 10
    assert {answer for answer in answers if answer} == {"The budget of this month is used up."}
    for owner_id in (None, *owners):
        await cashier.check(owner_id)
    assert (await budgets.sums(None, MONTH)).reserved_microdollars == 10 * DOLLAR
    assert sum([(await budgets.sums(owner, MONTH)).reserved_microdollars for owner in owners]) == 10 * DOLLAR


async def test_what_was_not_needed_is_there_for_others(open_cashier: Callable[..., Cashier]) -> None:
    cashier = open_cashier(BUDGET_DOLLARS="2")
    budgets, first, second = cashier.budgets, job("ann"), job("ben")
    assert await budgets.reserve(first, Amount(2 * DOLLAR, 60)) is None
    assert await budgets.reserve(first, Amount(2 * DOLLAR, 60)) is None
    assert await budgets.reserve(second, Amount(DOLLAR, 60)) == "The budget of this month is used up."
    for _ in range(2):
        await budgets.settle(first, Amount(DOLLAR // 2, 59))
    assert await budgets.reserve(second, Amount(DOLLAR, 60)) is None
    sums = await budgets.sums(None, MONTH)
    assert (sums.spent_microdollars, sums.reserved_microdollars) == (DOLLAR // 2, DOLLAR)
    assert [row.job_id async for row in budgets.unsettled(MONTH)] == [second.job_id]
    for owner_id in (None, "ann", "ben"):
        await cashier.check(owner_id)


async def test_what_comes_late_is_added_and_a_late_count_takes_nothing_back(
    open_cashier: Callable[..., Cashier],
) -> None:
    cashier = open_cashier()
    budgets, claim = cashier.budgets, job("ann")
    await budgets.reserve(claim, Amount(DOLLAR, 60))
    for spent in (100, 300, 200):
        await budgets.settle(claim, Amount(spent, 60))
    sums = await budgets.sums(None, MONTH)
    assert (sums.spent_microdollars, sums.reserved_microdollars, sums.spent_seconds) == (300, 0, 60)
    for owner_id in (None, "ann"):
        await cashier.check(owner_id)


async def test_a_person_s_hours_and_money_are_theirs_alone(open_cashier: Callable[..., Cashier]) -> None:
    budgets = open_cashier(USER_BUDGET_HOURS="1", USER_BUDGET_DOLLARS="1").budgets
    assert await budgets.reserve(job("ann"), Amount(0, 3600)) is None
    assert await budgets.reserve(job("ann"), Amount(0, 1)) == "Your budget of this month is used up."
    whole = "This is more than your budget allows in a whole month."
    assert await budgets.reserve(job("ben"), Amount(DOLLAR + 1, 1)) == whole
    assert await budgets.reserve(job("ben"), Amount(DOLLAR, 3600)) is None
    assert await budgets.reserve(job(None), Amount(100 * DOLLAR, 36_000)) is None
    next_month = Claim(new_id(), 1, "ann", MONTH + timedelta(days=32))
    assert await budgets.reserve(next_month, Amount(0, 3600)) is None


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_limit_is_finite_unless_it_says_otherwise_and_0_is_nothing(
    open_cashier: Callable[..., Cashier], limit: str
) -> None:
    others = dict.fromkeys(LIMITS, "unlimited")
    endless = Amount(10_000 * DOLLAR, 10_000 * 3600)
    usual = open_cashier(**{name: word for name, word in others.items() if name != limit}).budgets
    none = open_cashier(**others | {limit: "0"}).budgets
    unbounded = open_cashier(**others).budgets
    for budgets in (usual, none):
        assert "in a whole month" in (await budgets.reserve(job("ann"), endless) or "")
    assert await unbounded.reserve(job("ann"), endless) is None
    assert await usual.reserve(job("ann"), Amount(DOLLAR, 3600)) is None
    assert await none.reserve(job("ann"), Amount(1, 1)) is not None
    assert await none.reserve(job("ann"), Amount(0, 0)) is None, "what costs nothing is not kept back"


async def test_people_are_told_once_when_it_is_nearly_used_up_and_once_when_work_waits(
    open_cashier: Callable[..., Cashier],
) -> None:
    cashier = open_cashier(BUDGET_DOLLARS="10", BUDGET_HOURS="unlimited")
    budgets = cashier.budgets

    async def told() -> list[str]:
        return sorted(alert.kind for alert in (await cashier.alerts.newest(10, None))[0])

    assert await budgets.reserve(job(None), Amount(7 * DOLLAR, 60)) is None
    assert await told() == []
    assert await budgets.reserve(job(None), Amount(DOLLAR, 60)) is None
    assert await budgets.reserve(job(None), Amount(DOLLAR, 60)) is None
    assert await told() == ["budget-low"]
    for _ in range(2):
        assert await budgets.reserve(job("ann"), Amount(2 * DOLLAR, 60)) is not None
    assert await told() == ["budget-low", "budget-used-up"]
    (alert, _), _ = await cashier.alerts.newest(10, None)
    assert "9.00 of 10.00 dollars" in alert.detail
    for owner_id in (None, "ann"):
        await cashier.check(owner_id)


async def test_wherever_it_is_cut_off_a_repeat_ends_it_and_the_books_balance(azurite: Azurite) -> None:
    table = f"t{new_id()}"
    first = Cashier(azurite, table)
    await first.budgets.reserve(job("somebody"), Amount(0, 0))  # makes the table
    await first.close()

    async def prepare(_: Cashier) -> Claim:
        return job(new_id())

    async def act(cashier: Cashier, claim: Claim) -> None:
        assert await cashier.budgets.reserve(claim, Amount(DOLLAR, 60)) is None
        await cashier.budgets.settle(claim, Amount(DOLLAR // 4, 55))

    async def check(cashier: Cashier, claim: Claim) -> None:
        await cashier.check(None)
        await cashier.check(claim.owner_id)

    async def check_done(cashier: Cashier, claim: Claim) -> None:
        await check(cashier, claim)
        sums = await cashier.budgets.sums(claim.owner_id, MONTH)
        assert (sums.spent_microdollars, sums.reserved_microdollars) == (DOLLAR // 4, 0)

    def build(watch: Watch | None) -> Cashier:
        return Cashier(azurite, table, watch)

    assert len(await crash_everywhere(build, prepare, act, check, act, check_done)) >= 8
