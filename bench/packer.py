"""`python -m bench.packer` is a process that makes ZIPs, as a host has it do, until it is killed."""

import asyncio
import contextlib

from azure.storage.queue.aio import QueueServiceClient

from core.settings import Settings
from core.wiring import build
from localhost.host.config import QueueSettings
from localhost.host.queues import QueueListener, ReceivedMessage

_QUEUE = QueueSettings(
    batch_size=1, new_batch_threshold=0, max_polling_seconds=0.5, max_dequeue_count=5, visibility_seconds=5
)


async def main() -> None:
    settings = Settings.read()
    assert settings.storage_connection is not None
    services = build(settings)
    connection = settings.storage_connection.get_secret_value()
    async with QueueServiceClient.from_connection_string(connection) as queues:

        async def handle(message: ReceivedMessage) -> None:
            await services.commerce.archives.run(message.body.decode())

        listener = QueueListener(
            queues, "archives", poison="archives-poison", settings=_QUEUE, lease_seconds=20, handle=handle
        )
        await listener.run()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
