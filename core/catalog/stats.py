"""How often books are played and how they are rated: counted apart from the book, published now and then."""

from collections.abc import Callable
from contextlib import suppress

from core.catalog.models import Stats
from core.catalog.store import ChangeStore
from core.errors import ConflictError, NotFoundError
from core.storage.tables import Table

_KEY = "stats"
_RECENT = 50


class StatsStore:
    """The row `stats` of each book. A mark is written before a count, so that the index follows."""

    def __init__(self, books: Table, marks: ChangeStore) -> None:
        self._books = books
        self._marks = marks

    async def add_play(self, book_id: str, play_id: str) -> None:
        """Count a play, once: the same id again changes nothing, unless 50 others have come since."""

        def add(stats: Stats) -> Stats | None:
            if play_id in stats.recent:
                return None
            recent = (*stats.recent, play_id)[-_RECENT:]
            return stats.model_copy(update={"plays": stats.plays + 1, "recent": recent})

        await self._change(book_id, add)

    async def _change(self, book_id: str, change: Callable[[Stats], Stats | None]) -> None:
        def revise(stats: Stats) -> Stats | None:
            changed = change(stats)
            return changed and changed.model_copy(update={"revision": stats.revision + 1})

        async def mark(_: Stats, new: Stats) -> None:
            await self._marks.mark(book_id, new.revision)

        try:
            await self._books.update(Stats, book_id, _KEY, revise, before=mark)
        except NotFoundError:
            with suppress(ConflictError):
                await self._books.insert(Stats(), book_id, _KEY)
            await self._books.update(Stats, book_id, _KEY, revise, before=mark)
