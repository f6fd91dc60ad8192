"""What has to be looked at once a day has come: a nightly run reads what is due, and nothing else."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel

from core.errors import AloudError
from core.storage.tables import Stored, Table

M = TypeVar("M", bound=BaseModel)

_AT_ONCE = 16
_log = logging.getLogger("aloud.storage")


class Due:
    """The work of one kind: partition `{kind}_{day}` of a table, in each a row for a piece of work."""

    def __init__(self, table: Table, kind: str) -> None:
        self._table = table
        self._kind = kind

    async def note(self, work: BaseModel, key: str, at: datetime) -> None:
        """Have work looked at on the day of this time: noted ahead of what may be cut off."""
        await self._table.put(work, self._partition(at), key)

    async def work_off(self, shape: type[M], at: datetime, look: Callable[[M], Awaitable[bool]]) -> None:
        """Look at the work of this day and of those before, some of it at once.

        `look` tells whether it is done with. Else, and where it fails, it is due again the next time, and so
        is what it has noted again itself.
        """
        condition = "PartitionKey ge @begin and PartitionKey le @end"
        begin, end = f"{self._kind}_", self._partition(at)
        some: list[Stored[M]] = []
        async for stored in self._table.each(shape, None, condition=condition, begin=begin, end=end):
            some.append(stored)
            if len(some) == _AT_ONCE:
                await asyncio.gather(*(self._see_to(one, look) for one in some))
                some = []
        await asyncio.gather(*(self._see_to(one, look) for one in some))

    async def _see_to(self, stored: Stored[M], look: Callable[[M], Awaitable[bool]]) -> None:
        try:
            if await look(stored.value):
                await self._table.delete_unchanged(stored)
        except AloudError as error:
            _log.warning("%s of %s is due again: %s", stored.key, stored.partition, error.detail)

    def _partition(self, at: datetime) -> str:
        return f"{self._kind}_{at:%Y-%m-%d}"
