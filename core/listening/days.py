"""The listener's own days: on which of them something was heard, and how many came in a row."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta

_DAY = timedelta(days=1)


def local_day(at: datetime, utc_offset_minutes: int) -> date:
    """Return which day it was for somebody whose clock is that far ahead of UTC."""
    return (at + timedelta(minutes=utc_offset_minutes)).date()


def spread(seconds: float, speed: float, until: datetime, utc_offset_minutes: int) -> dict[date, float]:
    """Share out what was heard, without a pause and at this speed, until a time, among the listener's days.

    The shares add up to `seconds`.
    """
    end = (until + timedelta(minutes=utc_offset_minutes)).replace(tzinfo=None)
    left, shares = seconds, {}
    while left > 0:
        day = (end - timedelta(microseconds=1)).date()
        midnight = datetime.combine(day, time())
        share = min(left, (end - midnight).total_seconds() * speed)
        shares[day] = share
        left, end = left - share, midnight
    return shares


def current_streak(days: Iterable[date], today: date) -> int:
    """Return how many days in a row lead up to today; one that has only just begun does not break it."""
    heard = set(days)
    day = max((day for day in heard if day >= today - _DAY), default=None)
    count = 0
    while day is not None and day in heard:
        count, day = count + 1, day - _DAY
    return count


def longest_streak(days: Iterable[date]) -> int:
    """Return the most days in a row."""
    longest = count = 0
    before: date | None = None
    for day in sorted(set(days)):
        count = count + 1 if before == day - _DAY else 1
        longest, before = max(longest, count), day
    return longest
