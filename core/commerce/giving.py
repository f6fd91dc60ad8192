"""What a gift is: wished for at the checkout, a row while it waits, a link for whoever gets it."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from core.accounts.models import Email
from core.ids import ID_PATTERN

GiftState = Literal["open", "redeemed", "refunded"]

_LIKE_A_LINK = re.compile(r"://|@|\w[.。][^\W\d]{2}")  # mail programs make links of bare names of sites


def _check_message(text: str) -> str:
    if _LIKE_A_LINK.search(text):
        raise ValueError("may hold no links and no addresses: it is mailed to somebody in our name")
    return text


Message = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"),
    AfterValidator(_check_message),
]
BookId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
GiftCode = Annotated[str, Field(min_length=1, max_length=100, description="What the mailed link ends with.")]


class GiftWish(BaseModel):
    """To whom an order goes as a gift, and what is written to them.

    With `audiobook_ids`, these books and not those of the cart, which holds none that the giver has already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: Email
    message: Message = ""
    audiobook_ids: Annotated[tuple[BookId, ...], Field(max_length=50)] = ()


class GiftBook(BaseModel):
    """A book of a gift, and who has redeemed it; None: nobody yet, empty: somebody who has left since."""

    model_config = ConfigDict(frozen=True)

    book_id: str
    title: str
    redeemed_by: str | None = None
    redeemed_at: datetime | None = None


class Gift(BaseModel):
    """Row `gift`: the books of one paid order, each for whoever redeems it first with the mailed link.

    Its id follows from the order's and does not lead back to it, since that one names the giver.
    `secret_hash` is that of what the link ends with. Nothing can be redeemed after `refunded_at`.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    giver_id: str
    giver: str
    email: str
    message: str
    books: tuple[GiftBook, ...]
    secret_hash: str
    created_at: datetime
    refunded_at: datetime | None = None

    @property
    def state(self) -> GiftState:
        if self.refunded_at is not None:
            return "refunded"
        return "open" if any(book.redeemed_by is None for book in self.books) else "redeemed"

    @property
    def redeemers(self) -> list[str]:
        """Return who has got something of it and is still there."""
        return list(dict.fromkeys(book.redeemed_by for book in self.books if book.redeemed_by))

    def books_of(self, user_id: str) -> list[GiftBook]:
        return [book for book in self.books if book.redeemed_by == user_id]

    def give(self, user_id: str, book_ids: frozenset[str], at: datetime) -> "Gift":
        """Return the gift after these books, where nobody has redeemed them, were redeemed."""
        return self._with(
            lambda book: book.redeemed_by is None and book.book_id in book_ids,
            {"redeemed_by": user_id, "redeemed_at": at},
        )

    def leave(self, user_id: str, book_id: str) -> "Gift":
        """Return the gift after a book that could not become this user's is anybody's again."""
        return self._with(
            lambda book: book.redeemed_by == user_id and book.book_id == book_id,
            {"redeemed_by": None, "redeemed_at": None},
        )

    def forget(self, user_id: str) -> "Gift":
        """Return the gift without the name of somebody who has left; what they redeemed stays redeemed."""
        return self._with(lambda book: book.redeemed_by == user_id, {"redeemed_by": ""})

    def _with(self, fits: Callable[[GiftBook], bool], update: dict[str, object]) -> "Gift":
        books = tuple(book.model_copy(update=update) if fits(book) else book for book in self.books)
        return self.model_copy(update={"books": books})
