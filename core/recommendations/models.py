"""Who owns which books together, as it is counted; what is recommended, and why."""

from pydantic import BaseModel, ConfigDict, Field

from core.catalog.models import BookSummary, PickKind

LEAST_OWNERS = 3
"""Fewer people than these tell nobody what one of them owns."""
MOST_COMPANIONS = 100
MOST_BOOKS = 50
"""Of what somebody owns, only the books that came last count: what a purchase costs has an end."""


class Companion(BaseModel):
    """A book that so many people own together with another one."""

    model_config = ConfigDict(frozen=True)

    book_id: str
    owners: int


class Companions(BaseModel):
    """Row `top` under a book: the books that at least three people own with it, the most frequent first."""

    model_config = ConfigDict(frozen=True)

    items: tuple[Companion, ...] = ()

    def with_counts(self, owners: dict[str, int]) -> "Companions":
        """Return them with the counts of some books changed."""
        counts = {item.book_id: item.owners for item in self.items} | owners
        enough = [(book_id, count) for book_id, count in counts.items() if count >= LEAST_OWNERS]
        enough.sort(key=lambda pair: (-pair[1], pair[0]))
        items = (Companion(book_id=book_id, owners=count) for book_id, count in enough[:MOST_COMPANIONS])
        return Companions(items=tuple(items))


class Pair(BaseModel):
    """Row `with_{other}` under a book: how many people own both."""

    model_config = ConfigDict(frozen=True)

    owners: int


class Counted(BaseModel):
    """Row `owner_{user}` under a book: with which other books of theirs a person is counted there."""

    model_config = ConfigDict(frozen=True)

    book_ids: tuple[str, ...]


class Shelf(BaseModel):
    """Row `shelf` under a person: the books under which they are counted, or may be while it is not done."""

    model_config = ConfigDict(frozen=True)

    book_ids: tuple[str, ...]
    is_counted: bool


class Reason(BaseModel):
    """Why a book is recommended: what led to it, and a sentence for the listener."""

    kind: PickKind
    text: str = Field(examples=["Because you finished The Saturday Piano"])


class RecommendedBook(BookSummary):
    """A book that somebody may like."""

    reason: Reason
