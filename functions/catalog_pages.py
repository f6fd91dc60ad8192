"""The pages to find books by: search with its filters, an author, a narrator, a series."""

from contextlib import suppress
from typing import Any, Literal
from urllib.parse import urlencode

import azure.functions as func
from pydantic import Field, ValidationError

from core.catalog.index import Filters, Sort
from core.catalog.index.schema import TERM_KINDS
from core.catalog.models import BookSummary
from core.errors import InvalidError, NotFoundError
from functions.catalog import FoundBook, read_term
from functions.http import check_id
from functions.page import Visit, page, redirect, sign_place
from functions.requests import fields_of
from functions.services import services

blueprint = func.Blueprint()

_BOOKS_A_PAGE = 24
_BOOKS_OF_PERSON = 48
_FACET_VALUES = 6
_KEPT = (*TERM_KINDS, "min_duration", "released_from", "released_to", "min_plays")


class Wish(Filters):
    """What somebody looks for, as it stands in the address; without words the catalog is browsed."""

    q: str = Field("", max_length=400)
    sort: Sort | None = None

    def address(self, **changes: Any) -> str:
        """Return the address of this search with something else in it; None leaves it out."""
        said = {
            name: value for name, value in (self.model_dump() | changes).items() if value not in (None, "")
        }
        return f"/search?{urlencode(said)}" if said else "/search"


def _read_wish(visit: Visit) -> Wish:
    said = {name: value.strip() for name, value in visit.request.params.items() if value.strip()}
    try:
        return Wish.model_validate(said)
    except ValidationError as error:
        field, message = fields_of(error)[0]
        raise InvalidError(f"{field}: {message}") from None


@page(blueprint, "search")
async def page_search(visit: Visit) -> func.HttpResponse:
    """Books that fit words and filters, and what they can be narrowed by."""
    wish, place = _read_wish(visit), visit.read_place("search")
    catalog = services().catalog
    if wish.q:
        found = await catalog.search(
            wish.q, _BOOKS_A_PAGE, place, filters=wish, sort=wish.sort, with_facets=True
        )
    else:
        found = await catalog.browse(
            _BOOKS_A_PAGE, place, filters=wish, sort=wish.sort or "newest", with_facets=True
        )
    facets = found.facets or {}
    chosen = []
    for kind in TERM_KINDS:
        if (value := getattr(wish, kind)) is not None:
            name = next((facet.name for facet in facets.get(kind, ()) if facet.id == value), value)
            chosen.append((kind, name, wish.address(**{kind: None})))
    offered = {
        kind: [
            (facet.name, facet.count, wish.address(**{kind: facet.id}))
            for facet in facets.get(kind, ())[:_FACET_VALUES]
        ]
        for kind in TERM_KINDS
        if found.total > 1 and getattr(wish, kind) is None and len(facets.get(kind, ())) > 1
    }
    shape = FoundBook if wish.q else BookSummary
    more = sign_place("search", found.after)
    return visit.render(
        "search.html",
        wish=wish,
        books=[shape.model_validate_json(item) for item in found.items],
        total=found.total,
        searched=found.words,
        chosen=chosen,
        offered=offered,
        is_floor=found.is_floor,
        kept=[(name, getattr(wish, name)) for name in _KEPT if getattr(wish, name) is not None],
        after=place is not None,
        more=more and wish.address(after=more),
        next_path=wish.address(),
    )


@page(blueprint, "authors/{id}")
async def page_author(visit: Visit) -> func.HttpResponse:
    """An author and the newest books."""
    return await _show_person(visit, "author", "narrator")


@page(blueprint, "narrators/{id}")
async def page_narrator(visit: Visit) -> func.HttpResponse:
    """A narrator and the newest books."""
    return await _show_person(visit, "narrator", "author")


async def _show_person(
    visit: Visit, role: Literal["author", "narrator"], other: Literal["author", "narrator"]
) -> func.HttpResponse:
    person_id = check_id(visit.request.route_params["id"])
    person, books, _ = await read_term(services(), role, person_id, _BOOKS_OF_PERSON)
    if person.id != person_id:
        return redirect(f"/{role}s/{person.id}", status=301)
    also = 0
    with suppress(NotFoundError):
        entry, _ = await services().catalog.term(other, person_id, 1)
        also = entry.books
    return visit.render(
        "person.html",
        role=role,
        other=other,
        named=person,
        books=[BookSummary.model_validate_json(book) for book in books],
        also=also,
        canonical=f"{services().settings.public_base_url.rstrip('/')}/{role}s/{person.id}",
    )


@page(blueprint, "series/{id}")
async def page_series(visit: Visit) -> func.HttpResponse:
    """A series and its books, in their order."""
    series_id = check_id(visit.request.route_params["id"])
    series, books, _ = await read_term(services(), "series", series_id, _BOOKS_A_PAGE)
    if series.id != series_id:
        return redirect(f"/series/{series.id}", status=301)
    return visit.render(
        "series.html",
        series=series,
        books=[BookSummary.model_validate_json(book) for book in books],
        canonical=f"{services().settings.public_base_url.rstrip('/')}/series/{series.id}",
    )
