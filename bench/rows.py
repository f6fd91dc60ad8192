"""What a measurement yields, and how it is shown."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_COMPARISONS = {"<": operator.lt, "≥": operator.ge}


@dataclass(frozen=True)
class Limit:
    """What a value has to keep to; `comparison` is < or ≥."""

    comparison: str
    value: float

    def allows(self, value: float) -> bool:
        return bool(_COMPARISONS[self.comparison](value, self.value))

    def __str__(self) -> str:
        return f"{self.comparison} {self.value:g}"


@dataclass(frozen=True)
class Peer:
    """What a value is compared with, in the same unit."""

    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.name} {show_number(self.value)}"


@dataclass(frozen=True)
class Row:
    """One measured value; None where this machine cannot measure it. `note` says what explains it."""

    name: str
    value: float | None
    unit: str
    against: Limit | Peer | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The value in parts of its limit or peer."""
        return None if self.value is None or self.against is None else self.value / self.against.value

    @property
    def ok(self) -> bool | None:
        """Whether the limit is kept; None where there is nothing to keep, or nothing was measured."""
        if self.value is None or not isinstance(self.against, Limit):
            return None
        return self.against.allows(self.value)

    def as_json(self) -> dict[str, Any]:
        limit = str(self.against) if isinstance(self.against, Limit) else None
        peer = (
            {"name": self.against.name, "value": self.against.value}
            if isinstance(self.against, Peer)
            else None
        )
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "limit": limit,
            "peer": peer,
            "ratio": self.ratio,
            "ok": self.ok,
            "note": self.note,
        }


def show_number(value: float) -> str:
    """Three digits, as many as a measurement on a shared machine can mean."""
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.3f}"


def show_table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table whose columns also line up in a terminal."""
    cells: list[tuple[str, ...]] = [("what", "value", "unit", "limit or peer", "ratio", "kept", "note")]
    for row in rows:
        cells.append(
            (
                row.name,
                "not measured" if row.value is None else show_number(row.value),
                row.unit,
                "" if row.against is None else str(row.against),
                "" if row.ratio is None else f"{row.ratio:.2f}",
                {True: "yes", False: "MISSED", None: ""}[row.ok],
                row.note,
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in cells
    )
