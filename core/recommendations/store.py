"""Where it is counted who owns which books together: `companions`, a partition a book and one a person.

All that is counted of a person under a book changes in one transaction with the person's row there, which
says what has been counted. So nothing counts twice, whatever is repeated or cut off, and what was counted can
be taken back to the last trace.
"""

import asyncio
from typing import TypeVar

from pydantic import BaseModel

from core.errors import ConflictError, NotFoundError, StaleError, UnavailableError
from core.recommendations.models import Companions, Counted, Pair, Shelf
from core.storage.tables import Delete, Insert, Operation, Replace, Stored, Table

M = TypeVar("M", bound=BaseModel)

_TRIES = 20
_TOP = "top"
_SHELF = "shelf"


class CompanionStore:
    def __init__(self, companions: Table) -> None:
        self._companions = companions

    async def top(self, book_id: str) -> Companions:
        """Return the books that enough people own together with this one, at the cost of one read."""
        found = await self._companions.find(Companions, book_id, _TOP)
        return Companions() if found is None else found.value

    async def shelf(self, user_id: str) -> Stored[Shelf] | None:
        """Return under which books a person is counted."""
        return await self._companions.find(Shelf, f"user-{user_id}", _SHELF)

    async def count(self, user_id: str, book_ids: frozenset[str]) -> None:
        """Have a person counted under exactly these books, under each with the others; none is fine.

        The person's own row names every book under which there may be something of them, before there is.
        """
        for _ in range(_TRIES):
            stored = await self.shelf(user_id)
            known = frozenset(stored.value.book_ids) if stored else frozenset()
            if known == book_ids and (stored is None or stored.value.is_counted):
                return
            try:
                stored = await self._note(user_id, stored, known | book_ids)
                for book_id in sorted(known | book_ids):
                    others = book_ids - {book_id} if book_id in book_ids else frozenset()
                    await self._count_under(book_id, user_id, others)
                await self._settle(stored, book_ids)
            except (ConflictError, StaleError, NotFoundError):
                continue  # somebody else counts the same person
            return
        raise UnavailableError("This listener's books change too often.", retry_after=1)

    async def _note(
        self, user_id: str, stored: Stored[Shelf] | None, book_ids: frozenset[str]
    ) -> Stored[Shelf]:
        begun = Shelf(book_ids=tuple(sorted(book_ids)), is_counted=False)
        if stored is not None:
            return stored if stored.value == begun else await self._companions.replace(stored, begun)
        await self._companions.insert(begun, f"user-{user_id}", _SHELF)
        return await self._companions.get(Shelf, f"user-{user_id}", _SHELF)

    async def _settle(self, stored: Stored[Shelf], book_ids: frozenset[str]) -> None:
        if book_ids:
            await self._companions.replace(stored, Shelf(book_ids=tuple(sorted(book_ids)), is_counted=True))
        elif not await self._companions.delete_unchanged(stored):
            raise StaleError

    async def _count_under(self, book_id: str, user_id: str, others: frozenset[str]) -> None:
        for _ in range(_TRIES):
            mine = await self._companions.find(Counted, book_id, f"owner_{user_id}")
            before = frozenset(mine.value.book_ids) if mine else frozenset()
            changed = sorted(before ^ others)
            if not changed:
                return
            top = await self._companions.find(Companions, book_id, _TOP)
            pairs = await asyncio.gather(
                *(self._companions.find(Pair, book_id, f"with_{other}") for other in changed)
            )
            owners = {
                other: (pair.value.owners if pair else 0) + (1 if other in others else -1)
                for other, pair in zip(changed, pairs, strict=True)
            }
            ranked = (top.value if top else Companions()).with_counts(owners)
            writes = [
                _write(mine, f"owner_{user_id}", Counted(book_ids=tuple(sorted(others))), keep=bool(others))
            ]
            for other, pair in zip(changed, pairs, strict=True):
                count = owners[other]
                writes.append(_write(pair, f"with_{other}", Pair(owners=count), keep=count > 0))
            if ranked != (top.value if top else Companions()):
                writes.append(_write(top, _TOP, ranked, keep=bool(ranked.items)))
            try:
                await self._companions.transact(book_id, writes)
            except (ConflictError, StaleError, NotFoundError):
                continue  # others are counted under the same book
            return
        raise UnavailableError("The owners of this book change too often.", retry_after=1)


def _write(stored: Stored[M] | None, key: str, value: M, *, keep: bool) -> Operation:
    """Return what makes a row this value, or, where it is not kept, absent; it was read before."""
    if stored is None:
        return Insert(key, value)
    return Replace(stored, value) if keep else Delete(stored)
