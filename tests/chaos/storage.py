"""What the storage holds after a storm: jobs, claims, messages and budgets, read past the product."""

import json
from collections.abc import Sequence
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueServiceClient

DROPS = "azure-webjobs-blobtrigger-localhost"
"""The queue between Event Grid and the function that sees to drops."""


_PATIENT = "accounts"
"""Here a new account's message waits for days, to see whether its address was ever verified."""


class Storage:
    """Looks into one storage account, and puts messages on its queues."""

    def __init__(self, connection_string: str) -> None:
        self._tables = TableServiceClient.from_connection_string(connection_string)
        self._queues = QueueServiceClient.from_connection_string(connection_string)

    async def close(self) -> None:
        await self._tables.close()
        await self._queues.close()

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table; none if it is not there."""
        try:
            return [dict(row) async for row in self._tables.get_table_client(table).list_entities()]
        except ResourceNotFoundError:
            return []

    async def messages(self) -> dict[str, int]:
        """Return how many messages each queue of books has, hidden ones too; empty queues are left out."""
        found = {}
        async for queue in self._queues.list_queues():
            if queue.name == _PATIENT:
                continue
            properties = await self._queues.get_queue_client(queue.name).get_queue_properties()
            if properties.approximate_message_count:
                found[queue.name] = properties.approximate_message_count
        return found

    async def send(self, queue: str, body: dict[str, Any], delay_seconds: int = 0) -> None:
        """Put a message on a queue that is there; where none is, nobody has sent one yet."""
        client = self._queues.get_queue_client(queue, message_encode_policy=TextBase64EncodePolicy())
        try:
            await client.send_message(json.dumps(body), visibility_timeout=delay_seconds)
        except ResourceNotFoundError:
            return

    async def tell_drop(self, blob_name: str, delay_seconds: int = 0) -> None:
        """Tell of a dropped file again, as Event Grid may."""
        event = {
            "Type": "BlobTrigger",
            "FunctionId": "Host.Functions.on_upload",
            "BlobType": "BlockBlob",
            "ContainerName": "uploads",
            "BlobName": blob_name,
            "ETag": '"0x0"',
        }
        await self.send(DROPS, event, delay_seconds)


def newest_jobs(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return of each path the row of its newest job; ids sort by time."""
    jobs = sorted((row for row in rows if row["RowKey"] == "job"), key=lambda row: str(row["id"]))
    return {str(row["blob_name"]): row for row in jobs}
