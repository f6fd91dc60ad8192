"""Calls are counted where they are made, by whichever task, and rounds as the caller waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest_asyncio
from pydantic import BaseModel

from core.ids import new_id
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.account import count_calls
from localhost.azurite import Azurite


class Note(BaseModel):
    text: str


def settings_of(azurite: Azurite) -> Settings:
    return Settings.read({"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32})


@pytest_asyncio.fixture
async def account(azurite: Azurite) -> AsyncIterator[StorageAccount]:
    account = StorageAccount(settings_of(azurite))
    await account.table("notes").put(Note(text="there"), "p", "note")
    yield account
    await account.close()


async def test_calls_of_started_tasks_are_counted_and_those_together_are_one_round(
    account: StorageAccount,
) -> None:
    notes, blobs = account.table("notes"), account.container(f"c{new_id()}")
    await blobs.write("a", b"1", "text/plain")

    calls = count_calls()
    assert (calls.count, calls.rounds) == (0, 0)
    await notes.find(Note, "p", "note")
    assert (calls.count, calls.rounds) == (1, 1)
    await asyncio.gather(*(notes.find(Note, "p", f"n{i}") for i in range(5)), blobs.read("a"))
    assert (calls.count, calls.rounds) == (7, 2)
    await blobs.facts("a")
    assert (calls.count, calls.rounds) == (8, 3)

    again = count_calls()
    await notes.find(Note, "p", "note")
    assert (again.count, again.rounds, calls.count) == (1, 1, 8)


async def test_a_call_that_waited_for_another_is_a_round_although_a_third_is_under_way(
    azurite: Azurite,
) -> None:
    """The slow call goes on until both of the others, one after the other, are answered."""
    answered = asyncio.Event()

    @asynccontextmanager
    async def watch(method: str, url: str) -> AsyncIterator[None]:
        yield
        if "slow" in url:
            await answered.wait()

    account = StorageAccount(settings_of(azurite), watch)
    notes = account.table("notes")

    async def read_twice() -> None:
        await notes.find(Note, "p", "first")
        await notes.find(Note, "p", "second")
        answered.set()

    calls = count_calls()
    await asyncio.gather(notes.find(Note, "p", "slow"), read_twice())
    assert (calls.count, calls.rounds) == (3, 2)
    await notes.find(Note, "p", "last")
    assert (calls.count, calls.rounds) == (4, 3)
    await account.close()


async def test_each_task_counts_its_own(account: StorageAccount) -> None:
    async def read(times: int) -> int:
        calls = count_calls()
        for _ in range(times):
            await account.table("notes").find(Note, "p", "note")
        return calls.count

    assert tuple(await asyncio.gather(read(1), read(3))) == (1, 3)


async def test_a_watch_sees_every_request_and_no_signature(azurite: Azurite) -> None:
    seen: list[tuple[str, str]] = []

    @asynccontextmanager
    async def watch(method: str, url: str) -> AsyncIterator[None]:
        seen.append((method, url))
        yield
        seen.append(("answered", url))

    account = StorageAccount(settings_of(azurite), watch)
    table, queue, container = (f"{kind}{new_id()}" for kind in "tqc")
    calls = count_calls()
    await account.table(table).put(Note(text="x"), "p", "k")
    await account.queues().send(queue, Note(text="x"))
    await account.container(container).write("b", b"x", "text/plain")
    await account.close()
    sent = [(method, url) for method, url in seen if method != "answered"]
    assert calls.count == len(sent) == 9  # refused, made, done: thrice
    assert len(seen) == 18
    assert not any("?" in url for _, url in seen)
    assert [sum(name in url for _, url in sent) for name in (queue, container)] == [3, 3]


async def test_an_identity_is_there_for_other_services_and_ends_with_the_account(azurite: Azurite) -> None:
    account = StorageAccount(settings_of(azurite))
    assert account.credential() is account.credential()
    await account.close()
    await account.close()
