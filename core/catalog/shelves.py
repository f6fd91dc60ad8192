"""Which books a publisher has, drafts too: `shelves`, a list of each publisher's and one of all."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from core.catalog.models import Book
from core.ids import now, time_of
from core.storage.tables import Table

_ALL = "all"
_COMPLETE = ("shelves", "complete")


class Place(BaseModel):
    """Row of a shelf. It is written before its book is, so a row may name a book that never came to be."""

    model_config = ConfigDict(frozen=True)

    book_id: str


class Complete(BaseModel):
    """Row `complete`, partition `shelves`: since when every book is on its shelves."""

    model_config = ConfigDict(frozen=True)

    since: datetime


class Shelves:
    def __init__(self, shelves: Table) -> None:
        self._shelves = shelves

    async def add(self, book: Book) -> None:
        """Put a book on its publisher's shelf and on that of all, by its id's time; again changes nothing."""
        place = Place(book_id=book.id)
        for shelf in {_ALL, _shelf(book.owner_id)}:
            await self._shelves.put_in_month(place, shelf, time_of(book.id), book.id)

    async def are_complete(self) -> bool:
        """Tell whether books that were stored before there were shelves have been put on them."""
        return await self._shelves.find(Complete, *_COMPLETE) is not None

    async def call_complete(self) -> None:
        """Note that all books are on their shelves."""
        await self._shelves.put(Complete(since=now()), *_COMPLETE)

    async def list(
        self, owner_id: str | None, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[str], tuple[str, str] | None]:
        """Return the ids of a publisher's books (None: of all), and where the next page begins."""
        places, following = await self._shelves.newest(Place, _shelf(owner_id), limit, after)
        return [place.book_id for place in places], following

    async def clear(self, owner_id: str) -> None:
        """Forget which books a publisher had."""
        first = f"{_shelf(owner_id)}_"
        condition = "PartitionKey ge @first and PartitionKey lt @end"
        async for stored in self._shelves.each(
            Place, None, condition=condition, first=first, end=f"{first}~"
        ):
            await self._shelves.delete(stored.partition, stored.key)


def _shelf(owner_id: str | None) -> str:
    return _ALL if owner_id is None else f"owner-{owner_id}"
