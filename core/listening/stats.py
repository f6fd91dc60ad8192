"""What the months of a listener add up to."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from pydantic import BaseModel, Field

from core.listening.days import current_streak, local_day, longest_streak
from core.listening.models import Month


class MonthStats(BaseModel):
    """A month in which something was heard or completed, such as 2026-11."""

    month: str
    seconds_listened: float
    days_listened: int
    books_completed: int


class GenreStats(BaseModel):
    """A genre; what was heard of a book with two genres counts for both."""

    genre: str
    seconds_listened: float


class ListeningStats(BaseModel):
    """All that somebody has heard, in seconds of books; days are the listener's own."""

    seconds_listened: float = 0.0
    days_listened: int = 0
    books_completed: int = 0
    current_streak_days: int = Field(0, description="Days in a row up to today, or up to yesterday.")
    longest_streak_days: int = 0
    by_month: list[MonthStats] = Field([], description="The oldest first.")
    by_genre: list[GenreStats] = Field([], description="What was heard most first.")


def add_heard(
    month: Month, seconds_by_day: Mapping[date, float], genres: Sequence[str], offset: int
) -> Month:
    """Return a month with what was heard on some of its days."""
    days, by_genre = dict(month.days), dict(month.genres)
    for day, seconds in seconds_by_day.items():
        name = f"{day.day:02d}"
        days[name] = round(days.get(name, 0.0) + seconds, 3)
    for genre in dict.fromkeys(genres):
        by_genre[genre] = round(by_genre.get(genre, 0.0) + sum(seconds_by_day.values()), 3)
    return month.model_copy(update={"days": days, "genres": by_genre, "utc_offset_minutes": offset})


def add_completed(month: Month, number: int) -> Month:
    """Return a month in which that many more books were completed."""
    return month.model_copy(update={"completed": max(0, month.completed + number)})


def month_of(day: date) -> str:
    return f"{day.year:04d}-{day.month:02d}"


def sum_up(months: Sequence[Month], at: datetime) -> ListeningStats:
    """Add up the months, which are in their order; whether a streak lasts is judged at a time."""
    days = [date.fromisoformat(f"{month.month}-{day}") for month in months for day in month.days]
    genres: dict[str, float] = defaultdict(float)
    for month in months:
        for genre, seconds in month.genres.items():
            genres[genre] += seconds
    by_month = [
        MonthStats(
            month=month.month,
            seconds_listened=round(sum(month.days.values()), 3),
            days_listened=len(month.days),
            books_completed=month.completed,
        )
        for month in months
        if month.days or month.completed
    ]
    offsets = [month.utc_offset_minutes for month in months if month.utc_offset_minutes is not None]
    return ListeningStats(
        seconds_listened=round(sum(month.seconds_listened for month in by_month), 3),
        days_listened=len(days),
        books_completed=sum(month.books_completed for month in by_month),
        current_streak_days=current_streak(days, local_day(at, offsets[-1] if offsets else 0)),
        longest_streak_days=longest_streak(days),
        by_month=by_month,
        by_genre=[
            GenreStats(genre=genre, seconds_listened=round(seconds, 3))
            for genre, seconds in sorted(genres.items(), key=lambda item: (-item[1], item[0]))
        ],
    )
