"""Accounts as they are stored and as they are shown."""

import unicodedata
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, StringConstraints

from core.caller import Role

SessionKind = Literal["api", "site"]


def normalise_email(address: str) -> str:
    """Return the form in which two spellings of one address are equal."""
    return unicodedata.normalize("NFC", address.strip()).casefold()


def _check_password(password: str) -> str:
    if len(set(password)) < 4 or password.casefold() in _COMMON:
        raise ValueError("is too easy to guess; a few words in a row are better")
    return password


_COMMON = frozenset(
    [
        "password",
        "password1",
        "password123",
        "12345678",
        "123456789",
        "1234567890",
        "qwertyui",
        "qwertyuiop",
        "qwerty123",
        "iloveyou",
        "letmein1",
        "welcome1",
        "sunshine",
        "football",
        "baseball",
        "princess",
        "superman",
        "trustno1",
        "abcd1234",
        "1q2w3e4r",
        "changeme",
        "administrator",
    ]
)

Email = Annotated[EmailStr, Field(max_length=254)]
NewPassword = Annotated[
    str,
    StringConstraints(min_length=8, max_length=128),
    AfterValidator(_check_password),
    Field(examples=["tea and toast"]),
]
DisplayName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class Profile(BaseModel):
    """Row `profile` of a user."""

    model_config = ConfigDict(frozen=True)

    id: str
    email: str
    display_name: str
    roles: tuple[Role, ...] = ("listener",)
    created_at: datetime


class Credentials(BaseModel):
    """Row `credentials`: the hash, and the epoch whose sessions are alive."""

    model_config = ConfigDict(frozen=True)

    password_hash: str
    epoch: int = 1


class Claim(BaseModel):
    """Row `account` under the fingerprint of an address: who has it. Its insertion commits a registration."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    created_at: datetime


class Session(BaseModel):
    """Row `session_{id}`: one device that is signed in.

    `secret_hash` is the SHA-256 of the secret that it holds, `previous_hash` of the one before it.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    secret_hash: str
    previous_hash: str | None = None
    epoch: int
    kind: SessionKind
    roles: tuple[Role, ...]
    created_at: datetime
    expires_at: datetime


class Tokens(BaseModel):
    """The answer to a login."""

    access_token: str = Field(description="A JWT for the Authorization header.")
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int = Field(description="Seconds until the access token ends.")
    refresh_token: str = Field(
        description="Opaque; swap it for a new pair before or after the access token ends."
    )
