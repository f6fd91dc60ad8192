"""Templates, and how pages write times, states and devices."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from core.catalog.models import Money
from core.commerce.pricing import write_money
from functions.files import ROOT, static_version

if TYPE_CHECKING:
    from jinja2 import Environment

_SPEEDS = (0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
_WAYS_TO_PAY = {
    "free": "Nothing to pay",
    "stripe": "By card, on Stripe’s page",
    "simulated": "Play money",
    "simulated-decline": "Play money that is declined",
    "simulated-timeout": "Play money that is taken, without an answer",
    "simulated-lost": "Play money that is not taken, without an answer",
    "simulated-late": "Play money, on a page of its own",
}
_SYSTEMS = (
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "a Mac"),
    ("Linux", "Linux"),
)


@cache
def templates() -> Environment:
    """The templates; imported here, since most cold starts serve no page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(ROOT / "web" / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown: dict[str, Any] = {
        "clock": clock,
        "length_of_time": length_of_time,
        "words": words,
        "moment": moment,
        "device": device,
        "size": size,
        "among_speeds": among_speeds,
        "money": money,
        "way_to_pay": way_to_pay,
    }
    environment.filters.update(shown)
    environment.globals["static"] = lambda name: f"/static/{static_version()}/{name}"
    return environment


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: 0:07, 12:30, 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def length_of_time(seconds: float) -> str:
    """A duration in words: 10 h 5 min, 4 min, 7 s."""
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes)
    return " ".join(parts)


def words(status: str) -> str:
    """A status as people read it."""
    return status.replace("_", " ").capitalize()


def moment(at: datetime) -> str:
    """A time as people read it: 3 May 2026, 14:05 UTC."""
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def device(agent: str) -> str:
    """What a device says of itself, as its owner knows it: Firefox on Linux; a program by its first word."""
    browser = next((name for mark, name in _BROWSERS if f"{mark}/" in agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in agent), None)
    if browser and system:
        return f"{browser} on {system}"
    first = re.match(r"[\w.-]+", agent)
    return browser or system or (first[0] if first else "A device that does not say what it is")


def size(count: int) -> str:
    """A number of bytes as people read it: 900 B, 12 kB, 3.4 MB, 4 GB."""
    if count < 1000:
        return f"{count} B"
    if count < 999_500:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 999_950_000 else f"{count / 1e9:.3g} GB"


def money(price: Money) -> str:
    """An amount of money as people write it: 12.99 USD; nothing is Free."""
    return write_money(price.amount, price.currency) if price.amount else "Free"


def way_to_pay(method: str) -> str:
    """A payment method by its plain name."""
    return _WAYS_TO_PAY.get(method, words(method))


def among_speeds(speed: float) -> list[float]:
    """The playback speeds to choose from, with the one that was chosen elsewhere."""
    return sorted({speed, *_SPEEDS})
