"""The audit: who did what to whom, from where. Rows are only ever added."""

from core.caller import Origin
from core.ids import new_id, now
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

    async def newest(
        self, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[AuditEntry], tuple[str, str] | None]:
        """Return the audit, newest first, and where the next page begins."""
        return await self._table.newest(AuditEntry, _LIST, limit, after)
