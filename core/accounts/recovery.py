"""Passwords and addresses change: by their owner, or by who can read the owner's mail."""

from core.accounts.links import LIVES, Links
from core.accounts.models import Claim, Link, Proof, SendLink, SendNewEmailLink, Sweep, User
from core.accounts.notices import Notices
from core.accounts.passwords import hash_password
from core.accounts.proofs import Proofs
from core.accounts.registration import QUEUE
from core.accounts.store import SWEEP_SECONDS, AccountStore
from core.accounts.throttles import Throttles
from core.caller import Caller, Origin
from core.errors import ConflictError, StaleError, UnauthenticatedError, UnavailableError
from core.ids import fingerprint, new_id, normalise_email, now
from core.mail import Letter
from core.operations.service import Operations
from core.storage.queues import Queues
from core.storage.tables import Replace, Stored

_RACES = 10
_MAILS_PER_ADDRESS = 5


class Recovery:
    def __init__(
        self,
        store: AccountStore,
        throttles: Throttles,
        proofs: Proofs,
        links: Links,
        notices: Notices,
        queues: Queues,
        operations: Operations,
    ) -> None:
        self._store = store
        self._throttles = throttles
        self._proofs = proofs
        self._links = links
        self._notices = notices
        self._queues = queues
        self._operations = operations

    # Passwords

    async def change_password(self, caller: Caller, proof: Proof, password: str, origin: Origin) -> None:
        """Set a new password; every session but the caller's ends with the same write.

        Raises UnauthenticatedError where the proof is not good.
        """
        user = (await self._store.user(caller.user_id)).value
        await self._proofs.check(user, proof, origin)
        self._proofs.use_second_factor(user, proof.mfa_code)
        await self._operations.record("password.changed", user.id, user.id, origin)
        password_hash = await hash_password(password)
        notice = await self._notices.prepare(user, "password-changed", when=now())
        for _ in range(_RACES):
            found = await self._store.session(caller.user_id, caller.session_id)
            if found is None or found[1].value.password_hash != user.password_hash:
                raise UnauthenticatedError("This session has ended; sign in again.")
            session, stored = found
            if session.value.epoch != stored.value.epoch:
                raise UnauthenticatedError("This session has ended; sign in again.")
            epoch = stored.value.epoch + 1
            proven = self._proofs.use_second_factor(stored.value, proof.mfa_code)
            changed = proven.model_copy(update={"password_hash": password_hash, "epoch": epoch})
            kept = session.value.model_copy(update={"epoch": epoch})
            try:
                await self._store.commit(stored, changed, Replace(session, kept), notice.row)
            except StaleError:
                continue
            await self._notices.send(user.id, notice)
            return
        raise UnavailableError("This account changes too often.", retry_after=1)

    async def request_reset(self, email: str, origin: Origin) -> None:
        """Queue the mail that sets a new password; the same for every address. Raises ThrottledError."""
        await self._throttles.attempt_from(origin.address)
        email = normalise_email(email)
        await self._throttles.attempt(fingerprint(email), "reset", _MAILS_PER_ADDRESS)
        at = now()
        await self._queues.send(QUEUE, SendLink(id=new_id(at), at=at, purpose="reset", email=email))

    async def send_reset_link(self, work: SendLink) -> None:
        """Mail the link of `request_reset`, if the address has an account."""
        owner = await self._store.owner(work.email)
        if owner is None or owner.value.erasing_at is not None:
            return
        user = owner.value
        link = await self._links.make(user, "reset", user.email, work.id)
        if link is not None:
            minutes = f"{LIVES['reset'].total_seconds() / 60:.0f}"
            await self._operations.deliver(
                Letter(
                    id=work.id,
                    to=user.email,
                    template="reset-password",
                    locale=user.locale,
                    values={"name": user.display_name, "link": link, "minutes": minutes},
                )
            )

    async def reset_password(self, token: str, password: str, origin: Origin) -> None:
        """Set a new password by a mailed link, which proves the address too.

        Every session ends, and so does a link to a Google account: whoever else had a way in has none now.

        Raises InvalidError for a link that is no good.
        """
        found, _ = await self._links.find("reset", token)
        await self._operations.record("password.reset", found.value.id, found.value.id, origin)
        password_hash = await hash_password(password)

        def change(user: User, _: Link) -> User:
            return user.model_copy(
                update={
                    "password_hash": password_hash,
                    "epoch": user.epoch + 1,
                    "email_verified": True,
                    "provisional": False,
                    "google_subject": None,
                }
            )

        notice = await self._notices.prepare(found.value, "password-changed", when=now())
        before, user = await self._links.use("reset", token, change, notice.row)
        if before.google_subject is not None:
            await self._store.release_google(before.google_subject, user.id)
        await self._store.forget_sign_ins(user.email)
        await self._notices.send(user.id, notice)

    # Addresses

    async def request_email(self, caller: Caller, email: str, proof: Proof, origin: Origin) -> None:
        """Queue the mail that moves the account to another address; the same whether that is taken or not.

        Raises UnauthenticatedError where the proof is not good.
        """
        user = (await self._store.user(caller.user_id)).value
        await self._proofs.check(user, proof, origin)
        self._proofs.use_second_factor(user, proof.mfa_code)
        await self._throttles.attempt(fingerprint(normalise_email(email)), "new-email", _MAILS_PER_ADDRESS)
        await self._operations.record("email.change-requested", user.id, user.id, origin)
        await self._store.change_user(
            user.id, lambda user: self._proofs.use_second_factor(user, proof.mfa_code)
        )
        at = now()
        await self._queues.send(
            QUEUE, SendNewEmailLink(id=new_id(at), at=at, user_id=user.id, email=normalise_email(email))
        )

    async def send_new_email_link(self, work: SendNewEmailLink) -> None:
        """Mail the link of `request_email`, or tell the address' owner."""
        found = await self._store.find_user(work.user_id)
        if found is None or found.value.erasing_at is not None:
            return
        user = found.value
        standing, claim = await self._store.standing(work.email)
        if standing != "free" and not _is_of(claim, user):
            letter = Letter(id=work.id, to=work.email, template="email-taken", locale=user.locale, values={})
            await self._operations.deliver(letter)
            return
        link = await self._links.make(user, "email", work.email, work.id)
        if link is not None:
            hours = f"{LIVES['email'].total_seconds() / 3600:.0f}"
            await self._operations.deliver(
                Letter(
                    id=work.id,
                    to=work.email,
                    template="confirm-new-email",
                    locale=user.locale,
                    values={"name": "", "link": link, "hours": hours},  # a stranger may have chosen it
                )
            )

    async def confirm_email(self, token: str, origin: Origin) -> None:
        """Move an account to the address that the link was mailed to.

        The claim on the new address is void until the user's row points back to it, and the old one from
        then on; whichever is left over is swept up later. A claim of an earlier try is renewed, since it
        may be somebody else's once its hour is over.
        Raises InvalidError for a link that is no good, ConflictError if the address is taken.
        """
        found, link = await self._links.find("email", token)
        user, email = found.value, link.value.email
        if user.email != email:
            standing, claim = await self._store.standing(email)
            if standing != "free" and not _is_of(claim, user):
                raise ConflictError("There is an account with this address by now.")
            at = now()
            sweep = Sweep(id=new_id(at), at=at, user_id=user.id, emails=(user.email, email))
            await self._queues.send(QUEUE, sweep, SWEEP_SECONDS)
            await self._store.claim(email, user.id, claim)
        await self._operations.record("email.changed", user.id, user.id, origin)
        notices = []
        if user.email != email:
            notices.append(await self._notices.prepare(user, "email-changed", new_address=email))
        before, after = await self._links.use(
            "email",
            token,
            lambda user, link: user.model_copy(
                update={"email": link.email, "email_verified": True, "provisional": False}
            ),
            *(notice.row for notice in notices),
        )
        if before.email != after.email:
            await self._store.release(before.email, user.id)
        for notice in notices:
            await self._notices.send(user.id, notice)


def _is_of(claim: Stored[Claim] | None, user: User) -> bool:
    return claim is not None and claim.value.user_id == user.id
