"""Stands in for Event Grid, which the storage emulator lacks: looks for new blobs and posts the events."""

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobServiceClient

from localhost.host.blobs import FUNCTION_ID, WEBHOOK

log = logging.getLogger("localhost.host")

HOSTS_CONTAINER = "azure-webjobs-hosts"


class EventGridBridge:
    """One subscription for each function: every blob of its container, each ETag once.

    Receipts are kept in a blob, so that a restart tells nothing twice and a blob that came while the host was
    down is told late. A crash between event and receipt tells it again, as Event Grid may.
    """

    def __init__(
        self,
        subscriptions: Mapping[str, str],
        *,
        blobs: BlobServiceClient,
        host_id: str,
        base_url: str,
        key: str,
        interval_seconds: float,
    ) -> None:
        self._subscriptions = subscriptions
        """Function name to container."""
        self._blobs = blobs
        self._prefix = f"bridge/{host_id}"
        self._webhook = base_url + WEBHOOK
        self._key = key
        self._interval_seconds = interval_seconds
        self._stopping = asyncio.Event()
        self._expected = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()
        self._expected.set()

    def expect(self, container: str) -> None:
        """A blob was written to this container: look now, if anybody has subscribed to it."""
        if container in self._subscriptions.values():
            self._expected.set()

    async def run(self) -> None:
        """Look into the containers until stopped."""
        for name, container in self._subscriptions.items():
            log.info("standing in for Event Grid: blobs in the container %s are told to %s", container, name)
        receipts = {name: await self._read_receipts(name) for name in self._subscriptions}
        async with aiohttp.ClientSession() as session:
            while not self._stopping.is_set():
                self._expected.clear()
                for name, container in self._subscriptions.items():
                    try:
                        await self._look(session, name, container, receipts[name])
                    except (AzureError, aiohttp.ClientError, TimeoutError) as error:
                        log.warning("the bridge cannot serve %s now: %s", container, error)
                await self._pause()

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._expected.wait(), self._interval_seconds)
        except TimeoutError:
            return

    async def _look(
        self, session: aiohttp.ClientSession, function: str, container: str, receipts: dict[str, str]
    ) -> None:
        """Post an event for each blob that has no receipt for its ETag, then write the receipts."""
        listed = self._blobs.get_container_client(container).list_blobs()
        found = {blob.name: blob async for blob in listed}
        unseen = [blob for name, blob in found.items() if receipts.get(name) != blob.etag]
        gone = receipts.keys() - found.keys()
        for blob in unseen:
            await self._post(session, function, container, blob)
            receipts[blob.name] = blob.etag
        for name in gone:
            del receipts[name]
        if unseen or gone:
            await self._receipts_blob(function).upload_blob(json.dumps(receipts), overwrite=True)

    async def _post(
        self, session: aiohttp.ClientSession, function: str, container: str, blob: BlobProperties
    ) -> None:
        url = self._blobs.get_blob_client(container, blob.name).url
        async with session.post(
            self._webhook,
            params={"functionName": FUNCTION_ID.format(function), "code": self._key},
            headers={"aeg-event-type": "Notification"},
            json=[describe_creation(url, container, blob.name, blob.etag, blob.size)],
        ) as response:
            response.raise_for_status()

    async def _read_receipts(self, function: str) -> dict[str, str]:
        try:
            text = await (await self._receipts_blob(function).download_blob()).readall()
        except ResourceNotFoundError:
            return {}
        receipts: dict[str, str] = json.loads(text)
        return receipts

    def _receipts_blob(self, function: str) -> Any:
        return self._blobs.get_blob_client(HOSTS_CONTAINER, f"{self._prefix}/{function}.json")


def describe_creation(url: str, container: str, name: str, etag: str, size: int) -> dict[str, Any]:
    """A BlobCreated event in the Event Grid schema; Event Grid writes the ETag without its quotes."""
    return {
        "id": str(uuid.uuid4()),
        "topic": "localhost",
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": datetime.now(UTC).isoformat(),
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {
            "api": "PutBlob",
            "eTag": etag.strip('"'),
            "contentLength": size,
            "blobType": "BlockBlob",
            "url": url,
        },
    }


async def create_containers(blobs: BlobServiceClient, names: set[str]) -> None:
    """Create what is watched and what the host writes to, unless it is there."""
    for name in sorted(names | {HOSTS_CONTAINER}):
        try:
            await blobs.create_container(name)
        except ResourceExistsError:
            continue
