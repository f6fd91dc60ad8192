"""Work that is due on a day: looked at from that day on, until it is done with."""

from datetime import timedelta

import pytest
from pydantic import BaseModel

from core.errors import ConflictError
from core.ids import new_id, now
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.due import Due
from localhost.azurite import Azurite

TODAY = now()
DAY = timedelta(days=1)


class Work(BaseModel):
    name: str


async def test_work_is_looked_at_from_its_day_on_until_it_is_done_with(
    azurite: Azurite, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    account = StorageAccount(Settings.read(given))
    table, kind = account.table("due"), f"t{new_id()}"
    due, other = Due(table, kind), Due(table, f"{kind}x")
    for name, days in {"done": -1, "open": 0, "broken": -2, "later": 0, "tomorrow": 1}.items():
        await due.note(Work(name=name), name, TODAY + days * DAY)
    await other.note(Work(name="of another kind"), "done", TODAY)
    seen: list[str] = []

    async def look(work: Work) -> bool:
        seen.append(work.name)
        if work.name == "broken":
            raise ConflictError("It cannot be done.")
        if work.name == "later":
            await due.note(work, work.name, TODAY)  # on the same day: it is not taken off then
        return work.name != "open"

    await due.work_off(Work, TODAY, look)
    assert sorted(seen) == ["broken", "done", "later", "open"]
    assert "It cannot be done." in caplog.text
    seen.clear()
    await due.work_off(Work, TODAY + DAY, look)
    assert sorted(seen) == ["broken", "later", "open", "tomorrow"]
    await account.close()


async def test_much_of_it_is_all_done(azurite: Azurite) -> None:
    given = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    account = StorageAccount(Settings.read(given))
    due, seen = Due(account.table("due"), f"t{new_id()}"), set[str]()
    for number in range(33):
        await due.note(Work(name=str(number)), str(number), TODAY)

    async def look(work: Work) -> bool:
        seen.add(work.name)
        return True

    await due.work_off(Work, TODAY, look)
    assert len(seen) == 33
    seen.clear()
    await due.work_off(Work, TODAY, look)
    assert seen == set()
    await account.close()
