"""Access tokens (signed, short-lived) and the secrets of sessions and links (opaque, stored as hashes)."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

import jwt

from core.accounts.keys import KeyRing
from core.caller import Caller, Role
from core.errors import UnauthenticatedError
from core.ids import new_id, now

_ALGORITHM = "HS256"
_AUDIENCE = "aloud"
_MARK_LENGTH = 16


class AccessTokens:
    """Makes and reads JWTs (RFC 7519) with one pinned algorithm, issuer and audience.

    The first key of the ring signs; a token of any of its keys is read, so that keys can change.
    """

    def __init__(self, keys: KeyRing, issuer: str, life: timedelta) -> None:
        self._keys = keys
        self._issuer = issuer
        self.life = life

    def issue(
        self, user_id: str, session_id: str, roles: tuple[Role, ...], at: datetime | None = None
    ) -> str:
        """Return a token for this session that ends after `life`."""
        at = at or now()
        claims = {
            "iss": self._issuer,
            "aud": _AUDIENCE,
            "sub": user_id,
            "sid": session_id,
            "roles": list(roles),
            "jti": new_id(at),
            "iat": at,
            "exp": at + self.life,
        }
        key = self._keys.first
        return jwt.encode(claims, key.secret, _ALGORITHM, headers={"kid": key.kid})

    def read(self, token: str) -> Caller:
        """Return who the token speaks for. Raises UnauthenticatedError for anything but a good token."""
        try:
            key = self._keys.find(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise jwt.InvalidTokenError("unknown key")
            claims = jwt.decode(
                token,
                key.secret,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=self._issuer,
                options={"require": ["exp", "iat", "sub", "sid", "roles", "jti"]},
            )
            return Caller(user_id=claims["sub"], session_id=claims["sid"], roles=frozenset(claims["roles"]))
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise UnauthenticatedError("This access token is not valid, or it has ended.") from None


class LinkSecrets:
    """The secrets of mailed links, derived from the message that asks for the mail: a repeat is the same."""

    def __init__(self, keys: KeyRing) -> None:
        self._key = keys.first.secret

    def derive(self, *parts: str) -> str:
        """Return 256 bits that nobody without the key can tell from random."""
        return hmac.new(self._key, "\x00".join(parts).encode(), "sha256").hexdigest()


def new_secret() -> str:
    """Return 256 random bits."""
    return secrets.token_urlsafe(32)


def new_family_secret(family_key: str) -> str:
    """Return a new secret of a session, with a mark by which the session knows its own old ones."""
    secret = new_secret()
    return secret + _mark(family_key, secret)


def is_of_family(family_key: str, secret: str) -> bool:
    """Tell whether this session once issued the secret, as against someone's guess."""
    mark = _mark(family_key, secret[:-_MARK_LENGTH])
    return hmac.compare_digest(mark.encode(), secret[-_MARK_LENGTH:].encode())


def _mark(family_key: str, secret: str) -> str:
    return hmac.new(family_key.encode(), secret.encode(), "sha256").hexdigest()[:_MARK_LENGTH]


def hash_secret(secret: str) -> str:
    """Return what is stored in place of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, secret_hash: str | None) -> bool:
    """Compare in constant time; no hash matches nothing."""
    return secret_hash is not None and hmac.compare_digest(hash_secret(secret), secret_hash)
