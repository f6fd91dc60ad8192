"""What goes to Stripe over a real socket, what its answers mean, and which webhooks are believed."""

import json
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from core.errors import (
    ConflictError,
    MalformedRequestError,
    PaymentAccountError,
    UnauthenticatedError,
    UnavailableError,
)
from core.ids import new_id, now, time_of
from core.payments import Charge, PaymentRequest, Provider, connect
from core.settings import Settings, SettingsError
from core.storage import StorageAccount
from tests.core.payments.conftest import KEY, a_request
from tests.stripe_server import API_KEY, WEBHOOK_SECRET, StripeServer, sign

OVER = "The time to pay was over."


@pytest_asyncio.fixture
async def server() -> AsyncIterator[StripeServer]:
    async with StripeServer.start() as running:
        yield running


def settings_for(**given: str) -> Settings:
    return Settings.read(
        {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "JWT_SIGNING_KEY": KEY, **given}
    )


@pytest_asyncio.fixture
async def stripe(server: StripeServer, account: StorageAccount) -> AsyncIterator[Provider]:
    provider = connect(settings_for(**server.settings), account.table("charges"))["stripe"]
    yield provider
    await provider.close()


def order_of(age: timedelta) -> PaymentRequest:
    return a_request("stripe", order_id=new_id(now() - age))


async def paid(stripe: Provider, server: StripeServer, request: PaymentRequest) -> str:
    """Charge, pay on the hosted page, and return the session's id."""
    reference = (await stripe.charge(request)).reference
    assert reference is not None
    server.pay(reference)
    return reference


async def test_a_charge_opens_a_hosted_page_for_the_exact_amount(
    stripe: Provider, server: StripeServer
) -> None:
    request = a_request("stripe")
    charge = await stripe.charge(request)
    (session,) = server.sessions.values()
    assert charge == Charge(state="pending", reference=session["id"], pay_url=session["url"])
    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", "/v1/checkout/sessions")
    assert sent.headers["authorization"] == f"Bearer {API_KEY}"
    assert sent.headers["idempotency-key"] == request.order_id
    assert sent.headers["stripe-version"] == "2026-10-28.endive"
    assert sent.fields == {
        "mode": "payment",
        "allowed_payment_method_types[0]": "card",
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "1299",
        "line_items[0][price_data][product_data][name]": "Jane Eyre",
        "customer_email": "ada@example.com",
        "client_reference_id": request.order_id,
        "metadata[user_id]": request.user_id,
        "metadata[order_id]": request.order_id,
        "payment_intent_data[description]": "Jane Eyre",
        "payment_intent_data[metadata][user_id]": request.user_id,
        "payment_intent_data[metadata][order_id]": request.order_id,
        "success_url": request.return_url,
        "cancel_url": request.return_url,
        "expires_at": str(int((time_of(request.order_id) + timedelta(minutes=35)).timestamp())),
    }


async def test_amounts_are_counted_as_stripe_counts_them(stripe: Provider, server: StripeServer) -> None:
    for currency, wanted in {"USD": 1290, "JPY": 1290, "KWD": 1290, "ISK": 129000, "UGX": 129000}.items():
        request = a_request("stripe", currency=currency, amount=1290)
        reference = await paid(stripe, server, request)
        assert server.sessions[reference]["amount_total"] == wanted
        await stripe.refund(request, reference, 1290)
        assert server.refunded[server.sessions[reference]["payment_intent"]] == wanted


async def test_a_charge_whose_answer_was_lost_opens_one_page_only(
    stripe: Provider, server: StripeServer
) -> None:
    request = a_request("stripe")
    server.lose_answers()
    with pytest.raises(UnavailableError):
        await stripe.charge(request)
    assert len(server.requests) == 1, "the library retries"
    server.heal()
    charge = await stripe.charge(request)
    assert list(server.sessions) == [charge.reference]


async def test_what_became_of_a_session_is_read_from_stripe(stripe: Provider, server: StripeServer) -> None:
    request = a_request("stripe")
    assert await stripe.look(request, None) is None
    charge = await stripe.charge(request)
    assert await stripe.look(request, charge.reference) == charge
    assert charge.reference is not None
    server.pay(charge.reference)
    assert await stripe.look(request, charge.reference) == Charge(state="paid", reference=charge.reference)
    other = await stripe.charge(request.model_copy(update={"order_id": new_id()}))
    assert other.reference is not None
    server.expire(other.reference)
    declined = Charge(state="declined", reference=other.reference, reason=OVER)
    assert await stripe.look(request, other.reference) == declined


async def test_an_end_expires_an_open_session_and_keeps_a_paid_one(
    stripe: Provider, server: StripeServer
) -> None:
    request = a_request("stripe")
    reference = (await stripe.charge(request)).reference
    ended = Charge(state="declined", reference=reference, reason=OVER)
    assert await stripe.end(request, reference) == ended
    assert await stripe.end(request, reference) == ended
    other = a_request("stripe")
    reference = await paid(stripe, server, other)
    assert await stripe.end(other, reference) == Charge(state="paid", reference=reference)


async def test_an_end_without_a_reference_leaves_no_page_where_anyone_could_pay(
    stripe: Provider, server: StripeServer
) -> None:
    request = a_request("stripe")
    server.lose_answers()
    with pytest.raises(UnavailableError):
        await stripe.charge(request)
    server.heal()
    assert (await stripe.end(request, None)).state == "declined"
    assert [session["status"] for session in server.sessions.values()] == ["expired"]

    unheard = a_request("stripe")
    assert (await stripe.end(unheard, None)).state == "declined"
    again = await stripe.charge(unheard)
    assert again.reference is not None
    assert server.sessions[again.reference]["status"] == "expired", "the charge was still on its way"


async def test_an_order_whose_time_is_over_cannot_be_paid(stripe: Provider, server: StripeServer) -> None:
    late = order_of(timedelta(minutes=10))
    assert await stripe.charge(late) == Charge(state="declined", reason=OVER)
    assert await stripe.end(late, None) == Charge(state="declined", reason=OVER)
    asked = len(server.requests)
    assert await stripe.end(order_of(timedelta(minutes=36)), None) == Charge(state="declined", reason=OVER)
    assert len(server.requests) == asked
    assert server.sessions == {}


async def test_a_session_that_can_neither_end_nor_is_paid_is_looked_at_again(
    stripe: Provider, server: StripeServer
) -> None:
    request = a_request("stripe")
    reference = (await stripe.charge(request)).reference
    assert reference is not None
    server.sessions[reference]["status"] = "complete"
    with pytest.raises(UnavailableError):
        await stripe.end(request, reference)


async def test_money_goes_back_once(stripe: Provider, server: StripeServer) -> None:
    request = a_request("stripe")
    reference = await paid(stripe, server, request)
    for _ in range(2):
        await stripe.refund(request, reference, 1299)
    assert list(server.refunded.values()) == [1299]
    sent = server.requests[-1]
    assert sent.path == "/v1/refunds"
    assert sent.headers["idempotency-key"] == f"refund-{request.order_id}"
    intent = server.sessions[reference]["payment_intent"]
    assert sent.fields == {
        "payment_intent": intent,
        "amount": "1299",
        "metadata[user_id]": request.user_id,
        "metadata[order_id]": request.order_id,
    }
    server.refunded = {intent: 1299}
    server._answers.clear()
    await stripe.refund(request, reference, 1299)  # given back by hand, or more than a day ago
    server.refunded = {intent: 300}  # in part, in the dashboard: no repeat will ever give all of it back
    server._answers.clear()
    with pytest.raises(ConflictError, match="dashboard"):
        await stripe.refund(request, reference, 1299)
    open_one = a_request("stripe")
    for reference_of_it in (None, (await stripe.charge(open_one)).reference):
        with pytest.raises(ConflictError):
            await stripe.refund(open_one, reference_of_it, 1299)


async def test_amounts_that_no_card_pays_are_a_sentence_for_the_buyer(
    stripe: Provider, server: StripeServer
) -> None:
    small = await stripe.charge(a_request("stripe", amount=49))
    assert small == Charge(state="declined", reason="This is too little to be paid by card.")
    server.fail_with(402, type="card_error", code="card_declined", message="Your card was declined.")
    declined = await stripe.charge(a_request("stripe"))
    assert declined == Charge(state="declined", reason="The card was declined. Try another one.")
    server.heal()
    for currency in ("BHD", "JOD", "KWD", "OMR", "TND"):
        exact = await stripe.charge(a_request("stripe", currency=currency, amount=1299))
        assert (exact.state, exact.reference) == ("declined", None)
        assert exact.reason == f"Cards take no third decimal in {currency}. Choose another currency."
    server.fail_with(
        400, type="invalid_request_error", param="line_items[0][price_data][currency]", message="xyz"
    )
    unknown = await stripe.charge(a_request("stripe", currency="XYZ"))
    assert unknown.reason == "Cards take no payments in this currency. Choose another."


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [(429, {"Retry-After": "7"}, 7), (500, {}, None), (503, {}, None), (409, {}, None)],
)
async def test_failures_that_time_heals_are_for_later(
    stripe: Provider, server: StripeServer, status: int, headers: dict[str, str], wait: float | None
) -> None:
    server.fail_with(status, headers, type="api_error", message="something about sk_test_aloud")
    with pytest.raises(UnavailableError) as caught:
        await stripe.charge(a_request("stripe"))
    assert not isinstance(caught.value, PaymentAccountError)
    assert caught.value.retry_after == wait
    assert "sk_" not in caught.value.detail


async def test_a_server_that_is_away_is_for_later(account: StorageAccount) -> None:
    async with StripeServer.start() as gone:
        settings = settings_for(**gone.settings)
    stripe = connect(settings, account.table("charges"))["stripe"]
    with pytest.raises(UnavailableError):
        await stripe.look(a_request("stripe"), "cs_test_1")
    await stripe.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, {"type": "invalid_request_error", "message": "Invalid API Key provided: sk_live_secret"}),
        (403, {"type": "invalid_request_error", "message": "sk_live_secret may not do that"}),
        (400, {"type": "invalid_request_error", "param": "mode", "message": "sk_live_secret"}),
        (400, {"type": "idempotency_error", "message": "sk_live_secret"}),
    ],
)
async def test_what_is_our_fault_is_told_to_our_people_and_to_nobody_else(
    stripe: Provider,
    server: StripeServer,
    status: int,
    error: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.fail_with(status, None, **error)
    with caplog.at_level(logging.ERROR), pytest.raises(PaymentAccountError) as caught:
        await stripe.charge(a_request("stripe"))
    assert "sk_live" not in caught.value.detail
    (record,) = (record for record in caplog.records if record.name == "aloud.payments")
    assert getattr(record, "aloud_event") == "alert"  # noqa: B009
    assert "sk_live" not in caplog.text
    with pytest.raises(PaymentAccountError):
        await stripe.look(a_request("stripe"), "cs_test_unknown")


async def test_events_of_sessions_of_ours_name_user_and_order(stripe: Provider, server: StripeServer) -> None:
    request = a_request("stripe")
    reference = await paid(stripe, server, request)
    for kind in ("completed", "expired", "async_payment_succeeded", "async_payment_failed"):
        body, headers = server.webhook(f"checkout.session.{kind}", reference, "evt_1")
        event = stripe.read_event(body, headers)
        assert event is not None
        assert (event.id, event.user_id, event.order_id) == ("evt_1", request.user_id, request.order_id)
    for kind in ("charge.succeeded", "customer.created", "checkout.session.unheard_of"):
        assert stripe.read_event(*server.webhook(kind, reference)) is None
    server.sessions[reference]["metadata"] = {}
    assert stripe.read_event(*server.webhook("checkout.session.completed", reference)) is None
    server.sessions[reference]["metadata"] = None
    assert stripe.read_event(*server.webhook("checkout.session.completed", reference)) is None


async def test_webhooks_are_believed_only_if_stripe_signed_these_bytes_just_now(
    stripe: Provider, server: StripeServer
) -> None:
    reference = await paid(stripe, server, a_request("stripe"))
    body, headers = server.webhook("checkout.session.completed", reference)
    assert stripe.read_event(body, headers) is not None
    stale = int(time.time()) - 302
    spaced = json.dumps(json.loads(body)).encode()
    forged: list[tuple[bytes, dict[str, str]]] = [
        (body, {}),
        (body, {"stripe-signature": ""}),
        (body, {"stripe-signature": "é"}),
        (body, {"stripe-signature": "t=1"}),
        (body, {"stripe-signature": headers["stripe-signature"].replace("v1=", "v1=é")}),
        (body, {"stripe-signature": headers["stripe-signature"].replace("v1=", "v0=")}),
        (body, sign(body, "whsec_another")),
        (body, sign(body, at=stale)),
        (spaced, headers),
        (b"\xff", headers),
    ]
    for content, signature in forged:
        with pytest.raises(UnauthenticatedError):
            stripe.read_event(content, signature)
    for content in (b"not json", b"[]", b'"text"', b"{}"):
        with pytest.raises(MalformedRequestError):
            stripe.read_event(content, sign(content))


def test_keys_of_stripe_that_cannot_work_stop_the_start() -> None:
    both = {"STRIPE_API_KEY": "sk_live_1", "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET}
    cloud = {"PUBLIC_BASE_URL": "https://aloud.example", "DATA_KEY": "d" * 32}
    assert settings_for(**both, **cloud).stripe_api_key is not None
    test = {**both, "STRIPE_API_KEY": "rk_test_1"}
    assert settings_for(**test).stripe_api_key is not None
    assert settings_for(**test, **cloud, SIMULATED_PAYMENTS="true").stripe_api_key is not None
    for name, given in {
        "both or neither": {"STRIPE_API_KEY": "sk_live_1"},
        "STRIPE_API_KEY": {**both, "STRIPE_API_KEY": "@Microsoft.KeyVault(SecretUri=x)"},
        "STRIPE_WEBHOOK_SECRET": {**both, "STRIPE_WEBHOOK_SECRET": "@Microsoft.KeyVault(SecretUri=x)"},
        "SIMULATED_PAYMENTS": {**test, **cloud},
        "STRIPE_API_BASE": {**both, **cloud, "STRIPE_API_BASE": "http://127.0.0.1"},
    }.items():
        with pytest.raises(SettingsError, match=name) as caught:
            settings_for(**given)
        assert "live_1" not in str(caught.value)
