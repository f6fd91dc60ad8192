"""A forward proxy that counts what the product reads: named in `http_proxy`, it needs no change to it."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

_OWN_HEADERS = {"connection", "keep-alive", "proxy-connection", "transfer-encoding"}
# A signed request must arrive as it was sent.
_ADD_NOTHING = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_SDK = "azsdk-python-storage-blob"
_PIECE_BYTES = 256 * 1024


class CountingProxy:
    """Hands requests on; `read` maps the path of each GET to the bytes of its answers.

    Only the storage SDK's are counted: Azurite inherits the proxy, and loads a blob to allow its copy.
    """

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self.url = ""
        self.read: Counter[str] = Counter()
        self._client = client

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        """Listen on a free port of loopback until the block ends."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, skip_auto_headers=_ADD_NOTHING
        ) as client:
            proxy = cls(client)
            server = web.Server(proxy._forward)
            runner = web.ServerRunner(server)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield proxy
            finally:
                await runner.cleanup()

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._pass_on(request)
        except aiohttp.ClientConnectionError:
            # The SDK tries again, as it does when the storage itself closes a connection.
            return web.Response(status=502)

    async def _pass_on(self, request: web.BaseRequest) -> web.StreamResponse:
        url = URL(request.raw_path, encoded=True)
        async with self._client.request(
            request.method,
            url,
            headers=_passed_on(request.headers),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(
                status=answer.status, reason=answer.reason, headers=_passed_on(answer.headers)
            )
            is_counted = request.method == "GET" and _SDK in request.headers.get("User-Agent", "")
            # Who asked may have gone: the product ends its polls when it stops.
            with suppress(ConnectionResetError):
                await response.prepare(request)
                async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                    if is_counted:
                        self.read[url.path] += len(piece)
                    await response.write(piece)
                await response.write_eof()
            return response


def _passed_on(headers: "aiohttp.typedefs.LooseHeaders") -> CIMultiDict[str]:
    return CIMultiDict(
        (name, value) for name, value in CIMultiDict(headers).items() if name.lower() not in _OWN_HEADERS
    )
