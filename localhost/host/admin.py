"""What `/admin` offers: the host's status, its functions, and a run by hand."""

import json
import time
from collections.abc import Callable, Mapping

from aiohttp import web

from localhost.host.app import Function
from localhost.host.http import Special
from localhost.host.routes import Route


class AdminEndpoints:
    """Answers under `/admin`, without keys: whoever reaches this port owns the machine."""

    def __init__(
        self,
        host_id: str,
        functions: Mapping[str, Function],
        routes: list[Route],
        run: Callable[[str, str], bool],
    ) -> None:
        self._host_id = host_id
        self._functions = functions
        self._templates = {route.function.name: route.template for route in routes}
        self._run = run
        self._started = time.monotonic()

    def paths(self) -> dict[tuple[str, str], Special]:
        return {
            ("GET", "/admin/host/status"): self.show_status,
            ("GET", "/admin/functions"): self.list_functions,
            ("POST", "/admin/functions/{name}"): self.run_function,
        }

    async def show_status(self, _: web.Request) -> web.Response:
        uptime = int((time.monotonic() - self._started) * 1000)
        return web.json_response({"id": self._host_id, "state": "Running", "processUptime": uptime})

    async def list_functions(self, request: web.Request) -> web.Response:
        base = str(request.url.origin())
        urls = {name: f"{base}/{template}" for name, template in self._templates.items()}
        return web.json_response(
            [
                {
                    "name": name,
                    "language": "python",
                    "isDisabled": False,
                    "config": {"bindings": function.bindings},
                    "invoke_url_template": urls.get(name),
                }
                for name, function in self._functions.items()
            ]
        )

    async def run_function(self, request: web.Request) -> web.Response:
        """Run one function by hand with `{"input": text}`: a message body or a blob's path."""
        name = request.match_info["name"]
        if name not in self._functions:
            return web.Response(status=404)
        try:
            document = json.loads(await request.read() or b"{}")
            given = str(document.get("input", ""))
        except (ValueError, AttributeError):
            return web.json_response({"error": 'the body must be {"input": "text"}'}, status=400)
        if not self._run(name, given):
            return web.json_response({"error": "call an HTTP function by its own route"}, status=400)
        return web.Response(status=202)
