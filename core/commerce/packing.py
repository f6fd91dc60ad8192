"""ZIP files that are put together from blocks, so that any process can go on where another was killed.

A file's header goes into a block of its own, written after its content: checksum and sizes are known by then,
and the list of blocks puts it in front. The standard library writes headers and directory, ZIP64 included.
"""

import io
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict

BLOCK_BYTES = 4 * 1024 * 1024
MAX_DEFLATED_BYTES = 2 * BLOCK_BYTES
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]+')
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_RESERVED = re.compile(r"(?i)(con(?:in\$|out\$)?|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?= *(?:\.|$))")
_NAME_BYTES = 120


class Entry(BaseModel):
    """A file of a ZIP: the blob of that version, `size` in bytes; a small text is compressed."""

    model_config = ConfigDict(frozen=True)

    name: str
    blob: str
    etag: str
    size: int
    is_text: bool = False

    @property
    def is_deflated(self) -> bool:
        return self.is_text and 0 < self.size <= MAX_DEFLATED_BYTES

    @property
    def blocks(self) -> int:
        """How many blocks its content takes; what is compressed is one."""
        return 1 if self.is_deflated else -(-self.size // BLOCK_BYTES)


class Packed(BaseModel):
    """What is known of an entry once all its content is there; `size` as it is stored."""

    model_config = ConfigDict(frozen=True)

    crc: int
    size: int


@dataclass(frozen=True)
class Piece:
    """A stretch of an entry that becomes one block; `number` counts the entry's blocks from 1."""

    index: int
    number: int
    offset: int
    length: int
    is_last: bool


def pieces(entries: Sequence[Entry], done: int, offset: int) -> Iterator[Piece]:
    """Yield what is missing when `done` entries are packed and `offset` bytes of the one after them."""
    for index in range(done, len(entries)):
        entry = entries[index]
        step = entry.size if entry.is_deflated else BLOCK_BYTES
        start = offset if index == done else 0
        if entry.size == 0:
            yield Piece(index, 0, 0, 0, is_last=True)
        for at in range(start, entry.size, step):
            length = min(step, entry.size - at)
            yield Piece(index, at // step + 1, at, length, is_last=at + length == entry.size)


def deflate(content: bytes) -> bytes:
    """Compress as ZIP files have it, without a header of its own."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def header(entry: Entry, packed: Packed, at: datetime) -> bytes:
    """Return what stands before an entry's content."""
    return _info(entry, packed, at).FileHeader()


def directory(entries: Sequence[Entry], packed: Sequence[Packed], at: datetime) -> bytes:
    """Return what stands at the end of the file."""
    infos = []
    position = 0
    for entry, facts in zip(entries, packed, strict=True):
        info = _info(entry, facts, at)
        info.header_offset = position
        position += len(info.FileHeader()) + facts.size
        infos.append(info)
    tail = _Tail(position)
    with zipfile.ZipFile(tail, "w") as file:
        file.infolist().extend(infos)
    return tail.written.getvalue()


def block_ids(entries: Sequence[Entry]) -> list[str]:
    """Return all blocks of a file in order: each entry's header and content, then the directory."""
    found = [block_id(index, number) for index, e in enumerate(entries) for number in range(e.blocks + 1)]
    return [*found, block_id(len(entries), 0)]


def block_id(index: int, number: int) -> str:
    """Return the name of a block; the storage wants all of a blob to have the same length."""
    return f"{index:06d}-{number:06d}"


def _info(entry: Entry, packed: Packed, at: datetime) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(entry.name, at.timetuple()[:6])
    info.create_system = 3  # as made on Unix, whatever this runs on: the next line is read that way
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED if entry.is_deflated else zipfile.ZIP_STORED
    info.CRC, info.file_size, info.compress_size = packed.crc, entry.size, packed.size
    return info


class _Tail(io.RawIOBase):
    """The end of a file whose first `start` bytes are elsewhere."""

    def __init__(self, start: int) -> None:
        self._start = start
        self.written = io.BytesIO()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._start + self.written.tell()

    def write(self, content: bytes) -> int:  # type: ignore[override]
        return self.written.write(content)


# Names


def clean_name(text: str) -> str:
    """Return a name that every system takes as one part of a path: no device, nothing hidden or invisible."""
    seen = "".join(letter for letter in unicodedata.normalize("NFC", text) if _is_visible(letter))
    name = " ".join(_FORBIDDEN.sub(" ", seen).split()).strip(". ")
    name = name.encode()[:_NAME_BYTES].decode(errors="ignore").strip(". ")
    return _RESERVED.sub(r"\1_", name) if _RESERVED.match(name) else name or "Untitled"


def _is_visible(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) not in _INVISIBLE


def make_unique(name: str, taken: set[str]) -> str:
    """Return a name that none of the others has, in whatever case, and take it."""
    number, found = 1, name
    while found.casefold() in taken:
        number += 1
        found = f"{name} ({number})"
    taken.add(found.casefold())
    return found
