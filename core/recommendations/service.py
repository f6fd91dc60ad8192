"""What listeners may like: the books that others own together with one, and a choice for each person.

Counting is done by messages, each in a bounded number of steps; asking costs a few reads.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Protocol

from pydantic import ValidationError

from core.accounts.service import Accounts
from core.backoff import Backoff
from core.catalog.models import Pick, PickKind, Taste
from core.catalog.service import Catalog
from core.commerce.models import SHELVES, ShelfChanged
from core.commerce.service import Commerce
from core.errors import NotFoundError, UnavailableError
from core.ids import now
from core.listening.service import Listening
from core.operations.service import Operations
from core.recommendations.models import MOST_BOOKS, Reason, Shelf
from core.recommendations.store import CompanionStore
from core.settings import Settings
from core.storage.queues import Queues

_log = logging.getLogger("aloud.recommendations")

_TRIES = 20
_BEGUN = 50
_FINISHED = 3
_GENRES = 3
_PEOPLE = 20
_SENTENCES: dict[PickKind, str] = {
    "series": "Next in {}",
    "listeners": "Because you finished {}",
    "author": "By {}, whom you follow",
    "narrator": "Read by {}, whom you follow",
    "genre": "Because you listen to {}",
    "popular": "Popular with listeners",
    "new": "New here",
}


class Followed(Protocol):
    """A person whom somebody follows."""

    @property
    def person_id(self) -> str: ...


class Following(Protocol):
    """Who knows whom people follow."""

    def of(self, user_id: str) -> AsyncIterator[Followed]:
        """Yield whom somebody follows."""


class Recommendations:
    def __init__(
        self,
        settings: Settings,
        store: CompanionStore,
        catalog: Catalog,
        accounts: Accounts,
        commerce: Commerce,
        listening: Listening,
        following: Following,
        queues: Queues,
        operations: Operations,
    ) -> None:
        self._backoff = Backoff(settings)
        self._store = store
        self._catalog = catalog
        self._accounts = accounts
        self._commerce = commerce
        self._listening = listening
        self._following = following
        self._queues = queues
        self._operations = operations

    # What listeners ask

    async def also_enjoyed(self, book_id: str, limit: int) -> list[str]:
        """Return public books that at least three people own together with one, as JSON, at one read.

        The most frequent first. Raises NotFoundError for a book that is not public.
        """
        top = await self._store.top(book_id)
        found = await self._catalog.picks.cards([book_id, *(item.book_id for item in top.items)])
        if found.pop(book_id, None) is None:
            await self._catalog.show(book_id, None)  # it may be too new for the index
        return list(found.values())[:limit]

    async def for_listener(self, user_id: str, limit: int) -> list[tuple[str, Reason]]:
        """Return books that somebody may like and does not have, as JSON, each with the reason.

        Four to seven reads in two rounds, the same answer each time while nothing changes.
        """
        owned, progress, stats, followed = await asyncio.gather(
            self._commerce.library.shelf(user_id),
            self._listening.progress.everywhere(user_id),
            self._listening.sessions.stats(user_id),
            self._followed(user_id),
        )
        heard = sorted(progress, key=lambda p: (p.recorded_at, p.audiobook_id), reverse=True)
        finished = [p.audiobook_id for p in heard if p.completed][:_FINISHED]
        tops = await asyncio.gather(*(self._store.top(book_id) for book_id in finished))
        bought = sorted(owned, key=lambda o: (o.acquired_at, o.book_id), reverse=True)
        begun = list(dict.fromkeys(p.audiobook_id for p in heard)) + [o.book_id for o in bought]
        taste = Taste(
            known=frozenset(begun),
            begun=tuple(dict.fromkeys(begun))[:_BEGUN],
            companions=tuple(
                (book_id, tuple(item.book_id for item in top.items))
                for book_id, top in zip(finished, tops, strict=True)
            ),
            people=followed,
            genres=tuple(genre.genre for genre in stats.by_genre[:_GENRES] if genre.seconds_listened > 0),
        )
        return [(pick.card, _explain(pick)) for pick in await self._catalog.picks.choose(taste, limit)]

    async def _followed(self, user_id: str) -> tuple[str, ...]:
        found = [follow.person_id async for follow in self._following.of(user_id)]
        return tuple(sorted(found)[:_PEOPLE])

    # What is counted

    async def run(self, body: str) -> None:
        """Count the books of the person whom a message names, as they are now; again changes nothing."""
        try:
            work = ShelfChanged.model_validate_json(body)
        except ValidationError:
            _log.error("a message on %s cannot be read and is set aside", SHELVES)
            await self.settle_poison()
            return
        await self._backoff.run(self._queues, SHELVES, work, self._do)

    async def _do(self, work: ShelfChanged) -> None:
        await self.follow(work.user_id)

    async def settle_poison(self) -> None:
        """Tell a person of a shelf that was not counted; the next change of it makes up for that."""
        await self._operations.raise_alert(
            "poison-message", "What somebody owns was not counted", "The log tells the cause.", SHELVES, now()
        )

    async def follow(self, user_id: str) -> None:
        """Have a person counted under the books that they own, and looked at again afterwards.

        Who has left meanwhile, or given a book back, is not counted in the end. Raises UnavailableError.
        """
        for _ in range(_TRIES):
            book_ids = await self._counting(user_id)
            await self._store.count(user_id, book_ids)
            if await self._counting(user_id) == book_ids:
                return
        raise UnavailableError("This listener's books change too often.", retry_after=1)

    async def _counting(self, user_id: str) -> frozenset[str]:
        """Return the books that count of a person: the last that came; none of somebody who is leaving."""
        try:
            await self._accounts.profiles.show(user_id)
        except NotFoundError:
            return frozenset()
        owned = [one for one in await self._commerce.library.shelf(user_id) if one.state == "owned"]
        owned.sort(key=lambda one: (one.acquired_at, one.book_id), reverse=True)
        return frozenset(one.book_id for one in owned[:MOST_BOOKS])

    async def held(self, user_id: str) -> Shelf | None:
        """Return what is held about a person: under which books they are counted."""
        stored = await self._store.shelf(user_id)
        return None if stored is None else stored.value

    async def erase(self, user_id: str) -> None:
        """Take back all that was counted of a person. Can be repeated."""
        await self._store.count(user_id, frozenset())


def _explain(pick: Pick) -> Reason:
    return Reason(kind=pick.kind, text=_SENTENCES[pick.kind].format(pick.name))
