"""The listener's own days: streaks and sums over the ends of days, months and years, in any time zone."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from core.listening.days import current_streak, local_day, longest_streak, spread
from core.listening.models import Month
from core.listening.stats import add_completed, add_heard, month_of, sum_up

DAYS = st.sets(st.dates(date(2023, 12, 20), date(2024, 3, 10)), max_size=40)
EARLIEST, LATEST = datetime.fromisoformat("2023-12-01"), datetime.fromisoformat("2025-03-01")
MOMENTS = st.datetimes(min_value=EARLIEST, max_value=LATEST, timezones=st.just(UTC))
QUICK = settings(max_examples=60, deadline=None)
OFFSETS = st.integers(-840, 840)


def walk_back(days: set[date], day: date) -> int:
    count = 0
    while day in days:
        count, day = count + 1, day - timedelta(days=1)
    return count


@QUICK
@given(DAYS, st.dates(date(2023, 12, 20), date(2024, 3, 12)))
def test_streaks_are_runs_of_days(days: set[date], today: date) -> None:
    runs = [walk_back(days, day) for day in days]
    assert longest_streak(days) == max(runs, default=0)
    so_far = {day for day in days if day <= today}
    expected = walk_back(so_far, today) or walk_back(so_far, today - timedelta(days=1))
    assert current_streak(so_far, today) == expected
    assert current_streak(so_far, today) <= longest_streak(so_far)


def test_a_streak_goes_on_over_the_end_of_a_leap_february_and_of_a_year() -> None:
    days = [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
    assert longest_streak(days) == 3
    assert longest_streak([date(2023, 2, 28), date(2023, 3, 1), date(2023, 12, 31), date(2024, 1, 1)]) == 2
    assert current_streak(days, date(2024, 3, 2)) == 3
    assert current_streak(days, date(2024, 3, 3)) == 0


@QUICK
@given(st.floats(0.001, 300_000), st.floats(0.5, 3.5), MOMENTS, OFFSETS)
def test_shares_of_days_add_up_and_each_fits_into_its_day(
    seconds: float, speed: float, until: datetime, offset: int
) -> None:
    shares = spread(seconds, speed, until, offset)
    assert abs(sum(shares.values()) - seconds) < 1e-6
    assert max(shares) in (local_day(until, offset), local_day(until - timedelta(microseconds=1), offset))
    assert all(0 < share <= 86400 * speed + 1e-6 for share in shares.values())
    began = until - timedelta(seconds=seconds / speed)
    assert abs((min(shares) - local_day(began, offset)).days) <= 1
    assert len(shares) == (max(shares) - min(shares)).days + 1


def test_an_evening_that_goes_on_past_midnight_counts_for_both_days() -> None:
    until = datetime(2023, 12, 31, 23, 30, tzinfo=UTC)  # half past midnight in Vienna
    shares = spread(7200, 2.0, until, 60)
    assert shares == {date(2024, 1, 1): 3600, date(2023, 12, 31): 3600}
    assert spread(60, 1.0, datetime(2024, 1, 1, tzinfo=UTC), 0) == {date(2023, 12, 31): 60}


@QUICK
@given(
    st.lists(st.tuples(MOMENTS, st.floats(0.01, 9000), st.sampled_from(["", "A", "B", "A,B"])), max_size=12),
    OFFSETS,
)
def test_months_add_up_to_what_was_heard(heard: list[tuple[datetime, float, str]], offset: int) -> None:
    months: dict[str, Month] = {}
    for until, seconds, genres in heard:
        for day, share in spread(seconds, 1.0, until, offset).items():
            name = month_of(day)
            month = months.get(name, Month(month=name))
            months[name] = add_heard(month, {day: share}, [g for g in genres.split(",") if g], offset)
    ordered = [months[name] for name in sorted(months)]
    stats = sum_up(ordered, datetime(2025, 3, 1, tzinfo=UTC))
    assert abs(stats.seconds_listened - sum(seconds for _, seconds, _ in heard)) < 0.1
    assert [month.month for month in stats.by_month] == sorted(months)
    of_a = sum(seconds for _, seconds, genres in heard if "A" in genres)
    assert abs(sum(g.seconds_listened for g in stats.by_genre if g.genre == "A") - of_a) < 0.1
    assert stats.longest_streak_days <= stats.days_listened


def test_the_streak_is_judged_by_the_listeners_own_today() -> None:
    at = datetime(2024, 3, 1, 5, 0, tzinfo=UTC)  # still the evening of 29 February in Los Angeles
    heard = add_heard(Month(month="2024-02"), {date(2024, 2, 28): 9.0}, (), -480)
    assert sum_up([heard], at).current_streak_days == 1
    assert sum_up([heard.model_copy(update={"utc_offset_minutes": 0})], at).current_streak_days == 0


def test_completions_do_not_fall_below_zero_and_an_empty_month_is_not_shown() -> None:
    month = add_completed(Month(month="2024-02"), 1)
    assert sum_up([month], datetime(2024, 3, 1, tzinfo=UTC)).books_completed == 1
    assert sum_up([add_completed(month, -2)], datetime(2024, 3, 1, tzinfo=UTC)).by_month == []
