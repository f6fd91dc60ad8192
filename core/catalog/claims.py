"""What only one book may have: `unique`, one row an ISBN, valid only if its book points back."""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from core.catalog.store import BookStore
from core.errors import ConflictError, NotFoundError, StaleError
from core.ids import new_id, now
from core.storage.tables import Table

_ISBN = "isbn"
CLAIM_LIFE = timedelta(minutes=15)
"""Longer than any function runs: a claim this old that its book does not point back to is nobody's."""
_RACES = 5


class IsbnClaim(BaseModel):
    """Row of `unique` under an ISBN. `token` is new with each change that takes it."""

    model_config = ConfigDict(frozen=True)

    book_id: str
    token: str
    claimed_at: datetime


class IsbnClaims:
    """Taken between the reading and the writing of a book, and given up by their token.

    So whoever gives an ISBN up cannot take it from a change of the same book that came in between: that one
    has another token, and of two changes that both began with the same revision one starts again.
    """

    def __init__(self, unique: Table, books: BookStore) -> None:
        self._unique = unique
        self._books = books

    async def take(self, isbn: str, book_id: str) -> str:
        """Claim an ISBN for a book that is about to be written, and return the claim's token.

        Raises ConflictError if another book has it, or is just getting it.
        """
        for _ in range(_RACES):
            claim = IsbnClaim(book_id=book_id, token=new_id(), claimed_at=now())
            found = await self._unique.find(IsbnClaim, _ISBN, isbn)
            try:
                if found is None:
                    await self._unique.insert(claim, _ISBN, isbn)
                    return claim.token
                if found.value.book_id != book_id:
                    await self._check_void(isbn, found.value)
                await self._unique.replace(found, claim)
            except (StaleError, NotFoundError):
                continue
            except ConflictError:
                if found is None:
                    continue  # another was first, or the answer to our own write was lost
                raise
            return claim.token
        raise ConflictError(f"Too many changes ask for the ISBN {isbn} at once; try again.")

    async def _check_void(self, isbn: str, claim: IsbnClaim) -> None:
        if await self._is_held(isbn, claim.book_id):
            raise ConflictError(f"Another book has the ISBN {isbn}.")
        if claim.claimed_at > now() - CLAIM_LIFE:
            raise ConflictError(f"Another book is just getting the ISBN {isbn}; try again in 15 minutes.")

    async def _is_held(self, isbn: str, book_id: str) -> bool:
        stored = await self._books.stored(book_id)
        return stored is not None and stored.book.isbn == isbn

    async def holder(self, isbn: str) -> str | None:
        """Return the book that has an ISBN, None if there is none."""
        found = await self._unique.find(IsbnClaim, _ISBN, isbn)
        if found is None or not await self._is_held(isbn, found.value.book_id):
            return None
        return found.value.book_id

    async def token(self, isbn: str, book_id: str) -> str | None:
        """Return the token of a book's own claim, None if it has none."""
        found = await self._unique.find(IsbnClaim, _ISBN, isbn)
        return found.value.token if found is not None and found.value.book_id == book_id else None

    async def release(self, isbn: str, token: str) -> None:
        """Give an ISBN up, unless it was claimed again since."""
        found = await self._unique.find(IsbnClaim, _ISBN, isbn)
        if found is not None and found.value.token == token:
            await self._unique.delete_unchanged(found)

    async def release_void(self, isbn: str, book_id: str, token: str) -> None:
        """Give an ISBN up if the book, whose change may have failed, does not have it."""
        if not await self._is_held(isbn, book_id):
            await self.release(isbn, token)
