"""New names and announced uploads when the process dies between two storage calls."""

from collections.abc import AsyncIterator, Callable
from typing import get_args

import pytest
import pytest_asyncio

from core.caller import Caller, Origin
from core.catalog.index import CatalogReader
from core.catalog.models import NameKind, PersonName, SeriesPlace
from core.catalog.names import NameContent, Names, Rename
from core.catalog.store import BookStore, ChangeStore
from core.errors import ConflictError
from core.ids import new_id
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.transcription.uploads import UploadRequest
from core.wiring import build
from localhost.azurite import Azurite
from tests.core.catalog.conftest import make_book
from tests.faults import crash_everywhere

ORIGIN = Origin(address="192.0.2.1", request_id="test")
ADMIN = Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener", "publisher", "admin"}))
NAME = f"t{new_id()}"


class Instance:
    """One instance of the product, with names and books of their own."""

    def __init__(self, settings: Settings, watch: Watch | None) -> None:
        account = StorageAccount(settings, watch)
        self.services = build(settings, account)
        self.books = BookStore(account.table(f"{NAME}books"), ChangeStore(account.table(f"{NAME}changes")))
        self.reader = CatalogReader(account.container(NAME), 3600, self._call)
        operations, rows = self.services.operations, account.table(f"{NAME}names")
        self.names = Names(rows, self.books, self.reader, account.queues(), operations)

    async def close(self) -> None:
        await self.reader.close()
        await self.services.close()

    async def _call(self) -> None:
        """Nobody builds an index here."""


Start = Callable[[Watch | None], Instance]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Start]:
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    settings = Settings.read(environment)
    yield lambda watch: Instance(settings, watch)


@pytest.mark.parametrize("kind", [kind for kind in get_args(NameKind) if kind != "genre"])
async def test_a_new_name_cut_off_and_said_again_is_that_of_every_book(start: Start, kind: NameKind) -> None:
    async def prepare(instance: Instance) -> tuple[str, str, str]:
        mark = new_id()
        row = await instance.names.create(kind, NameContent(name=f"Old {mark}"), ADMIN, ORIGIN)
        person = PersonName(id=row.id, name=row.name)
        place = SeriesPlace(id=row.id, name=row.name, position=1)
        book = make_book(authors=(person,), series=place, visibility="draft")
        await instance.books.create(book)
        return row.id, book.id, mark

    async def rename(instance: Instance, data: tuple[str, str, str]) -> None:
        row_id, book_id, mark = data
        await instance.names.change(kind, row_id, NameContent(name=f"New {mark}"), ADMIN, ORIGIN)
        await instance.names.run(Rename(of=kind, ids=(row_id,), to_id=row_id, after=book_id[:-1]))

    async def check(instance: Instance, data: tuple[str, str, str]) -> None:
        """The old id leads to a name that is whole, and nobody else can take either name."""
        row_id, _, mark = data
        row = await instance.names.find(kind, row_id)
        assert row is not None
        assert (row.id, row.name) in [(row_id, f"Old {mark}"), (row_id, f"New {mark}")]
        with pytest.raises(ConflictError):
            await instance.names.create(kind, NameContent(name=row.name), ADMIN, ORIGIN)

    async def check_done(instance: Instance, data: tuple[str, str, str]) -> None:
        row_id, book_id, mark = data
        book = await instance.books.book(book_id)
        named = book.authors[0] if kind == "person" else book.series
        assert named is not None
        assert (named.id, named.name) == (row_id, f"New {mark}")
        other = make_book(authors=(f"New {mark}", f"Old {mark}"), series=None)
        if kind == "person":  # whatever the next book's file says
            mapped = await instance.names.mapping(other)
            assert {person.id for person in mapped.values()} == {row_id}

    places = await crash_everywhere(start, prepare, rename, check, rename, check_done, in_sequence=True)
    assert len(places) >= 6


async def test_an_announced_upload_cut_off_is_announced_again(start: Start) -> None:
    asked = UploadRequest(purpose="audiobook", filename="A.mp3", size_bytes=1000, content_type="audio/mpeg")

    async def prepare(_: Instance) -> Caller:
        return Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener", "publisher"}))

    async def announce(instance: Instance, caller: Caller) -> None:
        upload, link = await instance.services.uploads.begin(asked, caller, ORIGIN)
        renewed, _ = await instance.services.uploads.renew(upload.id, caller)
        assert (renewed, upload.blob_name in link.url) == (upload, True)

    async def check(instance: Instance, caller: Caller) -> None:
        """What is listed is a draft that waits for its file."""
        books, _ = await instance.services.catalog.own(caller, 10)
        assert {(book.visibility, book.processing_status) for book in books} <= {("draft", "waiting")}

    async def check_done(instance: Instance, caller: Caller) -> None:
        books, _ = await instance.services.catalog.own(caller, 10)
        assert 1 <= len(books) <= 2
        await check(instance, caller)

    places = await crash_everywhere(start, prepare, announce, check, announce, check_done, in_sequence=True)
    assert len(places) >= 7
