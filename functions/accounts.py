"""Accounts over HTTP: register, sign in, stay signed in, sign out, who am I."""

from datetime import datetime
from typing import Annotated, Any

import azure.functions as func
from pydantic import BaseModel, Field

from core.accounts.models import DisplayName, Email, NewPassword, Profile, Tokens
from core.caller import Role
from functions.http import API, Call, Payload, Reply, endpoint

blueprint = func.Blueprint()

AnyPassword = Annotated[str, Field(min_length=1, max_length=128)]


class RegisterRequest(Payload):
    """A new account."""

    email: Email
    password: NewPassword
    display_name: DisplayName | None = None


class LoginRequest(Payload):
    """Credentials."""

    email: Email
    password: AnyPassword


class RefreshRequest(Payload):
    """The token that a login or a refresh gave."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=400)]


class UserReply(BaseModel):
    """An account as its owner sees it."""

    id: str
    email: str
    display_name: str
    roles: list[Role]
    created_at: datetime


def _show(profile: Profile) -> UserReply:
    return UserReply(**profile.model_dump())


@endpoint(blueprint, "POST", f"{API}/auth/register", body=RegisterRequest, reply=UserReply, status=201)
async def register_user(call: Call[RegisterRequest, Any]) -> UserReply:
    """Make an account.

    A password has 8 to 128 characters and is not a common one. 409 if the address is taken.
    """
    body = call.body
    return _show(await call.services.accounts.register(body.email, body.password, body.display_name))


@endpoint(blueprint, "POST", f"{API}/auth/login", body=LoginRequest, reply=Tokens)
async def login_user(call: Call[LoginRequest, Any]) -> Tokens:
    """Sign in.

    Answers with a short-lived access token and a refresh token. 401, whatever is wrong.
    """
    return await call.services.accounts.log_in(call.body.email, call.body.password)


@endpoint(blueprint, "POST", f"{API}/auth/refresh", body=RefreshRequest, reply=Tokens)
async def refresh_session(call: Call[RefreshRequest, Any]) -> Tokens:
    """Swap a refresh token for a new pair.

    A refresh token works once; to use it again ends the session.
    """
    return await call.services.accounts.refresh(call.body.refresh_token)


@endpoint(blueprint, "POST", f"{API}/auth/logout", access="listener", status=204)
async def logout_user(call: Call[None, Any]) -> Reply:
    """End this session."""
    await call.services.accounts.log_out(call.user)
    return Reply(status=204)


@endpoint(blueprint, "GET", f"{API}/users/me", access="listener", reply=UserReply)
async def get_own_user(call: Call[None, Any]) -> UserReply:
    """Show my own account."""
    return _show(await call.services.accounts.profile(call.user.user_id))
