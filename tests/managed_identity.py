"""The endpoint that gives an app on Azure the tokens of its managed identity."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

HEADER = "secret-of-this-app"


@dataclass
class ManagedIdentity:
    """Gives `token-1`, `token-2` and so on; `life` is how many seconds the next one lasts."""

    url: str = ""
    life: float = 3600.0
    given: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        endpoint = cls()
        app = web.Application()
        app.router.add_get("/msi/token", endpoint._give)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/msi/token"
        try:
            yield endpoint
        finally:
            await runner.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """What the platform sets for the app."""
        return {"IDENTITY_ENDPOINT": self.url, "IDENTITY_HEADER": HEADER}

    async def _give(self, request: web.Request) -> web.Response:
        if request.headers.get("X-IDENTITY-HEADER") != HEADER:
            return web.json_response({"message": "Forbidden"}, status=403)
        self.resources.append(request.query["resource"])
        self.given.append(f"token-{len(self.given) + 1}")
        return web.json_response(
            {
                "access_token": self.given[-1],
                "expires_on": str(int(time.time() + self.life)),
                "resource": request.query["resource"],
                "token_type": "Bearer",
            }
        )
