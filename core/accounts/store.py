"""Where accounts are kept: `accounts` by address, `users` by user."""

import asyncio

from core.accounts.models import Claim, Credentials, Profile, Session, normalise_email
from core.errors import ConflictError
from core.ids import fingerprint
from core.storage.tables import Insert, Replace, Stored, Table


class AccountStore:
    def __init__(self, accounts: Table, users: Table) -> None:
        self._accounts = accounts
        self._users = users

    async def create(self, profile: Profile, credentials: Credentials) -> None:
        """Write a new account; the claim on its address is the commit point.

        Raises ConflictError if the address is taken. What a crash or a conflict leaves behind is a
        user whom no address points to.
        """
        claim = Claim(user_id=profile.id, created_at=profile.created_at)
        if await self.find_id(profile.email) is not None:
            raise ConflictError("There is an account with this address already.")
        await self._users.transact(
            profile.id, [Insert("profile", profile), Insert("credentials", credentials)]
        )
        try:
            await self._accounts.insert(claim, fingerprint(profile.email), "account")
        except ConflictError:
            if await self.find_id(profile.email) == profile.id:
                return  # the answer to our own insertion was lost, and the SDK asked again
            await asyncio.gather(
                self._users.delete(profile.id, "profile"), self._users.delete(profile.id, "credentials")
            )
            raise ConflictError("There is an account with this address already.") from None

    async def find_id(self, email: str) -> str | None:
        found = await self._accounts.find(Claim, fingerprint(normalise_email(email)), "account")
        return None if found is None else found.value.user_id

    async def find(self, email: str) -> tuple[Profile, Credentials] | None:
        """Return the account of an address, or None."""
        user_id = await self.find_id(email)
        if user_id is None:
            return None
        profile, credentials = await asyncio.gather(
            self._users.get(Profile, user_id, "profile"), self._users.get(Credentials, user_id, "credentials")
        )
        return profile.value, credentials.value

    async def profile(self, user_id: str) -> Profile:
        """Raises NotFoundError."""
        return (await self._users.get(Profile, user_id, "profile")).value

    async def set_profile(self, user_id: str, change: Profile) -> None:
        await self._users.put(change, user_id, "profile")

    async def set_credentials(self, user_id: str, credentials: Credentials) -> None:
        await self._users.put(credentials, user_id, "credentials")

    async def add_session(self, user_id: str, session: Session) -> None:
        await self._users.insert(session, user_id, f"session_{session.id}")

    async def session(
        self, user_id: str, session_id: str
    ) -> tuple[Stored[Session], Credentials, Profile] | None:
        """Return a session, the credentials that its epoch is checked against, and whose it is, or None."""
        session, credentials, profile = await asyncio.gather(
            self._users.find(Session, user_id, f"session_{session_id}"),
            self._users.find(Credentials, user_id, "credentials"),
            self._users.find(Profile, user_id, "profile"),
        )
        if session is None or credentials is None or profile is None:
            return None
        return session, credentials.value, profile.value

    async def replace_session(self, user_id: str, stored: Stored[Session], session: Session) -> None:
        """Raises StaleError if another request was first."""
        await self._users.transact(user_id, [Replace(stored, session)])

    async def end_session(self, user_id: str, session_id: str) -> None:
        await self._users.delete(user_id, f"session_{session_id}")
