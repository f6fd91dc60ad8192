"""What administrators do to accounts: find them, give roles, close and reopen."""

from collections.abc import Callable
from contextlib import suppress

from core.accounts.models import FormerAdministrators, User
from core.accounts.store import AccountStore
from core.caller import Caller, Origin, Role
from core.errors import ConflictError, NotFoundError
from core.ids import now
from core.operations.service import Operations

_FORMER = ("administrators", "former")


class Administration:
    def __init__(
        self,
        store: AccountStore,
        roles_of: Callable[[User], tuple[Role, ...]],
        operations: Operations,
    ) -> None:
        self._store = store
        self._roles_of = roles_of
        self._operations = operations

    async def users(
        self, email: str | None, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[User], tuple[str, str] | None]:
        """Return accounts, the last to join first, or the one of an address; and where more begin."""
        if email is None:
            return await self._store.newest_users(limit, after)
        owner = await self._store.owner(email)
        return ([owner.value] if owner else []), None

    async def set_roles(self, admin: Caller, user_id: str, roles: tuple[Role, ...], origin: Origin) -> User:
        """Set a person's roles; everyone is a listener. For changes and administration they hold at once.

        Raises NotFoundError, and ConflictError where administrators would take the role from themselves, or
        from each other at once: one of them stays.
        """
        wanted = tuple(dict.fromkeys(("listener", *roles)))
        if user_id == admin.user_id and "admin" not in wanted:
            raise ConflictError("You cannot take this role from yourself; another administrator can.")
        user = (await self._store.user(user_id)).value
        if "admin" in wanted:
            await self._return_role(user_id)
        elif "admin" in self._roles_of(user):
            await self._take_role(admin.user_id, user_id)
        await self._operations.record("user.roles-set", admin.user_id, user_id, origin, ", ".join(wanted))
        return await self._store.change_user(user_id, lambda user: user.model_copy(update={"roles": wanted}))

    async def close(self, admin: Caller, user_id: str, origin: Origin) -> User:
        """Close an account: all of its sessions end with the same write.

        Raises NotFoundError, and ConflictError for one's own, and where administrators close each other at
        once: one of them stays.
        """
        if user_id == admin.user_id:
            raise ConflictError("You cannot close your own account here.")
        if "admin" in self._roles_of((await self._store.user(user_id)).value):
            await self._take_role(admin.user_id, user_id)
        await self._operations.record("user.disabled", admin.user_id, user_id, origin)

        def close(user: User) -> User | None:
            if user.disabled_at is not None:
                return None
            return user.model_copy(update={"disabled_at": now(), "epoch": user.epoch + 1})

        return await self._store.change_user(user_id, close)

    async def reopen(self, admin: Caller, user_id: str, origin: Origin) -> User:
        """Let a closed account sign in again. Raises NotFoundError."""
        if "admin" in self._roles_of((await self._store.user(user_id)).value):
            await self._return_role(user_id)
        await self._operations.record("user.enabled", admin.user_id, user_id, origin)
        return await self._store.change_user(
            user_id, lambda user: user.model_copy(update={"disabled_at": None})
        )

    async def grant_role(self, email: str, role: Role) -> User:
        """Give a role to the account of an address. Raises NotFoundError."""
        owner = await self._store.owner(email)
        if owner is None:
            raise NotFoundError(f"No account has the address {email}.")
        user = owner.value
        if role == "admin":
            await self._return_role(user.id)
        nowhere = Origin(address="", request_id="")
        await self._operations.record("user.roles-set", None, user.id, nowhere, f"{role} added by command")
        return await self._store.change_user(
            user.id, lambda u: u.model_copy(update={"roles": tuple(dict.fromkeys((*u.roles, role)))})
        )

    # Who was one

    async def _take_role(self, admin_id: str, user_id: str) -> None:
        """Note that an administrator is about to take the role from another.

        Of two who do it to each other at once, one is first. Raises ConflictError for the other.
        """

        def note(former: FormerAdministrators) -> FormerAdministrators:
            if admin_id in former.user_ids:
                raise ConflictError("Another administrator has taken this role from you, or is about to.")
            return FormerAdministrators(user_ids=tuple(dict.fromkeys((*former.user_ids, user_id))))

        with suppress(ConflictError):  # it is there
            await self._store.accounts.insert(FormerAdministrators(), *_FORMER)
        await self._store.accounts.update(FormerAdministrators, *_FORMER, note)

    async def _return_role(self, user_id: str) -> None:
        """Note that somebody is about to be an administrator again, or for the first time."""

        def note(former: FormerAdministrators) -> FormerAdministrators:
            return FormerAdministrators(user_ids=tuple(one for one in former.user_ids if one != user_id))

        with suppress(NotFoundError):  # nobody ever was in it
            await self._store.accounts.update(FormerAdministrators, *_FORMER, note)
