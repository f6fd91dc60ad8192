"""The HTTP side: functions behind their routes, the admin endpoints, the blob webhook."""

import socket
from collections.abc import Awaitable, Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote

from aiohttp import web
from azure.functions.meta import Datum
from multidict import CIMultiDict

from localhost.errors import PortError
from localhost.host.invoke import Invoker
from localhost.host.routes import Route, find_route, is_homepage_disabled

MAX_BODY_BYTES = 100 * 1024 * 1024
ADDRESS = "127.0.0.1"
_PIECE_BYTES = 1024 * 1024
Special = Callable[[web.Request], Awaitable[web.StreamResponse]]


def open_port(port: int) -> socket.socket:
    """Take the port (0: a free one) before anything else starts; PortError when it cannot be had."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise PortError(port, getattr(error, "strerror", None) or str(error)) from error
    return listener


class HttpServer:
    """Serves one list of routes, and the special paths that the host keeps for itself."""

    def __init__(
        self, routes: list[Route], invoker: Invoker, special: Mapping[tuple[str, str], Special]
    ) -> None:
        self._routes = routes
        self._invoker = invoker
        app = web.Application(client_max_size=MAX_BODY_BYTES + 1)
        for (method, path), handler in special.items():
            app.router.add_route(method, path, handler)
        app.router.add_route("*", r"/{path:[\s\S]*}", self._answer)
        self._app = app
        self._runner: web.AppRunner | None = None

    async def start(self, listener: socket.socket, drain_seconds: float) -> None:
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=drain_seconds)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Accept nothing new and let running requests finish within the drain time."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.path_safe.replace("%25", "%")
        if request.path == "/" and not is_homepage_disabled():
            return web.Response(text="The Functions host is running.\n")
        if path.lower().startswith(("/admin/", "/runtime/")):
            return web.Response(status=404)
        found = find_route(self._routes, request.method, path)
        if found is None:
            return web.Response(status=404)
        route, values = found
        if (request.content_length or 0) > MAX_BODY_BYTES:
            return web.Response(status=500)
        body = await request.read() if request.content_length else b""
        data = describe_request(
            request.method,
            str(request.url),
            headers=_add_client(request),
            query=request.query,
            route_values=values,
            body=body,
        )
        try:
            reply: Datum = await self._invoker.invoke(
                route.function,
                data,
                {},
                reason="This function was programmatically called via the host APIs.",
                headers={name.lower(): value for name, value in request.headers.items()},
            )
        except Exception:
            return web.Response(status=500)
        return await _send(request, reply)


def _add_client(request: web.Request) -> CIMultiDict[str]:
    """The headers as Azure's front end passes them on: the client's address and port end X-Forwarded-For."""
    headers = CIMultiDict(request.headers)
    host, port = request.get_extra_info("peername")
    headers["X-Forwarded-For"] = ", ".join([*headers.popall("X-Forwarded-For", []), f"{host}:{port}"])
    return headers


def describe_request(
    method: str,
    url: str,
    *,
    headers: Any,
    query: Any,
    route_values: Mapping[str, str],
    body: bytes,
) -> Datum:
    """The request as the host sends it to a worker; headers and query are multi-valued mappings.

    Names of headers are lower-cased, repeats are joined by commas, empty query values are dropped.
    """

    header_texts = {name.lower(): ", ".join(headers.getall(name)) for name in headers}
    query_texts = {name: ",".join(query.getall(name)) for name in query}
    return Datum(
        {
            "method": Datum(method, "string"),
            "url": Datum(url, "string"),
            "headers": _as_data(header_texts),
            "query": _as_data({name: text for name, text in query_texts.items() if text}),
            "params": _as_data(route_values),
            "body": Datum(body, "bytes"),
        },
        "http",
    )


def _as_data(texts: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(text, "string") for name, text in texts.items()}


async def _send(request: web.Request, reply: Datum) -> web.StreamResponse:
    """Stream the reply: no Content-Length and no compression, as in the cloud."""
    headers: CIMultiDict[str] = CIMultiDict()
    if reply.type == "string":
        status, body = 200, reply.value.encode()
        headers["Content-Type"] = "text/plain; charset=utf-8"
    else:
        status, body = int(reply.value["status_code"].value), reply.value["body"].value
        headers.extend({name: datum.value for name, datum in reply.value["headers"].items()})
        for cookie in reply.value["cookies"] or ():
            for line in _cookie_lines(cookie):
                headers.add("Set-Cookie", line)
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    if request.method != "HEAD" and status not in (204, 304):
        for start in range(0, len(body), _PIECE_BYTES):  # the socket keeps a copy of what it has to hold back
            await response.write(body[start : start + _PIECE_BYTES])
    await response.write_eof()
    return response


def _cookie_lines(cookie: SimpleCookie) -> list[str]:
    """The host writes each cookie itself, with its value percent-encoded."""
    for name, morsel in cookie.items():
        morsel.set(name, morsel.value, quote(morsel.value, safe=""))
    return [morsel.OutputString() for morsel in cookie.values()]
