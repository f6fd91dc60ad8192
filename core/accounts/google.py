"""Google sign-in: reads the ID token that Google's button gives a browser (OpenID Connect)."""

import asyncio
import time
from collections import deque

import jwt
from pydantic import BaseModel, ConfigDict, EmailStr, Field

from core.errors import UnauthenticatedError, UnavailableError

_ALGORITHM = "RS256"
_LONGEST_TOKEN = 8192
_LEEWAY_SECONDS = 10
_KEYS_LAST_SECONDS = 3600
_FETCH_SECONDS = 5
_FETCHES_IN_WINDOW = 3


class GoogleIdentity(BaseModel):
    """Whom Google vouches for; `email` counts as theirs only if `email_verified`."""

    model_config = ConfigDict(frozen=True, strict=True)

    subject: str = Field(alias="sub", min_length=1, max_length=255)
    email: EmailStr = Field(max_length=254)
    email_verified: bool = False
    name: str | None = None
    hosted_domain: str | None = Field(None, alias="hd")
    issued_at: int = Field(alias="iat")

    @property
    def is_fresh(self) -> bool:
        """Whether the token was made within the last five minutes, and so for what is being done."""
        return self.issued_at > time.time() - 300

    @property
    def is_authoritative(self) -> bool:
        """Whether Google runs this mailbox, by Google's own rule; of others it only knew at some time."""
        return self.email.lower().endswith("@gmail.com") or self.hosted_domain is not None


class GoogleTokens:
    """Reads ID tokens with the issuer's public keys, which are fetched when first needed.

    Keys are kept for an hour and fetched again for a `kid` that is not among them, at most 3 times in
    `window_seconds`, whether that works or not. So invented `kid`s cost the issuer no more than that and
    never hold up a token whose key is known, and a new key of the issuer is refused no longer than that.
    (The JWKS client's own cache counts only fetches that worked, and makes known keys wait for them.)
    """

    def __init__(self, client_id: str, issuer: str, jwks_url: str, window_seconds: float = 30.0) -> None:
        self._client_id = client_id
        self._issuers = frozenset({issuer, issuer.partition("://")[2] or issuer})
        self._jwks = jwt.PyJWKClient(jwks_url, cache_jwk_set=False, timeout=_FETCH_SECONDS)
        self._window_seconds = window_seconds
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._tries = deque[float](maxlen=_FETCHES_IN_WINDOW)
        self._fetching = asyncio.Lock()

    async def read(self, id_token: str) -> GoogleIdentity:
        """Return who signed in.

        Raises UnauthenticatedError for anything but a good token, UnavailableError if the issuer's
        keys cannot be had.
        """
        if len(id_token) > _LONGEST_TOKEN:
            raise _refusal()
        try:
            header = jwt.get_unverified_header(id_token)
            if header.get("alg") != _ALGORITHM or "kid" not in header:
                raise _refusal()
            claims = jwt.decode(
                id_token,
                await self._key(header["kid"]),
                algorithms=[_ALGORITHM],
                audience=self._client_id,
                issuer=self._issuers,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "sub", "email"], "strict_aud": True},
            )
            if claims.get("azp", self._client_id) != self._client_id:
                raise _refusal()
            return GoogleIdentity.model_validate(claims)
        except (jwt.PyJWTError, ValueError):
            raise _refusal() from None

    async def _key(self, kid: str) -> jwt.PyJWK:
        if not self._knows(kid):
            async with self._fetching:
                if not self._knows(kid) and self._may_fetch():
                    await self._fetch()
            if self._fetched < self._tries[-1]:
                raise UnavailableError("Google cannot be reached at the moment.")
            if not self._knows(kid):
                raise _refusal()
        return self._keys[kid]

    def _knows(self, kid: str) -> bool:
        return kid in self._keys and time.monotonic() - self._fetched < _KEYS_LAST_SECONDS

    def _may_fetch(self) -> bool:
        is_full = len(self._tries) == _FETCHES_IN_WINDOW
        return not is_full or time.monotonic() - self._tries[0] >= self._window_seconds

    async def _fetch(self) -> None:
        self._tries.append(time.monotonic())
        try:
            keys = await asyncio.to_thread(self._jwks.get_signing_keys)
        except (jwt.PyJWTError, OSError, ValueError):
            return
        self._keys = {str(key.key_id): key for key in keys if key.algorithm_name == _ALGORITHM}
        self._fetched = time.monotonic()


def _refusal() -> UnauthenticatedError:
    return UnauthenticatedError("This Google sign-in is not valid, or it is too old; sign in again.")
