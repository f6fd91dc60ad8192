"""Who sends a request: by token or cookie, with what roles, from where."""

from __future__ import annotations

import ipaddress
import re
from http.cookies import CookieError, SimpleCookie
from typing import Literal

import azure.functions as func

from core.caller import Caller, Origin, Role
from core.errors import ForbiddenError, UnauthenticatedError
from functions.services import services, signer

_COOKIE = re.compile(r"[\w.-]+", re.ASCII)
_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")
SAFE_METHODS = {"GET", "HEAD"}

Access = Literal["anyone", "signed", "listener", "publisher", "publisher-of-it", "admin"]
OPEN: frozenset[Access] = frozenset({"anyone", "signed"})  # whose signature fits, the room knows
_EVERYONE: frozenset[Role] = frozenset({"listener", "publisher", "admin"})
_ALLOWED: dict[Access, frozenset[Role]] = {
    "listener": _EVERYONE,
    "publisher-of-it": _EVERYONE,  # the room knows whose it is, and whether the caller may know of it
    "publisher": frozenset({"publisher", "admin"}),
    "admin": frozenset({"admin"}),
}


def cookie_name() -> str:
    """Return the name of the site's session cookie; loopback over plain http cannot hold a `__Host-` one."""
    return "__Host-aloud" if services().settings.public_base_url.startswith("https:") else "aloud"


def site_cookie(req: func.HttpRequest) -> str | None:
    """Return the value of the site's session cookie, if the browser sent one."""
    jar = SimpleCookie()
    try:
        jar.load(req.headers.get("cookie", ""))
    except CookieError:
        return None
    morsel = jar.get(cookie_name())
    return morsel.value if morsel and _COOKIE.fullmatch(morsel.value) else None


async def find_caller(req: func.HttpRequest, confirmed: bool = False) -> Caller | None:
    """Return who sends the request, by bearer token or by the site's cookie; None without credentials.

    For unsafe methods, and where it has to be `confirmed`, a bearer token's session is looked up: one that
    was ended, of an account that was closed or lost a role, does nothing any more. A cookie speaks for unsafe
    methods only together with the form token, in the header `X-CSRF-Token`.
    Raises UnauthenticatedError for bad credentials, ForbiddenError for a missing form token.
    """
    sessions = services().accounts.sessions
    authorization = req.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("Use the scheme Bearer.")
        caller = sessions.caller_of_token(token.strip())
        return await sessions.confirm(caller) if confirmed or req.method not in SAFE_METHODS else caller
    cookie = site_cookie(req)
    if cookie is None:
        return None
    caller, _ = await sessions.visitor(cookie)
    if req.method not in SAFE_METHODS:
        check_form_token(caller.session_id, req.headers.get("x-csrf-token", ""))
    return caller


def origin_of(req: func.HttpRequest, request_id: str) -> Origin:
    """Return where a request comes from."""
    device = "".join(c for c in req.headers.get("user-agent", "")[:200] if c.isprintable())
    return Origin(address=client_address(req), request_id=request_id, device=device)


def client_address(req: func.HttpRequest) -> str:
    """Return what attempts are counted by: an IPv4 address, a /64 network of IPv6, or `unknown`.

    Azure's front end appends the address that it sees, with its port, to whatever X-Forwarded-For the client
    has sent, so that only entries counted from the end, as many as there are proxies of ours, are to be
    believed; the local host does as Azure's.
    """
    return read_address(req.headers.get("x-forwarded-for", ""), services().settings.proxy_hops)


def read_address(forwarded: str, hops: int) -> str:
    """Return the address of entry `hops` from the end of X-Forwarded-For; one home is one /64 of IPv6."""
    entries = forwarded.split(",")
    entry = entries[-hops].strip() if hops <= len(entries) else ""
    with_port = _PORT.fullmatch(entry)
    try:
        address = ipaddress.ip_address((with_port[1] or with_port[2] or "") if with_port else entry)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def form_token(session: str) -> str:
    """Return the token that forms of this session (or, before login, of this form cookie) carry."""
    return signer().sign("form", session)


def check_form_token(session: str, token: str) -> None:
    """Raises ForbiddenError unless the token is of this session and less than a day old."""
    try:
        fits = signer().read("form", token, 86400) == session
    except ValueError:
        fits = False
    if not fits:
        raise ForbiddenError("This form is too old or not ours. Load the page again and repeat.")


def check_access(caller: Caller | None, access: Access) -> None:
    """Raises UnauthenticatedError or ForbiddenError."""
    if access in OPEN:
        return
    if caller is None:
        raise UnauthenticatedError("Sign in first.")
    if not caller.roles & _ALLOWED[access]:
        raise ForbiddenError(f"This needs the role {access}.")
