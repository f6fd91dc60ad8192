"""Public books by their ids, and for one listener, from the index alone."""

from collections.abc import Sequence

from core.catalog.index import CatalogReader
from core.catalog.index.picks import find_cards, find_picks
from core.catalog.models import Pick, Taste


class Picks:
    """No storage call between two refreshes of the index."""

    def __init__(self, reader: CatalogReader) -> None:
        self._reader = reader

    async def cards(self, book_ids: Sequence[str]) -> dict[str, str]:
        """Return those of the books that are public, as JSON, in the given order."""
        return await self._reader.ask(lambda database: find_cards(database, book_ids), {})

    async def choose(self, taste: Taste, limit: int) -> list[Pick]:
        """Return books that somebody of this taste may like and does not have, the same ones each time."""
        return await self._reader.ask(lambda database: find_picks(database, taste, limit), [])
