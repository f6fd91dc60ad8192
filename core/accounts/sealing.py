"""Short secrets that have to be read again, encrypted at rest: Fernet, that is AES-128-CBC with an HMAC."""

import hmac
from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from core.accounts.keys import KeyRing


class Sealer:
    """Encrypts with the first key of a ring and decrypts with any."""

    def __init__(self, keys: KeyRing) -> None:
        self._cipher = MultiFernet([_cipher(key.secret) for key in keys])

    def seal(self, text: str) -> str:
        """Return URL-safe ASCII, different each time."""
        return self._cipher.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """Raises ValueError for anything that none of the keys has sealed."""
        return _open(self._cipher, sealed)


def seal_with(secret: str, text: str) -> str:
    """Encrypt so that only the holder of `secret` (256 random bits, stored nowhere) can read it."""
    return _cipher_of(secret).encrypt(text.encode()).decode()


def unseal_with(secret: str, sealed: str) -> str:
    """Raises ValueError for anything that was not sealed with this secret."""
    return _open(_cipher_of(secret), sealed)


def _cipher(key: bytes) -> Fernet:
    return Fernet(urlsafe_b64encode(key))


def _cipher_of(secret: str) -> Fernet:
    """A random secret needs no slow derivation; HMAC keeps this use of it apart from its stored hash."""
    return _cipher(hmac.digest(secret.encode(), b"sealed successor", "sha256"))


def _open(cipher: Fernet | MultiFernet, sealed: str) -> str:
    try:
        return cipher.decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise ValueError("This was not sealed with these keys, or it was changed.") from None
