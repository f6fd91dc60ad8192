"""Access tokens (signed, short-lived) and session secrets (opaque, stored as hashes)."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

import jwt

from core.accounts.models import Session
from core.caller import Caller
from core.errors import UnauthenticatedError
from core.ids import new_id, now

_ALGORITHM = "HS256"
_AUDIENCE = "aloud"


class AccessTokens:
    """Makes and reads JWTs with one pinned algorithm, issuer and audience."""

    def __init__(self, key: str, issuer: str, life: timedelta) -> None:
        self._key = hmac.digest(key.encode(), b"access tokens", "sha256")
        self._key_id = hashlib.sha256(self._key).hexdigest()[:12]
        self._issuer = issuer
        self.life = life

    def issue(self, user_id: str, session: Session, at: datetime | None = None) -> str:
        """Return a token for this session that ends after `life`."""
        at = at or now()
        claims = {
            "iss": self._issuer,
            "aud": _AUDIENCE,
            "sub": user_id,
            "sid": session.id,
            "roles": list(session.roles),
            "jti": new_id(at),
            "iat": at,
            "exp": at + self.life,
        }
        return jwt.encode(claims, self._key, _ALGORITHM, headers={"kid": self._key_id})

    def read(self, token: str) -> Caller:
        """Return who the token speaks for. Raises UnauthenticatedError for anything but a good token."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=self._issuer,
                options={"require": ["exp", "iat", "sub", "sid", "roles", "jti"]},
            )
            return Caller(user_id=claims["sub"], session_id=claims["sid"], roles=frozenset(claims["roles"]))
        except (jwt.InvalidTokenError, ValueError):
            raise UnauthenticatedError("This access token is not valid, or it has ended.") from None


def new_secret() -> str:
    """Return 256 random bits for a session."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Return what is stored in place of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, secret_hash: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(hash_secret(secret), secret_hash)
