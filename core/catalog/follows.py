"""Whom people follow: `follows`, a partition a listener, a row a person."""

from collections.abc import AsyncIterator
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from core.catalog.names import Names
from core.ids import now
from core.storage.tables import Table


class Follow(BaseModel):
    """Row `person_{id}`."""

    model_config = ConfigDict(frozen=True)

    person_id: str
    since: datetime


class Follows:
    def __init__(self, follows: Table, names: Names) -> None:
        self._follows = follows
        self._names = names

    async def follow(self, user_id: str, person_id: str) -> None:
        """Follow an author or narrator; again changes nothing. Raises NotFoundError."""
        person = await self._names.known("person", person_id)
        key = f"person_{person.id}"
        if await self._follows.find(Follow, user_id, key) is None:
            await self._follows.put(Follow(person_id=person.id, since=now()), user_id, key)

    async def leave(self, user_id: str, person_id: str) -> None:
        """Follow no more; who never did is fine."""
        for known in {
            person_id,
            row.id if (row := await self._names.find("person", person_id)) else person_id,
        }:
            await self._follows.delete(user_id, f"person_{known}")

    async def of(self, user_id: str) -> AsyncIterator[Follow]:
        """Yield whom somebody follows."""
        async for stored in self._follows.each(Follow, user_id):
            yield stored.value

    async def erase(self, user_id: str) -> None:
        """Forget whom somebody follows."""
        await self._follows.erase(user_id)
