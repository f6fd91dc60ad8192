"""Where accounts are kept: `accounts` by what is unique (address, Google account), `users` by person."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from core.accounts.models import (
    Attempts,
    Claim,
    Export,
    Joined,
    Link,
    LinkPurpose,
    Notice,
    Session,
    SweptSessions,
    User,
)
from core.errors import ConflictError, NotFoundError, StaleError
from core.ids import fingerprint, normalise_email, now
from core.storage.tables import Delete, Insert, Operation, Put, Replace, Stored, Table, month_keys

Standing = Literal["free", "pending", "taken"]

_CLAIM = "account"
_USER = "user"
_JOINED = "joined"
_ORDER = "order_"
_CLAIM_LIFE = timedelta(hours=1)
SWEEP_SECONDS = 7200  # by then no request is under way, and the hour of its claim is over
_SIGN_IN = "sign-in"
_SWEPT = "swept"


@dataclass(frozen=True)
class Door:
    """What is known of an address: its claim, and the sign-ins that were tried with it."""

    key: str
    claim: Stored[Claim] | None
    attempts: Stored[Attempts] | None


class AccountStore:
    def __init__(self, accounts: Table, users: Table) -> None:
        self.accounts = accounts
        self._users = users

    # People

    async def find_user(self, user_id: str) -> Stored[User] | None:
        return await self._users.find(User, user_id, _USER)

    async def user(self, user_id: str) -> Stored[User]:
        """Raises NotFoundError."""
        return await self._users.get(User, user_id, _USER)

    async def change_user(
        self, user_id: str, change: Callable[[User], User | None], also: Sequence[Operation] = ()
    ) -> User:
        """Change a person's row by a pure function, together with `also` in the same partition."""
        return await self._users.update(User, user_id, _USER, change, also)

    async def commit(self, stored: Stored[User], user: User, *also: Operation) -> None:
        """Replace the row as it was read, together with `also`. Raises StaleError or ConflictError."""
        await self._users.transact(user.id, [Replace(stored, user), *also])

    async def add(self, user_id: str, *rows: Operation) -> None:
        """Write rows next to a person's own, but none for who is gone or going. Raises NotFoundError."""

        def stay(user: User) -> User:
            if user.erasing_at is not None:
                raise NotFoundError("This account is being deleted.")
            return user

        await self.change_user(user_id, stay, also=rows)

    async def newest_users(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[User], tuple[str, str] | None]:
        """Return people, the last to join first, and where the next page begins."""
        rows, following = await self._users.newest(Joined, _JOINED, limit, after)
        found = await asyncio.gather(*(self.find_user(row.user_id) for row in rows))
        return [stored.value for stored in found if stored is not None], following

    # Addresses

    async def door(self, email: str) -> Door:
        """Read what belongs to an address, in one call."""
        key = fingerprint(normalise_email(email))
        rows = await self.accounts.partition(key)
        return Door(key, rows.find(Claim, _CLAIM), rows.find(Attempts, f"attempts_{_SIGN_IN}"))

    async def owner(self, email: str) -> Stored[User] | None:
        """Return whose an address is, or None."""
        claim = await self._claim(fingerprint(normalise_email(email)))
        return None if claim is None else await self.pointing_back(claim.value, email)

    async def pointing_back(self, claim: Claim, email: str) -> Stored[User] | None:
        """Return the claim's user if that user has this address."""
        found = await self.find_user(claim.user_id)
        return found if found is not None and found.value.email == normalise_email(email) else None

    async def standing(self, email: str) -> tuple[Standing, Stored[Claim] | None]:
        """Tell whether an address can be had: `pending` is a registration of the last hour, not verified.

        A claim that its user does not point back to, or whose user never verified, is free after an hour.
        """
        claim = await self._claim(fingerprint(normalise_email(email)))
        if claim is None:
            return "free", None
        owner = await self.pointing_back(claim.value, email)
        if owner is not None and not owner.value.provisional:
            return "taken", claim
        return ("free" if claim.value.created_at < now() - _CLAIM_LIFE else "pending"), claim

    async def create(self, user: User, announce: Callable[[], Awaitable[None]]) -> None:
        """Write a new person; the claim on the address is the commit point, `announce` runs before it.

        Can be repeated with the same user, whose row then stays as it has become. Raises ConflictError if
        the address is taken or pending, and leaves nothing of the user then.
        """
        standing, claim = await self.standing(user.email)
        if claim is not None and claim.value.user_id == user.id:
            return
        if standing != "free":
            await self.drop_unclaimed(user)
            raise ConflictError("There is an account with this address already.")
        with suppress(ConflictError):
            await self._users.insert(user, user.id, _USER)
        await self._users.put_in_month(Joined(user_id=user.id), _JOINED, user.created_at, user.id)
        await announce()
        try:
            await self.claim(user.email, user.id, claim)
        except ConflictError:
            await self.drop_unclaimed(user)
            raise ConflictError("There is an account with this address already.") from None

    async def drop_unclaimed(self, user: User) -> None:
        """Delete a person who never got the address; who has it, or has moved to another, stays."""
        found = await self.find_user(user.id)
        if found is None or found.value.email != user.email:
            return
        owner = await self.owner(user.email)
        if owner is None or owner.value.id != user.id:
            with suppress(ConflictError):
                await self.retire(found)

    async def claim(self, email: str, user_id: str, void: Stored[Claim] | None) -> None:
        """Take an address for a user, in place of a claim that `standing` called free or that is theirs.

        Raises ConflictError if another was first.
        """
        claim = Claim(user_id=user_id, created_at=now())
        key = fingerprint(normalise_email(email))
        if void is not None:
            await self._retire(void.value, email)
        try:
            if void is None:
                await self.accounts.insert(claim, key, _CLAIM)
            else:
                await self.accounts.replace(void, claim)
        except (ConflictError, StaleError, NotFoundError):
            found = await self._claim(key)  # the answer to our own write may have been lost
            if found is None or found.value.user_id != user_id:
                raise ConflictError("There is an account with this address already.") from None

    async def _retire(self, claim: Claim, email: str) -> None:
        """Delete a provisional user whose time is over. Raises ConflictError if it was verified just now."""
        owner = await self.pointing_back(claim, email)
        if owner is None:
            return
        if not owner.value.provisional:
            raise ConflictError("There is an account with this address already.")
        await self.retire(owner)

    async def retire(self, stored: Stored[User]) -> None:
        """Delete a person as read. Raises ConflictError if anything about them has changed since."""
        try:
            await self.commit(stored, stored.value.model_copy(update={"erasing_at": now()}))
        except (StaleError, NotFoundError):
            raise ConflictError("There is an account with this address already.") from None
        await self.discard(stored.value)

    async def release(self, email: str, user_id: str) -> None:
        """Give up an address that this user has claimed; another's claim stays."""
        await self._release(fingerprint(normalise_email(email)), user_id)

    async def release_void(self, email: str, user_id: str) -> None:
        """Give up an address that this user has claimed an hour ago or more, and does not have."""
        found = await self._claim(fingerprint(normalise_email(email)))
        if found is None or found.value.user_id != user_id or found.value.created_at > now() - _CLAIM_LIFE:
            return
        if await self.pointing_back(found.value, email) is None:
            await self._give_up(found)

    async def discard(self, user: User) -> None:
        """Delete the rows of a person. Safe to repeat: the row `user` goes last.

        Orders that have come since the shop has seen to them stay for `discard_rest`.
        """
        await self._users.delete(*month_keys(_JOINED, user.created_at, user.id))
        await self._users.erase(user.id, last=_USER, keep=lambda key: key.startswith(_ORDER))

    async def discard_rest(self, user_id: str) -> None:
        """Delete what was still being written when a person was discarded."""
        await self._users.erase(user_id)

    async def _claim(self, key: str) -> Stored[Claim] | None:
        return await self.accounts.find(Claim, key, _CLAIM)

    async def _release(self, key: str, user_id: str) -> None:
        found = await self._claim(key)
        if found is not None and found.value.user_id == user_id:
            await self._give_up(found)

    async def _give_up(self, claim: Stored[Claim]) -> None:
        with suppress(StaleError, NotFoundError):  # somebody has taken it over
            await self.accounts.transact(claim.partition, [Delete(claim)])

    # Google accounts

    async def google_owner(self, subject: str) -> Stored[User] | None:
        """Return who signs in with this Google account, or None."""
        claim = await self._claim(_google(subject))
        if claim is None:
            return None
        found = await self.find_user(claim.value.user_id)
        return found if found is not None and found.value.google_subject == subject else None

    async def claim_google(self, subject: str, user_id: str) -> None:
        """Note that this Google account is this user's, in place of a note that no user points back to.

        Raises ConflictError if another was first.
        """
        key = _google(subject)
        found = await self._claim(key)
        claim = Claim(user_id=user_id, created_at=now())
        try:
            if found is None:
                await self.accounts.insert(claim, key, _CLAIM)
            elif found.value.user_id != user_id:
                if await self.google_owner(subject) is not None:
                    raise ConflictError
                await self.accounts.replace(found, claim)
        except (ConflictError, StaleError, NotFoundError):
            found = await self._claim(key)  # the answer to our own write may have been lost
            if found is None or found.value.user_id != user_id:
                raise ConflictError("This Google account was linked a moment ago; sign in again.") from None

    async def release_google(self, subject: str, user_id: str) -> None:
        await self._release(_google(subject), user_id)

    # Sessions

    async def session(self, user_id: str, session_id: str) -> tuple[Stored[Session], Stored[User]] | None:
        """Return a session and whose it is, in one round, or None."""
        session, user = await asyncio.gather(
            self._users.find(Session, user_id, f"session_{session_id}"), self.find_user(user_id)
        )
        return None if session is None or user is None else (session, user)

    async def sessions(self, user_id: str) -> list[Session]:
        return [stored.value async for stored in self._users.each(Session, user_id, "session_")]

    async def open_session(
        self, stored: Stored[User], user: User, session: Session, *also: Operation
    ) -> None:
        """Add a session, together with a change of its user. Raises StaleError, NotFoundError."""
        with suppress(ConflictError):  # it is there: the answer to our own write was lost
            await self.commit(stored, user, Insert(f"session_{session.id}", session), *also)

    async def replace_session(self, stored: Stored[Session], session: Session) -> None:
        """Raises StaleError if another request was first, NotFoundError if it has ended."""
        await self._users.replace(stored, session)

    async def end_session(self, user_id: str, session_id: str) -> None:
        await self._users.delete(user_id, f"session_{session_id}")

    async def forget_session(self, stored: Stored[Session]) -> None:
        """Delete a session as it was read."""
        await self._users.delete_unchanged(stored)

    async def swept_sessions(self) -> datetime | None:
        """Return the last day whose sessions the nightly sweep has looked at."""
        found = await self.accounts.find(SweptSessions, _SWEPT, "sessions")
        return None if found is None else found.value.day

    async def note_swept_sessions(self, day: datetime) -> None:
        await self.accounts.put(SweptSessions(day=day), _SWEPT, "sessions")

    # Links and exports

    async def link(self, user_id: str, purpose: LinkPurpose) -> Stored[Link] | None:
        return await self._users.find(Link, user_id, f"link_{purpose}")

    async def put_link(self, user_id: str, purpose: LinkPurpose, link: Link) -> None:
        """Raises NotFoundError where the account is gone or going."""
        await self.add(user_id, Put(f"link_{purpose}", link))

    async def notice(self, user_id: str, letter_id: str) -> Notice | None:
        found = await self._users.find(Notice, user_id, f"notice_{letter_id}")
        return None if found is None else found.value

    async def remove_notice(self, user_id: str, notice: Notice) -> None:
        await self._users.delete(user_id, notice.row.key)

    async def exports(self, user_id: str) -> list[Export]:
        return [stored.value async for stored in self._users.each(Export, user_id, "export_")]

    async def export(self, user_id: str, export_id: str) -> Export:
        """Raises NotFoundError."""
        return (await self._users.get(Export, user_id, f"export_{export_id}")).value

    async def add_export(self, user_id: str, export: Export) -> None:
        """Raises NotFoundError where the account is gone or going."""
        await self.add(user_id, Insert(f"export_{export.id}", export))

    async def change_export(self, user_id: str, export_id: str, change: Callable[[Export], Export]) -> None:
        await self._users.update(Export, user_id, f"export_{export_id}", change)

    # Attempts

    async def forget_sign_ins(self, email: str) -> None:
        """Forget the tries to sign in with an address, whose owner has just shown another way."""
        await self.accounts.delete(fingerprint(normalise_email(email)), f"attempts_{_SIGN_IN}")

    async def delete_export(self, user_id: str, export_id: str) -> None:
        await self._users.delete(user_id, f"export_{export_id}")


def _google(subject: str) -> str:
    return fingerprint("google", subject)
