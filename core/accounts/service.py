"""Accounts: register, sign in, stay signed in, sign out."""

from datetime import timedelta
from urllib.parse import urlsplit

from core.accounts.models import (
    Credentials,
    Profile,
    Session,
    SessionKind,
    Tokens,
    normalise_email,
)
from core.accounts.passwords import hash_password, is_outdated, verify_password
from core.accounts.store import AccountStore
from core.accounts.tokens import AccessTokens, hash_secret, matches, new_secret
from core.caller import Caller, Role
from core.errors import NotFoundError, StaleError, UnauthenticatedError
from core.ids import new_id, now
from core.settings import Settings
from core.storage.tables import Stored


class Accounts:
    def __init__(self, settings: Settings, store: AccountStore) -> None:
        self._admins = settings.admins
        self._is_local = urlsplit(settings.public_base_url).hostname in ("localhost", "127.0.0.1")
        self._session_life = timedelta(days=settings.session_days)
        self._store = store
        self._tokens = AccessTokens(
            settings.jwt_signing_key.get_secret_value(),
            settings.public_base_url,
            timedelta(seconds=settings.access_token_seconds),
        )

    async def register(self, email: str, password: str, display_name: str | None) -> Profile:
        """Make an account. Raises ConflictError if the address is taken."""
        at = now()
        address = normalise_email(email)
        profile = Profile(
            id=new_id(at),
            email=address,
            display_name=display_name or address.partition("@")[0][:80],
            created_at=at,
        )
        await self._store.create(profile, Credentials(password_hash=await hash_password(password)))
        return self._with_roles(profile)

    async def log_in(self, email: str, password: str) -> Tokens:
        """Open a session for a program. Raises UnauthenticatedError, the same for every cause."""
        profile, credentials = await self._verify(email, password)
        session, secret = await self._open_session(profile, credentials, "api")
        return self._tokens_of(profile.id, session, secret)

    async def open_site_session(self, email: str, password: str) -> str:
        """Open a session for a browser and return its cookie's value. Raises UnauthenticatedError."""
        profile, credentials = await self._verify(email, password)
        session, secret = await self._open_session(profile, credentials, "site")
        return f"{profile.id}.{session.id}.{secret}"

    async def refresh(self, refresh_token: str) -> Tokens:
        """Swap a refresh token for a new pair; the one before it, used again, ends the session.

        Raises UnauthenticatedError.
        """
        profile, stored, secret = await self._find_session(refresh_token, "api")
        session = stored.value
        if not matches(secret, session.secret_hash):
            if session.previous_hash is not None and matches(secret, session.previous_hash):
                await self._store.end_session(profile.id, session.id)
            raise UnauthenticatedError("This refresh token is not valid any more; sign in again.")
        successor = new_secret()
        renewed = session.model_copy(
            update={
                "secret_hash": hash_secret(successor),
                "previous_hash": session.secret_hash,
                "roles": profile.roles,
                "expires_at": now() + self._session_life,
            }
        )
        try:
            await self._store.replace_session(profile.id, stored, renewed)
        except StaleError:
            raise UnauthenticatedError("This refresh token was used a moment ago.") from None
        return self._tokens_of(profile.id, renewed, successor)

    def caller_of_token(self, access_token: str) -> Caller:
        """Raises UnauthenticatedError."""
        return self._tokens.read(access_token)

    async def caller_of_cookie(self, cookie: str) -> Caller:
        """Return who a browser's session speaks for, at the cost of one round of reads.

        Raises UnauthenticatedError.
        """
        profile, stored, secret = await self._find_session(cookie, "site")
        if not matches(secret, stored.value.secret_hash):
            raise UnauthenticatedError("Sign in again.")
        return Caller(user_id=profile.id, session_id=stored.value.id, roles=frozenset(profile.roles))

    async def log_out(self, caller: Caller) -> None:
        """End the caller's session."""
        await self._store.end_session(caller.user_id, caller.session_id)

    async def profile(self, user_id: str) -> Profile:
        """Raises NotFoundError."""
        return self._with_roles(await self._store.profile(user_id))

    async def grant_role(self, email: str, role: Role) -> Profile:
        """Give a role to an existing account. Raises NotFoundError."""
        found = await self._store.find(email)
        if found is None:
            raise NotFoundError(f"No account has the address {email}.")
        profile = found[0]
        granted = profile.model_copy(update={"roles": tuple(dict.fromkeys((*profile.roles, role)))})
        await self._store.set_profile(profile.id, granted)
        return granted

    async def _verify(self, email: str, password: str) -> tuple[Profile, Credentials]:
        found = await self._store.find(email)
        if not await verify_password(password, found[1].password_hash if found else None) or not found:
            raise UnauthenticatedError("The address or the password is not right.")
        profile, credentials = found
        if is_outdated(credentials.password_hash):
            credentials = credentials.model_copy(update={"password_hash": await hash_password(password)})
            await self._store.set_credentials(profile.id, credentials)
        return self._with_roles(profile), credentials

    async def _open_session(
        self, profile: Profile, credentials: Credentials, kind: SessionKind
    ) -> tuple[Session, str]:
        at = now()
        secret = new_secret()
        session = Session(
            id=new_id(at),
            secret_hash=hash_secret(secret),
            epoch=credentials.epoch,
            kind=kind,
            roles=profile.roles,
            created_at=at,
            expires_at=at + self._session_life,
        )
        await self._store.add_session(profile.id, session)
        return session, secret

    async def _find_session(self, value: str, kind: SessionKind) -> tuple[Profile, Stored[Session], str]:
        parts = value.split(".")
        if len(parts) == 3:
            found = await self._store.session(parts[0], parts[1])
            if found is not None:
                stored, credentials, profile = found
                session = stored.value
                if session.kind == kind and session.epoch == credentials.epoch and session.expires_at > now():
                    return self._with_roles(profile), stored, parts[2]
        raise UnauthenticatedError("This session has ended; sign in again.")

    def _tokens_of(self, user_id: str, session: Session, secret: str) -> Tokens:
        return Tokens(
            access_token=self._tokens.issue(user_id, session),
            expires_in=int(self._tokens.life.total_seconds()),
            refresh_token=f"{user_id}.{session.id}.{secret}",
        )

    def _with_roles(self, profile: Profile) -> Profile:
        """Add the role that ADMIN_EMAILS gives; on this machine only, as long as no address is verified."""
        if self._is_local and profile.email in self._admins and "admin" not in profile.roles:
            return profile.model_copy(update={"roles": (*profile.roles, "admin")})
        return profile
