"""Books that nobody has written, as many as are wanted, and covers for them.

Names are combined from lists, words are drawn as a natural text draws them (the n-th word about 1/n as
often as the first), and the same number always makes the same book.
"""

import bisect
import itertools
import random
import textwrap
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path

from core.catalog.models import Book, Chapter, Money, PersonName, SeriesPlace, name_id
from core.ids import derived_id

DISTINCT_WORDS = 60_000
_START = datetime(2015, 1, 1, tzinfo=UTC)
_DAYS = 4300


def _read_lists() -> list[list[str]]:
    """Return the lists of names and words, in the order in which they stand in the file."""
    text = Path(__file__).with_name("lists.txt").read_text("utf-8")
    return [part.split("\n", 1)[1].split() for part in text.split("# ")[1:]]


_FIRST, _LAST, _ADJECTIVES, _NOUNS, _PLACES, _CORE = _read_lists()
_SERIES = ("Mysteries", "Chronicles", "Stories", "Saga")
_PRICES = (0, 499, 799, 999, 1299, 1499, 1999, 2499, 2999)
_GENRES = (
    ("Fiction", 22), ("Mystery", 14), ("Romance", 13), ("Fantasy", 12), ("Science Fiction", 9),
    ("Thriller", 9), ("History", 6), ("Biography", 5), ("Children", 5), ("Business", 4), ("Self-Help", 4),
    ("Poetry", 3), ("Travel", 3), ("Science", 3), ("Philosophy", 2), ("Horror", 2), ("Humor", 2),
    ("Essay", 1), ("Religion", 1), ("Cooking", 1),
)  # fmt: skip
_LANGUAGES = (("en", 70), ("es", 8), ("de", 7), ("fr", 7), ("it", 3), ("pt", 3), ("ja", 1), ("zh", 1))
_ONSETS = [
    *"bcdfghjklmnprstvwz",
    "bl",
    "br",
    "ch",
    "cl",
    "cr",
    "dr",
    "fl",
    "fr",
    "gl",
    "gr",
    "pl",
    "pr",
    "qu",
    "sh",
]
_ONSETS += ["sc", "sk", "sl", "sm", "sp", "st", "str", "th", "tr"]
_VOWELS = [*"aeiou", "ai", "ea", "ee", "ie", "oa", "oo", "ou"]
_CODAS = ["", "", "", "n", "r", "l", "s", "t", "m", "d", "ck", "nd", "st", "ng", "rt", "sh"]
_ENDINGS = ["", "", "", "s", "ed", "ing", "er", "ly", "ness", "ful", "ment", "ion", "able"]


class Words:
    """Draws words as a text does: few very often, most hardly ever."""

    def __init__(self, count: int = DISTINCT_WORDS) -> None:
        source = random.Random(7)  # noqa: S311
        found = dict.fromkeys(_CORE)
        while len(found) < count:
            syllables = source.choice((1, 1, 2, 2, 2, 3))
            word = "".join(
                source.choice(_ONSETS) + source.choice(_VOWELS) + source.choice(_CODAS)
                for _ in range(syllables)
            )
            found.setdefault(word + source.choice(_ENDINGS))
        self.all = list(found)
        self._weights = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(count)))

    def draw(self, source: random.Random, count: int) -> list[str]:
        total = self._weights[-1]
        return [
            self.all[min(bisect.bisect(self._weights, source.random() * total), len(self.all) - 1)]
            for _ in range(count)
        ]


def _pick(source: random.Random, weighted: tuple[tuple[str, int], ...]) -> str:
    return source.choices([name for name, _ in weighted], [weight for _, weight in weighted])[0]


def _sentences(source: random.Random, words: Words, count: int) -> str:
    found = []
    for _ in range(count):
        sentence = words.draw(source, source.randint(8, 22))
        found.append(" ".join(sentence).capitalize() + ".")
    return " ".join(found)


def _title(source: random.Random) -> str:
    adjective, noun, other = source.choice(_ADJECTIVES), source.choice(_NOUNS), source.choice(_NOUNS)
    forms = (
        f"The {adjective} {noun}", f"The {noun} of {source.choice(_PLACES)}", f"{adjective} {noun}",
        f"The {noun}'s {other}",
        f"A {noun} for the {other}", f"{noun} and {other}", f"The {noun} in the {other}", f"{noun}",
        f"The Last {noun} of {source.choice(_PLACES)}", f"{source.choice(_FIRST)} and the {adjective} {noun}",
        f"When the {noun} Was {adjective}", f"{adjective} {noun}, {source.choice(_ADJECTIVES)} {other}",
    )  # fmt: skip
    return source.choice(forms)


def _person(source: random.Random, pool: int, kind: str) -> PersonName:
    """One of a pool in which few have written (or read) much."""
    number = min(int(source.paretovariate(0.7)), pool) if source.random() < 0.5 else source.randrange(pool)
    own = random.Random(f"{kind} {number}")  # noqa: S311
    middle = f" {chr(65 + own.randrange(26))}." if own.random() < 0.3 else ""
    return PersonName.of(f"{own.choice(_FIRST)}{middle} {own.choice(_LAST)}")


def generate(
    count: int, *, first: int = 0, words: Words | None = None
) -> Iterator[tuple[Book, tuple[Chapter, ...]]]:
    """Yield published books with their chapters; the same number is always the same book."""
    words = words or Words()
    pool = max(count // 4, 10)
    for number in range(first, first + count):
        source = random.Random(f"book {number}")  # noqa: S311
        created = _START + timedelta(seconds=source.randrange(_DAYS * 86400), milliseconds=number % 1000)
        book_id = derived_id(created, "seed", str(number))
        series = None
        if source.random() < 0.25:
            own = random.Random(f"series {source.randrange(max(count // 16, 3))}")  # noqa: S311
            name = f"{own.choice(_FIRST)} {own.choice(_LAST)} {own.choice(_SERIES)}"
            series = SeriesPlace(id=name_id("series", name), name=name, position=source.randint(1, 12))
        people = (_person(source, pool, "author") for _ in range(source.choice((1, 1, 1, 2))))
        authors = tuple(dict.fromkeys(people))
        genres = tuple(dict.fromkeys(_pick(source, _GENRES) for _ in range(source.choice((1, 1, 2)))))
        duration = round(min(source.lognormvariate(10.2, 0.6), 200_000), 3)
        votes = int(source.paretovariate(0.6)) - 1
        released = (created - timedelta(days=source.randrange(9000))).date()
        yield (
            Book(
                id=book_id,
                title=_title(source),
                subtitle=" ".join(words.draw(source, 4)).capitalize() if source.random() < 0.2 else None,
                authors=authors,
                narrators=(_person(source, max(pool // 5, 5), "narrator"),),
                series=series,
                description=_sentences(source, words, source.randint(4, 9)),
                summary=_sentences(source, words, source.randint(2, 4)),
                tags=tuple(dict.fromkeys(word for word in words.draw(source, 6) if len(word) > 4))[:3],
                genres=genres,
                publisher=f"{random.Random(f'publisher {source.randrange(200)}').choice(_LAST)} Audio",  # noqa: S311
                isbn=_isbn(number),
                language=_pick(source, _LANGUAGES),
                release_date=_inexact(source, released),
                duration_seconds=duration,
                price=Money(amount=source.choice(_PRICES), currency="USD"),
                rating_average=round(source.triangular(1, 5, 4.2), 2) if votes else None,
                rating_count=min(votes, 50_000),
                plays=min(int(source.paretovariate(0.5)) - 1, 2_000_000),
                visibility="published",
                processing_status="ready",
                coverage=1.0,
                published_at=created,
                created_at=created,
                updated_at=created,
            ),
            _chapters(source, duration),
        )  # fmt: skip


def _chapters(source: random.Random, duration: float) -> tuple[Chapter, ...]:
    count = max(1, min(40, int(duration // 1500)))
    starts = [round(duration * part / count, 3) for part in range(count)] + [duration]
    return tuple(
        Chapter(
            index=index,
            title=f"{source.choice(_ADJECTIVES)} {source.choice(_NOUNS)}",
            start_seconds=start,
            end_seconds=end,
        )
        for index, (start, end) in enumerate(itertools.pairwise(starts))
    )


def _inexact(source: random.Random, day: date) -> str:
    return day.isoformat()[: source.choice((4, 10, 10, 10))]


def _isbn(number: int) -> str:
    digits = f"979{900_000_000 + number:09d}"
    check = -sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(digits)) % 10
    return f"{digits}{check}"


def draw_cover(book: Book) -> bytes:
    """Return a JPEG: the title on a ground of two colours that are the book's own."""
    from PIL import Image, ImageDraw, ImageFont

    source = random.Random(book.id)  # noqa: S311
    dark = tuple(source.randrange(10, 90) for _ in range(3))
    light = tuple(min(255, part + source.randrange(90, 150)) for part in dark)
    picture = Image.new("RGB", (400, 400), dark)
    pen = ImageDraw.Draw(picture)
    for _ in range(4):
        x, y, size = (source.randrange(400) for _ in range(3))
        pen.ellipse((x - size // 2, y - size // 2, x + size // 2, y + size // 2), outline=light, width=3)
    pen.rectangle((0, 250, 400, 400), fill=light)
    lines = textwrap.wrap(book.title, 24)[:3]
    lines.append(", ".join(person.name for person in book.authors)[:40])
    pen.multiline_text((16, 262), "\n".join(lines), fill=dark, font=ImageFont.load_default(26), spacing=4)
    content = BytesIO()
    picture.save(content, "JPEG", quality=70)
    return content.getvalue()
