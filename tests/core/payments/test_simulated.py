"""Play money: charged once, declined, lost on the way, paid late, ended, given back, told of by webhook."""

import asyncio
from datetime import timedelta

import pytest

from core.errors import (
    ConflictError,
    MalformedRequestError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from core.ids import new_id, now
from core.payments import Charge, PaymentEvent, PaymentRequest, Simulated, connect
from core.payments.signatures import WINDOW_SECONDS, sign
from core.settings import Settings, SettingsError
from core.storage import StorageAccount
from localhost.azurite import Azurite
from tests.core.payments.conftest import KEY, a_request, settings_of


async def taken(simulated: Simulated, request: PaymentRequest) -> int:
    """Return what was taken of the request's user, less what was given back."""
    charges = await simulated.charges(request.user_id)
    return sum(charge.amount - charge.refunded for charge in charges if charge.state == "paid")


async def test_an_order_is_charged_once_however_often_it_is_asked_for(simulated: Simulated) -> None:
    request = a_request()
    answers = await asyncio.gather(*(simulated.charge(request) for _ in range(10)))
    assert {answer.state for answer in answers} == {"paid"}
    assert len({answer.reference for answer in answers}) == 1
    assert await taken(simulated, request) == 1299
    assert await simulated.look(request, None) == answers[0]
    assert await simulated.end(request, answers[0].reference) == answers[0]


async def test_a_decline_says_why_and_stays(simulated: Simulated) -> None:
    request = a_request("simulated-decline")
    answer = await simulated.charge(request)
    assert answer.state == "declined"
    assert answer.reason == "The card was declined. Try another one."
    assert await simulated.charge(request) == await simulated.end(request, None) == answer
    assert await taken(simulated, request) == 0


async def test_a_lost_answer_leaves_the_money_taken(simulated: Simulated) -> None:
    request = a_request("simulated-timeout")
    with pytest.raises(UnavailableError):
        await simulated.charge(request)
    assert await taken(simulated, request) == 1299
    found = await simulated.look(request, None)
    assert found is not None
    assert found.state == "paid"
    assert await simulated.charge(request) == await simulated.end(request, None) == found


async def test_a_lost_request_takes_nothing_and_never_will(simulated: Simulated) -> None:
    request = a_request("simulated-lost")
    with pytest.raises(UnavailableError):
        await simulated.charge(request)
    assert await simulated.look(request, None) is None
    assert (await simulated.end(request, None)).state == "declined"
    late = request.model_copy(update={"method": "simulated"})
    assert (await simulated.charge(late)).state == "declined", "the request arrives after all"
    assert await taken(simulated, request) == 0


async def test_a_late_payment_is_told_of_by_a_signed_webhook(simulated: Simulated) -> None:
    request = a_request("simulated-late")
    charge = await simulated.charge(request)
    assert charge.state == "pending"
    assert charge.pay_url is not None
    event = await simulated.pay(request.user_id, request.order_id)
    body, headers = simulated.write_webhook(event)
    assert simulated.read_event(body, headers) == event
    assert (event.user_id, event.order_id) == (request.user_id, request.order_id)
    paid = await simulated.end(request, None)
    assert (paid.state, paid.pay_url) == ("paid", None)


async def test_a_pending_payment_has_a_page_that_cannot_be_guessed(simulated: Simulated) -> None:
    request = a_request("simulated-late")
    charge = await simulated.charge(request)
    assert charge.pay_url is not None
    code = charge.pay_url.rpartition("/pay/")[2]
    assert (await simulated.find(code)).order_id == request.order_id
    for wrong in (
        "",
        code[:-1],
        f"{code}0",
        f"{request.user_id}.{request.order_id}.",
        f"x{code}",
        f"{code}é",
    ):
        with pytest.raises(NotFoundError):
            await simulated.find(wrong)
    await simulated.refuse(request.user_id, request.order_id)
    found = await simulated.look(request, None)
    assert found is not None
    assert found.state == "declined"
    with pytest.raises(ConflictError):
        await simulated.pay(request.user_id, request.order_id)
    paid = a_request()
    await simulated.charge(paid)
    with pytest.raises(ConflictError):
        await simulated.refuse(paid.user_id, paid.order_id)


async def test_an_ended_payment_cannot_be_made(simulated: Simulated) -> None:
    request = a_request("simulated-late")
    await simulated.charge(request)
    ended = await simulated.end(request, None)
    assert ended.state == "declined"
    with pytest.raises(ConflictError):
        await simulated.pay(request.user_id, request.order_id)
    assert await simulated.end(request, None) == ended


async def test_of_an_end_and_a_payment_at_once_one_wins(simulated: Simulated) -> None:
    request = a_request("simulated-late")
    await simulated.charge(request)
    ended, paid = await asyncio.gather(
        simulated.end(request, None),
        simulated.pay(request.user_id, request.order_id),
        return_exceptions=True,
    )
    assert isinstance(ended, Charge)
    assert (ended.state == "declined") == isinstance(paid, ConflictError)
    assert await simulated.look(request, None) == ended


async def test_money_is_given_back_once(simulated: Simulated) -> None:
    request = a_request()
    charge = await simulated.charge(request)
    await asyncio.gather(*(simulated.refund(request, charge.reference, 1299) for _ in range(3)))
    assert await taken(simulated, request) == 0
    declined = a_request("simulated-decline")
    await simulated.charge(declined)
    with pytest.raises(ConflictError):
        await simulated.refund(declined, None, 1299)
    with pytest.raises(NotFoundError):
        await simulated.refund(a_request(), None, 1299)


async def test_only_a_fresh_signature_of_ours_over_these_bytes_counts(
    simulated: Simulated, azurite: Azurite, account: StorageAccount
) -> None:
    event = PaymentEvent(id=new_id(), user_id=new_id(), order_id=new_id())
    body, headers = simulated.write_webhook(event)
    time, signature = headers["aloud-signature"].split(",")
    bad = [
        "",
        "v1=",
        time,
        signature,
        f"{time},{time},{signature}",
        f"t=²,{signature}",
        f"t={10**20},{signature}",
        f"{time},v1={'0' * 64}",
        f"{time},v1=é",
        f"t={int(time[2:]) - 1},{signature}",
        sign(body, b"another"),
    ]
    for header in bad:
        with pytest.raises(UnauthenticatedError):
            simulated.read_event(body, {"aloud-signature": header})
    with pytest.raises(UnauthenticatedError):
        simulated.read_event(body + b" ", headers)
    for seconds in (-WINDOW_SECONDS - 2, WINDOW_SECONDS + 2):
        _, stale = simulated.write_webhook(event, now() + timedelta(seconds=seconds))
        with pytest.raises(UnauthenticatedError, match="too old"):
            simulated.read_event(body, stale)
    _, fresh = simulated.write_webhook(event, now() - timedelta(seconds=WINDOW_SECONDS - 30))
    assert simulated.read_event(body, fresh) == event
    both = {"aloud-signature": f"{headers['aloud-signature']},v1={'0' * 64},v0=x"}
    assert simulated.read_event(body, both) == event

    changed = settings_of(azurite, JWT_SIGNING_KEY=f"{'n' * 32} {KEY}")
    assert Simulated(account.table("charges"), changed).read_event(body, headers) == event, "an older key"


async def test_a_signed_body_that_is_no_event_is_told_so(simulated: Simulated) -> None:
    event = PaymentEvent(id=new_id(), user_id=new_id(), order_id=new_id())
    body, _ = simulated.write_webhook(event)
    more = body.replace(b"{", b'{"more": 1, ', 1)
    (secret, *_) = simulated._secrets
    assert simulated.read_event(more, {"aloud-signature": sign(more, secret)}) == event
    with pytest.raises(MalformedRequestError):
        simulated.read_event(b"{}", {"aloud-signature": sign(b"{}", secret)})


def test_play_money_is_for_one_machine_unless_a_setting_says_so(account: StorageAccount) -> None:
    def methods(**given: str) -> set[str]:
        settings = {
            "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            "JWT_SIGNING_KEY": KEY,
            "DATA_KEY": "d" * 32,
            **given,
        }
        return set(connect(Settings.read(settings), account.table("charges")))

    play = {"simulated", "simulated-decline", "simulated-timeout", "simulated-lost", "simulated-late"}
    assert methods() == play
    assert methods(SIMULATED_PAYMENTS="false") == set()
    site = "https://aloud.example"
    assert methods(PUBLIC_BASE_URL=site) == set()
    assert methods(PUBLIC_BASE_URL=site, SIMULATED_PAYMENTS="true") == play
    with pytest.raises(SettingsError, match="SIMULATED_PAYMENTS"):
        methods(SIMULATED_PAYMENTS="perhaps")
