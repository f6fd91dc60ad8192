"""A person who uses the API in tests: an account, its tokens, and what it asks."""

import asyncio
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from core.ids import new_id
from tests.aloud import Aloud

PASSWORD = "the rain in spain"


@dataclass
class Person:
    aloud: Aloud
    email: str
    password: str = PASSWORD
    tokens: dict[str, Any] = field(default_factory=dict)

    @classmethod
    async def join(cls, aloud: Aloud) -> Self:
        """Register and sign in."""
        person = cls(aloud, f"{new_id()}@example.com")
        status, user, _ = await person.post("/auth/register", email=person.email, password=person.password)
        assert status == 201, user
        await person.sign_in()
        return person

    async def sign_in(self, **more: str) -> None:
        """Open one more session, in which everything is asked from now on."""
        status, content, _ = await self.post("/auth/login", email=self.email, password=self.password, **more)
        assert status == 200, content
        self.tokens = content

    async def call(self, method: str, path: str, **request: Any) -> tuple[int, Any, Mapping[str, str]]:
        """Ask as this person (before the first sign-in, as nobody)."""
        token = self.tokens.get("access_token", "")
        return await self.aloud.call(method, f"/api/v1{path}", token=token, **request)

    async def post(self, path: str, **body: Any) -> tuple[int, Any, Mapping[str, str]]:
        return await self.call("POST", path, json=body)

    async def get(self, path: str) -> Any:
        """Return the JSON of a GET, which has to succeed."""
        status, content, _ = await self.call("GET", path)
        assert status == 200, content
        return content

    async def export(self) -> zipfile.ZipFile:
        """Ask for a copy of everything, wait for it, and return it."""
        _, export, _ = await self.post("/users/me/export")
        async with asyncio.timeout(20):
            while (shown := await self.get(f"/users/me/export/{export['id']}"))["status"] != "ready":
                await asyncio.sleep(0.1)
        async with aiohttp.ClientSession() as http, http.get(shown["url"]) as answer:
            return zipfile.ZipFile(io.BytesIO(await answer.read()))

    async def refresh(self, refresh_token: str | None = None) -> int:
        """Swap the refresh token (or this one) and return the status."""
        token = refresh_token or self.tokens["refresh_token"]
        status, content, _ = await self.post("/auth/refresh", refresh_token=token)
        if status == 200:
            self.tokens = content
        return status


async def publisher_of(aloud: Aloud) -> Person:
    """Return somebody who has just become a publisher."""
    person = await Person.join(aloud)
    user = await person.get("/users/me")
    path = f"/api/v1/admin/users/{user['id']}/roles"
    status, _, _ = await aloud.call("PUT", path, json={"roles": ["publisher"]})
    assert status == 200
    await person.sign_in()
    return person


def form_with_file(
    content: bytes, file_name: str = "a.mp3", content_type: str = "audio/mpeg", **fields: str
) -> aiohttp.FormData:
    """Return a multipart form as a browser sends it."""
    form = aiohttp.FormData()
    for name, value in fields.items():
        form.add_field(name, value)
    form.add_field("file", io.BytesIO(content), filename=file_name, content_type=content_type)
    return form


async def write_blob(url: str, content: bytes, *, blocks: int = 1) -> None:
    """Write a blob as a browser does with a link: in blocks, which are put together in the end."""
    async with aiohttp.ClientSession() as http:
        step = -(-len(content) // blocks)
        names = [f"{number:08d}".encode().hex() for number in range(blocks)]
        for number, name in enumerate(names):
            part = content[number * step : (number + 1) * step]
            async with http.put(f"{url}&comp=block&blockid={name}", data=part) as answer:
                assert answer.status == 201, await answer.text()
        listed = "".join(f"<Latest>{name}</Latest>" for name in names)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
        headers = {"x-ms-blob-content-type": "audio/mpeg"}
        async with http.put(f"{url}&comp=blocklist", data=body, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
