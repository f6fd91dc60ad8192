"""Links that are mailed: single use, short-lived, stored as hashes, the newest of its kind only."""

from collections.abc import Callable
from datetime import timedelta

from core.accounts.models import Link, LinkPurpose, User
from core.accounts.store import AccountStore
from core.accounts.tokens import LinkSecrets, hash_secret, matches
from core.errors import InvalidError, StaleError, UnavailableError
from core.ids import now
from core.storage.tables import Operation, Replace, Stored

LIVES: dict[LinkPurpose, timedelta] = {
    "verify": timedelta(hours=24),
    "reset": timedelta(minutes=30),
    "email": timedelta(hours=24),
}
_PAGES: dict[LinkPurpose, str] = {"verify": "/verify", "reset": "/reset", "email": "/verify/email"}
_RACES = 10


class Links:
    def __init__(self, store: AccountStore, secrets: LinkSecrets, site: str) -> None:
        self._store = store
        self._secrets = secrets
        self._site = site.rstrip("/")

    async def make(self, user: User, purpose: LinkPurpose, email: str, work_id: str) -> str | None:
        """Store a link for this user and return its address; None if it was used, or a newer one asked for.

        The same piece of work makes the same link, so that a mail which is sent twice is one mail. `work_id`
        sorts by time. Raises NotFoundError where the account is gone or going.
        """
        secret = self._secrets.derive(purpose, user.id, work_id)
        found = await self._store.link(user.id, purpose)
        if found is not None and found.value.work_id >= work_id:
            is_open = found.value.work_id == work_id and found.value.secret_hash is not None
            return self._address(purpose, user, secret) if is_open else None
        link = Link(
            work_id=work_id,
            secret_hash=hash_secret(secret),
            email=email,
            epoch=user.epoch,
            expires_at=now() + LIVES[purpose],
        )
        await self._store.put_link(user.id, purpose, link)
        return self._address(purpose, user, secret)

    def _address(self, purpose: LinkPurpose, user: User, secret: str) -> str:
        return f"{self._site}{_PAGES[purpose]}?token={user.id}.{secret}"

    async def find(self, purpose: LinkPurpose, token: str) -> tuple[Stored[User], Stored[Link]]:
        """Return whose link this is. Raises InvalidError for one that is unknown, used or too old."""
        user_id, _, secret = token.partition(".")
        if user_id.isascii() and user_id.isalnum():
            link = await self._store.link(user_id, purpose)
            if link is not None and matches(secret, link.value.secret_hash) and link.value.expires_at > now():
                user = await self._store.find_user(user_id)
                if user is not None and _opens(purpose, link.value, user.value):
                    return user, link
        raise InvalidError(
            "This link was used already, or it is too old. Ask for a new one.",
            (("token", "was used already, or is too old"),),
        )

    async def use(
        self, purpose: LinkPurpose, token: str, change: Callable[[User, Link], User], *also: Operation
    ) -> tuple[User, User]:
        """Change a user and use up the link, and do `also`, in one transaction; returns both users.

        Raises InvalidError as `find` does.
        """
        for _ in range(_RACES):
            user, link = await self.find(purpose, token)
            changed = change(user.value, link.value)
            used = link.value.model_copy(update={"secret_hash": None})
            try:
                await self._store.commit(user, changed, Replace(link, used), *also)
            except StaleError:
                continue
            return user.value, changed
        raise UnavailableError("This account changes too often.", retry_after=1)


def _opens(purpose: LinkPurpose, link: Link, user: User) -> bool:
    """Tell whether a link still fits its user: who has left an address opens nothing by its mailbox.

    A move to another address and a new password end with all sessions, so with a password that was set since.
    """
    in_time = purpose == "verify" or link.epoch == user.epoch
    at_home = purpose == "email" or link.email == user.email
    return in_time and at_home and user.erasing_at is None and user.disabled_at is None
