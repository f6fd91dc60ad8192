"""Who comes in by a password: each try is counted before the password is looked at."""

import asyncio
from datetime import datetime

from core.accounts.forgetting import Forgetting
from core.accounts.models import User
from core.accounts.passwords import verify_password
from core.accounts.store import AccountStore
from core.accounts.throttles import SIGN_IN, Throttles
from core.caller import Origin
from core.errors import ThrottledError, UnauthenticatedError
from core.ids import fingerprint, normalise_email
from core.operations.service import Operations
from core.storage.tables import Stored

_NOBODY = fingerprint("nobody")  # read in place of a person who is not there, to take as long


class Doors:
    def __init__(
        self, store: AccountStore, throttles: Throttles, forgetting: Forgetting, operations: Operations
    ) -> None:
        self._store = store
        self._throttles = throttles
        self._forgetting = forgetting
        self._operations = operations

    async def open(self, email: str, password: str, origin: Origin) -> Stored[User]:
        """Return whose password this is, after two rounds of storage calls, whoever it is.

        Each try is counted before the password is looked at, for the address and for the account, so that
        no number of tries side by side gets past the limits. Tries before the last sign-in do not count. A
        stranger who uses up the account's tries does not lock its owner out: a network address from which
        the owner has signed in has as many of its own.
        """
        door, seen = await asyncio.gather(self._store.door(email), self._throttles.seen_from(origin.address))
        self._throttles.check_from(seen)
        user_id = _NOBODY if door.claim is None else door.claim.value.user_id

        async def last_login() -> datetime | None:
            user = await self._store.find_user(user_id)
            return None if user is None else user.value.last_login_at

        async def count() -> None:
            limit = self._throttles.per_account
            try:
                await self._throttles.note(door.key, SIGN_IN, door.attempts, limit, last_login)
            except ThrottledError:
                user = await self._store.find_user(user_id)
                if user is None or origin.address not in user.value.addresses:
                    raise
                kind = f"{SIGN_IN}-{fingerprint(origin.address)}"
                await self._throttles.note(door.key, kind, None, limit, last_login)

        found, _, _ = await asyncio.gather(
            self._store.find_user(user_id),
            count(),
            self._throttles.note_from(origin.address, seen),
        )
        if found is not None and (found.value.email != normalise_email(email) or found.value.erasing_at):
            found = None
        password_hash = found.value.password_hash if found else None
        if not await verify_password(password, password_hash) or found is None:
            target = found.value.id if found else "unknown"
            await asyncio.gather(
                self._operations.record("session.refused", None, target, origin, "password"),
                self._forgetting.note_refusal(door.key),
            )
            raise UnauthenticatedError("The address or the password is not right.")
        return found
