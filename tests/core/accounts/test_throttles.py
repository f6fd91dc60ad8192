"""How often something may be tried, on two instances at once; and how many storage calls that takes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from azure.data.tables.aio import TableServiceClient

from core.accounts.models import Attempts
from core.accounts.throttles import SIGN_IN
from core.caller import Origin
from core.errors import AloudError, MfaInvalidError, ThrottledError, UnauthenticatedError
from core.ids import fingerprint, new_id, now
from core.storage.account import Calls, count_calls
from core.storage.tables import Table
from tests.aloud import Aloud
from tests.core.accounts.conftest import (
    PASSWORD,
    Build,
    Instance,
    new_email,
    somewhere,
)
from tests.google_issuer import GoogleIssuer

pytestmark = pytest.mark.usefixtures("quick_hashes")

WRONG = "not the password"
FEW = {"ACCOUNT_ATTEMPTS": "5", "ADDRESS_ATTEMPTS": "5"}


async def try_login(
    instance: Instance, email: str, password: str = WRONG, origin: Origin | None = None
) -> AloudError | None:
    """Return how a sign-in failed."""
    try:
        await instance.sessions.log_in(email, password, None, origin or somewhere())
    except AloudError as error:
        return error
    return None


def table_of(instance: Instance, kind: str) -> Table:
    return instance.store.accounts if kind == SIGN_IN else instance.attempts


async def let_pass(instance: Instance, key: str, kind: str, *ages: float) -> None:
    """Make the tries of a subject this many seconds old."""
    times = tuple(now() - timedelta(seconds=age) for age in ages)
    await table_of(instance, kind).put(Attempts(times=times), key, f"attempts_{kind}")


async def tries(instance: Instance, key: str, kind: str) -> int:
    found = await table_of(instance, kind).find(Attempts, key, f"attempts_{kind}")
    return 0 if found is None else len(found.value.times)


async def test_an_account_stands_a_few_guesses_from_wherever_they_come(start: Build) -> None:
    one, two = start(**FEW), start(**FEW)
    user = await one.join()
    errors = await asyncio.gather(*(try_login((one, two)[n % 2], user.email) for n in range(50)))
    assert Counter(type(error) for error in errors) == {UnauthenticatedError: 5, ThrottledError: 45}
    checked = [entry for entry in await one.log_of(user.id) if entry.action == "session.refused"]
    assert len(checked) == 5
    assert await tries(one, fingerprint(user.email), "sign-in") == 5, "who is refused does not wait longer"
    late = await try_login(two, user.email, PASSWORD)
    assert isinstance(late, ThrottledError)
    assert 840 < late.retry_after <= 900


async def test_a_stranger_does_not_lock_an_owner_out_where_the_owner_has_signed_in_before(
    start: Build,
) -> None:
    one, two = start(**FEW), start(**FEW)
    user, home = await one.join(), somewhere()
    assert await try_login(one, user.email, PASSWORD, home) is None
    for _ in range(6):
        await try_login(one, user.email)
    assert isinstance(await try_login(one, user.email, PASSWORD), ThrottledError), "from elsewhere"
    home = Origin(address=home.address, request_id=new_id())
    for _ in range(2):
        assert isinstance(await try_login(two, user.email, origin=home), UnauthenticatedError)
    assert await try_login(two, user.email, PASSWORD, home) is None
    assert isinstance(await try_login(one, user.email), UnauthenticatedError), "tries before do not count"


async def test_a_known_network_address_has_no_more_tries_than_a_stranger(start: Build) -> None:
    instance = start(ACCOUNT_ATTEMPTS="3")
    user, home = await instance.join(), somewhere()
    assert await try_login(instance, user.email, PASSWORD, home) is None
    errors = [await try_login(instance, user.email, origin=home) for _ in range(8)]
    assert [type(error) for error in errors] == [UnauthenticatedError] * 6 + [ThrottledError] * 2
    assert isinstance(await try_login(instance, user.email, PASSWORD, home), ThrottledError)


async def test_a_network_address_may_try_only_so_often_whatever_it_tries(start: Build) -> None:
    one, two = start(**FEW), start(**FEW)
    origin = somewhere()
    guesses = (try_login((one, two)[n % 2], new_email(), origin=origin) for n in range(50))
    errors = await asyncio.gather(*guesses)
    assert Counter(type(error) for error in errors) == {UnauthenticatedError: 5, ThrottledError: 45}
    user = await one.join()
    assert isinstance(await try_login(one, user.email, PASSWORD, origin), ThrottledError)
    assert await try_login(one, user.email, PASSWORD) is None
    for act in (
        one.registration.register(new_email(), PASSWORD, None, origin),
        one.registration.request_link(user.email, origin),
        one.recovery.request_reset(user.email, origin),
        one.sessions.log_in_with_google("a token", None, origin),
    ):
        with pytest.raises(ThrottledError):
            await act


async def test_signing_in_clears_the_account_and_not_the_network_address(start: Build) -> None:
    one, two = start(ACCOUNT_ATTEMPTS="5", ADDRESS_ATTEMPTS="14"), start(ACCOUNT_ATTEMPTS="5")
    user, origin = await one.join(), somewhere()
    for _ in range(2):
        for _ in range(4):
            assert isinstance(await try_login(one, user.email, origin=origin), UnauthenticatedError)
        assert await try_login(one, user.email, PASSWORD, origin) is None
    for _ in range(4):
        assert isinstance(await try_login(one, user.email, origin=origin), UnauthenticatedError)
    assert isinstance(await try_login(one, user.email, PASSWORD, origin), ThrottledError)
    assert await try_login(two, user.email, PASSWORD) is None
    for _ in range(12):
        assert await try_login(two, user.email, PASSWORD) is None, "only what fails counts"
    at_once = await asyncio.gather(*(try_login((one, two)[n % 2], user.email, PASSWORD) for n in range(5)))
    assert at_once == [None] * 5, "what succeeded before does not count"


async def test_nobody_learns_from_the_throttle_who_has_an_account(start: Build) -> None:
    instance = start(ACCOUNT_ATTEMPTS="3")

    async def watch(email: str) -> tuple[list[tuple[type, str, int]], dict[type, int]]:
        """Return each answer and its calls, and the rounds of each kind: a busy machine may make one more."""
        seen: list[tuple[type, str, int]] = []
        rounds: dict[type, int] = {}
        for _ in range(5):
            error, calls = await counted(instance, email)
            assert error is not None
            kind = type(error)
            seen.append((kind, error.detail, calls.count))
            rounds[kind] = min(calls.rounds, rounds.get(kind, calls.rounds))
        return seen, rounds

    known, rounds = await watch((await instance.join()).email)
    assert (known, rounds) == await watch(new_email())
    assert [kind for kind, *_ in known] == [UnauthenticatedError] * 3 + [ThrottledError] * 2
    for email in ((await instance.join()).email, new_email()):
        for _ in range(5):
            await instance.recovery.request_reset(email, somewhere())
        with pytest.raises(ThrottledError):
            await instance.recovery.request_reset(email, somewhere())


async def counted(instance: Instance, email: str, password: str = WRONG) -> tuple[AloudError | None, Calls]:
    """Return how a sign-in failed, and the storage calls that it made."""

    async def count() -> tuple[AloudError | None, Calls]:
        calls = count_calls()
        return await try_login(instance, email, password), calls

    return await asyncio.create_task(count())


async def test_the_window_slides(start: Build) -> None:
    instance = start(**FEW, ATTEMPT_WINDOW_SECONDS="100")
    user, origin = await instance.join(), somewhere()
    key = fingerprint(user.email)
    await let_pass(instance, key, "sign-in", 101, 101, 60, 50, 40)
    for _ in range(2):
        assert isinstance(await try_login(instance, user.email), UnauthenticatedError)
    full = await try_login(instance, user.email)
    assert isinstance(full, ThrottledError)
    assert 30 < full.retry_after <= 40, "until the oldest try that counts is over"
    await let_pass(instance, fingerprint("address", origin.address), "all", 99, 80, 80, 80, 80)
    blocked = await try_login(instance, new_email(), origin=origin)
    assert isinstance(blocked, ThrottledError)
    assert blocked.retry_after == 1, "never less than a second"


async def test_the_codes_of_a_second_factor_cannot_be_tried_out(start: Build, google: GoogleIssuer) -> None:
    """Neither after the password, nor after Google."""
    instance = start(ACCOUNT_ATTEMPTS="3", **google.settings)
    subject = new_id()
    user = await instance.join(google_subject=subject)
    await instance.store.claim_google(subject, user.id)
    await start(**google.settings).add_second_factor(user)
    await let_pass(instance, fingerprint("user", user.id), "proof", 1000)
    for _ in range(3):
        with pytest.raises(MfaInvalidError):
            await instance.log_in(user.email, mfa_code="no code")
    with pytest.raises(ThrottledError):
        await instance.log_in(user.email, mfa_code="no code")
    token = google.token(email=user.email, sub=subject)
    for _ in range(3):
        with pytest.raises(MfaInvalidError):
            await instance.sessions.log_in_with_google(token, "no code", somewhere())
    with pytest.raises(ThrottledError):
        await instance.sessions.log_in_with_google(token, "no code", somewhere())


async def test_what_is_over_is_forgotten_at_night(start: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = start()
    over, counts = new_id(), new_id()
    await let_pass(instance, over, "reset", 1000, 901)
    await let_pass(instance, counts, "reset", 1000, 800)
    guessed, known = new_email(), (await instance.join()).email
    for email in (guessed, known):
        await try_login(instance, email)
    await instance.accounts.sweep()
    assert [await tries(instance, key, "reset") for key in (over, counts)] == [0, 2]
    assert await tries(instance, fingerprint(guessed), SIGN_IN) == 1, "it still counts"
    monkeypatch.setattr("core.accounts.forgetting.now", lambda: now() + timedelta(days=1))
    await let_pass(instance, fingerprint(known), SIGN_IN, 1000, 800)
    await let_pass(instance, fingerprint(guessed), SIGN_IN, 1000, 901)
    for wanted in ([0, 2], [0, 2]):
        await instance.accounts.sweep()
        assert [await tries(instance, fingerprint(email), SIGN_IN) for email in (guessed, known)] == wanted
    await let_pass(instance, fingerprint(known), SIGN_IN, 1000, 901)
    await instance.accounts.sweep()
    assert await tries(instance, fingerprint(known), SIGN_IN) == 0, "what still counted is due again"


async def test_a_session_is_forgotten_once_it_has_ended_though_its_owner_never_comes_back(
    start: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = start(SESSION_DAYS="1")
    await instance.store.accounts.delete("swept", "sessions")
    user, day, today = await instance.join(), timedelta(days=1), now()
    ended, renewed = [(await instance.sign_in(user))[0].session_id for _ in range(2)]
    found = await instance.store.session(user.id, renewed)
    assert found is not None
    later = found[0].value.model_copy(update={"expires_at": today + 10 * day})
    await instance.store.replace_session(found[0], later)

    async def left(days: int) -> list[bool]:
        with monkeypatch.context() as then:
            for module in ("forgetting", "models"):
                then.setattr(f"core.accounts.{module}.now", lambda: today + days * day)
            await instance.accounts.sweep()
        return [await instance.store.session(user.id, one) is not None for one in (ended, renewed)]

    assert await left(0) == [True, True]
    assert await left(3) == [False, True]
    assert await left(9) == [False, True]
    assert await left(12) == [False, False]
    await instance.store.accounts.delete("swept", "sessions")


@asynccontextmanager
async def far_away(method: str, url: str) -> AsyncIterator[None]:
    """Let each call take so long that those which begin together are under way together."""
    await asyncio.sleep(0.1)
    yield


async def test_signing_in_takes_seven_storage_calls_in_three_rounds(start: Build) -> None:
    user = await start().join()
    instance = start(watch=far_away)
    for _ in range(2):
        error, calls = await counted(instance, user.email, PASSWORD)
        assert error is None
        assert calls.count <= 7
        assert calls.rounds <= 3


async def test_showing_my_own_account_takes_one_storage_call(start: Build) -> None:
    instance = start()
    tokens = await instance.log_in((await instance.join()).email)

    async def count() -> Calls:
        calls = count_calls()
        speaker = instance.sessions.caller_of_token(tokens.access_token)
        await instance.accounts.profiles.show(speaker.user_id)
        return calls

    assert (await asyncio.create_task(count())).count == 1


async def test_who_invents_an_address_in_a_header_is_counted_by_the_real_one(aloud: Aloud) -> None:
    invented = "203.0.113.9"
    for header in (invented, f"{invented}:80, {invented}", "127.0.0.1, 203.0.113.9"):
        status, _, _ = await aloud.call(
            "POST",
            "/api/v1/auth/login",
            json={"email": new_email(), "password": WRONG},
            headers={"X-Forwarded-For": header, "X-Real-IP": invented, "Forwarded": f"for={invented}"},
            token="",
        )
        assert status == 401
    async with TableServiceClient.from_connection_string(aloud.connection_string) as tables:
        table = tables.get_table_client("attempts")
        for address, there in (("127.0.0.1", True), (invented, False)):
            rows = table.query_entities(f"PartitionKey eq '{fingerprint('address', address)}'")
            assert bool([row async for row in rows]) is there
