"""What is asked of a payment provider, and what it answers; its own words for it stop at the adapter."""

from collections.abc import Mapping
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

ChargeState = Literal["paid", "pending", "declined"]


class PaymentRequest(BaseModel):
    """Money that is wanted for one order; `amount` is in minor units and over 0.

    A repeat has to be the same in all fields, or the provider takes it for a mistake: it is made from the
    order alone. `return_url` is where the buyer comes back to from the provider's page.
    """

    model_config = ConfigDict(frozen=True)

    user_id: str
    order_id: str
    amount: int = Field(gt=0)
    currency: str
    email: str
    description: str
    method: str
    return_url: str


class Charge(BaseModel):
    """What has become of a request.

    `reference` is the provider's id of it, `pay_url` where the buyer pays while it is pending, `reason` a
    sentence for the buyer where it was declined.
    """

    model_config = ConfigDict(frozen=True)

    state: ChargeState
    reference: str | None = None
    pay_url: str | None = None
    reason: str | None = None


class PaymentEvent(BaseModel):
    """Something has happened to the payment of this order: look. The id is the provider's, of the event."""

    model_config = ConfigDict(frozen=True)

    id: str
    user_id: str
    order_id: str


class Provider(Protocol):
    """Takes money. Every call raises UnavailableError where its outcome is unknown; all can be repeated.

    PaymentAccountError, one of those, says that our account there is at fault, which time does not heal.
    """

    name: str
    signature_header: str
    """The header, in small letters, by which its webhooks are known."""

    async def charge(self, request: PaymentRequest) -> Charge:
        """Ask for the money; the same order is charged once, however often this is called."""

    async def look(self, request: PaymentRequest, reference: str | None) -> Charge | None:
        """Return what has become of a request; None: not heard of, so that nobody has paid."""

    async def end(self, request: PaymentRequest, reference: str | None) -> Charge:
        """See that no payment is possible any more; answers paid or declined, for ever the same."""

    async def refund(self, request: PaymentRequest, reference: str | None, amount: int) -> None:
        """Give money back, in minor units, once for an order. Raises ConflictError where it never will."""

    def read_event(self, body: bytes, headers: Mapping[str, str]) -> PaymentEvent | None:
        """Return what a webhook tells, None where it does not matter; header names are in small letters.

        Raises UnauthenticatedError for a signature that is missing, forged or too old.
        """

    async def close(self) -> None:
        """End all connections."""
