"""Who may see, hear and change a book."""

from core.caller import Caller
from core.catalog.models import Book
from core.errors import ForbiddenError, NotFoundError


def manages(book: Book, caller: Caller | None) -> bool:
    """Tell whether a book is the caller's own, or they are an administrator."""
    if caller is None:
        return False
    return caller.is_admin or (book.owner_id is not None and book.owner_id == caller.user_id)


def check_manages(book: Book, caller: Caller) -> None:
    """Raises NotFoundError for a book that is not theirs to know of, ForbiddenError for one they only see."""
    if not manages(book, caller):
        check_visible(book, caller)
        raise ForbiddenError("This is another publisher's book.")
    if not caller.roles & {"publisher", "admin"}:
        raise ForbiddenError("This needs the role publisher.")


def is_visible(book: Book, caller: Caller | None) -> bool:
    """Tell whether the caller may know of a book, whoever has bought it."""
    return book.visibility == "published" or manages(book, caller)


def check_visible(book: Book, caller: Caller | None, owns: bool = False) -> None:
    """Raises NotFoundError for a book that the caller neither owns nor may know of."""
    if not (owns or is_visible(book, caller)):
        raise NotFoundError("There is no such book.")


def may_hear(book: Book, caller: Caller) -> bool:
    """Tell whether the caller hears a book without having bought it."""
    return book.is_free or manages(book, caller)
