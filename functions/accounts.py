"""Signing in over HTTP: register, verify, log in, stay signed in, sign out, recover, second factor."""

from typing import Annotated, Any

import azure.functions as func
from pydantic import BaseModel, Field

from core.accounts.factors import RecoveryCodes, Setup
from core.accounts.models import (
    AnyPassword,
    DisplayName,
    Email,
    IdToken,
    LinkToken,
    MfaCode,
    NewPassword,
    Proof,
    Tokens,
)
from functions.http import API, Call, Payload, Reply, endpoint
from functions.users import LinkRequest, UserReply, show_user

blueprint = func.Blueprint()


class RegisterRequest(Payload):
    """A new account."""

    email: Email
    password: NewPassword
    display_name: DisplayName | None = None


class AddressRequest(Payload):
    """A mail address."""

    email: Email


class AddressReply(BaseModel):
    """The address that a mail goes to, if there is a reason for one."""

    email: str


class LoginRequest(Payload):
    """Credentials."""

    email: Email
    password: AnyPassword
    mfa_code: MfaCode | None = None


class GoogleLoginRequest(Payload):
    """What Google's button gives."""

    id_token: IdToken
    mfa_code: MfaCode | None = None


class GoogleLinkRequest(GoogleLoginRequest):
    """What Google's button gives, and what shows that the account is yours."""

    password: AnyPassword | None = None


class RefreshRequest(Payload):
    """The token that a login or a refresh gave."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=400)]


class NewPasswordRequest(Payload):
    """A mailed link, and the password to set."""

    token: LinkToken
    password: NewPassword


class CodeRequest(Payload):
    """A code of the authenticator app that is being set up."""

    mfa_code: MfaCode


@endpoint(
    blueprint,
    "POST",
    f"{API}/auth/register",
    body=RegisterRequest,
    reply=UserReply,
    status=201,
    failures=(409, 429),
    other={202: ("Where addresses have to be verified: a mail goes there.", AddressReply)},
)
async def register_user(call: Call[RegisterRequest, Any]) -> Reply:
    """Make an account.

    A password has 8 to 128 characters and is not a common one. Where addresses have to be verified: always
    202 and the address, and a mail. Elsewhere 409 if the address is taken.
    """
    body = call.body
    registration = call.services.accounts.registration
    user = await registration.register(body.email, body.password, body.display_name, call.origin)
    if user is None:
        return Reply(AddressReply(email=body.email), status=202)
    return Reply(show_user(user, call.services.accounts.sessions.roles(user)))


@endpoint(blueprint, "POST", f"{API}/auth/verify-email", body=LinkRequest, status=204)
async def verify_email(call: Call[LinkRequest, Any]) -> Reply:
    """Follow the link that verifies an address."""
    await call.services.accounts.registration.verify(call.body.token, call.origin)
    return Reply(status=204)


@endpoint(
    blueprint,
    "POST",
    f"{API}/auth/verify-email/resend",
    body=AddressRequest,
    reply=AddressReply,
    status=202,
    failures=(429,),
)
async def resend_verification(call: Call[AddressRequest, Any]) -> AddressReply:
    """Mail that link again.

    The answer is the same for every address; a mail goes to one that waits to be verified.
    """
    await call.services.accounts.registration.request_link(call.body.email, call.origin)
    return AddressReply(email=call.body.email)


@endpoint(blueprint, "POST", f"{API}/auth/login", body=LoginRequest, reply=Tokens, failures=(401, 403, 429))
async def login_user(call: Call[LoginRequest, Any]) -> Tokens:
    """Sign in.

    Answers with a short-lived access token and a refresh token. 401, whatever is wrong; 401 `mfa-required`
    after a right password that needs a code; 403 `email-unverified` or `account-disabled` likewise. Failed
    tries are counted for the account and for the network address.
    """
    body = call.body
    return await call.services.accounts.sessions.log_in(body.email, body.password, body.mfa_code, call.origin)


@endpoint(
    blueprint,
    "POST",
    f"{API}/auth/google-login",
    body=GoogleLoginRequest,
    reply=Tokens,
    failures=(401, 403, 404, 409, 429),
)
async def login_with_google(call: Call[GoogleLoginRequest, Any]) -> Tokens:
    """Sign in with Google.

    The first time an account is made, or the verified account of the same address is linked, if Google runs
    that mailbox. 409 where that account is not Google's to open: sign in with its password, and link it.
    """
    body = call.body
    return await call.services.accounts.sessions.log_in_with_google(body.id_token, body.mfa_code, call.origin)


@endpoint(blueprint, "POST", f"{API}/auth/refresh", body=RefreshRequest, reply=Tokens, failures=(401,))
async def refresh_session(call: Call[RefreshRequest, Any]) -> Tokens:
    """Swap a refresh token for a new pair.

    The token before the newest gets the newest again for a short time; any other reuse ends the session.
    """
    return await call.services.accounts.sessions.refresh(call.body.refresh_token, call.origin)


@endpoint(blueprint, "POST", f"{API}/auth/logout", access="listener", status=204)
async def logout_user(call: Call[None, Any]) -> Reply:
    """End this session."""
    await call.services.accounts.sessions.log_out(call.user, call.origin)
    return Reply(status=204)


@endpoint(blueprint, "POST", f"{API}/auth/logout-all", access="listener", status=204)
async def logout_user_everywhere(call: Call[None, Any]) -> Reply:
    """End all of my sessions, this one too."""
    await call.services.accounts.sessions.log_out_everywhere(call.user, call.origin)
    return Reply(status=204)


@endpoint(
    blueprint,
    "POST",
    f"{API}/auth/password-reset",
    body=AddressRequest,
    reply=AddressReply,
    status=202,
    failures=(429,),
)
async def request_password_reset(call: Call[AddressRequest, Any]) -> AddressReply:
    """Mail a link that sets a new password.

    The answer is the same for every address; a mail goes to one that has an account. The link works once,
    for 30 minutes.
    """
    await call.services.accounts.recovery.request_reset(call.body.email, call.origin)
    return AddressReply(email=call.body.email)


@endpoint(blueprint, "POST", f"{API}/auth/password-reset/confirm", body=NewPasswordRequest, status=204)
async def reset_password(call: Call[NewPasswordRequest, Any]) -> Reply:
    """Set a new password with the mailed link; every session ends."""
    await call.services.accounts.recovery.reset_password(call.body.token, call.body.password, call.origin)
    return Reply(status=204)


@endpoint(
    blueprint,
    "POST",
    f"{API}/auth/mfa/setup",
    access="listener",
    body=Proof,
    reply=Setup,
    failures=(409, 429),
)
async def set_up_mfa(call: Call[Proof, Any]) -> Setup:
    """Begin to set up a second factor.

    Answers with the secret for an authenticator app, also as a picture. It counts once a code was confirmed.
    """
    return await call.services.accounts.factors.set_up(call.user, call.body, call.origin)


@endpoint(
    blueprint,
    "POST",
    f"{API}/auth/mfa/confirm",
    access="listener",
    body=CodeRequest,
    reply=RecoveryCodes,
    failures=(409, 429),
)
async def confirm_mfa(call: Call[CodeRequest, Any]) -> RecoveryCodes:
    """Switch the second factor on.

    Answers with recovery codes, each for one sign-in without the app. They are shown this one time.
    """
    return await call.services.accounts.factors.confirm(call.user, call.body.mfa_code, call.origin)


@endpoint(
    blueprint, "DELETE", f"{API}/auth/mfa", access="listener", body=Proof, status=204, failures=(409, 429)
)
async def remove_mfa(call: Call[Proof, Any]) -> Reply:
    """Switch the second factor off; takes the password and a code."""
    await call.services.accounts.factors.remove(call.user, call.body, call.origin)
    return Reply(status=204)


@endpoint(
    blueprint,
    "PUT",
    f"{API}/auth/google",
    access="listener",
    body=GoogleLinkRequest,
    reply=UserReply,
    failures=(404, 409, 429),
)
async def link_google(call: Call[GoogleLinkRequest, Any]) -> UserReply:
    """Let a Google account open mine, in place of another.

    Takes the password, and a code where there is a second factor. 409 where it opens somebody else's.
    """
    body = call.body
    proof = Proof(password=body.password, mfa_code=body.mfa_code)
    accounts = call.services.accounts
    user = await accounts.linking.link(call.user, body.id_token, proof, call.origin)
    return show_user(user, accounts.sessions.roles(user))


@endpoint(
    blueprint, "DELETE", f"{API}/auth/google", access="listener", body=Proof, status=204, failures=(409, 429)
)
async def unlink_google(call: Call[Proof, Any]) -> Reply:
    """Let no Google account open mine any more; takes the password, and a code."""
    await call.services.accounts.linking.unlink(call.user, call.body, call.origin)
    return Reply(status=204)
