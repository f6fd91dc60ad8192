"""Google accounts: who signs in with which, and what Google's word is good for."""

from core.accounts.google import GoogleIdentity, GoogleTokens
from core.accounts.models import Notice, Proof, User
from core.accounts.notices import Notices
from core.accounts.proofs import Proofs
from core.accounts.registration import Registration
from core.accounts.store import AccountStore
from core.caller import Caller, Origin
from core.errors import ConflictError, NotFoundError, UnauthenticatedError
from core.ids import new_id, normalise_email, now
from core.operations.service import Operations
from core.storage.tables import Stored


class Linking:
    def __init__(
        self,
        store: AccountStore,
        registration: Registration,
        proofs: Proofs,
        notices: Notices,
        google: GoogleTokens | None,
        operations: Operations,
    ) -> None:
        self._store = store
        self._registration = registration
        self._proofs = proofs
        self.notices = notices
        self._google = google
        self._operations = operations

    async def find_or_join(self, id_token: str, origin: Origin) -> tuple[Stored[User], GoogleIdentity]:
        """Return whose account this token opens; the first time, make one.

        An account of the same address is only found here: it is linked once a session opens, after its second
        factor. Raises UnauthenticatedError for a bad token, NotFoundError where Google is not set up, and
        ConflictError where the account of this address is not Google's to open.
        """
        identity = await self._read(id_token)
        linked = await self._store.google_owner(identity.subject)
        if linked is not None:
            return linked, identity
        owner = await self._store.owner(identity.email)
        if owner is not None and owner.value.provisional:
            await self._store.retire(owner)  # nobody has ever shown that the address is theirs; Google has
            await self._store.release(identity.email, owner.value.id)
            owner = None
        if owner is None:
            owner = await self._join(identity, origin)
        elif owner.value.google_subject != identity.subject:
            _check_may_link(owner.value, identity)
        return owner, identity

    async def _join(self, identity: GoogleIdentity, origin: Origin) -> Stored[User]:
        at = now()
        address = normalise_email(identity.email)
        user = User(
            id=new_id(at),
            email=address,
            email_verified=True,
            display_name=(identity.name or address.partition("@")[0])[:80],
            google_subject=identity.subject,
            created_at=at,
        )
        try:
            await self._registration.create(user, origin, "with Google")
        except ConflictError:
            owner = await self._store.owner(identity.email)
            if owner is None or owner.value.google_subject != identity.subject:
                raise
            return owner  # the same person, in another tab, was first
        return await self._store.user(user.id)

    async def link(self, caller: Caller, id_token: str, proof: Proof, origin: Origin) -> User:
        """Let this Google account open the caller's, in place of another.

        Raises UnauthenticatedError for a bad token or proof, ConflictError if it opens someone else's.
        """
        user = (await self._store.user(caller.user_id)).value
        await self._proofs.check(user, proof, origin)
        identity = await self._read(id_token)
        self._proofs.use_second_factor(user, proof.mfa_code)
        await self._operations.record("account.google-linked", user.id, user.id, origin)
        await self._store.claim_google(identity.subject, user.id)

        def change(user: User) -> User:
            proven = self._proofs.use_second_factor(user, proof.mfa_code)
            return proven.model_copy(update={"google_subject": identity.subject})

        notice = await self.prepare_notice(user)
        linked = await self._store.change_user(user.id, change, also=[notice.row])
        if user.google_subject not in (None, identity.subject):
            await self._store.release_google(user.google_subject, user.id)
        await self.notices.send(user.id, notice)
        return linked

    async def unlink(self, caller: Caller, proof: Proof, origin: Origin) -> None:
        """Let no Google account open the caller's any more.

        Raises ConflictError without a password, which would be left with no way in.
        """
        user = (await self._store.user(caller.user_id)).value
        await self._proofs.check(user, proof, origin)
        if user.password_hash is None:
            raise ConflictError("Set a password first, by the link that a reset mails.")
        self._proofs.use_second_factor(user, proof.mfa_code)
        await self._operations.record("account.google-unlinked", user.id, user.id, origin)

        def change(user: User) -> User:
            proven = self._proofs.use_second_factor(user, proof.mfa_code)
            return proven.model_copy(update={"google_subject": None})

        await self._store.change_user(user.id, change)
        if user.google_subject is not None:
            await self._store.release_google(user.google_subject, user.id)

    async def prepare_notice(self, user: User) -> Notice:
        """Return what its owner is told when a Google account is linked to this one."""
        return await self.notices.prepare(user, "google-linked", when=now())

    async def _read(self, id_token: str) -> GoogleIdentity:
        if self._google is None:
            raise NotFoundError("Signing in with Google is not set up here.")
        identity = await self._google.read(id_token)
        if not identity.email_verified:
            raise UnauthenticatedError("Google has not verified this mail address.")
        return identity


def _check_may_link(user: User, identity: GoogleIdentity) -> None:
    """Raises ConflictError unless the account's address is verified by both, and Google runs the mailbox."""
    if user.erasing_at is not None:
        raise ConflictError("The account with this address is being deleted.")
    if not user.email_verified:
        raise ConflictError(
            "There is an account with this address that has not confirmed it. Sign in with its password and "
            "confirm the address first."
        )
    if user.google_subject is not None:
        raise ConflictError("Another Google account is linked to the account with this address.")
    if not identity.is_authoritative:
        raise ConflictError(
            "There is an account with this address. Sign in with its password, and link Google there."
        )
