"""Password hashes: argon2id with 19 MiB, two passes, one lane (OWASP's first recommendation)."""

import asyncio
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


async def hash_password(password: str) -> str:
    """Return the hash with its parameters and salt; runs in a thread, since it takes tens of milliseconds."""
    return await asyncio.to_thread(_HASHER.hash, password)


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Tell whether the password fits; for an unknown account (None) it takes as long and says no."""
    known = password_hash is not None
    try:
        await asyncio.to_thread(_HASHER.verify, password_hash or _decoy(), password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return known


def is_outdated(password_hash: str) -> bool:
    """Tell whether a hash was made with weaker parameters than today's."""
    return _HASHER.check_needs_rehash(password_hash)


@cache
def _decoy() -> str:
    return _HASHER.hash("nobody has this password")
