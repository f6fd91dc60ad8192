"""Registration: an account is made, and its mail address is verified."""

from core.accounts.links import LIVES, Links
from core.accounts.models import Register, SendLink, Sweep, User
from core.accounts.passwords import hash_password
from core.accounts.store import SWEEP_SECONDS, AccountStore
from core.accounts.throttles import Throttles
from core.caller import Origin
from core.errors import ConflictError
from core.ids import derived_id, fingerprint, new_id, normalise_email, now
from core.mail import Letter
from core.operations.service import Operations
from core.settings import Settings
from core.storage.queues import Queues

_MAILS_PER_ADDRESS = 5
_UNVERIFIED_SECONDS = 25 * 3600
QUEUE = "accounts"


class Registration:
    def __init__(
        self,
        settings: Settings,
        store: AccountStore,
        throttles: Throttles,
        links: Links,
        queues: Queues,
        operations: Operations,
    ) -> None:
        self._verified_only = settings.verified_email_required
        self._site = settings.public_base_url.rstrip("/")
        self._store = store
        self._throttles = throttles
        self._links = links
        self._queues = queues
        self._operations = operations

    async def register(
        self, email: str, password: str, display_name: str | None, origin: Origin
    ) -> User | None:
        """Make an account; None where mail has to be verified first.

        There the work is queued, the same for every address, so that nobody learns who has an account.
        Otherwise raises ConflictError if the address is taken. Raises ThrottledError.
        """
        await self._throttles.attempt_from(origin.address)
        await self._throttles.attempt(
            fingerprint(normalise_email(email)), "register", self._throttles.per_account
        )
        password_hash = await hash_password(password)
        at = now()
        email = normalise_email(email)
        if self._verified_only:
            await self._queues.send(
                QUEUE,
                Register(
                    id=new_id(at),
                    at=at,
                    email=email,
                    password_hash=password_hash,
                    display_name=display_name,
                    address=origin.address,
                    request_id=origin.request_id,
                ),
            )
            return None
        user = User(
            id=new_id(at),
            email=email,
            display_name=display_name or _name_of(email),
            password_hash=password_hash,
            created_at=at,
        )
        await self.create(user, origin)
        return user

    async def create(self, user: User, origin: Origin, detail: str = "") -> None:
        """Make an account. Can be repeated with the same user.

        What is left of it, if it never gets its address, is swept up later.
        Raises ConflictError if the address is taken.
        """

        async def announce() -> None:
            await self._operations.record("account.registered", user.id, user.id, origin, detail)

        at = now()
        await self._queues.send(QUEUE, Sweep(id=new_id(at), at=at, user_id=user.id), SWEEP_SECONDS)
        await self._store.create(user, announce)

    async def finish(self, work: Register) -> None:
        """Make the account of a queued registration and mail its link, or tell the address' owner of it."""
        user = User(
            id=derived_id(work.at, work.id),
            email=work.email,
            display_name=work.display_name or _name_of(work.email),
            password_hash=work.password_hash,
            provisional=True,
            created_at=work.at,
        )
        try:
            await self.create(user, Origin(address=work.address, request_id=work.request_id))
        except ConflictError:
            await self._tell_owner(work)
            return
        at = now()
        await self._queues.send(QUEUE, Sweep(id=new_id(at), at=at, user_id=user.id), _UNVERIFIED_SECONDS)
        found = await self._store.find_user(user.id)
        if found is not None and found.value.provisional:
            await self._mail_link(found.value, work.id)

    async def _tell_owner(self, work: Register) -> None:
        standing, claim = await self._store.standing(work.email)
        if standing == "taken":
            owner = await self._store.owner(work.email)
            name = owner.value.display_name if owner else ""
            await self._operations.deliver(
                Letter(
                    id=work.id,
                    to=work.email,
                    template="already-registered",
                    locale=owner.value.locale if owner else "en",
                    values={"name": name, "link": f"{self._site}/reset"},
                )
            )
        elif claim is not None:
            await self._operations.deliver(
                Letter(
                    id=work.id,
                    to=work.email,
                    template="registration-repeated",
                    locale="en",
                    values={"since": f"{claim.value.created_at:%d %B %Y, %H:%M} UTC"},
                )
            )

    async def request_link(self, email: str, origin: Origin) -> None:
        """Queue the mail that verifies an address; the same for every address. Raises ThrottledError."""
        await self._throttles.attempt_from(origin.address)
        key = fingerprint(normalise_email(email))
        await self._throttles.attempt(key, "verify", _MAILS_PER_ADDRESS)
        at = now()
        work = SendLink(id=new_id(at), at=at, purpose="verify", email=normalise_email(email))
        await self._queues.send(QUEUE, work)

    async def send_link(self, work: SendLink) -> None:
        """Mail the link of `request_link`, if somebody waits for it."""
        owner = await self._store.owner(work.email)
        if owner is not None and not owner.value.email_verified and owner.value.erasing_at is None:
            await self._mail_link(owner.value, work.id)

    async def _mail_link(self, user: User, work_id: str) -> None:
        link = await self._links.make(user, "verify", user.email, work_id)
        if link is not None:
            hours = f"{LIVES['verify'].total_seconds() / 3600:.0f}"
            await self._operations.deliver(
                Letter(
                    id=work_id,
                    to=user.email,
                    template="verify-email",
                    locale=user.locale,
                    values={"name": "", "link": link, "hours": hours},  # a stranger may have chosen it
                )
            )

    async def verify(self, token: str, origin: Origin) -> None:
        """Note that an address is its user's. Raises InvalidError for a link that is no good."""
        user, _ = await self._links.find("verify", token)
        await self._operations.record("account.verified", user.value.id, user.value.id, origin)
        await self._links.use(
            "verify",
            token,
            lambda user, _: user.model_copy(update={"email_verified": True, "provisional": False}),
        )

    async def sweep(self, work: Sweep) -> None:
        """Remove who never got the address, or never verified it in a day, and claims on addresses left."""
        for email in work.emails:
            await self._store.release_void(email, work.user_id)
        found = await self._store.find_user(work.user_id)
        if found is None:
            return
        user = found.value
        if user.provisional and user.created_at < now() - LIVES["verify"]:
            await self._store.retire(found)
            await self._store.release(user.email, user.id)
        else:
            await self._store.drop_unclaimed(user)


def _name_of(email: str) -> str:
    return email.partition("@")[0][:80]
