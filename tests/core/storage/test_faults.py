"""The harness of crashes finds a flow that leaves half of its work behind, and passes one that does not."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pydantic import BaseModel

from core.errors import ConflictError
from core.ids import new_id
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.storage.tables import Table
from localhost.azurite import Azurite
from tests.faults import crash_everywhere


class Account(BaseModel):
    name: str = "Ada"


Build = Callable[[Watch | None], StorageAccount]


@pytest.fixture
def build(azurite: Azurite) -> Build:
    settings = Settings.read({"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32})
    return lambda watch: StorageAccount(settings, watch)


def table(account: StorageAccount) -> Table:
    return account.table("faults")


async def prepare(account: StorageAccount) -> str:
    await table(account).put(Account(), "warm", "warm")  # the table is there before anybody counts
    return new_id()


async def register_claim_last(account: StorageAccount, key: str) -> None:
    await table(account).put(Account(), key, "profile")
    try:
        await table(account).insert(Account(), key, "claim")
    except ConflictError:
        return


async def register_claim_first(account: StorageAccount, key: str) -> None:
    await table(account).insert(Account(), key, "claim")
    await table(account).put(Account(), key, "profile")


async def check(account: StorageAccount, key: str) -> None:
    """Who has claimed an address has a profile."""
    rows = await table(account).partition(key)
    assert rows.find(Account, "claim") is None or rows.find(Account, "profile") is not None, "a half account"


async def check_done(account: StorageAccount, key: str) -> None:
    rows = await table(account).partition(key)
    assert rows.find(Account, "claim") is not None
    assert rows.find(Account, "profile") is not None


async def test_a_flow_that_can_be_cut_anywhere_passes(build: Build) -> None:
    places = await crash_everywhere(
        build, prepare, register_claim_last, check, register_claim_last, check_done
    )
    assert [place.partition(",")[0] for place in places] == [
        "before write 1",
        "before write 2",
        "after write 1",
        "after write 2",
    ]


async def test_a_flow_that_leaves_a_half_account_is_found(build: Build) -> None:
    with pytest.raises(AssertionError, match="a half account") as found:
        await crash_everywhere(build, prepare, register_claim_first, check, register_claim_last, check_done)
    assert "before write 2, P" in found.value.__notes__[0]


async def test_a_flow_that_cannot_be_repeated_is_found(build: Build) -> None:
    async def register_once(account: StorageAccount, key: str) -> None:
        await table(account).put(Account(), key, "profile")
        await table(account).insert(Account(), key, "claim")

    with pytest.raises(ConflictError) as found:
        await crash_everywhere(build, prepare, register_once, check, register_once, check_done)
    assert "after write 2" in "".join(found.value.__notes__)


async def test_nothing_of_a_flow_outlives_its_crash(build: Build) -> None:
    """Neither what it does in other tasks, nor what it does about any error, nor what it left running."""
    background: list[asyncio.Task[None]] = []
    went_on: list[str] = []

    async def write(account: StorageAccount, key: str, *rows: str) -> None:
        for row in rows:
            await table(account).put(Account(), key, row)

    async def act(account: StorageAccount, key: str) -> None:
        background.append(asyncio.create_task(write(account, key, "e1", "e2", "e3", "e4", "e5", "e6")))
        try:
            await asyncio.gather(
                write(account, key, "a1", "a2"), write(account, key, "b1", "b2"), return_exceptions=True
            )
        except Exception:
            went_on.append("an error handler")
        finally:
            await write(account, key, "last")
        await background[-1]

    async def check_quiet(account: StorageAccount, key: str) -> None:
        """What was there at the crash is all there is; `last` only where all before it is."""
        assert background[-1].done()
        first = {row.key async for row in table(account).each(Account, key)}
        assert {row.key async for row in table(account).each(Account, key)} == first
        assert "last" not in first or {"a1", "a2", "b1", "b2"} <= first

    async def complete(account: StorageAccount, key: str) -> None:
        assert len({row.key async for row in table(account).each(Account, key)}) == 11

    def finish(account: StorageAccount, key: str) -> Awaitable[None]:
        return write(account, key, "a1", "a2", "b1", "b2", "e1", "e2", "e3", "e4", "e5", "e6", "last")

    places = await crash_everywhere(build, prepare, act, check_quiet, finish, complete)
    assert len(places) == 22
    assert not went_on
