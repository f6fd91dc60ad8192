"""Proofs that it is the owner who asks: password or Google, and the second factor where there is one."""

from core.accounts.google import GoogleTokens
from core.accounts.models import Proof, SecondFactor, User
from core.accounts.passwords import verify_password
from core.accounts.sealing import Sealer
from core.accounts.throttles import Throttles
from core.accounts.totp import find_recovery_code, find_step
from core.caller import Origin
from core.errors import MfaInvalidError, MfaRequiredError, UnauthenticatedError
from core.ids import fingerprint, now
from core.operations.service import Operations


class Proofs:
    def __init__(
        self, throttles: Throttles, sealer: Sealer, google: GoogleTokens | None, operations: Operations
    ) -> None:
        self._throttles = throttles
        self._sealer = sealer
        self._google = google
        self._operations = operations

    async def check(self, user: User, proof: Proof, origin: Origin) -> None:
        """Check the password, or the Google ID token; each try counts. Raises UnauthenticatedError."""
        await self.count(user.id)
        if user.password_hash is None and proof.id_token is not None and self._google is not None:
            identity = await self._google.read(proof.id_token)
            proven = identity.subject == user.google_subject and identity.is_fresh
        else:
            proven = await verify_password(proof.password or "", user.password_hash)
        if not proven:
            await self._operations.record("proof.refused", user.id, user.id, origin)
            raise UnauthenticatedError("The password is not right.")

    async def count(self, user_id: str) -> None:
        """Count one try to prove something. Raises ThrottledError."""
        await self._throttles.attempt(fingerprint("user", user_id), "proof", self._throttles.per_account)

    def use_second_factor(self, user: User, code: str | None) -> User:
        """Return the user after this code was used up; without a second factor, as it is.

        Raises MfaRequiredError without a code, MfaInvalidError for a wrong or used one.
        """
        factor = user.second_factor
        if factor is None or not factor.confirmed:
            return user
        if code is None:
            raise MfaRequiredError(
                "Send the code of your authenticator app, or a recovery code, as mfa_code."
            )
        return user.model_copy(update={"second_factor": self.use_code(factor, code)})

    def use_code(self, factor: SecondFactor, code: str) -> SecondFactor:
        """Return the factor after this code was used up. Raises MfaInvalidError."""
        step = find_step(self._sealer.unseal(factor.secret), code, now(), factor.last_step)
        if step is not None:
            return factor.model_copy(update={"last_step": step})
        used = find_recovery_code(code, factor.recovery)
        if used is None:
            raise MfaInvalidError("This code is not right, or it was used already.")
        return factor.model_copy(update={"recovery": tuple(kept for kept in factor.recovery if kept != used)})
