"""Keys that can be changed without a break: the first makes, all of them are accepted."""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

_SHORTEST = 32


@dataclass(frozen=True)
class Key:
    """32 secret bytes, and the public id by which something made with them names them."""

    kid: str
    secret: bytes = field(repr=False)


class KeyRing:
    """The keys of one purpose, newest first, so that what one purpose leaks opens no other."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self._keys = keys

    @classmethod
    def read(cls, text: str, purpose: str) -> Self:
        """Derive the keys from a setting: one or several texts of at least 32 characters, with space between.

        Raises ValueError, which names the place of a key that is too short and never the key.
        """
        texts = text.split()
        if not texts:
            raise ValueError("There is no key.")
        for place, key in enumerate(texts, 1):
            if len(key) < _SHORTEST:
                raise ValueError(f"Key {place} of {len(texts)} is shorter than {_SHORTEST} characters.")
        return cls(tuple(_derive(key, purpose) for key in texts))

    @property
    def first(self) -> Key:
        """The key to make new things with."""
        return self._keys[0]

    def find(self, kid: str) -> Key | None:
        return next((key for key in self._keys if key.kid == kid), None)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)


def _derive(text: str, purpose: str) -> Key:
    secret = hmac.digest(text.encode(), purpose.encode(), "sha256")
    return Key(kid=hashlib.sha256(secret).hexdigest()[:12], secret=secret)
