"""What was heard in the last twelve months, as bars of a picture."""

from calendar import month_name
from dataclasses import dataclass
from datetime import date

from core.listening.stats import ListeningStats

HEIGHT = 110
_MONTHS = 12


@dataclass(frozen=True)
class Bar:
    """A month such as November 2026; `height` is in units of the picture, the fullest month has all of it."""

    name: str
    seconds: float
    height: int


def show_bars(stats: ListeningStats, today: date) -> list[Bar]:
    """Return the last twelve months, the oldest first; where something was heard, something is seen."""
    heard = {month.month: month.seconds_listened for month in stats.by_month}
    last = today.year * 12 + today.month - 1
    months = [divmod(number, 12) for number in range(last - _MONTHS + 1, last + 1)]
    seconds = [heard.get(f"{year:04d}-{month + 1:02d}", 0.0) for year, month in months]
    most = max(*seconds, 1.0)
    return [
        Bar(f"{month_name[month + 1]} {year}", amount, max(round(HEIGHT * amount / most), 2 if amount else 0))
        for (year, month), amount in zip(months, seconds, strict=True)
    ]
