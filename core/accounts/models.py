"""Accounts as they are stored, as they are shown, and as work that waits on the queue `accounts`."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, StringConstraints

from core.accounts.passwords import is_common
from core.backoff import Tried
from core.caller import Role
from core.ids import now
from core.mail import Letter
from core.storage.tables import Put

SessionKind = Literal["api", "site"]
LinkPurpose = Literal["verify", "reset", "email"]


def _check_password(password: str) -> str:
    if is_common(password):
        raise ValueError("is too easy to guess; a few words in a row are better")
    return password


_NO_CONTROLS = r"^[^\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]*$"  # nor marks that turn text round

Email = Annotated[EmailStr, Field(max_length=254)]
NewPassword = Annotated[
    str,
    StringConstraints(min_length=8, max_length=128),
    AfterValidator(_check_password),
    Field(examples=["tea and toast"]),
]
AnyPassword = Annotated[str, Field(min_length=1, max_length=128)]
IdToken = Annotated[str, Field(min_length=1, max_length=8192, description="What Google's button gives.")]
LinkToken = Annotated[str, Field(min_length=1, max_length=200, description="What the mailed link holds.")]
MfaCode = Annotated[
    str, Field(min_length=1, max_length=64, description="Of the authenticator app, or a recovery code.")
]
DisplayName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=_NO_CONTROLS)
]
Biography = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, max_length=2000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
    ),
]
Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$"), Field(examples=["en"])]
PlaybackSpeed = Annotated[float, Field(ge=0.5, le=3.5)]


class Notifications(BaseModel):
    """Which mails, besides those about the account itself, a person wants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    new_releases: bool = True
    recommendations: bool = False


class SecondFactor(BaseModel):
    """An authenticator app; it counts once `confirmed`.

    `secret` is sealed, `last_step` the last 30-second step whose code was used, `recovery` the hashes of the
    recovery codes that are left.
    """

    model_config = ConfigDict(frozen=True)

    secret: str
    confirmed: bool = False
    last_step: int | None = None
    recovery: tuple[str, ...] = ()


class User(BaseModel):
    """Row `user`: one person, everything about the account in one row, so that each change is one write.

    A session of another `epoch` is dead. `addresses` are those of the network from which its owner has signed
    in last. A `provisional` account was registered where mail has to be
    verified and was not yet; after an hour another registration may take its address.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    email: str
    email_verified: bool = False
    provisional: bool = False
    display_name: str
    bio: str = ""
    picture: str | None = None
    playback_speed: float = 1.0
    locale: str = "en"
    notifications: Notifications = Notifications()
    roles: tuple[Role, ...] = ("listener",)
    password_hash: str | None = None
    google_subject: str | None = None
    second_factor: SecondFactor | None = None
    epoch: int = 1
    created_at: datetime
    last_login_at: datetime | None = None
    addresses: tuple[str, ...] = ()
    disabled_at: datetime | None = None
    erasing_at: datetime | None = None

    @property
    def has_second_factor(self) -> bool:
        return self.second_factor is not None and self.second_factor.confirmed


class Joined(BaseModel):
    """Row of a month's list of new accounts."""

    model_config = ConfigDict(frozen=True)

    user_id: str


class FormerAdministrators(BaseModel):
    """Row `former`, one for all: from whom the role was taken, or whose account closed, or is about to be.

    Whoever is in it takes it from nobody else, so that of all administrators one is always left.
    """

    model_config = ConfigDict(frozen=True)

    user_ids: tuple[str, ...] = ()


class Claim(BaseModel):
    """Who has a mail address or a Google account; valid only if that user's row points back to it."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    created_at: datetime


class Attempts(BaseModel):
    """Row `attempts_{kind}`: when something was tried, the oldest first."""

    model_config = ConfigDict(frozen=True)

    times: tuple[datetime, ...] = ()


class Session(BaseModel):
    """Row `session_{id}`: one device that is signed in, and its family of refresh tokens.

    `secret_hash` is the SHA-256 of the secret that is valid, `previous_hash` that of the one before it, and
    `successor` the valid secret, encrypted under the one before. `family_key` marks what this family issued.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    family_key: str
    secret_hash: str
    previous_hash: str | None = None
    successor: str | None = None
    epoch: int
    kind: SessionKind
    address: str
    device: str
    created_at: datetime
    renewed_at: datetime
    expires_at: datetime

    def is_alive_of(self, user: User) -> bool:
        """Tell whether this session of a user still is one."""
        return (
            self.epoch == user.epoch
            and self.expires_at > now()
            and user.disabled_at is None
            and user.erasing_at is None
        )


class SweptSessions(BaseModel):
    """Row `sessions` of partition `swept`: the last day whose sessions the nightly sweep has looked at."""

    model_config = ConfigDict(frozen=True)

    day: datetime


class Link(BaseModel):
    """Row `link_{purpose}`: the one link of this kind that was mailed last; `secret_hash` is None once used.

    `email` is where it was mailed to, `epoch` the user's when it was made.
    """

    model_config = ConfigDict(frozen=True)

    work_id: str
    secret_hash: str | None = None
    email: str
    epoch: int
    expires_at: datetime


class Notice(BaseModel):
    """Row `notice_{id of the letter}`: what an owner is certain to be told, but was not yet."""

    model_config = ConfigDict(frozen=True)

    letter: Letter

    @property
    def row(self) -> Put:
        """The row, for the transaction of what it tells of."""
        return Put(f"notice_{self.letter.id}", self)


ExportStatus = Literal["waiting", "running", "ready", "failed", "expired"]


class Export(BaseModel):
    """Row `export_{id}`: a copy of everything that is held about one person."""

    model_config = ConfigDict(frozen=True)

    id: str
    status: ExportStatus = "waiting"
    created_at: datetime
    size_bytes: int | None = None
    expires_at: datetime | None = None


class Proof(BaseModel):
    """What shows that it is really the owner who asks: the password, or a fresh Google ID token for an
    account without one; and a code where the account has a second factor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    password: AnyPassword | None = None
    id_token: IdToken | None = None
    mfa_code: MfaCode | None = None


class Tokens(BaseModel):
    """The answer to a login."""

    access_token: str = Field(description="A JWT for the Authorization header.")
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int = Field(description="Seconds until the access token ends.")
    refresh_token: str = Field(
        description="Opaque; swap it for a new pair before or after the access token ends."
    )


# Work on the queue `accounts`. The message's id makes what comes of it, so that a repeat makes the same.


class _Work(Tried):
    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime


class Register(_Work):
    """Make an account that has to be verified. The route answers before, the same for known and unknown."""

    kind: Literal["register"] = "register"
    email: str
    password_hash: str
    display_name: str | None = None
    address: str
    request_id: str


class SendLink(_Work):
    """Mail a link for `purpose` to whoever has this address; to nobody if nobody has."""

    kind: Literal["link"] = "link"
    purpose: Literal["verify", "reset"]
    email: str


class SendNewEmailLink(_Work):
    """Mail a link that moves the account to this address."""

    kind: Literal["new-email"] = "new-email"
    user_id: str
    email: str


class Sweep(_Work):
    """Remove what was left behind: a registration that never got its address, claims that lead nowhere.

    `emails` are addresses that the user may have claimed without having them.
    """

    kind: Literal["sweep"] = "sweep"
    user_id: str
    emails: tuple[str, ...] = ()


class Tell(_Work):
    """Hand over a notice of a change, if that came to pass; the id is that of the letter."""

    kind: Literal["tell"] = "tell"
    user_id: str


class Erase(_Work):
    """Delete everything of a person who has asked for it; the id is that of the receipt."""

    kind: Literal["erase"] = "erase"
    user_id: str


class MakeExport(_Work):
    """Gather everything of a person; the id is that of the export."""

    kind: Literal["export"] = "export"
    user_id: str


AccountWork = Annotated[
    Register | SendLink | SendNewEmailLink | Sweep | Tell | Erase | MakeExport, Field(discriminator="kind")
]
