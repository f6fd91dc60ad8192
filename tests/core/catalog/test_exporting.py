"""An export that is cut off anywhere and taken up again has each book once; old ones go."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
import pytest_asyncio

from core.caller import Origin
from core.catalog.exporting import EXPORT_DAYS, Export, Exports
from core.catalog.store import BookStore, ChangeStore
from core.errors import NotFoundError
from core.ids import new_id, now
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.wiring import build
from localhost.azurite import Azurite
from tests.core.catalog.conftest import make_book
from tests.faults import crash_everywhere

ORIGIN = Origin(address="192.0.2.1", request_id="test")
NAME = f"t{new_id()}"


class Instance:
    """Exports of a catalog of their own."""

    def __init__(self, settings: Settings, watch: Watch | None) -> None:
        account = StorageAccount(settings, watch)
        self._services = build(settings, account)
        self.books = BookStore(account.table(f"{NAME}books"), ChangeStore(account.table(f"{NAME}changes")))
        self.rows, self.files = account.table(f"{NAME}imports"), account.container(NAME)
        operations = self._services.operations
        self.exports = Exports(self.rows, self.files, self.books, account.queues(), operations)

    async def close(self) -> None:
        await self._services.close()

    async def work_off(self, export_id: str) -> None:
        while await self.exports.run(export_id):
            pass

    async def titles(self, export_id: str) -> list[str]:
        content = (await self.files.read(f"exports/{export_id}.csv")).decode()
        return [line.partition(",")[0] for line in content.splitlines()]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Callable[[Watch | None], Instance]]:
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    settings = Settings.read(environment)
    yield lambda watch: Instance(settings, watch)


async def test_an_export_cut_off_and_taken_up_again_has_each_book_once(
    start: Callable[[Watch | None], Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.catalog.exporting._SLICE", 2)
    first = start(None)
    for title in ("One", "Two", "Three"):
        await first.books.create(make_book(title, visibility="draft"))
    await first.close()

    async def prepare(instance: Instance) -> str:
        return (await instance.exports.begin("csv", None, ORIGIN)).id

    async def act(instance: Instance, export_id: str) -> None:
        await instance.work_off(export_id)

    async def check(instance: Instance, export_id: str) -> None:
        shown = await instance.exports.show(export_id)
        if shown.status == "done":
            assert await instance.titles(export_id) == ["title", "One", "Two", "Three"]

    async def check_done(instance: Instance, export_id: str) -> None:
        shown = await instance.exports.show(export_id)
        assert (shown.status, shown.done) == ("done", 3)
        await check(instance, export_id)

    places = await crash_everywhere(start, prepare, act, check, act, check_done, in_sequence=True)
    assert len(places) >= 6


async def test_exports_are_listed_for_a_week(start: Callable[[Watch | None], Instance]) -> None:
    instance = start(None)
    try:
        old, new = [(await instance.exports.begin("jsonl", None, ORIGIN)).id for _ in range(2)]
        await instance.work_off(old)
        assert [view.id for view in await instance.exports.recent()][:2] == [new, old]
        long_ago = now() - timedelta(days=EXPORT_DAYS, minutes=1)
        await instance.rows.update(
            Export, "exports", old, lambda row: row.model_copy(update={"created_at": long_ago})
        )
        await instance.exports.sweep()
        listed = [view.id for view in await instance.exports.recent()]
        assert new in listed
        assert old not in listed
        with pytest.raises(NotFoundError):
            await instance.files.read(f"exports/{old}.jsonl")
    finally:
        await instance.close()
