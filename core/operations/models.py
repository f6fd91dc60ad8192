"""Alerts: what a person has to know of. Audit: who did what. Mails that wait. What the AI may cost."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from core.backoff import Tried
from core.mail import Letter


class Alert(BaseModel):
    """Row of `alerts`, one partition a month, the newest first.

    `kind` is a slug (`transcription-failed`, `poison-message`), `target` the id of what it is about.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    title: str
    detail: str
    target: str
    created_at: datetime
    raised_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None


class Telling(BaseModel):
    """Row of `alerts`, in the partition `telling`, one a kind: when people were told, and will be again."""

    model_config = ConfigDict(frozen=True)

    told_at: datetime
    together_at: datetime | None = None


class AuditEntry(BaseModel):
    """Row of `audit`, one partition a month, the newest first; never changed, never deleted.

    `action` is a slug (`password.changed`), `actor` who did it (None: nobody who is known), `target` the
    id of what it was done to. It is written before the act, or beside it, so a row may tell of an act that
    was cut off. It holds no secret and no mail address.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime
    action: str
    actor: str | None = None
    target: str
    address: str
    request_id: str
    detail: str = ""


class Notice(Tried):
    """Message on `notify`: tell those who want to know of an alert, or of all of a kind that have waited; or
    mail a letter to one person.
    """

    model_config = ConfigDict(frozen=True)

    alert: tuple[str, str] | None = None
    alerts_of: str | None = None
    letter: Letter | None = None


@dataclass(frozen=True)
class Amount:
    """What work costs, or is thought to: millionths of a dollar, and seconds of sound."""

    microdollars: int
    seconds: int


@dataclass(frozen=True)
class Ceiling:
    """What may be spent in a month; None: whatever it is."""

    microdollars: int | None
    seconds: int | None

    def share(self, used: Amount) -> float:
        """Return how much of it is used, 1 being all, of whatever is scarcer."""
        pairs = ((used.microdollars, self.microdollars), (used.seconds, self.seconds))
        shares = [
            part / whole if whole else float(part > 0) * 2 for part, whole in pairs if whole is not None
        ]
        return max(shares, default=0.0)

    def allows(self, used: Amount) -> bool:
        """Tell whether so much may be used."""
        return self.share(used) <= 1


class Told(BaseModel):
    """Row `told_{kind}`: when people were told that a month's budget is nearly used up, or all of it."""

    model_config = ConfigDict(frozen=True)

    at: datetime


class Sum(BaseModel):
    """Row `sum`: what is reserved by work under way, and what finished work has cost."""

    model_config = ConfigDict(frozen=True)

    reserved_microdollars: int = 0
    reserved_seconds: int = 0
    spent_microdollars: int = 0
    spent_seconds: int = 0

    @property
    def used(self) -> Amount:
        """What is reserved or spent."""
        return Amount(
            self.reserved_microdollars + self.spent_microdollars, self.reserved_seconds + self.spent_seconds
        )


class Reservation(BaseModel):
    """Row `job_{id}_{run}`: what one run of a job has reserved; once settled, what it has cost."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    run: int
    microdollars: int
    seconds: int
    is_settled: bool = False


@dataclass(frozen=True)
class Claim:
    """One run of a job that costs money. `at` is when the run began: its month's budgets pay for it."""

    job_id: str
    run: int
    owner_id: str | None
    at: datetime

    @property
    def key(self) -> str:
        """The row key of its reservations."""
        return f"job_{self.job_id}_{self.run:04d}"
