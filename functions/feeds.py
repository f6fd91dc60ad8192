"""What crawlers and feed readers ask for, from the index: all books, and those that are new."""

import re
from collections.abc import Iterable
from xml.etree import ElementTree

import azure.functions as func

from core.catalog.listing import PART
from core.catalog.models import BookSummary
from core.errors import NotFoundError
from functions.files import serve, tag_of
from functions.page import Visit, page
from functions.services import services

blueprint = func.Blueprint()

_NEW_BOOKS = 50
_HOUR = "public, max-age=3600"
_SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"
_ATOM = "http://www.w3.org/2005/Atom"
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _site() -> str:
    return services().settings.public_base_url.rstrip("/")


def _add(parent: ElementTree.Element, name: str, text: str = "", **attributes: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name, attributes)
    element.text = _NO_XML.sub("", text)
    return element


def _respond(visit: Visit, root: ElementTree.Element, content_type: str) -> func.HttpResponse:
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return serve(visit.request, content, content_type, tag_of(content), _HOUR)


def _list(root: str, entry: str, addresses: Iterable[str]) -> ElementTree.Element:
    element = ElementTree.Element(root, {"xmlns": _SITEMAP})
    for address in addresses:
        _add(_add(element, entry), "loc", address)
    return element


@page(blueprint, "sitemap.xml", same_for_all=True)
async def page_sitemap(visit: Visit) -> func.HttpResponse:
    """The addresses of all published books, their people and series; of very many, a list of parts."""
    part = visit.request.params.get("part")
    if part is not None and not re.fullmatch(r"[1-9][0-9]{0,4}", part):
        raise NotFoundError("There is no such part.")
    found = await services().catalog.addresses(int(part or 1) - 1)
    if part is None and found.total > PART:
        parts = range(1, -(-found.total // PART) + 1)
        addresses = [f"{_site()}/sitemap.xml?part={number}" for number in parts]
        return _respond(visit, _list("sitemapindex", "sitemap", addresses), "application/xml")
    own = ["/", "/search"] if part in (None, "1") else []
    addresses = [f"{_site()}{path}" for path in (*own, *found.paths)]
    return _respond(visit, _list("urlset", "url", addresses), "application/xml")


@page(blueprint, "feed.xml", same_for_all=True)
async def page_feed(visit: Visit) -> func.HttpResponse:
    """The books that were published last, as an Atom feed."""
    shelf = await services().catalog.browse(_NEW_BOOKS)
    books = [BookSummary.model_validate_json(item) for item in shelf.items]
    feed = ElementTree.Element("feed", {"xmlns": _ATOM})
    _add(feed, "id", f"{_site()}/feed.xml")
    _add(feed, "title", "Aloud: new books")
    _add(feed, "link", href=f"{_site()}/feed.xml", rel="self")
    _add(feed, "link", href=f"{_site()}/")
    newest = max((book.published_at or book.created_at for book in books), default=None)
    _add(feed, "updated", newest.isoformat() if newest else "1970-01-01T00:00:00Z")
    for book in books:
        entry = _add(feed, "entry")
        at = (book.published_at or book.created_at).isoformat()
        _add(entry, "id", f"{_site()}/books/{book.id}")
        _add(entry, "title", book.title)
        _add(entry, "link", href=f"{_site()}/books/{book.slug}")
        _add(entry, "published", at)
        _add(entry, "updated", at)
        for name in [person.name for person in book.authors] or ["Unknown"]:  # an entry needs an author
            _add(_add(entry, "author"), "name", name)
        if book.summary:
            _add(entry, "summary", book.summary)
    return _respond(visit, feed, "application/atom+xml")
