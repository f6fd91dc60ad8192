"""Runs one timer function by its schedule: never twice at once, and late rather than never."""

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.functions.meta import Datum
from azure.storage.blob.aio import BlobServiceClient
from croniter import croniter

from localhost.errors import FunctionLoadError
from localhost.host.app import Function
from localhost.host.bridge import HOSTS_CONTAINER
from localhost.host.invoke import Invoker

log = logging.getLogger("localhost.host")

NEVER = datetime(1, 1, 1, tzinfo=UTC)
LONGEST_SLEEP_SECONDS = 30
"""The clock is read again at least this often: a laptop may have slept."""


class TimerTrigger:
    """One timer function and the status blob that remembers its last run over restarts."""

    def __init__(self, function: Function, blobs: BlobServiceClient, host_id: str, invoker: Invoker) -> None:
        self._function = function
        self._invoker = invoker
        self._expression = str(function.trigger["schedule"])
        path = f"timers/{host_id}/Host.Functions.{function.name}.Listener/status"
        self._status_blob = blobs.get_blob_client(HOSTS_CONTAINER, path)
        self._stopping = asyncio.Event()
        if len(self._expression.split()) != 6 or not croniter.is_valid(
            self._expression, second_at_beginning=True
        ):
            raise FunctionLoadError(
                function.name, f"the schedule {self._expression!r} is not six fields, seconds first"
            )

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Fire until stopped; first of all what was missed while no host ran, once."""
        status = await self._read_status()
        now = datetime.now(UTC)
        if status is None:
            status = await self._write_status(NEVER, now)
        due = self._next_after(max(_read_time(status["Last"]), _read_time(status["LastUpdated"])))
        if due <= now:
            status = await self._fire(status, is_past_due=True)
        elif self._function.trigger.get("runOnStartup"):
            status = await self._fire(status, is_past_due=False)
        while await self._sleep_until(_read_time(status["Next"])):
            status = await self._fire(status, is_past_due=False)

    async def run_by_hand(self) -> None:
        """Fire now, outside the schedule."""
        await self._invoke(await self._read_status() or {}, is_past_due=False)

    async def _fire(self, status: dict[str, Any], *, is_past_due: bool) -> dict[str, Any]:
        started = datetime.now(UTC)
        try:
            await self._invoke(status, is_past_due=is_past_due)
        except Exception:
            log.debug("timer %s failed and waits for its next time", self._function.name)
        return await self._write_status(started, datetime.now(UTC))

    async def _invoke(self, status: dict[str, Any], *, is_past_due: bool) -> None:
        information = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": is_past_due}
        reason = f"Timer fired at {datetime.now(UTC).isoformat()}"
        await self._invoker.invoke(self._function, Datum(json.dumps(information), "json"), {}, reason=reason)

    async def _sleep_until(self, due: datetime) -> bool:
        """Whether the time came; False when the host stops."""
        while (left := (due - datetime.now(UTC)).total_seconds()) > 0:
            try:
                await asyncio.wait_for(self._stopping.wait(), min(left, LONGEST_SLEEP_SECONDS))
            except TimeoutError:
                continue
            return False
        return not self._stopping.is_set()

    def _next_after(self, moment: datetime) -> datetime:
        following: datetime = croniter(self._expression, moment, second_at_beginning=True).get_next(datetime)
        return following

    async def _read_status(self) -> dict[str, Any] | None:
        try:
            text = await (await self._status_blob.download_blob()).readall()
        except ResourceNotFoundError:
            return None
        status: dict[str, Any] = json.loads(text)
        return status

    async def _write_status(self, last: datetime, now: datetime) -> dict[str, Any]:
        status = {
            "Last": last.isoformat(),
            "Next": self._next_after(now).isoformat(),
            "LastUpdated": now.isoformat(),
        }
        await self._status_blob.upload_blob(json.dumps(status), overwrite=True)
        return status


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text)
