"""The audit: who did what to whom, from where. Rows are only ever added."""

from collections.abc import AsyncIterator
from datetime import datetime

from core.caller import Origin
from core.ids import inverted, new_id, now
from core.operations.models import AuditEntry
from core.storage.tables import Table, month_keys

_LIST = "audit"


class Audit:
    def __init__(self, table: Table) -> None:
        self._table = table

    async def record(
        self, action: str, actor: str | None, target: str, origin: Origin, detail: str = ""
    ) -> None:
        """Add a row to the audit; do so before the act itself."""
        at = now()
        entry = AuditEntry(
            id=new_id(at),
            at=at,
            action=action,
            actor=actor,
            target=target,
            address=origin.address,
            request_id=origin.request_id,
            detail=detail,
        )
        await self._table.insert(entry, *month_keys(_LIST, at, entry.id))

    async def entries_of(self, action: str, begin: datetime, end: datetime) -> AsyncIterator[AuditEntry]:
        """Yield the entries of an action, from a time until another, at most a day later; newest first."""
        for month in {month_keys(_LIST, at, "")[0] for at in (begin, end)}:
            rows = self._table.each(
                AuditEntry,
                month,
                condition="RowKey gt @newest and RowKey lt @oldest and action eq @action",
                newest=f"{inverted(end)}`",
                oldest=f"{inverted(begin)}`",
                action=action,
            )
            async for stored in rows:
                yield stored.value

    async def newest(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[AuditEntry], tuple[str, str] | None]:
        """Return the audit, newest first, and where the next page begins."""
        return await self._table.newest(AuditEntry, _LIST, limit, after)
