"""An issuer of ID tokens like Google's, on a real HTTP server, with keys that can be rotated.

async with GoogleIssuer.start() as issuer:
    issuer.settings                     # GOOGLE_ISSUER, GOOGLE_JWKS_URL, GOOGLE_CLIENT_ID
    issuer.token(email="ada@example.com", sub="1")      # any other claim by its name; None leaves one out
    issuer.rotate()                     # a new key; the old one is published no more
    issuer.fail_with(503)               # until heal(); with a body it may also be a 200 that is no key set
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

CLIENT_ID = "aloud-tests.apps.example.com"


@cache
def make_key(number: int) -> RSAPrivateKey:
    """Return the same key for the same number, since making one takes long."""
    return generate_private_key(public_exponent=65537, key_size=2048)


class GoogleIssuer:
    """The issuer: its address, its keys, and how often they were fetched."""

    def __init__(self) -> None:
        self.url = ""
        self.client_id = CLIENT_ID
        self.fetches = 0
        self._published = [0]
        self._failure: tuple[int, str] | None = None

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        issuer = cls()
        app = web.Application()
        app.router.add_get("/certs", issuer._certs)
        runner = web.AppRunner(app, shutdown_timeout=0.5, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield issuer
        finally:
            await runner.cleanup()

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/certs"

    @property
    def settings(self) -> dict[str, str]:
        """What makes Aloud trust this issuer."""
        return {
            "GOOGLE_ISSUER": self.url,
            "GOOGLE_JWKS_URL": self.jwks_url,
            "GOOGLE_CLIENT_ID": self.client_id,
        }

    @property
    def kid(self) -> str:
        """The id of the key that signs now."""
        return f"key-{self._published[-1]}"

    @property
    def key(self) -> RSAPrivateKey:
        """The key that signs now."""
        return make_key(self._published[-1])

    def token(
        self,
        *,
        email: str | None = "ada@example.com",
        sub: str | None = "1234567890",
        key: RSAPrivateKey | None = None,
        headers: Mapping[str, object] | None = None,
        **claims: Any,
    ) -> str:
        """Return a token as Google makes them, good for an hour but for what is overridden."""
        now = int(time.time())
        all_claims = {
            "iss": self.url,
            "aud": self.client_id,
            "azp": self.client_id,
            "sub": sub,
            "email": email,
            "email_verified": True,
            "name": "Ada Lovelace",
            "picture": "https://pictures.example.com/ada",
            "iat": now,
            "exp": now + 3600,
            **claims,
        }
        given = {name: value for name, value in all_claims.items() if value is not None}
        return jwt.encode(given, key or self.key, "RS256", headers={"kid": self.kid, **(headers or {})})

    def rotate(self, *, keep_old: bool = False) -> None:
        """Sign with a new key from now on."""
        kept = self._published if keep_old else []
        self._published = [*kept, self._published[-1] + 1]

    def fail_with(self, status: int, body: str = "") -> None:
        """Answer with this instead of the keys, until `heal`."""
        self._failure = (status, body)

    def heal(self) -> None:
        self._failure = None

    async def _certs(self, request: web.Request) -> web.Response:
        self.fetches += 1
        if self._failure is not None:
            status, body = self._failure
            return web.Response(status=status, text=body)
        return web.json_response({"keys": [_describe(number) for number in self._published]})


def _describe(number: int) -> dict[str, Any]:
    public = json.loads(RSAAlgorithm.to_jwk(make_key(number).public_key()))
    return {**public, "kid": f"key-{number}", "alg": "RS256", "use": "sig"}
