"""Which passwords are refused, and their hashes.

The hashes are argon2id with 19 MiB, two passes, one lane (OWASP's first recommendation).
"""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
DECOY = "$argon2id$v=19$m=19456,t=2,p=1$6e2eNSYFMMIaeoNplbKpwQ$DVGKIUFX3LXTUeI7zpqk64mFpZ2j6+CiI9y11WlEWIo"
_FEWEST_GUESSES = 30_000_000
_JUDGED = 24
_OUR_WORDS = ["aloud", "audiobook", "audiobooks"]


def is_common(password: str) -> bool:
    """Tell whether a guesser who knows people's habits needs fewer than 30 million tries (zxcvbn's estimate).

    Only the first 24 characters are judged: enough for any good password, and a hostile one of 128
    would take a second instead of at most 50 ms. The library is imported here, for the few who register.
    """
    from zxcvbn_rs_py import zxcvbn

    return zxcvbn(password[:_JUDGED], _OUR_WORDS).guesses < _FEWEST_GUESSES


async def hash_password(password: str) -> str:
    """Return the hash with its parameters and salt; runs in a thread, since it takes tens of milliseconds."""
    return await asyncio.to_thread(_HASHER.hash, password)


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Tell whether the password fits; for an unknown account (None) it takes as long and says no."""
    known = password_hash is not None
    try:
        await asyncio.to_thread(_HASHER.verify, password_hash or DECOY, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return known


def is_outdated(password_hash: str) -> bool:
    """Tell whether a hash was made with weaker parameters than today's."""
    return _HASHER.check_needs_rehash(password_hash)
