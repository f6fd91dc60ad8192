"""Damaged, disguised and absurd recordings, each told by its kind and its number."""

import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tests.audio import make_audio, make_png

KINDS = ("mp3", "m4b", "faststart m4b", "flac", "opus", "vorbis", "wav")
SECONDS = 6.0
_CUT_OFF_SHOWS = ("mp3", "faststart m4b", "flac", "wav")
"""Kinds whose beginning says how long they are."""
_SUFFIXES = ("mp3", "m4b", "flac", "ogg", "wav", "txt", "jpg", "mp3.exe", "")
_HEADS = (
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"fLaC\0\0\0\x22",
    b"OggS\0\2",
    b"ID3\4\0\0\x7f\x7f\x7f\x7f",
    b"\0\0\0\x20ftypM4A ",
    b"\0\0\0\1ftypisom\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xfb\x90\x64",
    b"\x1a\x45\xdf\xa3",
    b"<!DOCTYPE html>",
    b"#EXTM3U\nhttp://127.0.0.1:1/",
)


@dataclass(frozen=True)
class Variant:
    """A file, and what was done to it. A book `shows_loss` if its beginning tells how long it should be."""

    name: str
    what: str
    content: bytes
    seconds_left: float = SECONDS
    shows_loss: bool = False


def make_variant(kind: str, number: int, seed: int = 1) -> Variant:
    """Return the variant of this number, the same each time."""
    chance = random.Random(f"{seed} {kind} {number}")
    make = chance.choices((_damage, _cut_off, _disguise, _nest, _overload), (8, 2, 2, 2, 3))[0]
    variant = make(kind, chance)
    suffix = chance.choice(_SUFFIXES)
    name = f"{kind} {number}" + (f".{suffix}" if suffix else "")
    return Variant(name, variant.what, variant.content, variant.seconds_left, variant.shows_loss)


@cache
def _whole(kind: str) -> bytes:
    chapters = [("One", 0.0, 3.0), ("Two", 3.0, SECONDS)]
    return make_audio(kind, SECONDS, sounds=[(0.5, 5.5)], chapters=chapters, rate=16_000)


def _damage(kind: str, chance: random.Random) -> Variant:
    """Change bits, and zero, lose or exchange stretches, many of them near the beginning."""
    broken = bytearray(_whole(kind))
    done = []
    for _ in range(chance.randint(1, 4)):
        at = chance.choice((chance.randrange(len(broken)), chance.randrange(min(4096, len(broken)))))
        length = chance.choice((1, 4, 64, 2048))
        act = chance.choice(("flip", "noise", "zero", "lose", "exchange", "repeat"))
        match act:
            case "flip":
                broken[at] ^= 1 << chance.randrange(8)
            case "noise":
                broken[at : at + length] = chance.randbytes(length)
            case "zero":
                broken[at : at + length] = bytes(length)
            case "lose":
                del broken[at : at + length]
            case "exchange":
                other = chance.randrange(len(broken))
                one, two = broken[at : at + length], broken[other : other + length]
                broken[at : at + length], broken[other : other + length] = two, one
            case "repeat":
                broken[at:at] = broken[at : at + length] * chance.choice((1, 50))
        done.append(f"{act} {length} at {at}")
    return Variant("", ", ".join(done), bytes(broken))


def _cut_off(kind: str, chance: random.Random) -> Variant:
    """Lose the end, or have nothing but zeros there, as after a download that broke off."""
    whole = _whole(kind)
    left = chance.randrange(len(whole))
    is_zeroed = chance.random() < 0.5
    content = whole[:left] + (bytes(len(whole) - left) if is_zeroed else b"")
    return Variant(
        "",
        f"{'zeros' if is_zeroed else 'nothing'} from {left} of {len(whole)} on",
        content,
        SECONDS * left / len(whole),
        shows_loss=kind in _CUT_OFF_SHOWS and not is_zeroed,
    )


def _disguise(kind: str, chance: random.Random) -> Variant:
    """Put the beginning of another format over the file's own, or before it."""
    head, whole = chance.choice(_HEADS), _whole(kind)
    over = chance.random() < 0.5
    return Variant(
        "", f"{head!r} {'over' if over else 'before'} it", head + (whole[len(head) :] if over else whole)
    )


def _nest(kind: str, chance: random.Random) -> Variant:
    """Put the file into another one, or two files into one."""
    whole = _whole(kind)
    other = chance.choice(KINDS)
    match chance.choice(("zip", "twice", "after", "within", "tag")):
        case "zip":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("book.mp3", whole)
            return Variant("", "in a ZIP", packed.getvalue())
        case "twice":
            return Variant("", "twice", whole * 2)
        case "after":
            return Variant("", f"after {other}", _whole(other) + whole)
        case "tag":
            size = bytes(len(whole) >> shift & 0x7F for shift in (21, 14, 7, 0))
            return Variant("", "in a tag of itself", b"ID3\4\0\0" + size + whole + whole)
        case _:
            place = len(_whole(other)) // 2
            return Variant("", f"within {other}", _whole(other)[:place] + whole + _whole(other)[place:])


def _overload(kind: str, chance: random.Random) -> Variant:
    """Say absurd things of itself; a third is damaged besides."""
    what = chance.choice(list(_OVERLOADS))
    content = _overloaded(kind, what)
    if chance.random() < 0.3:
        broken = bytearray(content)
        for _ in range(8):
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        return Variant("", f"{what}, with bits changed", bytes(broken))
    return Variant("", what, content)


@cache
def _overloaded(kind: str, what: str) -> bytes:
    return _OVERLOADS[what](kind)


def _with_huge_tags(kind: str) -> bytes:
    tags = {"title": "Long " * 100_000, "artist": "Ada;" * 50_000, "comment": "\u202e\U0001f3a7" * 100_000}
    return make_audio(kind, SECONDS, sounds=[(0.5, 5.5)], tags=tags, rate=16_000)


def _with_many_tags(kind: str) -> bytes:
    tags = {f"key {number}": "value" * 20 for number in range(5_000)}
    return make_audio(kind, SECONDS, sounds=[(0.5, 5.5)], tags=tags, rate=16_000)


def _with_odd_tags(kind: str) -> bytes:
    tags = {"title": "\x01\x1b[31m\r\n\ufeff", "artist": ";;/;", "genre": "<script>", "date": "-99999999999"}
    tags |= {"language": "x" * 5_000, "publisher": "=" * 5_000, "narrator": "../../etc"}
    return make_audio(kind, SECONDS, sounds=[(0.5, 5.5)], tags=tags, rate=16_000)


def _with_many_chapters(kind: str) -> bytes:
    count = 10_000
    marks = [(f"{'章' * 150} {i}", SECONDS * i / count, SECONDS * (i + 1) / count) for i in range(count)]
    return _with_chapters(kind, marks)


def _with_odd_chapters(kind: str) -> bytes:
    marks = [
        ("Before", -9.0, -3.0),
        ("Back", 5.0, 1.0),
        ("All", 0.0, 6.0),
        ("Late", 1e6, 2e6),
        ("", 2.0, 2.0),
    ]
    return _with_chapters(kind, marks)


def _with_chapters(kind: str, marks: list[tuple[str, float, float]]) -> bytes:
    """Write chapters as the format has them; libav does not for flac and vorbis, which keep them in tags."""
    tags = {}
    if kind in ("flac", "vorbis"):
        for number, (title, start, _) in enumerate(marks):
            tags[f"CHAPTER{number:03d}"] = f"00:00:{start:06.3f}"
            tags[f"CHAPTER{number:03d}NAME"] = title
    return make_audio(kind, SECONDS, sounds=[(0.5, 5.5)], tags=tags, chapters=marks, rate=16_000)


def _with_cover(cover: Callable[[], bytes]) -> Callable[[str], bytes]:
    def make(kind: str) -> bytes:
        takes_cover = kind not in ("opus", "vorbis", "wav")
        picture = cover() if takes_cover else None
        return make_audio(kind, SECONDS, sounds=[(0.5, 5.5)], cover=picture, rate=16_000)

    return make


def _bomb() -> bytes:
    """Return a picture of a few bytes that says to have 2.5 thousand million points."""
    return make_png(50_000, 50_000)


def _large_cover() -> bytes:
    return make_png() + bytes(11_000_000)


_OVERLOADS: dict[str, Callable[[str], bytes]] = {
    "huge tags": _with_huge_tags,
    "many tags": _with_many_tags,
    "odd tags": _with_odd_tags,
    "many chapters": _with_many_chapters,
    "odd chapters": _with_odd_chapters,
    "a cover bomb": _with_cover(_bomb),
    "a cover of 11 MB": _with_cover(_large_cover),
    "a cover that is none": _with_cover(lambda: b"\x89PNG\r\n\x1a\n" + b"no picture" * 10),
}
