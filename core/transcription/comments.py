"""Counts the tags of a flac or an ogg before libav reads them: its time grows by their number's square."""

from core.errors import RejectedAudioError
from core.transcription.blocks import Source

MAX_COMMENTS = 5_000
_MAX_BLOCKS = 1_000
_HEAD_BYTES = 65_536
_COMMENT_BLOCK = 4
_OGG_MARKS = (b"OpusTags", b"\x03vorbis")


def check_comments(source: Source) -> None:
    """Raise RejectedAudioError for a file with more tags than any recording needs."""
    source.seek(0)
    head = source.read(_HEAD_BYTES)
    if _find_flac(head) is not None:
        count = _count_in_flac(source, _find_flac(head) or 0)
    else:
        size = source.seek(0, 2)
        count = max((_count_after(head, mark, size) for mark in _OGG_MARKS), default=0)
    if count > MAX_COMMENTS:
        raise RejectedAudioError(f"This file has too many tags; Aloud reads up to {MAX_COMMENTS} of them.")


def _find_flac(head: bytes) -> int | None:
    """Return where the blocks of a flac begin, perhaps after an ID3 tag."""
    start = 0
    if head.startswith(b"ID3") and len(head) >= 10:
        size = zip(head[6:10], (21, 14, 7, 0), strict=True)
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in size)
    return start + 4 if head[start : start + 4] == b"fLaC" else None


def _count_in_flac(source: Source, at: int) -> int:
    """Add up what the blocks of tags say to hold; blocks without end count as too many."""
    count = 0
    for _ in range(_MAX_BLOCKS):
        source.seek(at)
        header = source.read(4)
        if len(header) < 4:
            return count
        length = int.from_bytes(header[1:], "big")
        if header[0] & 0x7F == _COMMENT_BLOCK:
            count += _declared(source.read(min(length, _HEAD_BYTES)), length)
        if header[0] & 0x80:
            return count
        at += 4 + length
    return MAX_COMMENTS + 1


def _count_after(head: bytes, mark: bytes, size: int) -> int:
    """Return what the header of tags in the first pages of an ogg says to hold."""
    at = head.find(mark) if head.startswith(b"OggS") else -1
    return _declared(head[at + len(mark) :], size) if at >= 0 else 0


def _declared(block: bytes, length: int) -> int:
    """Return the number that stands after the name of the program that wrote the tags.

    `block` is the beginning of all that may hold them, in `length` bytes; a name so long that the number is
    beyond it counts as too many, a name or a number that `length` cannot hold as damage.
    """
    place = 4 + int.from_bytes(block[:4], "little")
    if place + 4 > length:
        return 0
    number = block[place : place + 4]
    return min(int.from_bytes(number, "little"), length // 4) if len(number) == 4 else MAX_COMMENTS + 1
