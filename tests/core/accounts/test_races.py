"""What many do at once, on two instances: one wins, nobody is signed out, and nothing is left over."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from core.accounts.models import Proof, Register, Tokens, User
from core.errors import ConflictError, InvalidError, MfaInvalidError, UnauthenticatedError
from core.ids import derived_id, new_id, now
from tests.core.accounts.conftest import (
    PASSWORD,
    PASSWORD_HASH,
    Build,
    Instance,
    caller,
    link_row,
    new_email,
    session_row,
    somewhere,
)
from tests.google_issuer import GoogleIssuer

pytestmark = pytest.mark.usefixtures("quick_hashes")

T = TypeVar("T")


async def all_at_once(*acts: Awaitable[T]) -> tuple[list[T], list[Exception]]:
    """Return what those that succeed give, and what the others raise."""
    done = await asyncio.gather(*acts, return_exceptions=True)
    results: list[T] = []
    errors: list[Exception] = []
    for result in done:
        if isinstance(result, Exception):
            errors.append(result)
        else:
            assert not isinstance(result, BaseException)
            results.append(result)
    return results, errors


# Refresh tokens


async def signed_in(instance: Instance) -> str:
    """Return the refresh token of somebody who has just signed in."""
    return (await instance.log_in((await instance.join()).email)).refresh_token


async def test_two_hundred_refreshes_of_one_token_are_one_family(start: Build) -> None:
    one, two = start(), start()
    first = await signed_in(one)
    acts = [(one, two)[number % 2].sessions.refresh(first, somewhere()) for number in range(200)]
    results, errors = await all_at_once(*acts)
    assert errors == []
    (second,) = {tokens.refresh_token for tokens in results}
    assert second != first
    assert len({one.sessions.caller_of_token(tokens.access_token).session_id for tokens in results}) == 1
    third = (await two.sessions.refresh(second, somewhere())).refresh_token
    assert (await one.sessions.refresh(second, somewhere())).refresh_token == third
    with pytest.raises(UnauthenticatedError):
        await one.sessions.refresh(first, somewhere())
    with pytest.raises(UnauthenticatedError):
        await two.sessions.refresh(third, somewhere())


async def test_a_guess_ends_no_session(start: Build) -> None:
    instance = start()
    token = await signed_in(instance)
    user_id, session_id, secret = token.split(".")
    for guess in (new_id(), secret[:-1] + ("0" if secret[-1] != "0" else "1"), "x" + secret, secret.upper()):
        with pytest.raises(UnauthenticatedError):
            await instance.sessions.refresh(f"{user_id}.{session_id}.{guess}", somewhere())
    await instance.sessions.refresh(token, somewhere())


async def test_once_the_grace_is_over_the_token_before_ends_the_session(start: Build) -> None:
    strict = start(REFRESH_GRACE_SECONDS="0")
    first = await signed_in(strict)
    second = await strict.sessions.refresh(first, somewhere())
    speaker = strict.sessions.caller_of_token(second.access_token)
    await strict.sessions.confirm(speaker)
    with pytest.raises(UnauthenticatedError):
        await strict.sessions.refresh(first, somewhere())
    with pytest.raises(UnauthenticatedError):
        await strict.sessions.refresh(second.refresh_token, somewhere())
    with pytest.raises(UnauthenticatedError):
        await strict.sessions.confirm(speaker)
    assert [entry.action for entry in await strict.log_of(speaker.user_id)][-1] == "session.replayed"


async def test_a_refresh_never_outruns_the_end_of_its_session(start: Build) -> None:
    """Whatever is answered at that very moment, afterwards nothing of the session works."""
    one, two = start(), start()
    token = await signed_in(one)
    user_id, session_id, _ = token.split(".")
    speaker = caller(await one.user(user_id), session_id)
    results, _ = await all_at_once(
        *(one.sessions.refresh(token, somewhere()) for _ in range(5)),
        two.sessions.log_out_everywhere(speaker, somewhere()),
        *(two.sessions.refresh(token, somewhere()) for _ in range(5)),
    )
    for tokens in results:
        if isinstance(tokens, Tokens):
            with pytest.raises(UnauthenticatedError):
                await one.sessions.refresh(tokens.refresh_token, somewhere())
    assert await one.sessions.devices(speaker) == []


async def check_dead(instance: Instance, *sessions: Tokens) -> None:
    for tokens in sessions:
        with pytest.raises(UnauthenticatedError):
            await instance.sessions.refresh(tokens.refresh_token, somewhere())
        with pytest.raises(UnauthenticatedError):
            await instance.sessions.confirm(instance.sessions.caller_of_token(tokens.access_token))


async def test_no_sign_in_outlives_a_reset_of_its_password(start: Build) -> None:
    one, two = start(), start()
    email, secret = new_email(), new_id()
    user = await one.join(link_row("reset", email, secret), email=email)
    reset = two.recovery.reset_password(f"{user.id}.{secret}", f"{new_id()} new", somewhere())
    logins = asyncio.gather(
        *((one, two)[number % 2].log_in(email) for number in range(8)), return_exceptions=True
    )
    _, results = await asyncio.gather(reset, logins)
    await check_dead(one, *(tokens for tokens in results if isinstance(tokens, Tokens)))
    assert all(isinstance(result, (Tokens, UnauthenticatedError)) for result in results)


async def test_no_sign_in_outlives_the_wish_to_be_deleted(start: Build) -> None:
    one, two = start(), start()
    user = await one.join(session_row("there"))
    proof = Proof(password=PASSWORD)
    end = two.holdings.request_erasure(caller(user, "there"), proof, somewhere())
    logins = asyncio.gather(
        *((one, two)[number % 2].log_in(user.email) for number in range(8)), return_exceptions=True
    )
    _, results = await asyncio.gather(end, logins)
    await check_dead(one, *(tokens for tokens in results if isinstance(tokens, Tokens)))
    assert all(isinstance(result, (Tokens, UnauthenticatedError)) for result in results)
    with pytest.raises(UnauthenticatedError):
        await one.log_in(user.email)


async def test_who_is_going_does_not_come_back_with_google(start: Build, google: GoogleIssuer) -> None:
    """Neither with the account that is linked, nor by linking one."""
    instance, subject = start(**google.settings), new_id()
    linked = await instance.join(google_subject=subject, erasing_at=now())
    await instance.store.claim_google(subject, linked.id)
    other = await instance.join(erasing_at=now())
    with pytest.raises(UnauthenticatedError):
        token = google.token(email=linked.email, sub=subject)
        await instance.sessions.log_in_with_google(token, None, somewhere())
    with pytest.raises(ConflictError):
        token = google.token(email=other.email, sub=new_id())
        await instance.sessions.log_in_with_google(token, None, somewhere())
    assert (await instance.user(other.id)).google_subject is None


async def test_a_change_of_the_password_brings_no_session_back(start: Build) -> None:
    instance = start()
    speaker = caller(await instance.join(session_row("there")), "there")
    await instance.sessions.log_out_everywhere(speaker, somewhere())
    with pytest.raises(UnauthenticatedError):
        await instance.recovery.change_password(speaker, Proof(password=PASSWORD), new_id(), somewhere())
    with pytest.raises(UnauthenticatedError):
        await instance.sessions.confirm(speaker)


# Registration


async def check_one_account(instance: Instance, email: str) -> User:
    """One row and one claim; whoever was too late has left nothing."""
    claim = await instance.claim(email)
    assert claim is not None
    assert await instance.people(email) == [claim.user_id]
    return await instance.user(claim.user_id)


async def test_fifty_registrations_of_one_address_make_one_account(start: Build) -> None:
    one, two = start(), start()
    name = new_id()
    spellings = [f"{name}@example.com", f"{name.upper()}@Example.COM", f" {name}@example.com"]
    acts = [
        (one, two)[number % 2].registration.register(spellings[number % 3], PASSWORD, None, somewhere())
        for number in range(50)
    ]
    results, errors = await all_at_once(*acts)
    assert len(results) == 1
    assert all(isinstance(error, ConflictError) for error in errors)
    user = await check_one_account(one, spellings[0])
    assert results == [user]
    await one.log_in(user.email)


async def test_fifty_queued_registrations_of_one_address_make_one_account(start: Build) -> None:
    one, two = (start(REQUIRE_VERIFIED_EMAIL="true") for _ in range(2))
    email, works = new_email(), []
    for _ in range(25):
        at = now()
        works.append(
            Register(
                id=new_id(at),
                at=at,
                email=email,
                password_hash=PASSWORD_HASH,
                display_name=None,
                address=new_id(),
                request_id=new_id(),
            )
        )
    acts = [(one, two)[number % 2].registration.finish(work) for number, work in enumerate(works * 2)]
    _, errors = await all_at_once(*acts)
    assert errors == []
    user = await check_one_account(one, email)
    (winner,) = [work for work in works if derived_id(work.at, work.id) == user.id]
    links = [mail for mail in await one.mails(email) if "token=" in mail]
    assert len(links) == 1, "who was too late mails no link"
    assert f"token={user.id}." in links[0]
    await one.registration.finish(winner)
    await check_one_account(one, email)


async def test_a_first_sign_in_with_google_in_two_tabs_makes_one_account(
    start: Build, google: GoogleIssuer
) -> None:
    one, two = (start(**google.settings) for _ in range(2))
    email, subject = new_email(), new_id()
    token = google.token(email=email, sub=subject)
    acts = [(one, two)[n % 2].sessions.log_in_with_google(token, None, somewhere()) for n in range(6)]
    results, errors = await all_at_once(*acts)
    assert errors == []
    user = await check_one_account(one, email)
    assert {one.sessions.caller_of_token(tokens.access_token).user_id for tokens in results} == {user.id}
    assert len(await one.sessions.devices(caller(user, ""))) == 6


# Links


async def test_a_link_to_reset_works_once_however_many_follow_it(start: Build) -> None:
    one, two = start(), start()
    email, secret = new_email(), new_id()
    user = await one.join(link_row("reset", email, secret), email=email)
    token = f"{user.id}.{secret}"
    passwords = [f"{new_id()} {number}" for number in range(4)]
    acts = [
        (one, two)[number % 2].recovery.reset_password(token, password, somewhere())
        for number, password in enumerate(passwords)
    ]
    results, errors = await all_at_once(*acts)
    assert len(results) == 1
    assert all(isinstance(error, InvalidError) for error in errors)
    assert (await one.user(user.id)).epoch == 2
    logins, _ = await all_at_once(*(one.log_in(email, password) for password in passwords))
    assert len(logins) == 1


async def test_two_who_move_to_one_address_do_not_share_it(start: Build) -> None:
    one, two = start(), start()
    email, secret = new_email(), new_id()
    ada, bob = [await one.join(link_row("email", email, secret)) for _ in range(2)]
    acts = [
        instance.recovery.confirm_email(f"{user.id}.{secret}", somewhere())
        for instance, user in ((one, ada), (two, bob))
    ]
    newcomer = one.registration.register(email, PASSWORD, None, somewhere())
    results, errors = await all_at_once(*acts, newcomer)
    assert len(results) == 1
    assert all(isinstance(error, ConflictError) for error in errors)
    await check_one_account(one, email)
    for user in (ada, bob):
        address = (await one.user(user.id)).email
        owner = await one.store.owner(address)
        assert owner is not None
        assert owner.value.id == user.id
        assert address == user.email or await one.claim(user.email) is None, "a mover gives the old one up"


async def test_a_claim_whose_hour_is_over_is_renewed_before_it_is_used(start: Build) -> None:
    """Else another's registration could take the address while its mover moves in."""
    one = start()
    email, secret = new_email(), new_id()
    user = await one.join(link_row("email", email, secret))
    await one.store.claim(email, user.id, None)
    await one.age_claim(email)
    await all_at_once(
        one.recovery.confirm_email(f"{user.id}.{secret}", somewhere()),
        start().registration.register(email, PASSWORD, None, somewhere()),
    )
    await check_one_account(one, email)


async def test_a_link_ends_with_the_sessions_or_the_address_that_it_belongs_to(start: Build) -> None:
    one = start()
    user = await one.join(session_row("there"))
    email = new_email()
    await one.recovery.request_email(caller(user, "there"), email, Proof(password=PASSWORD), somewhere())
    await one.recovery.request_reset(user.email, somewhere())
    await one.work_off()
    move, reset = await one.mailed_token(email), await one.mailed_token(user.email)
    await one.sessions.log_out_everywhere(caller(user, "there"), somewhere())
    with pytest.raises(InvalidError):
        await one.recovery.confirm_email(move, somewhere())
    await one.store.change_user(user.id, lambda user: user.model_copy(update={"email": new_email()}))
    with pytest.raises(InvalidError):
        await one.recovery.reset_password(reset, PASSWORD, somewhere())


# Codes


async def test_a_code_opens_one_session_however_many_send_it(start: Build) -> None:
    one, two = start(), start()
    user = await one.join()
    app, recovery_codes = await one.add_second_factor(user)
    for code in (app.now(), recovery_codes[3]):
        acts = [(one, two)[number % 2].log_in(user.email, mfa_code=code) for number in range(6)]
        results, errors = await all_at_once(*acts)
        assert len(results) == 1
        assert all(isinstance(error, MfaInvalidError) for error in errors)
    factor = (await one.user(user.id)).second_factor
    assert factor is not None
    assert len(factor.recovery) == 9


async def test_twenty_sign_in_at_once(start: Build) -> None:
    one, two = (start(ACCOUNT_ATTEMPTS="20") for _ in range(2))
    user = await one.join()
    for many in (20, 4):
        results, errors = await all_at_once(*((one, two)[n % 2].log_in(user.email) for n in range(many)))
        assert errors == []
        assert len({tokens.refresh_token for tokens in results}) == many
    assert len(await one.sessions.devices(caller(user, ""))) == 24
    opened = [entry for entry in await one.log_of(user.id) if entry.action == "session.opened"]
    assert len(opened) == 24
