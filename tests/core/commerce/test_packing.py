"""ZIP files of blocks: any program opens them, also beyond 4 GiB, and their names do no harm."""

import shutil
import subprocess
import unicodedata
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.commerce.packing import (
    BLOCK_BYTES,
    Entry,
    Packed,
    block_ids,
    clean_name,
    deflate,
    directory,
    header,
    make_unique,
    pieces,
)

AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
GIGABYTE = 1024**3


def _entry(name: str, size: int, *, is_text: bool = False) -> Entry:
    return Entry(name=name, blob="b", etag="e", size=size, is_text=is_text)


def test_a_file_beyond_4_gib_is_opened(tmp_path: Path) -> None:
    """The first recording is a hole in a sparse file; what stands after it is found and read."""
    entries = [
        _entry("Bücher/long.mp3", 5 * GIGABYTE),
        _entry("Bücher/日本.txt", 6000, is_text=True),
        _entry("Bücher/empty.txt", 0, is_text=True),
        _entry("Bücher/short.mp3", 5),
    ]
    text = b"words " * 1000
    stored = [None, deflate(text), b"", b"sound"]
    packed = [Packed(crc=0, size=5 * GIGABYTE)]
    packed += [
        Packed(crc=zlib.crc32(c), size=len(s or b""))
        for c, s in zip((text, b"", b"sound"), stored[1:], strict=True)
    ]
    path = tmp_path / "books.zip"
    with path.open("wb") as file:
        for entry, facts, content in zip(entries, packed, stored, strict=True):
            file.write(header(entry, facts, AT))
            if content is None:
                file.seek(facts.size, 1)
            else:
                file.write(content)
        file.write(directory(entries, packed, AT))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [entry.name for entry in entries]
        assert archive.getinfo("Bücher/long.mp3").file_size == 5 * GIGABYTE
        assert archive.read("Bücher/日本.txt") == text
        assert archive.read("Bücher/empty.txt") == b""
        assert archive.read("Bücher/short.mp3") == b"sound"
        assert archive.getinfo("Bücher/short.mp3").date_time == (2026, 2, 3, 4, 5, 6)
        assert archive.getinfo("Bücher/日本.txt").compress_size < 100
    if unzip := shutil.which("unzip"):
        done = subprocess.run(
            [unzip, "-tq", path, "*.txt", "*short.mp3"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_work_can_go_on_from_any_piece() -> None:
    sizes = (BLOCK_BYTES * 2 + 1, 0, BLOCK_BYTES, 10)
    entries = [_entry(f"{number}.mp3", size) for number, size in enumerate(sizes)]
    entries.append(_entry("5.txt", BLOCK_BYTES + 1, is_text=True))
    whole = list(pieces(entries, 0, 0))
    assert [piece.length for piece in whole] == [
        BLOCK_BYTES,
        BLOCK_BYTES,
        1,
        0,
        BLOCK_BYTES,
        10,
        BLOCK_BYTES + 1,
    ]
    for number, piece in enumerate(whole[:-1], 1):
        done = piece.index + 1 if piece.is_last else piece.index
        offset = 0 if piece.is_last else piece.offset + piece.length
        assert list(pieces(entries, done, offset)) == whole[number:]
    assert list(pieces(entries, len(entries), 0)) == []


def test_all_blocks_have_names_of_one_length_and_no_two_the_same() -> None:
    names = block_ids([_entry("a.mp3", 6 * GIGABYTE), *(_entry(f"{n}.txt", n) for n in range(300))])
    assert len({len(name) for name in names}) == 1
    assert len(set(names)) == len(names) < 50_000


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Emma", "Emma"),
        ("../../etc/passwd", "etc passwd"),
        ("C:\\Windows\\x", "C Windows x"),
        ('What? *All* of <it> | "said"', "What All of it said"),
        (".hidden", "hidden"),
        ("ends. . ", "ends"),
        ("CON", "CON_"),
        ("nul.tar", "nul_.tar"),
        ("aux .mp3", "aux_ .mp3"),
        ("ConIn$", "ConIn$_"),
        ("Console", "Console"),
        ("a\x00b\x01c\x7f", "abc"),
        ("line\nbreak\tand\u00a0space", "line break and space"),
        ("exe\u202e3pm.mp3", "exe3pm.mp3"),
        (unicodedata.normalize("NFD", "Café"), "Café"),
        ("日本語の本", "日本語の本"),
        ("..", "Untitled"),
        ("", "Untitled"),
        ("é" * 200, "é" * 60),
    ],
)
def test_a_name_is_one_harmless_part_of_a_path(text: str, name: str) -> None:
    assert clean_name(text) == name


def test_names_that_differ_in_case_alone_are_told_apart() -> None:
    taken: set[str] = set()
    names = [make_unique(name, taken) for name in ("Emma", "EMMA", "Emma", "Emma (2)")]
    assert names == ["Emma", "EMMA (2)", "Emma (3)", "Emma (2) (2)"]
