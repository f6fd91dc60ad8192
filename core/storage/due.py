"""What has to be looked at once a day has come: a nightly run reads what is due, and nothing else."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel

from core.storage.tables import Stored, Table

M = TypeVar("M", bound=BaseModel)


class Due:
    """The work of one kind: partition `{kind}_{day}` of a table, in each a row for a piece of work."""

    def __init__(self, table: Table, kind: str) -> None:
        self._table = table
        self._kind = kind

    async def note(self, work: BaseModel, key: str, at: datetime) -> None:
        """Have work looked at on the day of this time: noted ahead of what may be cut off."""
        await self._table.put(work, self._partition(at), key)

    async def until(self, shape: type[M], at: datetime) -> AsyncIterator[Stored[M]]:
        """Yield the work of this day and of those before; what is not done with comes again the next time."""
        condition = "PartitionKey ge @begin and PartitionKey le @end"
        begin, end = f"{self._kind}_", self._partition(at)
        async for stored in self._table.each(shape, None, condition=condition, begin=begin, end=end):
            yield stored

    async def done(self, stored: Stored[M]) -> None:
        """Take work off, unless it was noted again meanwhile."""
        await self._table.delete_unchanged(stored)

    def _partition(self, at: datetime) -> str:
        return f"{self._kind}_{at:%Y-%m-%d}"
