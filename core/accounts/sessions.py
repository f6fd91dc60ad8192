"""Sessions: sign in, stay signed in, sign out; on one device, or everywhere."""

import asyncio
from datetime import datetime, timedelta

from pydantic import BaseModel

from core.accounts.doors import Doors
from core.accounts.linking import Linking
from core.accounts.models import Session, SessionKind, Tokens, User
from core.accounts.passwords import hash_password, is_outdated, verify_password
from core.accounts.proofs import Proofs
from core.accounts.sealing import seal_with, unseal_with
from core.accounts.store import AccountStore
from core.accounts.throttles import Throttles
from core.accounts.tokens import (
    AccessTokens,
    hash_secret,
    is_of_family,
    matches,
    new_family_secret,
    new_secret,
)
from core.caller import Caller, Origin, Role
from core.errors import (
    AccountDisabledError,
    AloudError,
    ConflictError,
    EmailUnverifiedError,
    MfaRequiredError,
    NotFoundError,
    StaleError,
    UnauthenticatedError,
)
from core.ids import new_id, now
from core.operations.service import Operations
from core.settings import Settings
from core.storage.tables import Stored

_RACES = 50
_DEVICE_CHARACTERS = 200
_KNOWN_ADDRESSES = 5


class SessionView(BaseModel):
    """A device that is signed in. `device` is what it says of itself, `renewed_at` its last sign of life."""

    id: str
    kind: SessionKind
    device: str
    address: str
    created_at: datetime
    renewed_at: datetime
    expires_at: datetime
    current: bool


class Sessions:
    def __init__(
        self,
        settings: Settings,
        store: AccountStore,
        throttles: Throttles,
        doors: Doors,
        proofs: Proofs,
        linking: Linking,
        tokens: AccessTokens,
        operations: Operations,
    ) -> None:
        self._admins = settings.admins
        self._is_local = settings.is_local
        self._listeners_publish = settings.listeners_publish
        self._verified_only = settings.verified_email_required
        self._life = timedelta(days=settings.session_days)
        self._grace = timedelta(seconds=settings.refresh_grace_seconds)
        self._store = store
        self._throttles = throttles
        self._doors = doors
        self._proofs = proofs
        self._linking = linking
        self._tokens = tokens
        self._operations = operations

    # Sign in

    async def log_in(self, email: str, password: str, mfa_code: str | None, origin: Origin) -> Tokens:
        """Open a session for a program.

        Raises UnauthenticatedError, the same for every wrong address or password; after a right password
        MfaRequiredError, MfaInvalidError, EmailUnverifiedError or AccountDisabledError; ThrottledError.
        """
        user = await self._doors.open(email, password, origin)
        return self._tokens_of(*await self._open(user, mfa_code, "api", origin, password=password))

    async def open_site_session(self, email: str, password: str, mfa_code: str | None, origin: Origin) -> str:
        """Open a session for a browser and return its cookie's value. Raises as `log_in`."""
        user = await self._doors.open(email, password, origin)
        return _cookie_of(*await self._open(user, mfa_code, "site", origin, password=password))

    async def log_in_with_google(self, id_token: str, mfa_code: str | None, origin: Origin) -> Tokens:
        """Open a session for who shows this Google ID token; the first time, make or link an account.

        Raises UnauthenticatedError for a bad token, ConflictError where an account with this address exists
        that is not Google's to open, NotFoundError where Google sign-in is not set up.
        """
        await self._throttles.attempt_from(origin.address)
        found, identity = await self._linking.find_or_join(id_token, origin)
        if mfa_code is not None:
            await self._proofs.count(found.value.id)
        return self._tokens_of(*await self._open(found, mfa_code, "api", origin, google=identity.subject))

    async def _open(
        self,
        stored: Stored[User],
        mfa_code: str | None,
        kind: SessionKind,
        origin: Origin,
        password: str | None = None,
        google: str | None = None,
    ) -> tuple[User, Session, str]:
        """Open a session for someone who is known by now, in one transaction with what the code uses up.

        The Google account that was shown is linked by the same transaction, if it was not before.
        """
        is_new_link = google is not None and stored.value.google_subject is None
        outdated = password is not None and is_outdated(stored.value.password_hash or "")
        new_hash = await hash_password(password) if password is not None and outdated else None
        proven_hash = stored.value.password_hash
        opened_at = now()
        family_key = new_secret()
        secret = new_family_secret(family_key)
        session_id = new_id(opened_at)
        notice = await self._linking.prepare_notice(stored.value) if is_new_link else None
        rows = [] if notice is None else [notice.row]
        for race in range(_RACES):
            user = stored.value
            if user.erasing_at is not None:
                raise UnauthenticatedError("This account is being deleted.")
            try:
                user = self._admit(user, mfa_code, google)
            except AloudError as error:
                if not isinstance(error, MfaRequiredError):
                    await self._operations.record("session.refused", user.id, user.id, origin, error.slug)
                raise
            if google is not None and race == 0:
                if is_new_link:
                    await self._operations.record("account.google-linked", user.id, user.id, origin)
                await self._store.claim_google(google, user.id)
            at = now()
            addresses = tuple(dict.fromkeys((origin.address, *user.addresses)))[:_KNOWN_ADDRESSES]
            user = user.model_copy(
                update={
                    "last_login_at": at,
                    "addresses": addresses,
                    "password_hash": new_hash or user.password_hash,
                }
            )
            session = Session(
                id=session_id,
                family_key=family_key,
                secret_hash=hash_secret(secret),
                epoch=user.epoch,
                kind=kind,
                address=origin.address,
                device=origin.device[:_DEVICE_CHARACTERS],
                created_at=opened_at,
                renewed_at=at,
                expires_at=at + self._life,
            )
            acts = [self._store.open_session(stored, user, session, *rows)]
            if race == 0:
                acts.append(self._operations.record("session.opened", user.id, user.id, origin, session.id))
            try:
                await asyncio.gather(*acts)
                if notice is not None:
                    await self._linking.notices.send(user.id, notice)
                return user, session, secret
            except (StaleError, NotFoundError):
                found = await self._store.find_user(user.id)
                if found is None:
                    break
                if found.value.password_hash != proven_hash:
                    proven_hash, new_hash = found.value.password_hash, None
                    if password is not None and not await verify_password(password, proven_hash):
                        break
                stored = found
        raise UnauthenticatedError("The account has just changed. Sign in again.")

    def _admit(self, user: User, mfa_code: str | None, google: str | None) -> User:
        """Return the user with the code used up and Google linked. Raises what keeps a known person out."""
        if user.disabled_at is not None:
            raise AccountDisabledError("This account was closed. Write to us if that is a mistake.")
        if self._verified_only and not user.email_verified:
            raise EmailUnverifiedError("Follow the link in the mail that we have sent, then sign in.")
        user = self._proofs.use_second_factor(user, mfa_code)
        if google is None:
            return user
        if user.google_subject not in (None, google):
            raise ConflictError("Another Google account is linked to the account with this address.")
        return user.model_copy(update={"google_subject": google})

    # Stay signed in

    async def refresh(self, refresh_token: str, origin: Origin) -> Tokens:
        """Swap a refresh token for a new pair.

        The token before the newest is answered with the newest for a short time, since two tabs may refresh
        at once and an answer may be lost; any older use of a token ends the session.
        Raises UnauthenticatedError.
        """
        user_id, session_id, secret = _split(refresh_token)
        for _ in range(_RACES):
            user, stored = await self._find(user_id, session_id, "api")
            session = stored.value
            if not matches(secret, session.secret_hash):
                return await self._repeat(user, session, secret, origin)
            at = now()
            successor = new_family_secret(session.family_key)
            renewed = session.model_copy(
                update={
                    "secret_hash": hash_secret(successor),
                    "previous_hash": session.secret_hash,
                    "successor": seal_with(secret, successor),
                    "renewed_at": at,
                    "expires_at": at + self._life,
                }
            )
            try:
                await self._store.replace_session(stored, renewed)
            except StaleError:
                continue  # another request with this token was first; what it got is found above
            except NotFoundError:
                break
            return self._tokens_of(user, renewed, successor)
        raise UnauthenticatedError("This session has ended; sign in again.")

    async def _repeat(self, user: User, session: Session, secret: str, origin: Origin) -> Tokens:
        """Answer a token that is not the newest."""
        if matches(secret, session.previous_hash) and session.renewed_at + self._grace > now():
            return self._tokens_of(user, session, unseal_with(secret, session.successor or ""))
        if is_of_family(session.family_key, secret):
            await self._operations.record("session.replayed", None, user.id, origin, session.id)
            await self._store.end_session(user.id, session.id)
        raise UnauthenticatedError("This refresh token is not valid any more; sign in again.")

    # Who calls

    def caller_of_token(self, access_token: str) -> Caller:
        """Return who an access token speaks for, without a storage call. Raises UnauthenticatedError."""
        return self._tokens.read(access_token)

    async def confirm(self, caller: Caller) -> Caller:
        """Return the caller with today's roles while the session is alive. Raises UnauthenticatedError."""
        user, _ = await self._find(caller.user_id, caller.session_id, None)
        return caller.model_copy(update={"roles": frozenset(self.roles(user))})

    async def visitor(self, cookie: str) -> tuple[Caller, User]:
        """Return who a browser's session speaks for, at the cost of one round of reads.

        Raises UnauthenticatedError.
        """
        user_id, session_id, secret = _split(cookie)
        user, stored = await self._find(user_id, session_id, "site")
        if not matches(secret, stored.value.secret_hash):
            raise UnauthenticatedError("Sign in again.")
        return Caller(user_id=user.id, session_id=session_id, roles=frozenset(self.roles(user))), user

    def roles(self, user: User) -> tuple[Role, ...]:
        """Return a person's roles, with those that settings give to verified addresses.

        On loopback the address need not be verified to be an administrator's: who can reach this machine
        may be its administrator.
        """
        given: list[Role] = []
        if user.email in self._admins and (user.email_verified or self._is_local):
            given.append("admin")
        if self._listeners_publish and user.email_verified:
            given.append("publisher")
        return (*user.roles, *(role for role in given if role not in user.roles))

    # Sign out

    async def log_out(self, caller: Caller, origin: Origin) -> None:
        """End the caller's session."""
        await self._operations.record("session.closed", caller.user_id, caller.user_id, origin)
        await self._store.end_session(caller.user_id, caller.session_id)

    async def log_out_everywhere(self, caller: Caller, origin: Origin) -> None:
        """End all sessions of the caller, by one write."""
        await self._operations.record("session.all-closed", caller.user_id, caller.user_id, origin)
        await self._store.change_user(
            caller.user_id, lambda user: user.model_copy(update={"epoch": user.epoch + 1})
        )

    async def devices(self, caller: Caller) -> list[SessionView]:
        """Return the sessions that are alive, the newest first, and forget those that are not."""
        user = (await self._store.user(caller.user_id)).value  # first: a session may be newer, not the user
        sessions = await self._store.sessions(caller.user_id)
        alive = [session for session in sessions if session.is_alive_of(user)]
        over = [s for s in sessions if s.epoch < user.epoch or s.expires_at < now()]
        await asyncio.gather(*(self._store.end_session(caller.user_id, session.id) for session in over))
        return [
            SessionView(**session.model_dump(), current=session.id == caller.session_id)
            for session in sorted(alive, key=lambda session: session.id, reverse=True)
        ]

    async def end(self, caller: Caller, session_id: str, origin: Origin) -> None:
        """End one of the caller's sessions. Raises NotFoundError."""
        found = await self._store.session(caller.user_id, session_id)
        if found is None or not found[0].value.is_alive_of(found[1].value):
            raise NotFoundError("You have no such session.")
        await self._operations.record("session.closed", caller.user_id, caller.user_id, origin, session_id)
        await self._store.end_session(caller.user_id, session_id)

    async def _find(
        self, user_id: str, session_id: str, kind: SessionKind | None
    ) -> tuple[User, Stored[Session]]:
        for _ in range(2):  # the two rows are read side by side, and may be of before and after a change
            found = await self._store.session(user_id, session_id)
            if found is None:
                break
            session, user = found
            if kind in (None, session.value.kind) and session.value.is_alive_of(user.value):
                return user.value, session
        raise UnauthenticatedError("This session has ended; sign in again.")

    def _tokens_of(self, user: User, session: Session, secret: str) -> Tokens:
        return Tokens(
            access_token=self._tokens.issue(user.id, session.id, self.roles(user)),
            expires_in=int(self._tokens.life.total_seconds()),
            refresh_token=_cookie_of(user, session, secret),
        )


def _cookie_of(user: User, session: Session, secret: str) -> str:
    return f"{user.id}.{session.id}.{secret}"


def _split(value: str) -> tuple[str, str, str]:
    """Return the three parts of a token or cookie. Raises UnauthenticatedError if it cannot be ours."""
    parts = value.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isalnum() for part in parts[:2]):
        raise UnauthenticatedError("This session has ended; sign in again.")
    return parts[0], parts[1], parts[2]
