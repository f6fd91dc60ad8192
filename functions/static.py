"""The files that pages load: ours, Swagger UI's, and what crawlers read."""

import azure.functions as func

from core.errors import NotFoundError
from functions.files import DAY, ROOT, YEAR, read_file, serve, static_files, static_version
from functions.page import Visit, page
from functions.services import services

blueprint = func.Blueprint()

_SWAGGER = ROOT / "node_modules" / "swagger-ui-dist"
_SWAGGER_FILES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
_NOT_FOR_CRAWLERS = (
    "/api/",
    "/login",
    "/register",
    "/verify",
    "/reset",
    "/account",
    "/manage",
    "/pictures",
    "/cart",
    "/checkout",
    "/orders",
    "/library",
    "/gifts",
)


@page(blueprint, "static/{*path}", same_for_all=True)
async def page_static(visit: Visit) -> func.HttpResponse:
    """A file that pages load; under the address with the present version it never changes."""
    path = visit.request.route_params.get("path", "")
    name = path.removeprefix(f"{static_version()}/")
    found = static_files().get(name)
    if found is None:
        raise NotFoundError("There is no such file.")
    caching = "public, no-cache" if name == path else f"public, max-age={YEAR}, immutable"
    return serve(visit.request, found.content, found.content_type, found.tag, caching)


@page(blueprint, "docs")
async def page_docs(visit: Visit) -> func.HttpResponse:
    """The API, to read and to try out."""
    return visit.render("docs.html", inline_styles=True)


@page(blueprint, "docs/assets/{name}", same_for_all=True)
async def page_docs_asset(visit: Visit) -> func.HttpResponse:
    """A file of Swagger UI."""
    name = visit.request.route_params["name"]
    if name not in _SWAGGER_FILES or not (_SWAGGER / name).is_file():
        raise NotFoundError("There is no such file.")
    found = read_file(_SWAGGER / name)
    return serve(visit.request, found.content, found.content_type, found.tag, f"public, max-age={DAY}")


@page(blueprint, "robots.txt", same_for_all=True)
async def page_robots(_: Visit) -> func.HttpResponse:
    """What crawlers may read."""
    rules = "".join(f"Disallow: {path}\n" for path in _NOT_FOR_CRAWLERS)
    sitemap = f"{services().settings.public_base_url.rstrip('/')}/sitemap.xml"
    return func.HttpResponse(
        f"User-agent: *\n{rules}\nSitemap: {sitemap}\n",
        headers={"Cache-Control": f"public, max-age={DAY}"},
        mimetype="text/plain",
    )
