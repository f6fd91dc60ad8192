"""What every page has in common: who visits, what is rendered, and what becomes of errors."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import azure.functions as func

from core.accounts.models import User
from core.accounts.profiles import picture_url
from core.caller import Caller, Origin
from core.errors import (
    AloudError,
    NotFoundError,
    ThrottledError,
    UnauthenticatedError,
    UnavailableError,
)
from core.storage.account import count_calls
from functions.callers import cookie_name, form_token, origin_of, site_cookie
from functions.rendering import templates
from functions.replies import describe_error, finish
from functions.requests import request_id_of
from functions.services import services, signer

_NEWS_SECONDS = 60

PageAccess = Literal["anyone", "listener", "admin"]


@dataclass
class Visit:
    """One request for a page, and who makes it."""

    request: func.HttpRequest
    caller: Caller | None
    request_id: str
    account: User | None = None

    @property
    def path(self) -> str:
        return urlsplit(self.request.url).path or "/"

    @property
    def origin(self) -> Origin:
        return origin_of(self.request, self.request_id)

    @property
    def user(self) -> Caller:
        """The caller, on pages that need one."""
        if self.caller is None:
            raise UnauthenticatedError("Sign in first.")
        return self.caller

    @property
    def is_admin(self) -> bool:
        return self.caller is not None and self.caller.is_admin

    @property
    def person(self) -> User:
        """The account of the caller, on pages that need one."""
        if self.account is None:
            raise UnauthenticatedError("Sign in first.")
        return self.account

    def read_place(self, purpose: str) -> Any:
        """Return where this page of a list begins, as `sign_place` wrote it. Raises NotFoundError."""
        text = self.request.params.get("after")
        if text is None:
            return None
        try:
            return signer().read(purpose, text)
        except ValueError:
            raise NotFoundError("There is no such page of this list.") from None

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
            templates()
            .get_template(template)
            .render(
                context,
                path=self.path,
                caller=self.caller,
                person=self.account,
                picture=picture_url(self.account) if self.account else None,
                is_admin=self.is_admin,
                csrf=form_token(self.caller.session_id) if self.caller else "",
                next_query="" if target == "/" else f"?next={quote(target, safe='/')}",
                news=_read_news(self.request),
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


def page(
    blueprint: func.Blueprint,
    route: str,
    *methods: str,
    access: PageAccess = "anyone",
    same_for_all: bool = False,
    secret: bool = False,
) -> Callable[[PageHandler], HttpFunction]:
    """Register an async handler as a page; without `methods` it answers GET and HEAD.

    A stranger is led to the sign-in where `access` asks for one, and an administrator's page is not there for
    anyone else. What is `same_for_all` is served without asking who wants it. What is `secret`, in its
    address or on the page, is neither stored nor told to where links lead.
    """

    def register(handler: PageHandler) -> HttpFunction:
        async def guard(visit: Visit) -> func.HttpResponse:
            if access == "admin" and not visit.is_admin:
                raise NotFoundError("There is nothing at this address.")
            if access == "listener" and visit.caller is None:
                back = visit.path if "GET" in allowed else "/account"
                return redirect(f"/login?next={quote(back, safe='/')}")
            return await handler(visit)

        async def run(req: func.HttpRequest) -> func.HttpResponse:
            response = await _serve(req, guard, same_for_all)
            if secret:
                response.headers["Cache-Control"] = "no-store"
                response.headers["Referrer-Policy"] = "no-referrer"
            return response

        allowed = methods or ("GET", "HEAD")
        run.__name__ = handler.__name__
        run.__doc__ = handler.__doc__
        run.__module__ = handler.__module__
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
                caller, account = await services().accounts.sessions.visitor(cookie)
                visit = Visit(req, caller, request_id, account)
            except UnauthenticatedError:
                ended = True
        response = await handler(visit)
    except Exception as error:
        response = _error_page(describe_error(error, request_id), visit)
    if ended and "Set-Cookie" not in response.headers:
        response.headers["Set-Cookie"] = make_cookie(cookie_name(), "", 0)
    return finish(response, req, request_id, time.perf_counter() - started, calls)


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
    response.headers.update(retry_after(error))
    return response


def retry_after(error: AloudError) -> dict[str, str]:
    """Return the header that says when to come again, where the error knows."""
    if not isinstance(error, (ThrottledError, UnavailableError)):
        return {}
    return {"Retry-After": str(round(error.retry_after or 5))}


def as_stranger(visit: Visit) -> Visit:
    """Return the visit after its session has ended."""
    return replace(visit, caller=None, account=None)


# Going elsewhere


def redirect(
    target: str, *, status: int = 303, news: str | None = None, cookie: str | None = None
) -> func.HttpResponse:
    """Lead to a path of this site, where `news` is told once: it is signed, and good for a minute."""
    address = quote(target, safe="/?=&%")
    if news is not None:
        address += f"{'&' if '?' in address else '?'}news={signer().sign('news', news)}"
    headers = {"Location": address, "Cache-Control": "private, no-cache"}
    if cookie is not None:
        headers["Set-Cookie"] = cookie
    return func.HttpResponse(status_code=status, headers=headers)


def _read_news(req: func.HttpRequest) -> str:
    text = req.params.get("news")
    if text is None:
        return ""
    try:
        return str(signer().read("news", text, _NEWS_SECONDS))
    except ValueError:
        return ""


def sign_place(purpose: str, place: Any) -> str:
    """Return the place where the next page of a list begins, for `?after=`; empty after the last page."""
    return signer().sign(purpose, place) if place else ""


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


def make_cookie(name: str, value: str, seconds: int) -> str:
    """Return a Set-Cookie line; with 0 seconds it ends the cookie."""
    secure = "; Secure" if name.startswith("__Host-") else ""
    return f"{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"


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
