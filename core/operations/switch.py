"""The switch of the pipeline: while it is off, work waits where it is, and no try is counted."""

import time
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from core.caller import Origin
from core.ids import now
from core.operations.alerts import Alerts
from core.operations.audit import Audit
from core.storage.tables import Table

_FRESH_SECONDS = 2.0
_SHORTEST_WAIT_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 300.0
_KEYS = ("pipeline", "switch")


class Switch(BaseModel):
    """Row `switch` of `controls`: whether the pipeline rests, since when, why, and who has said so.

    `actor` None: the pipeline itself, where going on would only fail.
    """

    model_config = ConfigDict(frozen=True)

    is_paused: bool = False
    reason: str | None = None
    actor: str | None = None
    since: datetime

    @property
    def wait_seconds(self) -> float:
        """How long a message waits until it looks again: after hours of rest, minutes, to cost little."""
        rested = (now() - self.since).total_seconds()
        return min(max(rested / 10, _SHORTEST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS)


class PipelineSwitch:
    def __init__(self, table: Table, alerts: Alerts, audit: Audit) -> None:
        self._table = table
        self._alerts = alerts
        self._audit = audit
        self._seen: tuple[float, Switch] | None = None

    async def look(self) -> Switch:
        """Return how it stands, as of some seconds ago at most."""
        if self._seen is None or time.monotonic() - self._seen[0] > _FRESH_SECONDS:
            found = await self._table.find(Switch, *_KEYS)
            switch = Switch(since=now()) if found is None else found.value
            self._seen = (time.monotonic(), switch)
        return self._seen[1]

    async def turn(self, *, is_paused: bool, reason: str, actor: str, origin: Origin) -> Switch:
        """Turn it off or on, as an administrator wants."""
        action = "pipeline.paused" if is_paused else "pipeline.resumed"
        await self._audit.record(action, actor, "pipeline", origin, reason)
        return await self._write(Switch(is_paused=is_paused, reason=reason, actor=actor, since=now()))

    async def trip(self, reason: str) -> None:
        """Turn it off, and tell a person why: what the pipeline does when going on would only fail."""
        if (await self._read()).is_paused:
            return
        switch = await self._write(Switch(is_paused=True, reason=reason, since=now()))
        await self._alerts.raise_(
            "pipeline-paused",
            "The pipeline has paused itself",
            f"{reason}\nWhat is under way waits, and nothing is lost. Resume it once this is mended.",
            "pipeline",
            switch.since,
        )

    async def _read(self) -> Switch:
        self._seen = None
        return await self.look()

    async def _write(self, switch: Switch) -> Switch:
        await self._table.put(switch, *_KEYS)
        self._seen = (time.monotonic(), switch)
        return switch
