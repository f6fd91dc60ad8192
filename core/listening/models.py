"""Listening as it is stored, as devices tell of it, and as it is shown."""

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from core.catalog.models import BookSummary

_LONGEST_DELAY = timedelta(days=366)

BookId = Annotated[str, Field(pattern=r"^[0-9a-z]{1,64}$")]
DeviceId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$", description="A name that the device keeps for itself.")
]
Position = Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)]
Speed = Annotated[float, Field(ge=0.5, le=3.5, allow_inf_nan=False)]
UtcOffset = Annotated[
    int, Field(ge=-840, le=840, description="Minutes by which the listener's clock is ahead of UTC.")
]


class Act(BaseModel):
    """Something that a device tells of, perhaps long after it was done, by a clock that may be wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recorded_at: AwareDatetime | None = Field(
        None, description="When it was done, by the device's clock; left out: now."
    )
    sent_at: AwareDatetime | None = Field(
        None, description="When it is sent, by the same clock; only how much later counts."
    )

    def done_at(self, received: datetime) -> datetime:
        """Return when it was done by our clock: never in the future, at most a year ago."""
        if self.recorded_at is None:
            return received
        delay = (self.sent_at or received) - self.recorded_at
        at = received - min(max(delay, timedelta(0)), _LONGEST_DELAY)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)


class ProgressEntry(Act):
    """Where somebody is in a book. `completed` and `speed` stay as they are where they are left out."""

    position_seconds: Position
    device_id: DeviceId | None = None
    speed: Speed | None = None
    completed: bool | None = None


class BookProgressEntry(ProgressEntry):
    """One of several, for devices that were offline."""

    audiobook_id: BookId


class Progress(BaseModel):
    """Row `progress_{book}`: where somebody is in a book, and when that was so, by our clock.

    `told` is the time by the device's clock, as it was sent: it tells a repeat from a newer act.
    """

    model_config = ConfigDict(frozen=True)

    audiobook_id: str
    position_seconds: float
    completed: bool = False
    completed_at: datetime | None = None
    speed: float | None = None
    device_id: str | None = None
    recorded_at: datetime
    told: str | None = None


class ProgressView(BaseModel):
    """Where I am in a book; without `recorded_at` nothing has been saved yet."""

    audiobook_id: str
    position_seconds: float
    completed: bool = False
    completed_at: datetime | None = None
    speed: float | None = Field(None, description="The speed last chosen for this book.")
    device_id: str | None = None
    recorded_at: datetime | None = Field(None, description="When it was so, by the server's clock.")


class SessionStart(Act):
    """A stretch of listening begins."""

    audiobook_id: BookId
    start_position_seconds: Position
    device_id: DeviceId | None = None
    speed: Speed = 1.0
    utc_offset_minutes: UtcOffset = 0


class SessionUpdate(Act):
    """How far a stretch of listening has come, all in all."""

    seconds_listened: Position = Field(description="Seconds of the book that were heard since its start.")
    position_seconds: Position | None = None
    speed: Speed | None = Field(None, description="The speed since the last update.")
    utc_offset_minutes: UtcOffset | None = None


class Session(BaseModel):
    """Row `listening_{inverted start}_{id}`: a stretch of listening on one device.

    `seconds_listened` are seconds of the book, and `heard_at` is until when they are counted; `genres` are
    the book's as it began, `played_on` the last day (UTC) on which a play was counted for it.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    audiobook_id: str
    device_id: str | None = None
    started_at: datetime
    start_position_seconds: float
    position_seconds: float
    seconds_listened: float = 0.0
    speed: float
    utc_offset_minutes: int = 0
    heard_at: datetime
    genres: tuple[str, ...] = ()
    played_on: str | None = None


class SessionView(BaseModel):
    """A stretch of listening."""

    id: str
    audiobook_id: str
    device_id: str | None
    started_at: datetime
    heard_at: datetime = Field(description="Until when it is counted.")
    start_position_seconds: float
    position_seconds: float
    seconds_listened: float = Field(description="What counts: at most the time that has passed, times speed.")
    speed: float


class Play(BaseModel):
    """Row `play_{book}`: the last day (UTC) on which a play of this listener was counted."""

    model_config = ConfigDict(frozen=True)

    day: str


class Month(BaseModel):
    """Row `month_{yyyy-mm}`: what somebody heard in a month, in seconds of books, by day and by genre.

    Days are the listener's own; `utc_offset_minutes` is the last that was told. Books are completed in the
    month in UTC.
    """

    model_config = ConfigDict(frozen=True)

    month: str
    days: dict[str, float] = {}
    genres: dict[str, float] = {}
    completed: int = 0
    utc_offset_minutes: int | None = None


class BookInProgress(BaseModel):
    """A book and where I am in it. The book is null where it can no longer be seen."""

    audiobook: BookSummary | None
    progress: ProgressView


class HeardStretch(BaseModel):
    """A stretch of listening and its book, which is null where it can no longer be seen."""

    audiobook: BookSummary | None
    session: SessionView


def show_progress(progress: Progress) -> ProgressView:
    """Return what its listener sees of it."""
    return ProgressView(**progress.model_dump(include=set(ProgressView.model_fields)))


def show_session(session: Session) -> SessionView:
    """Return what its listener sees of it."""
    return SessionView(**session.model_dump(include=set(SessionView.model_fields)))
