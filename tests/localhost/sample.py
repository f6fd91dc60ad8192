"""Drives the sample app from outside: sends messages and blobs, and reads what its functions recorded."""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Self

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueServiceClient

from localhost.host import Host

FOLDER = Path(__file__).with_name("sample_app")
PATIENCE_SECONDS = 20
StartHost = Callable[..., AbstractAsyncContextManager[Host]]


class Sample:
    """The storage side of one sample app, told apart by its prefix."""

    def __init__(self, connection_string: str, prefix: str) -> None:
        self.prefix = prefix
        self.queues = QueueServiceClient.from_connection_string(
            connection_string, transport=AioHttpTransport(use_env_settings=False)
        )
        self.blobs = BlobServiceClient.from_connection_string(
            connection_string, transport=AioHttpTransport(use_env_settings=False)
        )

    async def __aenter__(self) -> Self:
        await self.queues.__aenter__()
        await self.blobs.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.queues.close()
        await self.blobs.close()

    async def send(self, queue: str, task: object) -> str:
        """Send as the app's messages are: JSON in base64. Returns the raw content."""
        content = base64.b64encode(json.dumps(task).encode()).decode()
        await self.send_raw(queue, content)
        return content

    async def send_raw(self, queue: str, content: str) -> None:
        client = self.queues.get_queue_client(f"{self.prefix}-{queue}")
        with suppress(ResourceExistsError):
            await client.create_queue()
        await client.send_message(content)

    async def peek(self, queue: str) -> list[QueueMessage]:
        try:
            return await self.queues.get_queue_client(queue).peek_messages(32)
        except ResourceNotFoundError:
            return []

    async def wait_for_messages(self, queue: str, count: int = 1) -> list[QueueMessage]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(messages := await self.peek(queue)) < count:
                await asyncio.sleep(0.05)
            return messages

    async def upload(self, container: str, name: str, content: str) -> tuple[str, str]:
        """Returns the blob's URL and ETag."""
        client = self.blobs.get_container_client(f"{self.prefix}-{container}")
        with suppress(ResourceExistsError):
            await client.create_container()
        blob = client.get_blob_client(name)
        result = await blob.upload_blob(content, overwrite=True)
        return blob.url, result["etag"]

    async def seen(self, kind: str) -> list[dict[str, Any]]:
        """What the app's functions recorded under this kind, in no order."""
        container = self.blobs.get_container_client(f"{self.prefix}-seen")
        try:
            names = [name async for name in container.list_blob_names(name_starts_with=f"{kind}/")]
        except ResourceNotFoundError:
            return []
        return [json.loads(await (await container.download_blob(name)).readall()) for name in names]

    async def wait_for_seen(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(records := await self.seen(kind)) < count:
                await asyncio.sleep(0.05)
            return records
