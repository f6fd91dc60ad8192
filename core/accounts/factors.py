"""Second factors: an authenticator app (TOTP, RFC 6238) with recovery codes."""

from pydantic import BaseModel, Field

from core.accounts.models import Proof, SecondFactor, User
from core.accounts.notices import Notices
from core.accounts.proofs import Proofs
from core.accounts.sealing import Sealer
from core.accounts.store import AccountStore
from core.accounts.totp import (
    find_step,
    hash_recovery_code,
    new_recovery_codes,
    new_secret,
    provisioning_uri,
    qr_code,
)
from core.caller import Caller, Origin
from core.errors import ConflictError, MfaInvalidError
from core.ids import now
from core.operations.service import Operations


class Setup(BaseModel):
    """What an authenticator app needs; the second factor counts once a code of it was confirmed."""

    secret: str = Field(description="For typing in, in base 32.")
    otpauth_uri: str
    qr_code: str = Field(description="The same as a picture: a data URI with an SVG.")


class RecoveryCodes(BaseModel):
    """Each opens the account once in place of the app. They are shown this one time."""

    recovery_codes: list[str]


class SecondFactors:
    def __init__(
        self,
        store: AccountStore,
        proofs: Proofs,
        sealer: Sealer,
        notices: Notices,
        operations: Operations,
    ) -> None:
        self._store = store
        self._proofs = proofs
        self._sealer = sealer
        self._notices = notices
        self._operations = operations

    async def set_up(self, caller: Caller, proof: Proof, origin: Origin) -> Setup:
        """Begin with a new secret, in place of one that was never confirmed.

        Raises ConflictError if there is a second factor already, UnauthenticatedError for a bad proof.
        """
        user = (await self._store.user(caller.user_id)).value
        await self._proofs.check(user, proof, origin)
        secret = new_secret()
        factor = SecondFactor(secret=self._sealer.seal(secret))

        def begin(user: User) -> User:
            if user.has_second_factor:
                raise ConflictError("There is a second factor already; remove it first.")
            return user.model_copy(update={"second_factor": factor})

        begin(user)
        await self._operations.record("mfa.begun", user.id, user.id, origin)
        await self._store.change_user(user.id, begin)
        uri = provisioning_uri(secret, user.email)
        return Setup(secret=secret, otpauth_uri=uri, qr_code=qr_code(uri))

    async def confirm(self, caller: Caller, code: str, origin: Origin) -> RecoveryCodes:
        """Switch the second factor on and return the recovery codes.

        Raises ConflictError unless one was begun, MfaInvalidError for a wrong code.
        """
        await self._proofs.count(caller.user_id)
        codes = new_recovery_codes()
        hashes = tuple(hash_recovery_code(code) for code in codes)

        def switch_on(user: User) -> User:
            factor = user.second_factor
            if factor is None or factor.confirmed:
                raise ConflictError("Begin with the setup of a second factor.")
            step = find_step(self._sealer.unseal(factor.secret), code, now(), None)
            if step is None:
                raise MfaInvalidError("This code is not right. Is the clock of the device right?")
            on = factor.model_copy(update={"confirmed": True, "last_step": step, "recovery": hashes})
            return user.model_copy(update={"second_factor": on})

        user = switch_on((await self._store.user(caller.user_id)).value)
        await self._operations.record("mfa.enabled", user.id, user.id, origin)
        notice = await self._notices.prepare(user, "mfa-enabled", when=now())
        await self._store.change_user(user.id, switch_on, also=[notice.row])
        await self._notices.send(user.id, notice)
        return RecoveryCodes(recovery_codes=codes)

    async def remove(self, caller: Caller, proof: Proof, origin: Origin) -> None:
        """Switch the second factor off; takes the password and a code, whatever the session has shown.

        Raises ConflictError if there is none, UnauthenticatedError for a bad proof.
        """
        user = (await self._store.user(caller.user_id)).value
        await self._proofs.check(user, proof, origin)

        def switch_off(user: User) -> User:
            if user.second_factor is None:
                raise ConflictError("There is no second factor.")
            used = self._proofs.use_second_factor(user, proof.mfa_code)
            return used.model_copy(update={"second_factor": None})

        switch_off(user)
        await self._operations.record("mfa.disabled", user.id, user.id, origin)
        notice = await self._notices.prepare(user, "mfa-disabled", when=now())
        await self._store.change_user(user.id, switch_off, also=[notice.row])
        await self._notices.send(user.id, notice)

    async def reset(self, admin: Caller, user_id: str, origin: Origin) -> User:
        """Take a second factor that was lost from somebody's account, and end its sessions.

        Raises NotFoundError.
        """
        user = (await self._store.user(user_id)).value
        await self._operations.record("mfa.reset", admin.user_id, user_id, origin)
        notice = await self._notices.prepare(user, "mfa-disabled", when=now())
        user = await self._store.change_user(
            user_id,
            lambda user: user.model_copy(update={"second_factor": None, "epoch": user.epoch + 1}),
            also=[notice.row],
        )
        await self._notices.send(user.id, notice)
        return user
