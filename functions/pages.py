"""The pages of the store: the shelf, a book, a cover."""

import asyncio
import re
from contextlib import suppress

import azure.functions as func

from core.catalog.models import BookSummary
from core.commerce.models import Standing
from core.errors import NotFoundError, UnavailableError
from core.recommendations.models import RecommendedBook
from core.transcription.models import JobView
from functions.checkout_pages import make_key
from functions.files import DAY, serve, tag_of
from functions.http import check_id
from functions.page import Visit, page, redirect, sign_place
from functions.prices import preferred_currency, price_for
from functions.recommendations import with_reasons
from functions.services import services

blueprint = func.Blueprint()

_BOOKS_A_PAGE = 24
_ID_LENGTH = 26
_BOOKS_OF_SHELF = 6


@page(blueprint, "{root:maxlength(0)?}")
async def page_home(visit: Visit) -> func.HttpResponse:
    """All books, newest first; for an administrator also what is being made."""
    shelf = await services().catalog.browse(_BOOKS_A_PAGE, visit.read_place("shelf"), with_facets=True)
    jobs: list[JobView] = []
    if visit.is_admin:
        jobs, _ = await services().transcription.jobs(limit=20, after=None)
    return visit.render(
        "home.html",
        books=[BookSummary.model_validate_json(book) for book in shelf.items],
        mine=await _choose(visit),
        genres=(shelf.facets or {}).get("genre", []),
        switch=await services().operations.switch.look() if visit.is_admin else None,
        jobs=[job for job in jobs if job.status != "ready"],
        drafts=await services().catalog.drafts([job.audiobook_id for job in jobs if job.status == "ready"]),
        after="after" in visit.request.params,
        more=sign_place("shelf", shelf.after),
    )


async def _choose(visit: Visit) -> list[RecommendedBook]:
    """Return what the visitor of the first page may like for reasons of their own; the shop opens without."""
    if visit.caller is None or "after" in visit.request.params:
        return []
    with suppress(UnavailableError):
        found = await services().recommendations.for_listener(visit.caller.user_id, _BOOKS_OF_SHELF)
        books = [RecommendedBook.model_validate_json(book) for book in with_reasons(found)]
        return [book for book in books if book.reason.kind not in ("popular", "new")]
    return []


@page(blueprint, "books/{slug}")
async def page_book(visit: Visit) -> func.HttpResponse:
    """One book; its transcript and player for those who may hear it."""
    slug = visit.request.route_params["slug"]
    book_id = check_id(slug[-_ID_LENGTH:])
    book, standing, companions = await asyncio.gather(
        services().catalog.show(book_id, visit.caller), _ask(visit, book_id), _find_companions(book_id)
    )
    if slug != book.slug:
        return redirect(f"/books/{book.slug}", status=301)
    can_listen = bool(book.owned and book.parts) and book.coverage is not None
    listening = services().listening
    return visit.render(
        "book.html",
        book=book,
        can_listen=can_listen,
        price=price_for(book, preferred_currency(visit.request)) if book.visibility == "published" else None,
        standing=standing,
        companions=companions,
        cart_count=standing.cart_size if standing else None,
        key=make_key(),
        progress=await listening.progress.find(visit.user.user_id, book.id) if can_listen else None,
        canonical=f"{services().settings.public_base_url.rstrip('/')}/books/{book.slug}",
    )


async def _ask(visit: Visit, book_id: str) -> Standing | None:
    return await services().commerce.cart.standing(visit.caller, book_id) if visit.caller else None


async def _find_companions(book_id: str) -> list[BookSummary]:
    with suppress(NotFoundError, UnavailableError):
        found = await services().recommendations.also_enjoyed(book_id, _BOOKS_OF_SHELF)
        return [BookSummary.model_validate_json(book) for book in found]
    return []


@page(blueprint, "covers/{id}")
async def page_cover(visit: Visit) -> func.HttpResponse:
    """A book's cover; shared caches may keep that of a published book. `size` is in pixels."""
    book_id = check_id(visit.request.route_params["id"])
    catalog = services().catalog
    given = visit.request.params.get("size", "")
    size = int(given) if re.fullmatch(r"[0-9]{1,4}", given) else 1024
    webp = "image/webp" in visit.request.headers.get("accept", "")
    scope = "public"
    try:
        picture, content_type = await catalog.cover(book_id, None, size, webp=webp)
    except NotFoundError:
        if visit.caller is None:
            raise
        scope = "private"
        picture, content_type = await catalog.cover(book_id, visit.caller, size, webp=webp)
    response = serve(visit.request, picture, content_type, tag_of(picture), f"{scope}, max-age={DAY}")
    response.headers["Vary"] = "Accept"
    return response
