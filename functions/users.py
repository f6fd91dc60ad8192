"""My own account over HTTP: profile, picture, password, address, devices, a copy of everything, the end."""

from datetime import datetime
from typing import Any

import azure.functions as func
from pydantic import BaseModel

from core.accounts.holdings import ExportView, Receipt
from core.accounts.models import (
    AnyPassword,
    Email,
    IdToken,
    LinkToken,
    MfaCode,
    NewPassword,
    Notifications,
    Proof,
    User,
)
from core.accounts.profiles import ProfileChange, picture_url
from core.accounts.sessions import SessionView
from core.caller import Role
from functions.http import API, Call, Payload, Reply, check_id, endpoint

blueprint = func.Blueprint()

_PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif")
MAX_PICTURE_BYTES = 10 * 1024 * 1024


class UserReply(BaseModel):
    """An account as its owner sees it."""

    id: str
    email: str
    email_verified: bool
    display_name: str
    bio: str
    picture_url: str | None
    playback_speed: float
    locale: str
    notifications: Notifications
    roles: list[Role]
    mfa_enabled: bool
    has_password: bool
    google_linked: bool
    created_at: datetime


class NewPasswordRequest(Payload):
    """The password to set, and what shows that it is you: the one before, or, without one, Google's token."""

    current_password: AnyPassword | None = None
    id_token: IdToken | None = None
    mfa_code: MfaCode | None = None
    new_password: NewPassword


class NewEmailRequest(Payload):
    """The new address, and what shows that it is you."""

    email: Email
    password: AnyPassword | None = None
    id_token: IdToken | None = None
    mfa_code: MfaCode | None = None


class EmailReply(BaseModel):
    """Where the mail goes that confirms the change."""

    email: str


class LinkRequest(Payload):
    """A mailed link."""

    token: LinkToken


class SessionList(BaseModel):
    """All of my sessions."""

    items: list[SessionView]


class ExportList(BaseModel):
    """All of my exports."""

    items: list[ExportView]


def show_user(user: User, roles: tuple[Role, ...]) -> UserReply:
    """Return what a person, or an administrator, sees of an account."""
    return UserReply(
        **user.model_dump(include=set(UserReply.model_fields) - {"roles", "notifications"}),
        notifications=user.notifications,
        roles=list(roles),
        picture_url=picture_url(user),
        mfa_enabled=user.has_second_factor,
        has_password=user.password_hash is not None,
        google_linked=user.google_subject is not None,
    )


def _show(call: Call[Any, Any], user: User) -> UserReply:
    return show_user(user, call.services.accounts.sessions.roles(user))


@endpoint(blueprint, "GET", f"{API}/users/me", access="listener", reply=UserReply, failures=(404,))
async def get_own_user(call: Call[None, Any]) -> UserReply:
    """Show my own account."""
    return _show(call, await call.services.accounts.profiles.show(call.user.user_id))


@endpoint(blueprint, "PUT", f"{API}/users/me", access="listener", body=ProfileChange, reply=UserReply)
async def change_own_user(call: Call[ProfileChange, Any]) -> UserReply:
    """Change my profile; what is left out stays as it is."""
    return _show(call, await call.services.accounts.profiles.change(call.user.user_id, call.body))


@endpoint(
    blueprint,
    "DELETE",
    f"{API}/users/me",
    access="listener",
    body=Proof,
    reply=Receipt,
    status=202,
    failures=(409, 429),
)
async def delete_own_user(call: Call[Proof, Any]) -> Receipt:
    """Delete my account and everything in it.

    Takes the password, and a code where there is a second factor. All sessions end at once; a mail with the
    receipt's id says when it is done. 409 for an administrator, from whom another one has to take the role.
    """
    return await call.services.accounts.holdings.request_erasure(call.user, call.body, call.origin)


@endpoint(
    blueprint,
    "PUT",
    f"{API}/users/me/picture",
    access="listener",
    body=bytes,
    accepts=_PICTURES,
    max_bytes=MAX_PICTURE_BYTES,
    reply=UserReply,
)
async def set_own_picture(call: Call[bytes, Any]) -> UserReply:
    """Set my picture.

    A JPEG, PNG, WebP or GIF of up to 10 MB; it is cut to a square and stored without what the camera noted.
    """
    return _show(call, await call.services.accounts.profiles.set_picture(call.user.user_id, call.body))


@endpoint(blueprint, "DELETE", f"{API}/users/me/picture", access="listener", reply=UserReply)
async def remove_own_picture(call: Call[None, Any]) -> UserReply:
    """Go without a picture."""
    return _show(call, await call.services.accounts.profiles.remove_picture(call.user.user_id))


@endpoint(
    blueprint,
    "PUT",
    f"{API}/users/me/password",
    access="listener",
    body=NewPasswordRequest,
    status=204,
    failures=(429,),
)
async def change_own_password(call: Call[NewPasswordRequest, Any]) -> Reply:
    """Change my password.

    All other sessions end. Takes a code too where there is a second factor.
    """
    body = call.body
    proof = Proof(password=body.current_password, id_token=body.id_token, mfa_code=body.mfa_code)
    recovery = call.services.accounts.recovery
    await recovery.change_password(call.user, proof, body.new_password, call.origin)
    return Reply(status=204)


@endpoint(
    blueprint,
    "POST",
    f"{API}/users/me/email",
    access="listener",
    body=NewEmailRequest,
    reply=EmailReply,
    status=202,
    failures=(429,),
)
async def request_own_email(call: Call[NewEmailRequest, Any]) -> EmailReply:
    """Move my account to another address.

    The link in a mail to that address confirms it. The answer does not tell whether the address is free.
    """
    body = call.body
    proof = Proof(password=body.password, id_token=body.id_token, mfa_code=body.mfa_code)
    await call.services.accounts.recovery.request_email(call.user, body.email, proof, call.origin)
    return EmailReply(email=body.email)


@endpoint(blueprint, "POST", f"{API}/users/me/email/confirm", body=LinkRequest, status=204, failures=(409,))
async def confirm_own_email(call: Call[LinkRequest, Any]) -> Reply:
    """Follow the link that confirms the new address."""
    await call.services.accounts.recovery.confirm_email(call.body.token, call.origin)
    return Reply(status=204)


@endpoint(blueprint, "GET", f"{API}/users/me/sessions", access="listener", reply=SessionList, failures=(404,))
async def list_own_sessions(call: Call[None, Any]) -> SessionList:
    """List the devices where I am signed in."""
    return SessionList(items=await call.services.accounts.sessions.devices(call.user))


@endpoint(blueprint, "DELETE", f"{API}/users/me/sessions/{{session_id}}", access="listener", status=204)
async def end_own_session(call: Call[None, Any]) -> Reply:
    """Sign a device out."""
    session_id = check_id(call.params["session_id"])
    await call.services.accounts.sessions.end(call.user, session_id, call.origin)
    return Reply(status=204)


@endpoint(
    blueprint,
    "POST",
    f"{API}/users/me/export",
    access="listener",
    reply=ExportView,
    status=202,
    failures=(429,),
)
async def request_own_export(call: Call[None, Any]) -> Reply:
    """Make a copy of everything that is held about me: a ZIP of JSON and files.

    `Location` tells where to ask for it; one that is under way is not begun again.
    """
    export = await call.services.accounts.holdings.request_export(call.user, call.origin)
    return Reply(export, headers={"Location": f"{API}/users/me/export/{export.id}"})


@endpoint(blueprint, "GET", f"{API}/users/me/export", access="listener", reply=ExportList)
async def list_own_exports(call: Call[None, Any]) -> ExportList:
    """List my exports, the newest first."""
    return ExportList(items=await call.services.accounts.holdings.exports(call.user))


@endpoint(
    blueprint,
    "GET",
    f"{API}/users/me/export/{{export_id}}",
    access="listener",
    confirmed=True,
    reply=ExportView,
)
async def get_own_export(call: Call[None, Any]) -> ExportView:
    """Show an export; once it is ready, with an address that loads it for some minutes."""
    export_id = check_id(call.params["export_id"])
    return await call.services.accounts.holdings.export(call.user, export_id)
