"""Books for a storm: short recordings of every format, no two alike, each fifth a folder of files."""

import random
from dataclasses import dataclass

from tests.audio import make_audio

CHUNK_SECONDS = 12
_KINDS = {"mp3": "mp3", "m4b": "m4b", "flac": "flac", "opus": "ogg", "bare mp3": "mp3", "vorbis": "ogg"}
_FOLDER_EACH = 5


@dataclass(frozen=True)
class Recording:
    """A book: `path` names its blob, or its folder with a slash at its end; `files` are blobs."""

    path: str
    files: dict[str, bytes]


def make_recordings(count: int, seed: int) -> list[Recording]:
    """Return so many books, the same ones for the same seed."""
    chance = random.Random(seed)
    kinds = list(_KINDS)
    books = []
    for number in range(count):
        if number % _FOLDER_EACH == _FOLDER_EACH - 1:
            folder = f"book {number:02d}/"
            files = {
                f"{folder}{part} part.{_KINDS[kind]}": _record(kind, 1, chance)
                for part, kind in enumerate(chance.sample(kinds, 3), 9)
            }
            books.append(Recording(folder, files))
        else:
            kind = kinds[number % len(kinds)]
            path = f"book {number:02d}.{_KINDS[kind]}"
            books.append(Recording(path, {path: _record(kind, chance.randint(2, 4), chance)}))
    return books


def _record(kind: str, chunks: int, chance: random.Random) -> bytes:
    """Return sounds at times of chance, with pauses to cut at."""
    seconds = chunks * CHUNK_SECONDS
    sounds = [(at + chance.uniform(0.1, 0.9), at + chance.uniform(1.4, 2.2)) for at in range(0, seconds, 4)]
    return make_audio(kind, seconds, sounds=sounds, rate=16_000)
