"""Who visits the pages over plain HTTP: a browser without a screen."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from tests.aloud import Aloud

TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass
class Visitor:
    """A browser without a screen: cookies, and forms sent as a page would."""

    http: aiohttp.ClientSession

    async def send(
        self, path: str, page: str | None = None, **fields: str
    ) -> tuple[int, str, aiohttp.ClientResponse]:
        """Post a form with the token of the page that it is on (None: with one that is not ours)."""
        csrf = "not.ours.atall"
        if page is not None:
            found = TOKEN.findall((await self.get(page))[1])
            csrf = found[-1]
        data = {"csrf": csrf, **fields}
        async with self.http.post(path, data=data, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer

    async def get(self, path: str) -> tuple[int, str, aiohttp.ClientResponse]:
        async with self.http.get(path, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer

    async def sign_in(self, email: str, password: str, target: str = "/") -> aiohttp.ClientResponse:
        status, _, answer = await self.send("/login", "/login", email=email, password=password, next=target)
        assert status == 303
        return answer


@asynccontextmanager
async def visit(aloud: Aloud) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession(aloud.base_url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        yield Visitor(http)
