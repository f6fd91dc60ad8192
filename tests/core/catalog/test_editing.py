"""Changes of books when everything happens at once, and when the process dies between two storage calls."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from core.caller import Caller, Origin
from core.catalog.claims import IsbnClaim
from core.catalog.editing import BookContent, BookPatch, Editing
from core.catalog.index import CatalogReader
from core.catalog.models import Book, Money, PersonName
from core.catalog.names import NameRow, Names, Rename
from core.catalog.service import Catalog
from core.catalog.store import BookStore, ChangeStore
from core.errors import ConflictError
from core.ids import new_id, now
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.wiring import build
from localhost.azurite import Azurite
from tests.faults import crash_everywhere
from tests.instances import closing_all

ORIGIN = Origin(address="192.0.2.1", request_id="test")


class Instance:
    """One instance of the product, and a look at its tables from outside."""

    def __init__(self, settings: Settings, watch: Watch | None) -> None:
        account = StorageAccount(settings, watch)
        self._services = build(settings, account)
        self.editing: Editing = self._services.editing
        self.catalog: Catalog = self._services.catalog
        self.changes = ChangeStore(account.table("changes"))
        self.store = BookStore(account.table("books"), self.changes)
        self.unique = account.table("unique")
        self.queues = account.queues()
        self.table = account.table("names")
        reader = CatalogReader(account.container("catalog"), 60, self._call)
        self.names = Names(self.table, self.store, reader, self.queues, self._services.operations)
        self.imports = self._services.imports

    async def close(self) -> None:
        await self._services.close()

    async def _call(self) -> None:
        """Nobody builds an index here."""

    async def holder(self, isbn: str) -> str | None:
        """Return the book whose claim on an ISBN is valid."""
        found = await self.unique.find(IsbnClaim, "isbn", isbn)
        if found is None:
            return None
        book = await self.store.book(found.value.book_id)
        return book.id if book.isbn == isbn else None

    async def age(self, isbn: str) -> None:
        """Let an hour pass for the claim on an ISBN, if there is one."""
        found = await self.unique.find(IsbnClaim, "isbn", isbn)
        if found is not None:
            older = found.value.claimed_at - timedelta(hours=1)
            await self.unique.replace(found, found.value.model_copy(update={"claimed_at": older}))


Start = Callable[..., Instance]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Start]:
    settings = Settings.read({"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32})

    def build_one(watch: Watch | None = None) -> Instance:
        return Instance(settings, watch)

    async with closing_all(build_one) as start:
        yield start


def new_isbn() -> str:
    """Return an ISBN that no other test uses."""
    body = f"979{int(new_id(), 36) % 10**9:09d}"
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body))
    return f"{body}{-total % 10}"


def new_publisher() -> Caller:
    return Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener", "publisher"}))


async def add_book(instance: Instance, owner: Caller, **fields: Any) -> Book:
    at = now()
    book = Book(id=new_id(at), owner_id=owner.user_id, title="One", created_at=at, updated_at=at, **fields)
    await instance.catalog.create(book)
    return book


@dataclass
class Case:
    owner: Caller
    book: Book
    other: Book
    isbn: str
    old: str


async def test_a_new_isbn_and_the_sale_of_a_book_cut_off_are_nothing_or_all(start: Start) -> None:
    """The book moves from one ISBN to another and is published by the same change."""

    async def prepare(instance: Instance) -> Case:
        owner, old = new_publisher(), new_isbn()
        book = await add_book(instance, owner, price=Money(amount=5), processing_status="ready")
        await change(instance, owner, book, isbn=old)
        other = await add_book(instance, owner)
        return Case(owner, book, other, new_isbn(), old)

    async def change(instance: Instance, owner: Caller, book: Book, **fields: Any) -> None:
        await instance.editing.change(book.id, BookPatch(**fields), owner, ORIGIN)

    async def publish(instance: Instance, case: Case) -> None:
        await change(instance, case.owner, case.book, isbn=case.isbn, visibility="published")

    async def check(instance: Instance, case: Case) -> None:
        book = await instance.catalog.book(case.book.id)
        assert (book.isbn, book.visibility) in [(case.old, "draft"), (case.isbn, "published")]
        assert await instance.holder(book.isbn or "") == book.id, "an ISBN that nobody guards"
        if book.visibility == "published":
            assert book.id in [stored.key async for stored in instance.changes.pending()], "not to be indexed"
        with pytest.raises(ConflictError):
            await change(instance, case.owner, case.other, isbn=book.isbn)

    async def check_done(instance: Instance, case: Case) -> None:
        book = await instance.catalog.book(case.book.id)
        assert (book.isbn, book.visibility) == (case.isbn, "published")
        assert await instance.holder(case.isbn) == case.book.id
        await instance.age(case.old)
        await change(instance, case.owner, case.other, isbn=case.old)
        assert await instance.holder(case.old) == case.other.id, "an ISBN that was left and cannot be had"
        with pytest.raises(ConflictError):
            await change(instance, case.owner, case.other, isbn=case.isbn)

    places = await crash_everywhere(start, prepare, publish, check, publish, check_done)
    assert len(places) >= 12


async def test_a_new_book_cut_off_leaves_its_isbn_to_others(start: Start) -> None:
    async def prepare(_: Instance) -> tuple[Caller, str]:
        return new_publisher(), new_isbn()

    async def create(instance: Instance, data: tuple[Caller, str]) -> None:
        await instance.editing.create(BookContent(title="New", isbn=data[1]), data[0], ORIGIN)

    async def again(instance: Instance, data: tuple[Caller, str]) -> None:
        await instance.age(data[1])
        made, _ = await instance.catalog.own(data[0], 10)
        if made:
            with pytest.raises(ConflictError):
                await create(instance, data)
        else:
            await create(instance, data)

    async def check(instance: Instance, data: tuple[Caller, str]) -> None:
        """A book that is there has its ISBN."""
        for book in (await instance.catalog.own(data[0], 10))[0]:
            assert await instance.holder(data[1]) == book.id

    async def check_done(instance: Instance, data: tuple[Caller, str]) -> None:
        (book,), _ = await instance.catalog.own(data[0], 10)
        assert await instance.holder(data[1]) == book.id

    assert len(await crash_everywhere(start, prepare, create, check, again, check_done)) >= 10


async def test_of_many_who_want_one_isbn_one_book_has_it(start: Start) -> None:
    """Each book takes it and leaves it again; there never are two, and in the end one can have it."""
    instances = [start(None) for _ in range(3)]
    owner, isbn = new_publisher(), new_isbn()
    books = [await add_book(instances[0], owner) for _ in instances]

    async def fight(instance: Instance, book: Book) -> int:
        won = 0
        for _ in range(6):
            try:
                await instance.editing.change(book.id, BookPatch(isbn=isbn), owner, ORIGIN)
            except ConflictError:
                continue
            won += 1
            held = [other.id for other in books if (await instance.catalog.book(other.id)).isbn == isbn]
            assert held == [book.id]
            assert await instance.holder(isbn) == book.id
            await instance.editing.change(book.id, BookPatch(isbn=None), owner, ORIGIN)
        return won

    won = await asyncio.gather(*(fight(i, b) for i, b in zip(instances, books, strict=True)))
    assert sum(won) >= 1
    await instances[0].age(isbn)
    await instances[0].editing.change(books[0].id, BookPatch(isbn=isbn), owner, ORIGIN)
    assert await instances[0].holder(isbn) == books[0].id


async def test_changes_of_one_book_side_by_side_keep_its_claim(start: Start) -> None:
    """Two requests move the same book to and from one ISBN; whatever it ends with is guarded."""
    first, second = start(None), start(None)
    owner, isbns = new_publisher(), [new_isbn(), new_isbn()]
    book = await add_book(first, owner)

    async def move(instance: Instance, turn: int) -> None:
        for number in range(5):
            patch = BookPatch(isbn=isbns[(turn + number) % 2])
            await instance.editing.change(book.id, patch, owner, ORIGIN)

    await asyncio.gather(move(first, 0), move(second, 1))
    isbn = (await first.catalog.book(book.id)).isbn
    assert isbn is not None
    assert await first.holder(isbn) == book.id


async def test_an_import_cut_off_and_repeated_makes_each_book_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.catalog.importing._SLICE", 1)

    async def prepare(instance: Instance) -> tuple[str, str]:
        owner = new_id()
        content = f'{{"title": "{owner}"}}\nbad'.encode()
        begun = await instance.imports.begin(content, "jsonl", owner, ORIGIN, dry_run=False)
        return owner, begun.id

    async def work_off(instance: Instance, data: tuple[str, str]) -> None:
        while await instance.imports.run(data[1]):
            pass

    async def nothing(_: Instance, __: tuple[str, str]) -> None:
        """The end says it all."""

    async def check_done(instance: Instance, data: tuple[str, str]) -> None:
        shown = await instance.imports.show(data[1])
        assert (shown.status, shown.done, [row.line for row in shown.bad_rows]) == ("done", 2, [2])
        owner = Caller(user_id=data[0], session_id="s", roles=frozenset({"publisher"}))
        books, _ = await instance.catalog.own(owner, 10)
        assert [book.title for book in books] == [data[0]]

    assert len(await crash_everywhere(start, prepare, work_off, nothing, work_off, check_done)) >= 14


async def test_a_person_with_many_books_is_renamed_in_slices(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.catalog.names._CHANGED", 3)
    instance, owner = start(), new_publisher()
    sent: list[Rename] = []

    async def keep(_: str, message: Rename, __: float = 0) -> None:
        sent.append(message)

    monkeypatch.setattr(instance.queues, "send", keep)
    person = PersonName.of(f"Old {new_id()}")
    books = [await add_book(instance, owner, authors=(person,)) for _ in range(7)]
    row = NameRow(id=person.id, name="New", updated_at=now())
    await instance.table.put(row, "person", person.id)
    last = min(book.id for book in books)
    await instance.names.run(Rename(of="person", ids=(person.id,), to_id=person.id, after=last[:10]))
    slices = 1
    while sent:
        await instance.names.run(sent.pop())
        slices += 1
    assert slices >= 3
    for book in books:
        assert (await instance.catalog.book(book.id)).authors == (PersonName(id=person.id, name="New"),)
