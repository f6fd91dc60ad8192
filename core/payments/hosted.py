"""Stripe: the buyer pays on its own page, a Checkout Session, so that no card data ever comes here.

Only cards, and the wallets that are cards, are offered: with them a session that is complete is paid, while
a debit would be uncertain for days. The library does not retry; queues wait better.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel, SecretStr, ValidationError

from core.currencies import step_of
from core.errors import (
    ConflictError,
    MalformedRequestError,
    PaymentAccountError,
    UnauthenticatedError,
    UnavailableError,
)
from core.ids import now, time_of
from core.payments.models import Charge, PaymentEvent, PaymentRequest

if TYPE_CHECKING:
    from stripe import HTTPClient, InvalidRequestError, StripeClient
    from stripe.checkout import Session
    from stripe.params.checkout import SessionCreateParams

TIMEOUT_SECONDS = 20.0
LIFE = timedelta(minutes=35)  # Stripe wants 30 at least from when it is asked, which may be a little late
_EVENTS = frozenset(
    f"checkout.session.{what}"
    for what in ("completed", "expired", "async_payment_succeeded", "async_payment_failed")
)
_LONGEST_NAME = 250
_TIMES_100 = frozenset({"ISK", "UGX"})  # without minor units; Stripe wants two digits for them all the same
_OVER = "The time to pay was over."
_AMOUNTS = {
    "amount_too_small": "This is too little to be paid by card.",
    "amount_too_large": "This is too much to be paid by card.",
}

_log = logging.getLogger("aloud.payments")


class _Object(BaseModel):
    metadata: dict[str, str] | None = None


class _Data(BaseModel):
    object: _Object


class _Event(BaseModel):
    id: str
    type: str
    data: _Data


class Stripe:
    """Makes the library's client at the first payment: starting the app neither loads nor needs it."""

    name = "stripe"
    signature_header = "stripe-signature"

    def __init__(self, api_key: SecretStr, webhook_secret: SecretStr, api_base: str) -> None:
        self._api_key = api_key
        self._webhook_secret = webhook_secret
        self._api_base = api_base.rstrip("/")
        self._opened: tuple[StripeClient, HTTPClient] | None = None

    def _client(self) -> StripeClient:
        if self._opened is None:
            from aiohttp import ClientTimeout
            from stripe import AIOHTTPClient, StripeClient

            http = AIOHTTPClient(timeout=ClientTimeout(total=TIMEOUT_SECONDS))
            client = StripeClient(
                self._api_key.get_secret_value(),
                base_addresses={"api": self._api_base},
                max_network_retries=0,
                http_client=http,
            )
            self._opened = (client, http)
        return self._opened[0]

    async def charge(self, request: PaymentRequest) -> Charge:
        """Open the page where the buyer pays; a repeat opens the same one."""
        from stripe import CardError, InvalidRequestError

        if request.amount % step_of(request.currency):
            third = f"Cards take no third decimal in {request.currency}. Choose another currency."
            return Charge(state="declined", reason=third)
        try:
            with _translated("open a session"):
                return _show(await self._open(request))
        except CardError:
            return Charge(state="declined", reason="The card was declined. Try another one.")
        except InvalidRequestError as error:
            reason = _find_reason(error)
            if reason is None:
                raise _blame_account(error, "open a session") from None
            return Charge(state="declined", reason=reason)

    async def _open(self, request: PaymentRequest) -> Session:
        name = request.description[:_LONGEST_NAME]
        metadata = {"user_id": request.user_id, "order_id": request.order_id}
        params: SessionCreateParams = {
            "mode": "payment",
            "allowed_payment_method_types": ["card"],
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": request.currency.lower(),
                        "unit_amount": _count(request.amount, request.currency),
                        "product_data": {"name": name},
                    },
                }
            ],
            "customer_email": request.email,
            "client_reference_id": request.order_id,
            "metadata": metadata,
            "payment_intent_data": {"description": name, "metadata": metadata},
            "success_url": request.return_url,
            "cancel_url": request.return_url,
            "expires_at": int(_end_of(request).timestamp()),
        }
        sessions = self._client().v1.checkout.sessions
        return await sessions.create_async(params, {"idempotency_key": request.order_id})

    async def look(self, request: PaymentRequest, reference: str | None) -> Charge | None:
        """Without a reference nobody was told where to pay, so nobody has paid."""
        if reference is None:
            return None
        with _translated("look at a session", refusals_are_ours=True):
            return _show(await self._client().v1.checkout.sessions.retrieve_async(reference))

    async def end(self, request: PaymentRequest, reference: str | None) -> Charge:
        """Expire the session; one that nobody was told of has expired by itself once its time is over."""
        from stripe import InvalidRequestError

        if reference is None:
            if now() > _end_of(request):
                return Charge(state="declined", reason=_OVER)
            opened = await self.charge(request)
            if opened.reference is None:
                return opened
            reference = opened.reference
        try:
            with _translated("expire a session"):
                return _show(await self._client().v1.checkout.sessions.expire_async(reference))
        except InvalidRequestError:
            found = await self.look(request, reference)
            if found is None or found.state == "pending":
                raise UnavailableError("A session at Stripe is neither paid nor can it be ended.") from None
            return found

    async def refund(self, request: PaymentRequest, reference: str | None, amount: int) -> None:
        from stripe import InvalidRequestError

        if reference is None:
            raise ConflictError("Nothing was paid for this order.")
        with _translated("look at a session", refusals_are_ours=True):
            session = await self._client().v1.checkout.sessions.retrieve_async(reference)
        if session.payment_status != "paid" or session.payment_intent is None:
            raise ConflictError("Nothing was paid for this order.")
        intent = session.payment_intent
        try:
            with _translated("refund a payment"):
                await self._client().v1.refunds.create_async(
                    {
                        "payment_intent": intent if isinstance(intent, str) else intent.id,
                        "amount": _count(amount, request.currency),
                        "metadata": {"user_id": request.user_id, "order_id": request.order_id},
                    },
                    {"idempotency_key": f"refund-{request.order_id}"},
                )
        except InvalidRequestError as error:
            if error.code != "charge_already_refunded":
                _blame_account(error, "refund a payment")
                raise ConflictError("Stripe refuses to; its dashboard tells why.") from None

    def read_event(self, body: bytes, headers: Mapping[str, str]) -> PaymentEvent | None:
        from stripe import SignatureVerificationError, Webhook, WebhookSignature

        secret = self._webhook_secret.get_secret_value()
        header = headers.get(self.signature_header)
        try:
            WebhookSignature.verify_header(body, header, secret, Webhook.DEFAULT_TOLERANCE)
        except (SignatureVerificationError, UnicodeDecodeError, TypeError):
            raise UnauthenticatedError("This signature is not Stripe's, or it is too old.") from None
        try:
            event = _Event.model_validate_json(body)
        except ValidationError:
            raise MalformedRequestError("The event cannot be read.") from None
        metadata = event.data.object.metadata or {}
        if event.type not in _EVENTS or not {"user_id", "order_id"} <= metadata.keys():
            return None  # of another kind, or a session that others have opened on the same account
        return PaymentEvent(id=event.id, user_id=metadata["user_id"], order_id=metadata["order_id"])

    async def close(self) -> None:
        """Closes the sockets; a later payment would open new ones."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened[1].close_async()  # type: ignore[no-untyped-call]


def _end_of(request: PaymentRequest) -> datetime:
    """Return when a session ends: it follows from the order, since a repeat has to be the same request."""
    return time_of(request.order_id) + LIFE


def _count(amount: int, currency: str) -> int:
    """Return an amount in minor units as Stripe counts them (https://docs.stripe.com/currencies)."""
    return amount * 100 if currency in _TIMES_100 else amount


def _show(session: Session) -> Charge:
    if session.payment_status == "paid":
        return Charge(state="paid", reference=session.id)
    if session.status == "expired":
        return Charge(state="declined", reference=session.id, reason=_OVER)
    return Charge(state="pending", reference=session.id, pay_url=session.url)


def _find_reason(error: InvalidRequestError) -> str | None:
    """Return what the buyer may be told of a request that was refused; None where we are to blame."""
    if error.param == "expires_at":
        return _OVER
    if error.param is not None and error.param.endswith("[currency]"):
        return "Cards take no payments in this currency. Choose another."
    return _AMOUNTS.get(error.code or "")


def _blame_account(error: Exception, what: str) -> PaymentAccountError:
    """Log what no buyer may see and a person has to mend."""
    code = getattr(error, "code", None) or getattr(error, "param", None)
    status = getattr(error, "http_status", None)
    _log.error(
        "Stripe refuses to %s: %s (%s, %s)",
        what,
        type(error).__name__,
        status,
        code,
        extra={"aloud_event": "alert"},
    )
    return PaymentAccountError(f"Stripe refuses to {what} ({status}, {type(error).__name__}).")


@contextmanager
def _translated(what: str, *, refusals_are_ours: bool = False) -> Iterator[None]:
    """Raise our own errors in place of Stripe's, whose sentences may quote a key.

    CardError and InvalidRequestError pass, for the caller to judge; the latter not where `refusals_are_ours`.
    """
    import stripe
    from aiohttp import ClientError

    try:
        yield
    except stripe.CardError:
        raise
    except stripe.InvalidRequestError as error:
        if refusals_are_ours:
            raise _blame_account(error, what) from None
        raise
    except (stripe.AuthenticationError, stripe.PermissionError, stripe.IdempotencyError) as error:
        raise _blame_account(error, what) from None
    except stripe.StripeError as error:
        wait = (error.headers or {}).get("retry-after", "")
        raise UnavailableError(
            f"Stripe does not {what} now ({type(error).__name__}, {error.http_status}).",
            retry_after=float(wait) if wait.isdecimal() else None,
        ) from None
    except (ClientError, TimeoutError) as error:
        raise UnavailableError(f"Stripe does not answer ({type(error).__name__}).") from None
