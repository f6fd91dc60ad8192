"""The pages that people see, rendered on the server, and the files that they load."""

from __future__ import annotations

import hashlib
import mimetypes
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, quote, urlsplit

import azure.functions as func
from pydantic import ValidationError

from core.caller import Caller
from core.errors import (
    AloudError,
    ForbiddenError,
    InvalidError,
    MalformedRequestError,
    NotFoundError,
    ThrottledError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaError,
)
from core.storage.account import count_calls
from core.transcription.models import JobView
from functions.accounts import RegisterRequest
from functions.http import (
    check_form_token,
    check_id,
    cookie_name,
    describe_error,
    finish,
    form_token,
    request_id_of,
    services,
    signer,
    site_cookie,
)

if TYPE_CHECKING:
    from jinja2 import Environment

blueprint = func.Blueprint()

_ROOT = Path(__file__).parent.parent
_STATIC = _ROOT / "web" / "static"
_SWAGGER = _ROOT / "node_modules" / "swagger-ui-dist"
_SWAGGER_FILES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
_BOOKS_A_PAGE = 24
_ID_LENGTH = 26
_MAX_FORM_BYTES = 16 * 1024
_FORM_SECONDS = 3600
_DAY = 86400
_YEAR = 365 * _DAY

Form = Mapping[str, str]


@dataclass(frozen=True)
class Visit:
    """One request for a page, and who makes it."""

    request: func.HttpRequest
    caller: Caller | None
    request_id: str

    @property
    def path(self) -> str:
        return urlsplit(self.request.url).path or "/"

    @property
    def is_admin(self) -> bool:
        return self.caller is not None and self.caller.is_admin

    def render(
        self,
        template: str,
        *,
        status: int = 200,
        cookie: str | None = None,
        next_path: str | None = None,
        inline_styles: bool = False,
        **context: object,
    ) -> func.HttpResponse:
        """Answer with a template. `next_path` is where a sign-in that starts here leads (None: back here)."""
        target = self.path if next_path is None else next_path
        html = (
            _templates()
            .get_template(template)
            .render(
                context,
                path=self.path,
                caller=self.caller,
                is_admin=self.is_admin,
                csrf=form_token(self.caller.session_id) if self.caller else "",
                next_query="" if target == "/" else f"?next={quote(target, safe='/')}",
            )
        )
        headers = {"Content-Security-Policy": _policy(inline_styles), "Cache-Control": "private, no-cache"}
        if cookie is not None:
            headers["Set-Cookie"] = cookie
        return func.HttpResponse(
            html, status_code=status, headers=headers, mimetype="text/html", charset="utf-8"
        )


PageHandler = Callable[[Visit], Awaitable[func.HttpResponse]]
HttpFunction = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]


def page(route: str, *methods: str, same_for_all: bool = False) -> Callable[[PageHandler], HttpFunction]:
    """Register an async handler as a page; without `methods` it answers GET and HEAD.

    What is `same_for_all` is served without asking who wants it.
    """

    def register(handler: PageHandler) -> HttpFunction:
        async def run(req: func.HttpRequest) -> func.HttpResponse:
            return await _serve(req, handler, same_for_all)

        run.__name__ = handler.__name__
        run.__doc__ = handler.__doc__
        run.__module__ = handler.__module__
        allowed = methods or ("GET", "HEAD")
        blueprint.route(route=route, methods=allowed, auth_level=func.AuthLevel.ANONYMOUS)(run)
        return run

    return register


async def not_found_page(req: func.HttpRequest) -> func.HttpResponse:
    """Answer for an address that no page has."""

    async def refuse(_: Visit) -> func.HttpResponse:
        raise NotFoundError("There is nothing at this address.")

    return await _serve(req, refuse, same_for_all=False)


async def _serve(req: func.HttpRequest, handler: PageHandler, same_for_all: bool) -> func.HttpResponse:
    """Find the visitor, run the handler, turn errors into pages, end a session cookie that is no good."""
    started = time.perf_counter()
    calls = count_calls()
    request_id = request_id_of(req)
    visit = Visit(req, None, request_id)
    ended = False
    try:
        cookie = None if same_for_all else site_cookie(req)
        if cookie is not None:
            try:
                visit = Visit(req, await services().accounts.caller_of_cookie(cookie), request_id)
            except UnauthenticatedError:
                ended = True
        response = await handler(visit)
    except Exception as error:
        response = _error_page(describe_error(error, request_id), visit)
    if ended and "Set-Cookie" not in response.headers:
        response.headers["Set-Cookie"] = _cookie(cookie_name(), "", 0)
    return finish(response, req, request_id, time.perf_counter() - started, calls[0])


def _error_page(error: AloudError, visit: Visit) -> func.HttpResponse:
    detail = error.detail if error.status < 500 else "Please try again in a moment."
    response = visit.render(
        "error.html",
        status=error.status,
        next_path="/",
        code=error.status,
        title=error.title,
        detail=detail,
        request_id=visit.request_id,
    )
    response.headers.update(_retry_after(error))
    return response


def _retry_after(error: AloudError) -> dict[str, str]:
    if not isinstance(error, (ThrottledError, UnavailableError)):
        return {}
    return {"Retry-After": str(round(error.retry_after or 5))}


# The store


@page("{root:maxlength(0)?}")
async def page_home(visit: Visit) -> func.HttpResponse:
    """All books, newest first; for an administrator also what is being made."""
    shelf = await services().catalog.browse(_BOOKS_A_PAGE, _read_after(visit.request))
    jobs: list[JobView] = []
    if visit.is_admin:
        jobs, _ = await services().transcription.jobs(limit=20, after=None)
    return visit.render(
        "home.html",
        books=shelf.items,
        jobs=[job for job in jobs if job.status != "ready"],
        drafts=await services().catalog.drafts([job.audiobook_id for job in jobs if job.status == "ready"]),
        after="after" in visit.request.params,
        more_query=f"?after={signer().sign('shelf', shelf.after)}" if shelf.after else "",
    )


def _read_after(req: func.HttpRequest) -> tuple[str, str] | None:
    text = req.params.get("after")
    if text is None:
        return None
    try:
        place = signer().read("shelf", text)
    except ValueError:
        raise NotFoundError("There is no such page of books.") from None
    return cast("tuple[str, str]", place)


@page("books/{slug}")
async def page_book(visit: Visit) -> func.HttpResponse:
    """One book; its transcript and player for those who may hear it."""
    slug = visit.request.route_params["slug"]
    book = await services().catalog.show(check_id(slug[-_ID_LENGTH:]), visit.caller)
    if slug != book.slug:
        return _redirect(f"/books/{book.slug}", 301)
    return visit.render(
        "book.html",
        book=book,
        can_listen=bool(book.owned) and book.processing_status == "ready",
        canonical=f"{services().settings.public_base_url.rstrip('/')}/books/{book.slug}",
    )


@page("covers/{id}")
async def page_cover(visit: Visit) -> func.HttpResponse:
    """A book's cover; shared caches may keep that of a published book."""
    book_id = check_id(visit.request.route_params["id"])
    catalog = services().catalog
    scope = "public"
    try:
        picture, content_type = await catalog.cover(book_id, None)
    except NotFoundError:
        if visit.caller is None:
            raise
        scope = "private"
        picture, content_type = await catalog.cover(book_id, visit.caller)
    return _file(visit.request, picture, content_type, _tag(picture), f"{scope}, max-age={_DAY}")


# Sign in, join, sign out


@page("login")
async def page_login(visit: Visit) -> func.HttpResponse:
    """The form to sign in."""
    return _first_form(visit, "login.html")


@page("login", "POST")
async def page_login_submit(visit: Visit) -> func.HttpResponse:
    """Sign in, and go on to where the visitor came from."""
    form = _read_form(visit.request)
    email, target = form.get("email", ""), local_path(form.get("next"))
    try:
        _check_first_form(visit.request, form)
        session = await services().accounts.open_site_session(email, form.get("password", ""))
    except AloudError as error:
        if error.status >= 500:
            raise
        return _form_page(visit, "login.html", target, error, email=email)
    return _enter(session, target)


@page("register")
async def page_register(visit: Visit) -> func.HttpResponse:
    """The form to join."""
    return _first_form(visit, "register.html")


@page("register", "POST")
async def page_register_submit(visit: Visit) -> func.HttpResponse:
    """Create the account, sign it in, and go on."""
    form = _read_form(visit.request)
    email, name, target = form.get("email", ""), form.get("display_name", ""), local_path(form.get("next"))
    try:
        _check_first_form(visit.request, form)
        wish = _read_registration(email, form.get("password", ""), name)
        await services().accounts.register(wish.email, wish.password, wish.display_name)
        session = await services().accounts.open_site_session(wish.email, wish.password)
    except AloudError as error:
        if error.status >= 500:
            raise
        return _form_page(visit, "register.html", target, error, email=email, display_name=name)
    return _enter(session, target)


def _read_registration(email: str, password: str, name: str) -> RegisterRequest:
    try:
        return RegisterRequest(email=email, password=password, display_name=name.strip() or None)
    except ValidationError as error:
        raise InvalidError(
            "Please check what is marked below.",
            tuple(
                (str(item["loc"][0]), item["msg"].removeprefix("Value error, ")) for item in error.errors()
            ),
        ) from None


@page("logout", "POST")
async def page_logout(visit: Visit) -> func.HttpResponse:
    """End this browser's session."""
    if visit.caller is not None:
        check_form_token(visit.caller.session_id, _read_form(visit.request).get("csrf", ""))
        await services().accounts.log_out(visit.caller)
    return _redirect("/", 303, _cookie(cookie_name(), "", 0))


def _first_form(visit: Visit, template: str) -> func.HttpResponse:
    """The empty form; who is signed in already goes on at once."""
    target = local_path(visit.request.params.get("next"))
    return _redirect(target, 303) if visit.caller else _form_page(visit, template, target)


def _form_page(
    visit: Visit, template: str, target: str, error: AloudError | None = None, **values: str
) -> func.HttpResponse:
    """A form that is sent before sign-in: a cookie of its own ties it to this browser."""
    seed = _form_seed(visit.request) or secrets.token_urlsafe(16)
    fields = error.fields if isinstance(error, InvalidError) else ()
    response = visit.render(
        template,
        status=error.status if error else 200,
        cookie=_cookie(_form_cookie_name(), seed, _FORM_SECONDS),
        next_path=target,
        form_csrf=form_token(seed),
        next=target,
        message=error.detail if error else "",
        values={"email": "", "display_name": "", **values},
        errors={"email": "", "password": "", "display_name": "", **dict(fields)},
    )
    if error:
        response.headers.update(_retry_after(error))
    return response


def _check_first_form(req: func.HttpRequest, form: Form) -> None:
    """Raises ForbiddenError unless the form was made for this browser."""
    seed = _form_seed(req)
    if seed is None:
        raise ForbiddenError("Your browser did not send our cookie back. Allow cookies, and try again.")
    check_form_token(seed, form.get("csrf", ""))


def _read_form(req: func.HttpRequest) -> Form:
    """The fields of a posted form; of a field sent twice, the first."""
    body = req.get_body()
    if len(body) > _MAX_FORM_BYTES:
        raise TooLargeError("This form is too long.")
    if (
        req.headers.get("content-type", "").partition(";")[0].strip().lower()
        != "application/x-www-form-urlencoded"
    ):
        raise UnsupportedMediaError("Send the form as a browser does.")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise MalformedRequestError("This form cannot be read.") from None
    return {name: values[0] for name, values in fields.items()}


def local_path(wish: str | None) -> str:
    """`wish` if it is a path on this site, else the home page."""
    safe = (
        wish
        and wish.startswith("/")
        and not wish.startswith("//")
        and "\\" not in wish
        and wish.isprintable()
    )
    return wish if wish and safe else "/"


def _enter(session: str, target: str) -> func.HttpResponse:
    return _redirect(target, 303, _cookie(cookie_name(), session, services().settings.session_days * _DAY))


def _redirect(target: str, status: int, cookie: str | None = None) -> func.HttpResponse:
    headers = {"Location": quote(target, safe="/?=&%"), "Cache-Control": "private, no-cache"}
    if cookie is not None:
        headers["Set-Cookie"] = cookie
    return func.HttpResponse(status_code=status, headers=headers)


def _form_seed(req: func.HttpRequest) -> str | None:
    """Return what the form cookie holds, if it is one of ours."""
    try:
        morsel = SimpleCookie(req.headers.get("cookie", "")).get(_form_cookie_name())
    except CookieError:
        return None
    return morsel.value if morsel and re.fullmatch(r"[\w-]{22}", morsel.value, re.ASCII) else None


def _form_cookie_name() -> str:
    return f"{cookie_name()}-form"


def _cookie(name: str, value: str, seconds: int) -> str:
    secure = "; Secure" if name.startswith("__Host-") else ""
    return f"{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"


# Files


@dataclass(frozen=True)
class StaticFile:
    """A file under web/static, read once."""

    content: bytes
    content_type: str
    tag: str


@cache
def _static_files() -> Mapping[str, StaticFile]:
    """Every file that may be served, by its path under web/static."""
    return {
        path.relative_to(_STATIC).as_posix(): _read_file(path)
        for path in _STATIC.rglob("*")
        if path.is_file()
    }


@cache
def _read_file(path: Path) -> StaticFile:
    content = path.read_bytes()
    kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
    return StaticFile(content, kind or "application/octet-stream", _tag(content))


@cache
def _static_version() -> str:
    """A name for the present state of all static files; in their addresses it lets browsers keep them."""
    return _tag("".join(f"{name} {file.tag} " for name, file in sorted(_static_files().items())).encode())[
        :12
    ]


@page("static/{*path}", same_for_all=True)
async def page_static(visit: Visit) -> func.HttpResponse:
    """A file that pages load; under the address with the present version it never changes."""
    path = visit.request.route_params.get("path", "")
    name = path.removeprefix(f"{_static_version()}/")
    found = _static_files().get(name)
    if found is None:
        raise NotFoundError("There is no such file.")
    caching = "public, no-cache" if name == path else f"public, max-age={_YEAR}, immutable"
    return _file(visit.request, found.content, found.content_type, found.tag, caching)


@page("docs")
async def page_docs(visit: Visit) -> func.HttpResponse:
    """The API, to read and to try out."""
    return visit.render("docs.html", inline_styles=True)


@page("docs/assets/{name}", same_for_all=True)
async def page_docs_asset(visit: Visit) -> func.HttpResponse:
    """A file of Swagger UI."""
    name = visit.request.route_params["name"]
    if name not in _SWAGGER_FILES or not (_SWAGGER / name).is_file():
        raise NotFoundError("There is no such file.")
    found = _read_file(_SWAGGER / name)
    return _file(visit.request, found.content, found.content_type, found.tag, f"public, max-age={_DAY}")


@page("robots.txt", same_for_all=True)
async def page_robots(_: Visit) -> func.HttpResponse:
    """What crawlers may read."""
    rules = "User-agent: *\nDisallow: /api/\nDisallow: /login\nDisallow: /register\n"
    return func.HttpResponse(
        rules, headers={"Cache-Control": f"public, max-age={_DAY}"}, mimetype="text/plain"
    )


def _file(
    req: func.HttpRequest, content: bytes, content_type: str, tag: str, caching: str
) -> func.HttpResponse:
    headers = {"ETag": f'"{tag}"', "Cache-Control": caching}
    if tag in {
        seen.strip().removeprefix("W/").strip('"') for seen in req.headers.get("if-none-match", "").split(",")
    }:
        return func.HttpResponse(status_code=304, headers=headers)
    return func.HttpResponse(content, headers=headers, mimetype=content_type)


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _policy(inline_styles: bool) -> str:
    """The page's Content-Security-Policy; only Swagger UI needs `inline_styles`."""
    media = services().media_origin
    return "; ".join(
        (
            "default-src 'self'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'" if inline_styles else "style-src 'self'",
            "img-src 'self' data:",
            f"media-src 'self' {media}",
            f"connect-src 'self' {media}",
            "object-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        )
    )


# Templates


@cache
def _templates() -> Environment:
    """The templates; imported here, since most cold starts serve no page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_ROOT / "web" / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown: dict[str, Any] = {"clock": clock, "length_of_time": length_of_time, "words": words}
    environment.filters.update(shown)
    environment.globals["static"] = lambda name: f"/static/{_static_version()}/{name}"
    return environment


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: 0:07, 12:30, 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def length_of_time(seconds: float) -> str:
    """A duration in words: 10 h 5 min, 4 min, 7 s."""
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes)
    return " ".join(parts)


def words(status: str) -> str:
    """A status as people read it."""
    return status.replace("_", " ").capitalize()
