"""The catalog at size: search and browse in-process and over HTTP, beside PostgreSQL with the same books."""

import asyncio
import csv
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from bench.postgres import PEERS, has_peer, start_app, start_postgres
from bench.process import read_peak_mb
from bench.rows import Limit, Peer, Row
from core.catalog.index import CatalogPublisher, CatalogReader, Filters, documents, query, schema
from core.catalog.index.files import Packed, pack_base
from core.catalog.index.pointer import BASES, POINTER, Base, Pointer
from core.catalog.index.publish import make_dense, to_document
from core.catalog.models import BookDetail, Chapters
from core.catalog.store import COUNTED, BookStore, ChangeStore, StoredBook
from core.settings import Settings
from core.storage import StorageAccount
from localhost.azurite import STORAGE
from localhost.seed.books import Words, generate
from tests.aloud import Aloud

BOOKS = int(os.environ.get("BENCH_BOOKS", "100000"))
QUICK_BOOKS = 5000
CONNECTIONS = 32
_POSTGRES = "PostgreSQL, FastAPI"
_SORTS = ("newest", "popular", "rating", "title", "duration", "price")
_GENRES = ("Fiction", "Mystery", "Romance", "Fantasy", "History", "Poetry", "Horror")


@dataclass(frozen=True)
class Times:
    """Seconds of each request, and of all of them together."""

    each: list[float]
    whole: float

    @property
    def rate(self) -> float:
        return len(self.each) / self.whole

    def part(self, share: float) -> float:
        """Milliseconds that this share of the requests took at most."""
        return sorted(self.each)[min(len(self.each) - 1, int(len(self.each) * share))] * 1000


@dataclass
class Shelf:
    """The generated books, and what people ask for."""

    books: list[BookDetail]
    words: Words

    def searches(self, count: int) -> list[str]:
        """Titles, people, words of summaries, unfinished and misspelt ones: each text once."""
        source = random.Random(3)
        found: dict[str, None] = {}
        while len(found) < count:
            book = source.choice(self.books)
            title, author = book.title.split(), book.authors[0].name
            text = source.choice((
                " ".join(title[:3]),
                " ".join(source.sample(title, min(2, len(title)))),
                author,
                f"{author.split()[-1]} {title[-1]}",
                " ".join(self.words.draw(source, 2)),
                f"{self.words.draw(source, 1)[0]} {title[-1]}",
                _misspell(source, " ".join(title[:2])),
                " ".join(title)[: source.randint(4, 12)],
            ))  # fmt: skip
            found[text] = None
        return list(found)

    def filters(self, count: int) -> list[dict[str, str]]:
        source = random.Random(4)
        found = []
        for _ in range(count):
            wanted = {"sort": source.choice(_SORTS)}
            if source.random() < 0.6:
                wanted["genre"] = source.choice(_GENRES)
            if source.random() < 0.3:
                wanted["language"] = source.choice(("en", "de", "fr"))
            if source.random() < 0.2:
                wanted["max_price"] = str(source.choice((0, 999, 1499)))
            found.append(wanted)
        return found


def _misspell(source: random.Random, text: str) -> str:
    at = source.randrange(len(text) - 1)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


async def measure(quick: bool) -> AsyncIterator[Row]:
    count = QUICK_BOOKS if quick else BOOKS
    asked = 600 if quick else 2000
    with tempfile.TemporaryDirectory(prefix="aloud-bench-") as folder:
        file, packed = Path(folder, "base.sqlite"), Path(folder, "base.gz")
        started = time.perf_counter()
        shelf = _compile(file, count)
        built = time.perf_counter() - started
        done = pack_base(file, packed)
        yield Row(f"{count} books: full build, compression included", time.perf_counter() - started, "s",
                  note=f"{built:.0f} s without; books generated meanwhile")  # fmt: skip
        yield Row(f"{count} books: index on disk", file.stat().st_size / 1e6, "MB")
        yield Row(f"{count} books: base as it is downloaded", done.size / 1e6, "MB")
        searches, filters = shelf.searches(asked), shelf.filters(asked)
        for row in _measure_in_process(file, searches, filters):
            yield row
        async with Aloud.start(CATALOG_REFRESH_SECONDS="5") as aloud:
            async for row in _measure_instance(aloud, done, count, shelf):
                yield row
            api = f"{aloud.base_url}/api/v1/audiobooks"
            ours = [await _load(f"{api}{path}", wanted) for path, wanted in _requests(searches, filters)]
            yield Row("memory of the process that serves", read_peak_mb(aloud.pid), "MB",
                      note="most at any moment, the local host included")  # fmt: skip
        if not has_peer():
            for name, times in zip(("search", "browse"), ours, strict=True):
                for row in _compare(name, times, None):
                    yield row
            return
        async with _peer(shelf, Path(folder)) as (address, seconds):
            yield Row(f"{count} books: {_POSTGRES}, load and indexes", seconds, "s")
            theirs = [
                await _load(f"{address}/audiobooks{path}", wanted)
                for path, wanted in _requests(searches, filters)
            ]
        for name, own, other in zip(("search", "browse"), ours, theirs, strict=True):
            for row in _compare(name, own, other):
                yield row


def _requests(
    searches: Sequence[str], filters: Sequence[dict[str, str]]
) -> list[tuple[str, Sequence[dict[str, str]]]]:
    return [("/search", [{"q": text} for text in searches]), ("", filters)]


def _compare(name: str, own: Times, other: Times | None) -> list[Row]:
    rows = [
        Row(f"{name} over HTTP, {CONNECTIONS} connections", own.rate, "requests/s",
            Peer(_POSTGRES, other.rate) if other else None),
        *(
            Row(f"{name} over HTTP, p{share:.0%}"[:-1], own.part(share), "ms",
                Peer(_POSTGRES, other.part(share)) if other else None)
            for share in (0.5, 0.95, 0.99)
        ),
    ]  # fmt: skip
    if other is not None:
        rows.append(
            Row(f"{name}: throughput in parts of the peer's", own.rate / other.rate, "×", Limit("≥", 2))
        )
        rows.append(
            Row(f"{name}: p95 in parts of the peer's", own.part(0.95) / other.part(0.95), "×", Limit("<", 1))
        )
    return rows


def _compile(file: Path, count: int) -> Shelf:
    words = Words()
    books: list[BookDetail] = []
    with closing(schema.create(file)) as database:
        change = documents.Change(database)
        for book, chapters in generate(count, words=words):
            document = to_document(book.id, StoredBook(book, Chapters(items=chapters)))
            change.put_all([document])
            assert document.book is not None
            books.append(document.book)
        change.finish(1)
    make_dense(file)
    return Shelf(books, words)


def _measure_in_process(file: Path, searches: Sequence[str], filters: Sequence[dict[str, str]]) -> list[Row]:
    with closing(schema.connect_reader(file)) as database:

        def timed(questions: Sequence[Callable[[], object]]) -> Times:
            each = []
            started = time.perf_counter()
            for question in questions:
                begun = time.perf_counter()
                question()
                each.append(time.perf_counter() - begun)
            return Times(each, time.perf_counter() - started)

        def browse(wanted: dict[str, Any]) -> object:
            rest = {name: value for name, value in wanted.items() if name != "sort"}
            return query.browse(database, Filters.model_validate(rest), wanted["sort"], 20)

        names = {
            "search": timed([lambda q=q: query.search(database, q, Filters(), 20) for q in searches]),  # type: ignore[misc]
            "browse": timed([lambda w=w: browse(w) for w in filters]),  # type: ignore[misc]
        }
    return [
        Row(f"{name} in-process, p{share:.0%}"[:-1], times.part(share), "ms")
        for name, times in names.items()
        for share in (0.5, 0.95, 0.99)
    ]


async def _measure_instance(aloud: Aloud, packed: Packed, count: int, shelf: Shelf) -> AsyncIterator[Row]:
    """Publish the base, let instances take it, change one book, and see what that costs."""
    account = StorageAccount(Settings.read({STORAGE: aloud.connection_string, "JWT_SIGNING_KEY": "k" * 32}))
    container = account.container("catalog")
    base = Base(
        file=f"{BASES}{1:012d}-bench.sqlite.gz",
        revision=1,
        books=count,
        size=packed.size,
        digest=packed.digest,
    )
    await container.write(base.file, packed.path, "application/gzip")
    pointer = Pointer(revision=1, content=1, base=base).model_dump_json().encode()
    await container.write(POINTER, pointer, "application/json")

    async def nobody() -> None: ...

    reader = CatalogReader(container, 3600, nobody)
    changes = ChangeStore(account.table("changes"))
    store = BookStore(account.table("books"), changes)
    try:
        started = time.perf_counter()
        await reader.refresh()
        yield Row("download and open of a new instance", time.perf_counter() - started, "s")
        async with asyncio.timeout(120):
            while (await aloud.get("/api/v1/audiobooks"))["total"] != count:
                await asyncio.sleep(0.2)
        counts = ChangeStore(account.table("changes"), COUNTED)
        publisher = CatalogPublisher(container, store, changes, counts, reader)
        book, chapters = next(generate(1, first=count + 1, words=shelf.words))
        await store.create(book.model_copy(update={"title": "Zyxwv Unheard"}), chapters)
        started = time.perf_counter()
        await publisher.publish()
        yield Row("incremental build of one changed book", time.perf_counter() - started, "s")
        newest = Pointer.model_validate_json(await container.read(POINTER))
        bytes_ = len(newest.model_dump_json()) + newest.segments[-1].size
        yield Row("downloaded by an instance per change", bytes_ / 1e6, "MB", Limit("<", 1))
        async with asyncio.timeout(60):
            while not (await aloud.get("/api/v1/audiobooks/search?q=zyxwv"))["total"]:
                await asyncio.sleep(0.05)
        yield Row(
            "a change is visible on another instance", time.perf_counter() - started, "s", Limit("<", 15)
        )
    finally:
        await reader.close()
        await account.close()


async def _load(address: str, wanted: Sequence[dict[str, str]]) -> Times:
    """Ask everything once over 32 connections, after a few requests that warm up."""
    urls = [f"{address}?{urlencode(parameters)}" for parameters in wanted]
    each: list[float] = []

    async def work(http: aiohttp.ClientSession, queue: list[str]) -> None:
        while queue:
            url = queue.pop()
            begun = time.perf_counter()
            async with http.get(url) as answer:
                content = await answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{url} answered {answer.status}: {content[:200]!r}")
            each.append(time.perf_counter() - begun)

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as http:
        await asyncio.gather(*(work(http, queue) for queue in [urls[:40]] for _ in range(CONNECTIONS)))
        each.clear()
        rest = urls[40:]
        started = time.perf_counter()
        await asyncio.gather(*(work(http, rest) for _ in range(CONNECTIONS)))
        return Times(list(each), time.perf_counter() - started)


# The peer


@asynccontextmanager
async def _peer(shelf: Shelf, folder: Path) -> AsyncIterator[tuple[str, float]]:
    """Run the peer with the same books; yield where it is, and how long it loaded."""
    async with start_postgres(folder) as postgres:
        rows = folder / "books.csv"
        _write_rows(shelf, rows)
        started = time.perf_counter()
        await postgres.run("-f", PEERS / "schema.sql")
        columns = "id, title, head, summary, tags, description, newest, popular, rating, duration, price, "
        columns += "stars, language, genres, authors, card"
        await postgres.run("-c", f"\\copy books ({columns}) FROM '{rows}' CSV")
        await postgres.run("-f", PEERS / "indexes.sql")
        loaded = time.perf_counter() - started
        async with start_app("app", postgres) as address:
            yield address, loaded


def _write_rows(shelf: Shelf, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for book in shelf.books:
            people = [*book.authors, *book.narrators]
            head = [book.subtitle or "", *(person.name for person in people)]
            head += [book.series.name] if book.series else []
            card = book.model_dump_json(include=documents.CARD_FIELDS | {"summary"})
            array = "{{{}}}".format
            writer.writerow((
                book.id, book.title, " ".join(head), book.summary, " ".join([*book.tags, *book.genres]),
                book.description, (book.published_at or book.created_at).isoformat(), book.plays,
                documents.rating_of(book), book.duration_seconds, book.price.amount if book.price else 0,
                book.rating_average or 0, book.language,
                array(",".join(f'"{genre}"' for genre in book.genres)),
                array(",".join(f'"{person.name}"' for person in book.authors)), card,
            ))  # fmt: skip
    path.chmod(0o644)
