"""Messages that were set aside: kept whole, sent again one by one, and not kept for ever."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from core.errors import ConflictError
from core.ids import new_id, now
from core.operations.dead_letters import DeadLetter, DeadLetters
from core.settings import Settings
from core.storage import StorageAccount
from core.wiring import build
from localhost.azurite import Azurite


def environment(azurite: Azurite) -> dict[str, str]:
    return {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}


@pytest_asyncio.fixture
async def letters(azurite: Azurite) -> AsyncIterator[DeadLetters]:
    account = StorageAccount(Settings.read(environment(azurite)))
    yield DeadLetters(account.table(f"t{new_id()}"), account.queues())
    await account.close()


async def test_one_that_cannot_be_sent_again_keeps_no_other_back(letters: DeadLetters) -> None:
    for number in range(3):
        await letters.keep("transcribe", f"{number}", f"letter {number}")
    seen: list[str] = []

    async def revive(body: str) -> None:
        seen.append(body)
        if body == "letter 0":
            raise ConflictError("It cannot be read.")

    assert await letters.redrive("transcribe", revive) == 2
    assert (seen, await letters.count("transcribe")) == (["letter 0", "letter 1", "letter 2"], 1)


async def test_a_message_that_nobody_can_read_is_a_conflict(azurite: Azurite) -> None:
    services = build(Settings.read(environment(azurite)))
    try:
        with pytest.raises(ConflictError):
            await services.transcription.revive("nonsense")
    finally:
        await services.close()


async def test_the_largest_message_is_kept_whole(letters: DeadLetters) -> None:
    body = "\u00e4" + "x" * (48 * 1024 - 2)
    await letters.keep("notify", "a", body)
    found: list[str] = []

    async def revive(body: str) -> None:
        found.append(body)

    await letters.redrive("notify", revive)
    assert found == [body]


async def test_old_ones_are_forgotten(letters: DeadLetters) -> None:
    old = DeadLetter(body=b"a mail to somebody", at=now() - timedelta(days=31))
    await letters._table.put(old, "notify", "old")
    await letters.keep("notify", "new", "a mail")
    await letters.sweep()
    assert [stored.key async for stored in letters._table.each(DeadLetter, "notify")] == ["new"]
