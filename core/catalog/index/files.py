"""Bases and segments as blobs: packed, fetched, and checked before anything is believed."""

import asyncio
import gzip
import hashlib
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from core.catalog.index.documents import Document
from core.catalog.index.pointer import Base, Segment
from core.errors import UnavailableError
from core.storage.blobs import Container

_BLOCK = 4 * 1024 * 1024
_LEVEL = 6


class DamagedIndexError(UnavailableError):
    """A blob of the index is not what its pointer says."""


@dataclass(frozen=True)
class Packed:
    """A compressed file; `size` in bytes, `digest` SHA-256."""

    path: Path
    size: int
    digest: str


def pack_base(source: Path, target: Path) -> Packed:
    """Compress a finished index file."""
    digest, size = hashlib.sha256(), 0
    packer = zlib.compressobj(_LEVEL, wbits=31)
    with source.open("rb") as plain, target.open("wb") as packed:
        block = b" "
        while block:
            block = plain.read(_BLOCK)
            piece = packer.compress(block) if block else packer.flush()
            digest.update(piece)
            size += packed.write(piece)
    return Packed(target, size, digest.hexdigest())


async def fetch_base(container: Container, base: Base, target: Path) -> None:
    """Write a base's SQLite file. Raises NotFoundError, DamagedIndexError."""
    digest = hashlib.sha256()
    unpacker = zlib.decompressobj(wbits=31)

    with target.open("wb") as file:

        def unpack(block: bytes) -> None:
            digest.update(block)
            file.write(unpacker.decompress(block))

        try:
            async for block in container.blocks(base.file):
                await asyncio.to_thread(unpack, block)
        except zlib.error as error:
            raise DamagedIndexError(f"{base.file} cannot be unpacked: {error}") from None
    if not unpacker.eof or base.digest not in (None, digest.hexdigest()):
        raise DamagedIndexError(f"{base.file} is not what was published.")
    try:
        await asyncio.to_thread(_check, target)
    except sqlite3.DatabaseError as error:
        raise DamagedIndexError(f"{base.file} is no index: {error}") from None


def _check(path: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        database.execute("SELECT value FROM facts WHERE name = 'revision'").fetchone()
        database.execute("SELECT count(*) FROM books WHERE book < 100").fetchone()


def pack_segment(documents: Sequence[Document]) -> bytes:
    """Write documents as compressed lines; the same ones make the same bytes."""
    return gzip.compress("".join(f"{d.model_dump_json()}\n" for d in documents).encode(), _LEVEL, mtime=0)


async def fetch_segment(container: Container, segment: Segment) -> list[Document]:
    """Return a segment's documents. Raises NotFoundError, DamagedIndexError."""
    content = await container.read(segment.file)
    if hashlib.sha256(content).hexdigest() != segment.digest:
        raise DamagedIndexError(f"{segment.file} is not what was published.")
    try:
        return await asyncio.to_thread(_read_segment, content)
    except (OSError, EOFError, zlib.error, ValidationError) as error:
        raise DamagedIndexError(f"{segment.file} cannot be read: {type(error).__name__}") from None


def _read_segment(content: bytes) -> list[Document]:
    return [Document.model_validate_json(line) for line in gzip.decompress(content).splitlines()]
