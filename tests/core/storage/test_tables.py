"""Rows survive the round trip, races are decided once, and Azure's limits hold on the emulator too."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Literal

import pytest
import pytest_asyncio
from pydantic import BaseModel

from core.errors import ConflictError, NotFoundError, StaleError, StorageLimitError
from core.ids import new_id
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.tables import Insert, Put, Replace, Table
from localhost.azurite import Azurite


class Part(BaseModel):
    name: str
    seconds: float


class Thing(BaseModel):
    title: str
    status: Literal["new", "old"] = "new"
    size: int = 0
    length: float | None = None
    good: bool = True
    at: datetime | None = None
    parts: tuple[Part, ...] = ()
    labels: dict[str, str] = {}


@pytest_asyncio.fixture(scope="module")
async def account(azurite: Azurite) -> AsyncIterator[StorageAccount]:
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    account = StorageAccount(Settings.read(environment))
    yield account
    await account.close()


@pytest.fixture(scope="module")
def table(account: StorageAccount) -> Table:
    return account.table("things")


async def test_a_model_comes_back_as_it_was(table: Table) -> None:
    thing = Thing(
        title="Ünïcode, \U0001f600 and 'quotes'",
        status="old",
        size=5 * 2**32,
        length=7.0,
        at=datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
        parts=tuple(Part(name="\U0001f600" * 300, seconds=i / 3) for i in range(200)),
        labels={"a": "b"},
    )
    key = new_id()
    await table.insert(thing, key, "thing")
    assert (await table.get(Thing, key, "thing")).value == thing


async def test_the_first_insert_wins_and_the_rest_hear_of_it(table: Table) -> None:
    key = new_id()
    results = await asyncio.gather(
        *(table.insert(Thing(title=str(i)), key, "thing") for i in range(8)), return_exceptions=True
    )
    assert [type(r) for r in results].count(ConflictError) == 7


async def test_no_update_is_lost_in_a_race(table: Table) -> None:
    key = new_id()
    await table.insert(Thing(title="counter"), key, "thing")

    async def count() -> None:
        await table.update(Thing, key, "thing", lambda t: t.model_copy(update={"size": t.size + 1}))

    await asyncio.gather(*(count() for _ in range(10)))
    assert (await table.get(Thing, key, "thing")).value.size == 10


async def test_a_change_names_the_version_it_read(table: Table) -> None:
    key = new_id()
    await table.insert(Thing(title="one"), key, "thing")
    read = await table.get(Thing, key, "thing")
    await table.replace(read, Thing(title="two"))
    with pytest.raises(StaleError):
        await table.replace(read, Thing(title="three"))
    with pytest.raises(NotFoundError):
        await table.get(Thing, key, "other")
    assert await table.find(Thing, "no/such?key", "x") is None


async def test_a_transaction_is_all_or_nothing(table: Table) -> None:
    key = new_id()
    await table.transact(key, [Insert("a", Thing(title="a")), Put("b", Thing(title="b"))])
    with pytest.raises(ConflictError):
        await table.transact(key, [Insert("c", Thing(title="c")), Insert("a", Thing(title="again"))])
    assert await table.find(Thing, key, "c") is None
    a = await table.get(Thing, key, "a")
    await table.transact(key, [Replace(a, Thing(title="A")), Put("b", Thing(title="B"))])
    with pytest.raises(StaleError):
        await table.transact(key, [Replace(a, Thing(title="late")), Insert("d", Thing(title="d"))])
    assert [stored.value.title async for stored in table.each(Thing, key)] == ["A", "B"]


async def test_a_prefix_finds_its_rows_in_order(table: Table) -> None:
    key = new_id()
    await table.transact(key, [Insert(f"row_{i:02d}", Thing(title=str(i))) for i in range(25)])
    await table.insert(Thing(title="apart"), key, "sow")
    rows = [stored.value.title async for stored in table.each(Thing, key, "row_")]
    assert rows == [str(i) for i in range(25)]


async def test_what_goes_with_an_update_is_done_with_it_or_not_at_all(table: Table) -> None:
    key = new_id()
    await table.insert(Thing(title="one"), key, "thing")
    await table.update(Thing, key, "thing", lambda _: None, [Put("beside", Thing(title="no"))])
    assert await table.find(Thing, key, "beside") is None

    async def grow(name: str) -> None:
        def change(thing: Thing) -> Thing:
            return thing.model_copy(update={"size": thing.size + 1})

        await table.update(Thing, key, "thing", change, [Put(name, Thing(title=name))])

    await asyncio.gather(*(grow(f"beside_{i}") for i in range(5)))
    assert (await table.get(Thing, key, "thing")).value.size == 5
    assert len([row async for row in table.each(Thing, key, "beside_")]) == 5


async def test_a_list_by_time_is_newest_first_across_months(table: Table) -> None:
    name = new_id()
    times = [datetime(2026, m, d, tzinfo=UTC) for m in (8, 9, 11) for d in (1, 2)]
    for at in times:
        await table.put_in_month(Thing(title=f"{at:%m-%d}"), name, at, "x")
    await table.put_in_month(Thing(title="08-01"), name, times[0], "x")  # the same row once more
    seen: list[str] = []
    after = None
    for _ in range(10):
        things, after = await table.newest(Thing, name, 2, after)
        seen += [thing.title for thing in things]
        if after is None:
            break
    assert seen == ["11-02", "11-01", "09-02", "09-01", "08-02", "08-01"]


async def test_a_table_is_made_when_it_is_first_needed(account: StorageAccount) -> None:
    table = account.table(f"t{new_id()}")
    assert await table.find(Thing, "a", "b") is None
    assert [row async for row in table.each(Thing, "a")] == []
    await table.insert(Thing(title="first"), "a", "b")
    assert (await table.get(Thing, "a", "b")).value.title == "first"


@pytest.mark.parametrize("key", ["a/b", "a\\b", "a#b", "a?b", "a\nb", "a" * 1025])
async def test_keys_that_azure_refuses_are_refused(table: Table, key: str) -> None:
    with pytest.raises(StorageLimitError):
        await table.insert(Thing(title="x"), "p", key)


async def test_sizes_that_azure_refuses_are_refused(table: Table) -> None:
    with pytest.raises(StorageLimitError, match="Property"):
        await table.insert(Thing(title="x" * 32769), "p", "k")
    with pytest.raises(StorageLimitError, match="row of"):
        huge = tuple(Part(name="x" * 1000, seconds=0) for _ in range(700))
        await table.insert(Thing(title="x", parts=huge), "p", "k")
    with pytest.raises(StorageLimitError, match="101 operations"):
        await table.transact("p", [Insert(f"k{i}", Thing(title="x")) for i in range(101)])
    with pytest.raises(StorageLimitError, match="transaction of"):
        big = tuple(Part(name="x" * 1000, seconds=0) for _ in range(400))
        await table.transact("p", [Put(f"k{i}", Thing(title="x", parts=big)) for i in range(6)])
