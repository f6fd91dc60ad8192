"""The library's pages: what somebody owns, to hear and to keep; and the ZIPs that are made of it."""

import asyncio

import azure.functions as func

from core.errors import AloudError
from functions.forms import explain, read_own_form
from functions.http import check_id
from functions.page import Visit, page, redirect, sign_place
from functions.services import services

blueprint = func.Blueprint()

_BOOKS_A_PAGE = 24
_CHOSEN = "book-"


@page(blueprint, "library", access="listener", secret=True)
async def page_library(visit: Visit) -> func.HttpResponse:
    """One's own books, the last bought first, with the place to go on at."""
    user_id = visit.user.user_id
    commerce = services().commerce
    (books, following), archives = await asyncio.gather(
        commerce.library.books(user_id, _BOOKS_A_PAGE, visit.read_place("library")),
        commerce.archives.of(user_id),
    )
    places = await services().listening.progress.among(user_id, [book.id for book in books])
    return visit.render(
        "library.html",
        books=books,
        places=places,
        archives=[archive for archive in archives if archive.status != "expired"],
        after=visit.request.params.get("after", ""),
        more=sign_place("library", following),
    )


@page(blueprint, "library/downloads", "POST", access="listener", secret=True)
async def page_archive_begin(visit: Visit) -> func.HttpResponse:
    """Have a ZIP made of the chosen books, and lead to where it is seen coming along."""
    form = read_own_form(visit, max_fields=_BOOKS_A_PAGE + 2)
    book_ids = [check_id(name.removeprefix(_CHOSEN)) for name in form if name.startswith(_CHOSEN)]
    if not book_ids:
        return redirect("/library", news="Choose the books first, then have the ZIP made.")
    try:
        archive = await services().commerce.archives.begin(book_ids, visit.user)
    except AloudError as error:
        if error.status >= 500:
            raise
        said = dict(getattr(error, "fields", ()))
        return redirect("/library", news=said.get("audiobook_ids") or explain(error))
    return redirect(f"/library/downloads/{archive.id}")


@page(blueprint, "library/downloads/{id}", access="listener", secret=True)
async def page_archive(visit: Visit) -> func.HttpResponse:
    """How a ZIP comes along; once it is ready, where to load it."""
    archive = await services().commerce.archives.show(_archive_id(visit), visit.user)
    return visit.render("archive.html", archive=archive)


@page(blueprint, "library/downloads/{id}/file", access="listener", secret=True)
async def page_archive_file(visit: Visit) -> func.HttpResponse:
    """Lead to the file of a ZIP, by a link that is good for some minutes."""
    archive = await services().commerce.archives.show(_archive_id(visit), visit.user)
    if archive.url is None:
        return redirect(f"/library/downloads/{archive.id}")
    return func.HttpResponse(status_code=303, headers={"Location": archive.url})


def _archive_id(visit: Visit) -> str:
    return check_id(visit.request.route_params["id"])
