"""How publishers change their books: made, replaced, patched, put on sale, withdrawn; chapters and cover."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from core.caller import Caller, Origin
from core.catalog.access import check_manages
from core.catalog.claims import IsbnClaims
from core.catalog.covers import delete_cover, own_folder, write_cover
from core.catalog.folding import fold
from core.catalog.isbn import normalise_isbn
from core.catalog.models import (
    FINAL_STATUSES,
    Book,
    BookDetail,
    Chapter,
    Chapters,
    Money,
    PersonName,
    Revisions,
    SeriesPlace,
    Visibility,
    detail,
    name_id,
)
from core.catalog.service import Catalog
from core.currencies import check_step
from core.errors import AloudError, ConflictError, InvalidError, StaleError
from core.ids import ID_PATTERN, new_id, now
from core.operations.service import Operations
from core.storage.blobs import Container

_LINE = r"^[^\x00-\x1f\x7f]*$"
_NAMING = ("authors", "narrators", "series", "genres")
_END_SLACK_SECONDS = 0.5  # players and tags round


def _name_of(value: Any) -> Any:
    """Take a person as books show one, with an id, for the name alone."""
    if isinstance(value, dict) and value.keys() <= {"id", "name"}:
        return value.get("name")
    return value


def _check_date(text: str) -> str:
    try:
        date.fromisoformat(text + "-01-01"[len(text) - 4 :])
    except ValueError:
        raise ValueError("is no date; write 2019, 2019-05 or 2019-05-31") from None
    return text


def _without_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(fold(name), name)
    return tuple(found.values())


def _line(longest: int) -> Any:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=longest, pattern=_LINE)


Title = Annotated[str, _line(500)]
Name = Annotated[str, BeforeValidator(_name_of), _line(200)]
Names = Annotated[tuple[Name, ...], Field(max_length=20), AfterValidator(_without_repeats)]
Tag = Annotated[str, _line(50)]
Spellings = Annotated[
    tuple[Annotated[str, _line(80)], ...], Field(max_length=100), AfterValidator(_without_repeats)
]
Isbn = Annotated[
    str,
    StringConstraints(max_length=40),
    AfterValidator(normalise_isbn),
    Field(examples=["978-0-306-40615-7"]),
]
Language = Annotated[
    str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$"), Field(examples=["en", "pt-BR"])
]
ReleaseDate = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4}(-[0-9]{2}){0,2}$"), AfterValidator(_check_date)
]


class Price(Money):
    """`amount` in minor units: 1299 is 12.99."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: int = Field(ge=0, le=10_000_000)

    @model_validator(mode="after")
    def _can_be_paid(self) -> Self:
        check_step(self.amount, self.currency)
        return self


class OtherPrice(Price):
    """A price in another currency than the book's `price`."""

    amount: int = Field(gt=0, le=10_000_000)


class SeriesEntry(BaseModel):
    """A series by name, and the book's place in it (1, 2, 2.5)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str | None = Field(None, max_length=64, description="As books show it; the name alone counts.")
    name: Annotated[str, _line(200)]
    position: float | None = Field(None, ge=0, le=100_000, allow_inf_nan=False)


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    subtitle: Title | None = None
    authors: Names = ()
    narrators: Names = ()
    series: SeriesEntry | None = None
    description: (
        Annotated[str, StringConstraints(strip_whitespace=True, max_length=20_000, pattern=r"^[^\x00]*$")]
        | None
    ) = None
    tags: Annotated[tuple[Tag, ...], Field(max_length=20), AfterValidator(_without_repeats)] = ()
    genres: Annotated[tuple[Tag, ...], Field(max_length=10), AfterValidator(_without_repeats)] = ()
    names: Spellings = Field(
        (), description="Names as the transcript shall spell them: people, places, things."
    )
    publisher: Annotated[str, _line(200)] | None = None
    isbn: Isbn | None = None
    language: Language | None = None
    release_date: ReleaseDate | None = None
    price: Price | None = None
    other_prices: Annotated[tuple[OtherPrice, ...], Field(max_length=20)] = Field(
        (), description="In other currencies; a book that is free has none."
    )
    work_id: Annotated[str, StringConstraints(pattern=ID_PATTERN)] | None = Field(
        None, description="Editions of one work, by several narrators, name the same one."
    )


class BookContent(_Content):
    """All that a publisher says of a book; what is left out is empty."""

    title: Title


class BookPatch(_Content):
    """What is left out stays as it is; null empties a field."""

    title: Title | None = None
    visibility: Visibility | None = None

    @model_validator(mode="after")
    def _keep_what_every_book_has(self) -> Self:
        for name in ("title", "visibility"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be empty")
        return self


class ChapterEntry(BaseModel):
    """A chapter, in seconds from the beginning of the book."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Annotated[str, _line(200)]
    start_seconds: float = Field(ge=0, allow_inf_nan=False)
    end_seconds: float = Field(gt=0, allow_inf_nan=False)


class Editing:
    def __init__(
        self, catalog: Catalog, claims: IsbnClaims, media: Container, operations: Operations
    ) -> None:
        self._catalog = catalog
        self._claims = claims
        self._media = media
        self._operations = operations

    async def create(
        self, content: BookContent, caller: Caller, origin: Origin, *, book_id: str | None = None
    ) -> BookDetail:
        """Add a draft of the caller's. Raises ConflictError if another book has its ISBN, or its id."""
        at = now()
        empty = Book(
            id=book_id or new_id(at),
            owner_id=caller.user_id,
            title=content.title,
            created_at=at,
            updated_at=at,
        )
        fields = _fields(content, set(BookContent.model_fields))
        book = await self._catalog.with_known_names(empty.model_copy(update=fields))
        _check_prices(book)
        token = None if book.isbn is None else await self._claims.take(book.isbn, book.id)
        try:
            await self._operations.record("book.created", caller.user_id or None, book.id, origin)
            await self._catalog.create(book)
        except AloudError:
            if book.isbn is not None and token is not None:
                await self._claims.release_void(book.isbn, book.id, token)
            raise
        return await self._show(book)

    async def replace(
        self, book_id: str, content: BookContent, caller: Caller, origin: Origin, revisions: Revisions = None
    ) -> BookDetail:
        """Say all of a book anew. Raises NotFoundError, ForbiddenError, StaleError, ConflictError."""
        fields = await self._known(_fields(content, set(BookContent.model_fields)))
        return await self._show(await self._change(book_id, _setting(fields), caller, origin, revisions))

    async def merge(self, book_id: str, content: BookContent, caller: Caller, origin: Origin) -> int:
        """Change what a file says of a book, and nothing that it leaves out; return the book's revision."""
        fields = await self._known(_fields(content, content.model_fields_set))

        def change(book: Book) -> Book:
            said = {"tags", "has_own_tags"} if fields.get("tags") == book.tags else set()
            return book.model_copy(update={name: fields[name] for name in fields.keys() - said})

        return (await self._change(book_id, change, caller, origin, None)).revision

    async def holder(self, isbn: str) -> str | None:
        """Return the book that has an ISBN."""
        return await self._claims.holder(isbn)

    async def change(
        self, book_id: str, patch: BookPatch, caller: Caller, origin: Origin, revisions: Revisions = None
    ) -> BookDetail:
        """Change what is given, the book's visibility too.

        Raises NotFoundError, ForbiddenError, StaleError; ConflictError where the book cannot be as asked.
        """
        fields = await self._known(_fields(patch, patch.model_fields_set))
        return await self._show(await self._change(book_id, _setting(fields), caller, origin, revisions))

    async def withdraw(
        self, book_id: str, caller: Caller, origin: Origin, revisions: Revisions = None
    ) -> None:
        """Take a book off the shelves; who bought it keeps it, so nothing of it is deleted."""
        await self._change(book_id, _setting({"visibility": "withdrawn"}), caller, origin, revisions)

    async def replace_chapters(
        self,
        book_id: str,
        entries: Sequence[ChapterEntry],
        caller: Caller,
        origin: Origin,
        revisions: Revisions = None,
    ) -> list[Chapter]:
        """Replace all chapters; they are put in order.

        Raises InvalidError where they overlap or leave the recording, ConflictError while the book is made.
        """
        ordered = sorted(entries, key=lambda entry: (entry.start_seconds, entry.end_seconds))
        chapters = tuple(Chapter(index=i, **entry.model_dump()) for i, entry in enumerate(ordered))

        def check(book: Book) -> Book:
            if book.duration_seconds is None:
                raise ConflictError("This book has no audio yet.")
            if book.processing_status not in FINAL_STATUSES:
                raise ConflictError("This book is still being made; change its chapters when it is ready.")
            _check_chapters(chapters, book.duration_seconds)
            return book

        await self._change(book_id, check, caller, origin, revisions, chapters)
        return list(chapters)

    async def set_cover(
        self, book_id: str, content: bytes, caller: Caller, origin: Origin, revisions: Revisions = None
    ) -> BookDetail:
        """Give a book another cover. Raises InvalidError if it is no usable picture."""
        check_revision(await self._catalog.managed(book_id, caller), revisions)
        cover = await write_cover(self._media, own_folder(book_id, new_id()), content)
        before: list[Book] = []

        def change(book: Book) -> Book:
            before[:] = [book]
            return book.model_copy(update={"cover": cover})

        try:
            book = await self._change(book_id, change, caller, origin, revisions)
        except StaleError:
            await delete_cover(self._media, cover)
            raise
        if before[0].cover is not None:
            with suppress(AloudError):  # an orphan costs a few bytes, the change is done
                await delete_cover(self._media, before[0].cover)
        return await self._show(book)

    async def _change(
        self,
        book_id: str,
        change: Callable[[Book], Book],
        caller: Caller,
        origin: Origin,
        revisions: Revisions,
        chapters: tuple[Chapter, ...] | None = None,
    ) -> Book:
        """Change a book together with its claim on an ISBN; the audit is told of it first, once."""
        recorded = False
        taken: dict[str, str] = {}
        left: dict[str, str] = {}

        def apply(book: Book) -> Book:
            check_manages(book, caller)
            check_revision(book, revisions)
            changed = change(book)
            _check_visibility(book, changed)
            _check_prices(changed)
            return changed

        async def prepare(old: Book, new: Book) -> None:
            nonlocal recorded
            left.clear()
            if old.isbn != new.isbn:
                if new.isbn is not None:
                    taken[new.isbn] = await self._claims.take(new.isbn, book_id)
                token = None if old.isbn is None else await self._claims.token(old.isbn, book_id)
                if old.isbn is not None and token is not None:
                    left[old.isbn] = token
            if not recorded:
                what = "chapters" if chapters is not None else _describe(old, new)
                await self._operations.record("book.changed", caller.user_id or None, book_id, origin, what)
                recorded = True

        try:
            book = await self._catalog.update(book_id, apply, chapters, prepare)
        except AloudError:
            for isbn, token in taken.items():
                with suppress(AloudError):  # what is left of it is void in a quarter of an hour
                    await self._claims.release_void(isbn, book_id, token)
            raise
        for isbn, token in left.items():
            with suppress(AloudError):
                await self._claims.release(isbn, token)
        return book

    async def _known(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return fields that name people, series and genres as they are called now."""
        names = {name: fields[name] for name in _NAMING if fields.get(name)}
        if not names:
            return fields
        at = now()
        book = Book(id="", title="", created_at=at, updated_at=at).model_copy(update=names)
        known = await self._catalog.with_known_names(book)
        return fields | {name: getattr(known, name) for name in names}

    async def _show(self, book: Book) -> BookDetail:
        chapters = Chapters(items=await self._catalog.stored_chapters(book.id))
        return detail(book, chapters, owned=True, manages=True)


def check_revision(book: Book, revisions: Revisions) -> None:
    """Raises StaleError where the book has gone on since the caller has read it."""
    if revisions is not None and str(book.revision) not in revisions:
        raise StaleError(f"This book is at revision {book.revision} now; load it again.")


def _setting(fields: dict[str, Any]) -> Callable[[Book], Book]:
    return lambda book: book.model_copy(update=fields)


def _fields(content: _Content, names: set[str]) -> dict[str, Any]:
    """Return what a book's fields become."""
    fields = {name: getattr(content, name) for name in names}
    for kind in ("authors", "narrators"):
        if kind in fields:
            fields[kind] = tuple(PersonName.of(name) for name in fields[kind])
    series = fields.get("series")
    if series is not None:
        place = SeriesPlace(id=name_id("series", series.name), name=series.name, position=series.position)
        fields["series"] = place
    price = fields.get("price")
    if price is not None:
        fields["price"] = _money(price)
    if "other_prices" in fields:
        fields["other_prices"] = tuple(_money(other) for other in fields["other_prices"])
    if "tags" in fields:
        fields["has_own_tags"] = bool(fields["tags"])
    return fields


def _money(price: Price) -> Money:
    return Money(amount=price.amount, currency=price.currency)


def _check_prices(book: Book) -> None:
    """Raises InvalidError where a book would have two prices in a currency, or others but no first one."""
    if not book.other_prices:
        return
    if book.price is None or book.price.amount == 0:
        message = "A book has prices in other currencies beside a `price`, and none if that is 0."
        raise InvalidError("Check the prices.", (("other_prices", message),))
    currencies = [price.currency for price in (book.price, *book.other_prices)]
    if len(set(currencies)) < len(currencies):
        raise InvalidError("Check the prices.", (("other_prices", "Give each currency one price."),))


def _check_visibility(old: Book, new: Book) -> None:
    """Raises ConflictError where a book cannot be shown as asked."""
    if new.visibility == "draft" and old.published_at is not None:
        raise ConflictError("A book that was published can be withdrawn, but is no draft any more.")
    if new.visibility != "published":
        return
    if new.price is None:
        raise ConflictError("Give the book a price (0 is free) before it is published.")
    if old.visibility != "published" and new.processing_status != "ready":
        raise ConflictError(f"The book is not ready yet: it is {new.processing_status.replace('_', ' ')}.")


def _check_chapters(chapters: Sequence[Chapter], duration_seconds: float) -> None:
    """Raises InvalidError that names the first chapter of each kind of mistake."""
    wrong = []
    end = 0.0
    for chapter in chapters:
        place = f"items.{chapter.index}"
        if chapter.end_seconds <= chapter.start_seconds:
            wrong.append((f"{place}.end_seconds", "A chapter ends after it begins."))
        elif chapter.end_seconds > duration_seconds + _END_SLACK_SECONDS:
            wrong.append((f"{place}.end_seconds", f"The book is {duration_seconds:g} seconds long."))
        elif chapter.start_seconds < end:
            wrong.append((f"{place}.start_seconds", "This chapter begins before the one before it ends."))
        end = max(end, chapter.end_seconds)
    if wrong:
        raise InvalidError("Check the chapters.", tuple(wrong[:20]))


def _describe(old: Book, new: Book) -> str:
    """Say which fields change, and for those about money and access what they become."""
    before, after = old.model_dump(), new.model_dump()
    unsaid = {"has_own_tags", "revision", "updated_at", "published_at"}
    names = sorted(name for name in after if before[name] != after[name] and name not in unsaid)
    said = []
    for name in names:
        if name == "price":
            said.append(
                f"price={'none' if new.price is None else f'{new.price.amount} {new.price.currency}'}"
            )
        elif name == "other_prices":
            prices = " + ".join(f"{price.amount} {price.currency}" for price in new.other_prices)
            said.append(f"other_prices={prices or 'none'}")
        elif name == "visibility":
            said.append(f"visibility={new.visibility}")
        else:
            said.append(name)
    return ", ".join(said)
