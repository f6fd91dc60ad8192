"""What somebody owns: the books, and their files to keep."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from core.caller import Caller
from core.catalog.models import Book, BookSummary, summarise
from core.catalog.service import Catalog
from core.commerce.models import Owned
from core.commerce.packing import Entry, clean_name, make_unique
from core.commerce.store import CommerceStore
from core.errors import ConflictError, NotFoundError
from core.storage.blobs import Container, Link

DownloadFormat = Literal["original", "txt", "srt", "vtt", "json"]
_TEXTS: dict[DownloadFormat, str] = {
    "txt": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "json": "application/json",
}
_LINK_LIFE = timedelta(minutes=15)


class OwnedBook(BookSummary):
    """A book that I have bought, with addresses of its files that end at `downloads_expire_at`."""

    acquired_at: datetime
    order_id: str | None = Field(description="Null where it came with a gift.")
    downloads: dict[DownloadFormat, str] = Field(description="By format; what there is not yet is left out.")
    original_parts: list[str] = Field(
        description="All files of the recording, in order; `original` is the first."
    )
    downloads_expire_at: datetime | None


@dataclass(frozen=True)
class File:
    """A file of a book: its blob in `media`, and what a person calls it."""

    blob: str
    content_type: str
    name: str


class Library:
    def __init__(self, store: CommerceStore, catalog: Catalog, media: Container) -> None:
        self._store = store
        self._catalog = catalog
        self._media = media

    async def books(
        self, user_id: str, limit: int, after: list[str] | None = None
    ) -> tuple[list[OwnedBook], list[str] | None]:
        """Return what a person owns, the last bought first, and where the next page begins."""
        owned = [o async for o in self._store.owned(user_id) if o.state == "owned"]
        owned.sort(key=_place, reverse=True)
        left = [o for o in owned if after is None or _place(o) < after]
        page = left[:limit]
        found = await self._catalog.read(o.book_id for o in page)
        books = [await self._show(user_id, o, found[o.book_id].value) for o in page if o.book_id in found]
        return books, _place(page[-1]) if len(left) > limit else None

    async def shelf(self, user_id: str) -> list[Owned]:
        """Return all that a person has, and what is being bought, by the id of the book, at one read."""
        return [owned async for owned in self._store.owned(user_id)]

    async def _show(self, user_id: str, owned: Owned, book: Book) -> OwnedBook:
        links = {form: await self._link(file) for form, file in _files(book).items()}
        parts = [await self._link(file) for file in _recordings(book)]
        return OwnedBook(
            **summarise(book).model_dump(),
            acquired_at=owned.acquired_at,
            order_id=owned.order_id if owned.is_bought_by(user_id) else None,
            downloads={form: link.url for form, link in links.items()},
            original_parts=[link.url for link in parts],
            downloads_expire_at=min((link.expires_at for link in links.values()), default=None),
        )

    async def download(self, book_id: str, form: DownloadFormat, caller: Caller, part: int = 1) -> Link:
        """Return a link to a file of a book for who may hear it, under which browsers save it.

        `part` is one of the recording's files. Raises NotFoundError, NotOwnedError; ConflictError where there
        is no such file yet.
        """
        book = await self._catalog.heard_by(book_id, caller)
        file = _files(book).get(form)
        if form == "original" and book.parts:
            if not 1 <= part <= len(book.parts):
                raise NotFoundError(f"This book has the parts 1 to {len(book.parts)}.")
            file = _recordings(book)[part - 1]
        if file is None:
            what = "audio" if form == "original" else "transcript"
            raise ConflictError(f"This book has no {what} yet.")
        return await self._link(file)

    async def _link(self, file: File) -> Link:
        return await self._media.link(file.blob, _LINK_LIFE, file.content_type, file.name)

    async def entries(self, book_ids: tuple[str, ...]) -> tuple[Entry, ...]:
        """Return what a ZIP of these books holds: a folder each with recording, transcripts and cover.

        Raises NotFoundError where a recording is gone.
        """
        found = await self._catalog.read(book_ids)
        books = [found[book_id].value for book_id in book_ids if book_id in found]
        if len(books) < len(book_ids) or not all(book.parts for book in books):
            raise NotFoundError("A book has no recording any more.")
        taken: set[str] = set()
        folders = [make_unique(_folder(book), taken) for book in books]
        entries = await asyncio.gather(*map(self._entries, books, folders))
        return tuple(entry for some in entries for entry in some)

    async def _entries(self, book: Book, folder: str) -> list[Entry]:
        files: list[tuple[str, File]] = [("original", file) for file in _recordings(book)]
        files += [(form, file) for form, file in _files(book).items() if form != "original"]
        if book.cover is not None:
            name = f"cover{PurePosixPath(book.cover.blob).suffix}"
            files.append(("cover", File(book.cover.blob, book.cover.content_type, name)))

        async def plan(form: str, file: File) -> Entry | None:
            try:
                facts = await self._media.facts(file.blob)
            except NotFoundError:
                if form == "original":
                    raise
                return None
            return Entry(
                name=f"{folder}/{file.name}",
                blob=file.blob,
                etag=facts.etag,
                size=facts.size,
                is_text=form in _TEXTS,
            )

        planned = await asyncio.gather(*(plan(form, file) for form, file in files))
        return [entry for entry in planned if entry is not None]


def _files(book: Book) -> dict[DownloadFormat, File]:
    title = clean_name(book.title)
    files: dict[DownloadFormat, File] = {}
    if book.parts:
        files["original"] = _recordings(book)[0]
    if book.transcript_prefix is not None:
        for form, content_type in _TEXTS.items():
            files[form] = File(f"{book.transcript_prefix}.{form}", content_type, f"{title}.{form}")
    return files


def _recordings(book: Book) -> list[File]:
    """Return the files of a recording; of several, each name begins with the number that sorts it."""
    title = clean_name(book.title)
    digits = max(2, len(str(len(book.parts))))
    files = []
    for number, part in enumerate(book.parts, 1):
        name = title if len(book.parts) == 1 else clean_name(f"{number:0{digits}} {title} - {part.title}")
        files.append(File(part.blob, part.content_type, f"{name}{PurePosixPath(part.blob).suffix}"))
    return files


def _folder(book: Book) -> str:
    return clean_name(f"{book.authors[0].name} - {book.title}" if book.authors else book.title)


def _place(owned: Owned) -> list[str]:
    return [owned.acquired_at.isoformat(), owned.book_id]
