"""The catalog over HTTP: browse, search, people; a book and, for who may hear it, its audio and text."""

import json
from dataclasses import asdict
from typing import Any, Literal

import azure.functions as func
from pydantic import BaseModel, Field

from core.catalog.index import Filters, Page, Sort
from core.catalog.models import BookDetail, BookSummary, Chapter
from core.catalog.service import TermKind
from core.errors import NotFoundError
from core.wiring import Services
from functions.http import API, Call, Listing, Payload, Reply, check_id, endpoint
from functions.media import (
    FORM_TYPES,
    LinkReply,
    RedirectQuery,
    StreamQuery,
    TranscriptQuery,
    lead_to,
    show_transcript,
)

blueprint = func.Blueprint()


class BrowseQuery(Listing, Filters):
    """A list of books: all filters that are given hold."""

    sort: Sort = "newest"
    facets: bool = Field(False, description="Count what the found books can be narrowed by.")


class SearchQuery(Listing, Filters):
    """As when browsing, with words; the last one may be unfinished."""

    q: str = Field(min_length=1, max_length=400)
    sort: Sort | Literal["relevance"] = "relevance"
    facets: bool = Field(False, description="Count what the found books can be narrowed by.")


class SuggestQuery(Payload):
    """What has been typed so far."""

    q: str = Field(min_length=1, max_length=200)
    limit: int = Field(8, ge=1, le=20)


class LimitQuery(Payload):
    """How many at most."""

    limit: int = Field(12, ge=1, le=100)


class FacetValue(BaseModel):
    """A value to filter by, and how many of the found books have it."""

    id: str
    name: str
    count: int


class BookList(BaseModel):
    """A page of books."""

    items: list[BookSummary]
    next_cursor: str | None
    total: int
    facets: dict[str, list[FacetValue]] | None = Field(None, description="By the name of the filter.")
    facets_are_floor: bool | None = Field(
        None,
        description="Whether so many books were found that the counts of the facets are the least there are.",
    )


class Highlights(BaseModel):
    """Texts of a book that have the words in them, as HTML with the words in <mark>."""

    title: str | None = None
    subtitle: str | None = None
    authors: str | None = None
    narrators: str | None = None
    series: str | None = None
    tags: str | None = None
    summary: str | None = None
    description: str | None = None


class FoundBook(BookSummary):
    """A book in a search's list."""

    highlights: Highlights


class FoundList(BookList):
    """A page of found books; `searched` are the words that were searched in place of the given ones."""

    items: list[FoundBook]  # type: ignore[assignment]
    searched: str | None = None


class SuggestionEntry(BaseModel):
    """`kind` is book, author, narrator, series or genre."""

    kind: Literal["book", "author", "narrator", "series", "genre"]
    id: str
    text: str


class SuggestionList(BaseModel):
    """Names and titles."""

    items: list[SuggestionEntry]


class RelatedList(BaseModel):
    """Books that have something in common with one, the nearest first."""

    items: list[BookSummary]


class TermView(BaseModel):
    """An author, a narrator, a genre or a series, with the number of its published books."""

    id: str
    name: str
    book_count: int


class TermList(BaseModel):
    """A page of them, by name."""

    items: list[TermView]
    next_cursor: str | None
    total: int


class TermAbout(TermView):
    """One of them with what administrators say of it."""

    about: str | None = None


class TermDetail(TermAbout):
    """One of them with its books: a person's newest, a series' in its order."""

    books: list[BookSummary]


class ChapterList(BaseModel):
    """All chapters of a book."""

    items: list[Chapter]


@endpoint(blueprint, "GET", f"{API}/audiobooks", query=BrowseQuery, reply=BookList)
async def browse_books(call: Call[None, BrowseQuery]) -> Reply:
    """List published books, filtered and in an order."""
    page = await call.services.catalog.browse(
        call.query.limit,
        call.after,
        filters=call.query,
        sort=call.query.sort,
        with_facets=call.query.facets,
    )
    return _page(call, page)


@endpoint(blueprint, "GET", f"{API}/audiobooks/search", query=SearchQuery, reply=FoundList)
async def browse_books_by_search(call: Call[None, SearchQuery]) -> Reply:
    """Search published books by title, people, series, tags and summary.

    The best first; accents do not matter, the last word may be unfinished, likely misspellings are corrected.
    """
    page = await call.services.catalog.search(
        call.query.q,
        call.query.limit,
        call.after,
        filters=call.query,
        sort=None if call.query.sort == "relevance" else call.query.sort,
        with_facets=call.query.facets,
    )
    return _page(call, page, searched=page.words)


def _page(call: Call[None, Any], page: Page, **more: Any) -> Reply:
    """Join the books as the index holds them: what is JSON already is not read and written again."""
    rest: dict[str, Any] = {"next_cursor": call.next_cursor(page.after), "total": page.total, **more}
    if page.facets is not None:
        rest["facets"] = {kind: [asdict(value) for value in values] for kind, values in page.facets.items()}
        rest["facets_are_floor"] = page.is_floor
    content = f'{{"items":[{",".join(page.items)}],{json.dumps(rest)[1:]}'
    return Reply(content, etag=f"catalog-{page.revision}")


@endpoint(blueprint, "GET", f"{API}/audiobooks/suggest", query=SuggestQuery, reply=SuggestionList)
async def browse_books_by_suggestion(call: Call[None, SuggestQuery]) -> SuggestionList:
    """Suggest names and titles while somebody types."""
    found = await call.services.catalog.suggest(call.query.q, call.query.limit)
    return SuggestionList(items=[SuggestionEntry.model_validate(asdict(entry)) for entry in found])


@endpoint(blueprint, "GET", f"{API}/audiobooks/{{id}}", reply=BookDetail)
async def get_book(call: Call[None, Any]) -> Reply:
    """Show one book.

    A draft is shown to its publisher and to administrators alone; to others it does not exist.
    """
    book = await call.services.catalog.show(check_id(call.params["id"]), call.caller)
    return Reply(book, etag=str(book.revision))


@endpoint(blueprint, "GET", f"{API}/audiobooks/{{id}}/chapters", reply=ChapterList)
async def get_book_chapters(call: Call[None, Any]) -> ChapterList:
    """List the chapters of a book."""
    chapters = await call.services.catalog.chapters(check_id(call.params["id"]), call.caller)
    return ChapterList(items=chapters)


@endpoint(
    blueprint,
    "GET",
    f"{API}/audiobooks/{{id}}/sample",
    query=RedirectQuery,
    reply=LinkReply,
    status=302,
)
async def get_book_sample(call: Call[None, RedirectQuery]) -> Reply:
    """Go to a short excerpt of a book, an mp3 that anybody may hear.

    404 where there is none: the detail's `has_sample` tells. With `redirect=false`: 200 and the address as
    JSON.
    """
    link = await call.services.catalog.sample(check_id(call.params["id"]), call.caller)
    return lead_to(link, call.query)


@endpoint(blueprint, "GET", f"{API}/audiobooks/{{id}}/similar", query=LimitQuery, reply=RelatedList)
async def get_book_relatives(call: Call[None, LimitQuery]) -> Reply:
    """List books that share people, series, tags or genres with this one."""
    found = await call.services.catalog.similar(check_id(call.params["id"]), call.query.limit)
    return Reply(f'{{"items":[{",".join(found)}]}}')


async def _terms(call: Call[None, Listing], kind: TermKind) -> TermList:
    page = await call.services.catalog.terms(kind, call.query.limit, call.after)
    items = [TermView(id=term.id, name=term.name, book_count=term.books) for term in page.items]
    return TermList(items=items, next_cursor=call.next_cursor(page.after), total=page.total)


async def read_term(
    services: Services, kind: TermKind, term_id: str, limit: int
) -> tuple[TermAbout, list[str], str]:
    """Return what is known of a person or a series, books as JSON, and the ETag of both together.

    What once had another id is shown under its own. Raises NotFoundError.
    """
    known = await services.names.find("series" if kind == "series" else "person", term_id)
    books: list[str] = []
    of_catalog = 0
    try:
        term, books = await services.catalog.term(kind, known.id if known else term_id, limit)
        view, of_catalog = TermAbout(id=term.id, name=term.name, book_count=term.books), term.revision
    except NotFoundError:
        if known is None:
            raise
        view = TermAbout(id=known.id, name=known.name, book_count=0)
    about = view.model_copy(update={"about": known.about if known else None})
    return about, books, f"{known.revision if known else 0}.{of_catalog}"  # guards look at the first part


async def _term(call: Call[None, LimitQuery], kind: TermKind) -> Reply:
    term_id = check_id(call.params["id"])
    about, books, tag = await read_term(call.services, kind, term_id, call.query.limit)
    return Reply(f'{about.model_dump_json()[:-1]},"books":[{",".join(books)}]}}', etag=tag)


@endpoint(blueprint, "GET", f"{API}/authors", query=Listing, reply=TermList)
async def list_authors(call: Call[None, Listing]) -> TermList:
    """List the authors of published books, by name."""
    return await _terms(call, "author")


@endpoint(blueprint, "GET", f"{API}/authors/{{id}}", query=LimitQuery, reply=TermDetail)
async def get_author(call: Call[None, LimitQuery]) -> Reply:
    """Show an author and the newest books."""
    return await _term(call, "author")


@endpoint(blueprint, "GET", f"{API}/narrators", query=Listing, reply=TermList)
async def list_narrators(call: Call[None, Listing]) -> TermList:
    """List the narrators of published books, by name."""
    return await _terms(call, "narrator")


@endpoint(blueprint, "GET", f"{API}/narrators/{{id}}", query=LimitQuery, reply=TermDetail)
async def get_narrator(call: Call[None, LimitQuery]) -> Reply:
    """Show a narrator and the newest books."""
    return await _term(call, "narrator")


@endpoint(blueprint, "GET", f"{API}/genres", query=Listing, reply=TermList)
async def list_genres(call: Call[None, Listing]) -> TermList:
    """List the genres of published books, by name."""
    return await _terms(call, "genre")


@endpoint(blueprint, "GET", f"{API}/series", query=Listing, reply=TermList)
async def list_series(call: Call[None, Listing]) -> TermList:
    """List the series of published books, by name."""
    return await _terms(call, "series")


@endpoint(blueprint, "GET", f"{API}/series/{{id}}", query=LimitQuery, reply=TermDetail)
async def get_series(call: Call[None, LimitQuery]) -> Reply:
    """Show a series and its books, in their order."""
    return await _term(call, "series")


@endpoint(
    blueprint,
    "GET",
    f"{API}/audiobooks/{{id}}/stream",
    access="listener",
    query=StreamQuery,
    reply=LinkReply,
    status=302,
    failures=(403, 409),
)
async def stream_book(call: Call[None, StreamQuery]) -> Reply:
    """Go to the audio, which serves ranges; `part` picks a file of a book in several.

    The address ends after half an hour; ask again for another. With `redirect=false`: 200 and the
    address as JSON.
    """
    link = await call.services.catalog.stream(check_id(call.params["id"]), call.caller, call.query.part)
    return lead_to(link, call.query)


@endpoint(
    blueprint,
    "GET",
    f"{API}/audiobooks/{{id}}/transcript",
    access="listener",
    query=TranscriptQuery,
    content_types=tuple(FORM_TYPES.values()),
    failures=(403, 409),
)
async def get_book_transcript(call: Call[None, TranscriptQuery]) -> Reply:
    """Read the transcript: timed segments as JSON, plain text, SRT or WebVTT."""
    form = call.query.format
    content, slug = await call.services.catalog.transcript(check_id(call.params["id"]), form, call.caller)
    return show_transcript(content, form, slug)
