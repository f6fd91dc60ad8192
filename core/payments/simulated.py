"""A provider of play money, for a laptop and for tests: it can decline, fall silent and answer late.

Its charges are rows of the table `charges` and survive a crash, as those of a real provider would.
"""

import hmac
from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import ConflictError, MalformedRequestError, NotFoundError, UnavailableError
from core.ids import new_id, now
from core.payments import signatures
from core.payments.models import Charge, ChargeState, PaymentEvent, PaymentRequest
from core.settings import Settings
from core.storage.tables import Table

METHODS = ("simulated", "simulated-decline", "simulated-timeout", "simulated-lost", "simulated-late")

_DECLINED = "The card was declined. Try another one."
_OVER = "The time to pay was over."
_UNWANTED = "The payment was given up."


class SimulatedCharge(BaseModel):
    """Row of `charges`: user id, order id. `refunded` is what was given back, in minor units."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    order_id: str
    reference: str
    state: ChargeState
    amount: int
    currency: str
    reason: str | None = None
    refunded: int = 0
    description: str
    return_url: str
    created_at: datetime


class Simulated:
    """`simulated` pays at once, `-decline` declines, `-late` is pending until its page, or `pay`.

    Without an answer, `-timeout` takes the money, and `-lost` does not even hear of the order.
    """

    name = "simulated"
    signature_header = "aloud-signature"

    def __init__(self, table: Table, settings: Settings) -> None:
        self._table = table
        keys = settings.jwt_signing_key.get_secret_value().split()
        self._secrets = [hmac.digest(key.encode(), b"simulated payments", "sha256") for key in keys]
        self._site = settings.public_base_url.rstrip("/")

    async def charge(self, request: PaymentRequest) -> Charge:
        if request.method == "simulated-lost":
            raise UnavailableError("The simulated provider does not hear.")
        found = await self._find(request)
        if found is None:
            found, is_new = await self._insert(request)
            if is_new and request.method == "simulated-timeout":
                raise UnavailableError("The simulated provider has taken the money and does not answer.")
        return self._show(found)

    async def look(self, request: PaymentRequest, reference: str | None) -> Charge | None:
        found = await self._find(request)
        return None if found is None else self._show(found)

    async def end(self, request: PaymentRequest, reference: str | None) -> Charge:
        def decline(charge: SimulatedCharge) -> SimulatedCharge | None:
            if charge.state != "pending":
                return None
            return charge.model_copy(update={"state": "declined", "reason": _OVER})

        if await self._find(request) is None:
            await self._insert(request, ended=True)
        return self._show(
            await self._table.update(SimulatedCharge, request.user_id, request.order_id, decline)
        )

    async def refund(self, request: PaymentRequest, reference: str | None, amount: int) -> None:
        """Raises NotFoundError where it has never heard of the order."""

        def give_back(charge: SimulatedCharge) -> SimulatedCharge | None:
            if charge.state != "paid" or amount > charge.amount:
                raise ConflictError("Less was paid for this order.")
            return None if charge.refunded else charge.model_copy(update={"refunded": amount})

        await self._table.update(SimulatedCharge, request.user_id, request.order_id, give_back)

    def read_event(self, body: bytes, headers: Mapping[str, str]) -> PaymentEvent | None:
        signatures.check(body, headers.get(self.signature_header, ""), self._secrets)
        try:
            return PaymentEvent.model_validate_json(body)
        except ValidationError:
            raise MalformedRequestError("The event cannot be read.") from None

    async def close(self) -> None:
        """Nothing to end: the table's connections are the storage's."""

    # What the world outside does with play money

    async def find(self, code: str) -> SimulatedCharge:
        """Return the charge whose page this is the code of. Raises NotFoundError."""
        user_id, _, rest = code.partition(".")
        order_id, _, mark = rest.partition(".")
        marks = [_mark(secret, user_id, order_id) for secret in self._secrets]
        if not any(hmac.compare_digest(one.encode(), mark.encode()) for one in marks):
            raise NotFoundError("There is nothing to pay here.")
        return (await self._table.get(SimulatedCharge, user_id, order_id)).value

    async def pay(self, user_id: str, order_id: str) -> PaymentEvent:
        """Pay a pending charge and return the event that tells of it.

        Raises NotFoundError, or ConflictError where the time to pay is over.
        """

        def take(charge: SimulatedCharge) -> SimulatedCharge:
            if charge.state == "declined":
                raise ConflictError(_OVER)
            return charge.model_copy(update={"state": "paid"})

        await self._table.update(SimulatedCharge, user_id, order_id, take)
        return PaymentEvent(id=new_id(), user_id=user_id, order_id=order_id)

    async def refuse(self, user_id: str, order_id: str) -> PaymentEvent:
        """Do not pay a pending charge, for good, and return the event that tells of it.

        Raises NotFoundError, or ConflictError where it was paid.
        """

        def decline(charge: SimulatedCharge) -> SimulatedCharge:
            if charge.state == "paid":
                raise ConflictError("This was paid already.")
            return charge.model_copy(update={"state": "declined", "reason": _UNWANTED})

        await self._table.update(SimulatedCharge, user_id, order_id, decline)
        return PaymentEvent(id=new_id(), user_id=user_id, order_id=order_id)

    def write_webhook(self, event: PaymentEvent, at: datetime | None = None) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of the webhook that tells of an event."""
        body = event.model_dump_json().encode()
        signature = signatures.sign(body, self._secrets[0], at)
        return body, {"content-type": "application/json", self.signature_header: signature}

    async def charges(self, user_id: str) -> list[SimulatedCharge]:
        """Return all charges of a user."""
        return [stored.value async for stored in self._table.each(SimulatedCharge, user_id)]

    def _show(self, charge: SimulatedCharge) -> Charge:
        code = f"{charge.user_id}.{charge.order_id}."
        code += _mark(self._secrets[0], charge.user_id, charge.order_id)
        return Charge(
            state=charge.state,
            reference=charge.reference,
            pay_url=f"{self._site}/pay/{code}" if charge.state == "pending" else None,
            reason=charge.reason,
        )

    async def _find(self, request: PaymentRequest) -> SimulatedCharge | None:
        found = await self._table.find(SimulatedCharge, request.user_id, request.order_id)
        return None if found is None else found.value

    async def _insert(self, request: PaymentRequest, ended: bool = False) -> tuple[SimulatedCharge, bool]:
        """Add the charge of a request; returns it as it stands, and whether it was not there before."""
        state: ChargeState = "pending" if request.method == "simulated-late" else "paid"
        reason = None
        if ended or request.method == "simulated-decline":
            state, reason = "declined", _OVER if ended else _DECLINED
        charge = SimulatedCharge(
            user_id=request.user_id,
            order_id=request.order_id,
            reference=f"simulated_{request.order_id}",
            state=state,
            amount=request.amount,
            currency=request.currency,
            reason=reason,
            description=request.description,
            return_url=request.return_url,
            created_at=now(),
        )
        try:
            await self._table.insert(charge, request.user_id, request.order_id)
        except ConflictError:
            stored = await self._table.get(SimulatedCharge, request.user_id, request.order_id)
            return stored.value, False
        return charge, True


def _mark(secret: bytes, user_id: str, order_id: str) -> str:
    return hmac.digest(secret, f"pay {user_id} {order_id}".encode(), "sha256").hex()[:32]
