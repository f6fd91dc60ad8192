"""Where ZIPs of books are kept track of, and what is shown of them: rows of `users`, with their owner."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.commerce.packing import Entry, Packed
from core.errors import ConflictError, NotFoundError
from core.ids import now
from core.storage.blobs import Container
from core.storage.tables import Insert, Stored, Table

ArchiveStatus = Literal["waiting", "running", "ready", "failed"]

_ALLOWANCE = "archives"
_CLAIM_LIFE = timedelta(seconds=30)


class Archive(BaseModel):
    """Row `archive_{id}`: a ZIP that is being made, and how far it is.

    `packed` entries are there as a whole, and `offset` bytes of the one after them, whose checksum so far is
    `crc`. `claimed_until` keeps other workers off; a message with a lower `step` is over.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    user_id: str
    book_ids: tuple[str, ...]
    status: ArchiveStatus = "waiting"
    reason: str | None = None
    step: int = 0
    claimed_until: datetime | None = None
    packed: tuple[Packed, ...] = ()
    offset: int = 0
    crc: int = 0
    bytes_done: int = 0
    bytes_total: int | None = None
    size: int | None = Field(None, description="Of the finished file, in bytes.")
    created_at: datetime
    updated_at: datetime
    expires_at: datetime

    @property
    def is_under_way(self) -> bool:
        return self.status in ("waiting", "running")

    @property
    def is_claimed(self) -> bool:
        return self.claimed_until is not None and self.claimed_until > now()

    def failed(self, reason: str) -> "Archive":
        """Return the same as one that has failed."""
        end = {"status": "failed", "reason": reason, "size": None, "claimed_until": None}
        return self.model_copy(update=end | {"updated_at": now()})


class Contents(BaseModel):
    """Blob `{user}/{id}.json`: what goes into a ZIP, decided once."""

    model_config = ConfigDict(frozen=True)

    entries: tuple[Entry, ...]
    made_at: datetime


class Allowance(BaseModel):
    """Row `archives`: how many ZIPs somebody has begun on a day, and of how many bytes."""

    model_config = ConfigDict(frozen=True)

    day: str = ""
    begun: int = 0
    bytes: int = 0


class ArchiveView(BaseModel):
    """A ZIP of books, with an address for some minutes once it is `ready`; it is there until `expires_at`.

    `progress` is a share of the bytes, from 0 to 1.
    """

    id: str
    status: str
    reason: str | None
    audiobook_ids: list[str]
    progress: float
    bytes_done: int
    bytes_total: int | None
    size_bytes: int | None
    created_at: datetime
    expires_at: datetime
    url: str | None = None
    url_expires_at: datetime | None = None


def show(archive: Archive) -> ArchiveView:
    """Return what its owner sees of a ZIP."""
    total = archive.bytes_total
    return ArchiveView(
        **archive.model_dump(
            include={"id", "reason", "bytes_done", "bytes_total", "created_at", "expires_at"}
        ),
        status="expired" if archive.expires_at < now() else archive.status,
        audiobook_ids=list(archive.book_ids),
        progress=1 if archive.status == "ready" else archive.bytes_done / total if total else 0,
        size_bytes=archive.size,
    )


class ArchiveStore:
    def __init__(self, users: Table, files: Container) -> None:
        self._users = users
        self._files = files

    async def add(self, archive: Archive, allow: Callable[[Allowance], Allowance]) -> None:
        """Write a new row if its owner is allowed one more, in one transaction; raises what `allow` does."""
        owner = archive.user_id
        if await self._users.find(Allowance, owner, _ALLOWANCE) is None:
            with suppress(ConflictError):
                await self._users.insert(Allowance(), owner, _ALLOWANCE)
        row = Insert(f"archive_{archive.id}", archive)
        await self._users.update(Allowance, owner, _ALLOWANCE, allow, also=[row])

    async def find(self, user_id: str, archive_id: str) -> Stored[Archive] | None:
        return await self._users.find(Archive, user_id, f"archive_{archive_id}")

    async def all(self, user_id: str) -> list[Archive]:
        """Return somebody's ZIPs, the oldest first."""
        return [stored.value async for stored in self._users.each(Archive, user_id, "archive_")]

    async def replace(self, stored: Stored[Archive], archive: Archive) -> Stored[Archive]:
        """Raises StaleError if it has changed, NotFoundError if it is gone."""
        return await self._users.replace(stored, archive)

    async def change(self, archive: Archive, change: Callable[[Archive], Archive | None]) -> Archive:
        """Apply a pure change. Raises NotFoundError."""
        return await self._users.update(Archive, archive.user_id, f"archive_{archive.id}", change)

    async def contents(self, archive: Archive) -> Contents | None:
        try:
            return Contents.model_validate_json(await self._files.read(_contents_blob(archive)))
        except NotFoundError:
            return None

    async def decide(self, archive: Archive, contents: Contents) -> Contents:
        """Write what goes in, and return it, or what another worker has written before."""
        content = contents.model_dump_json().encode()
        try:
            await self._files.write(_contents_blob(archive), content, "application/json", if_absent=True)
        except ConflictError:
            return await self.contents(archive) or contents
        return contents

    async def forget(self, user_id: str, archive_id: str) -> None:
        """Delete a ZIP with all that belongs to it; absent is fine."""
        await self.delete_files(user_id, archive_id)
        await self._users.delete(user_id, f"archive_{archive_id}")

    async def delete_files(self, user_id: str, archive_id: str) -> None:
        """Delete the blobs of a ZIP; blocks that are not in one yet are forgotten by the storage."""
        await self._files.delete_prefix(f"{user_id}/{archive_id}")


def _contents_blob(archive: Archive) -> str:
    return f"{archive.user_id}/{archive.id}.json"


class Claim:
    """A worker's hold on a row: each write says that it goes on, and is refused once another has written."""

    def __init__(self, store: ArchiveStore, stored: Stored[Archive]) -> None:
        self._store = store
        self._stored = stored

    @property
    def row(self) -> Archive:
        return self._stored.value

    async def write(self, **changes: object) -> None:
        """Raises StaleError where another has written, NotFoundError where the row is gone."""
        await self._replace(now() + _CLAIM_LIFE, changes)

    async def leave(self, **changes: object) -> None:
        """Write for the last time, so that another may go on. Raises as `write` does."""
        await self._replace(None, changes)

    async def _replace(self, until: datetime | None, changes: dict[str, object]) -> None:
        row = self.row.model_copy(update=changes | {"updated_at": now(), "claimed_until": until})
        self._stored = await self._store.replace(self._stored, row)
