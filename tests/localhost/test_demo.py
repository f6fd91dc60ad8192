"""The committed demo book is what the story's text says it is."""

import io
import itertools
from pathlib import Path

import av
import pytest

import localhost.demo

DEMO = Path(localhost.demo.__file__).parent
BOOK = DEMO / "books" / "The Saturday Piano.mp3"


def test_the_demo_book_has_the_chapters_of_its_text() -> None:
    titles = [
        path.read_text(encoding="utf-8").splitlines()[0] for path in sorted((DEMO / "text").glob("*.txt"))
    ]
    with av.open(BOOK) as book:
        chapters = book.chapters()
        seconds = (book.duration or 0) / av.time_base
    assert [chapter["metadata"]["title"] for chapter in chapters] == titles
    assert chapters[0]["start"] == 0
    assert all(a["end"] == b["start"] for a, b in itertools.pairwise(chapters))
    assert float(chapters[-1]["end"] * (chapters[-1]["time_base"] or 0)) == pytest.approx(seconds, abs=0.1)


def test_the_demo_book_names_its_people_and_shows_a_cover() -> None:
    with av.open(BOOK) as book:
        tags = dict(book.metadata)
        picture = next(stream for stream in book.streams if stream.type == "video")
        packet = next(packet for packet in book.demux(picture) if packet.size)
    assert tags["title"] == "The Saturday Piano"
    assert (tags["artist"], tags["composer"]) == ("Aloud Originals", "Flite (synthetic voice)")
    assert all(tags[name] for name in ("genre", "date", "language", "comment"))
    with av.open(io.BytesIO(bytes(packet)), format="jpeg_pipe") as cover:
        stream = cover.streams.video[0]
        assert (stream.width, stream.height) == (600, 600)
    assert packet.size < 60_000


def test_the_demo_book_stays_small_in_the_repository() -> None:
    assert BOOK.stat().st_size < 1_000_000
