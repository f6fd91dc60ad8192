"""Blob triggers with the EventGrid source: a webhook, an internal queue, and the run of the function.

As in the cloud nothing here filters by path, remembers what was seen or compares ETags: only the subscription
(here: the bridge) chooses, and a duplicate event runs twice.
"""

import base64
import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from azure.core.exceptions import ResourceNotFoundError
from azure.functions.meta import Datum
from azure.storage.blob import BlobClient as SyncBlobClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from localhost.errors import UnsupportedBindingError
from localhost.host.app import STORAGE, Function
from localhost.host.config import QueueSettings
from localhost.host.http import Special
from localhost.host.invoke import Invoker, ModelBindingData
from localhost.host.queues import QueueListener, ReceivedMessage, create_queue

log = logging.getLogger("localhost.host")

WEBHOOK = "/runtime/webhooks/blobs"
FUNCTION_ID = "Host.Functions.{}"
POISON_QUEUE = "webjobs-blobtrigger-poison"


def watched_container(function: Function) -> str:
    """The container of a blob function's path; refuses sources that this host does not offer."""
    source = function.trigger.get("source")
    if source != "EventGrid":
        raise UnsupportedBindingError(
            function.name, "blobTrigger", f"only source EventGrid runs here, not {source or 'container scan'}"
        )
    return str(function.trigger["path"]).strip("/").partition("/")[0]


class BlobTriggers:
    """All blob functions of the app; they share one internal queue."""

    def __init__(
        self,
        functions: list[Function],
        *,
        host_id: str,
        blobs: BlobServiceClient,
        queues: QueueServiceClient,
        settings: QueueSettings,
        lease_seconds: float,
        rest_seconds: float | None,
        invoker: Invoker,
    ) -> None:
        self.key = secrets.token_urlsafe(24)
        """The webhook's system key, `blobs_extension`; a new one at each start."""
        self._functions = {FUNCTION_ID.format(function.name): function for function in functions}
        self._blobs = blobs
        self._invoker = invoker
        queue = f"azure-webjobs-blobtrigger-{host_id}"
        self._queue = queues.get_queue_client(queue)
        self.listener = QueueListener(
            queues,
            queue,
            poison=POISON_QUEUE,
            settings=settings,
            lease_seconds=lease_seconds,
            rest_seconds=rest_seconds,
            handle=self._handle,
        )

    async def prepare(self) -> None:
        await create_queue(self._queue)

    def paths(self) -> dict[tuple[str, str], Special]:
        return {("POST", WEBHOOK): self.receive_events}

    async def receive_events(self, request: web.Request) -> web.StreamResponse:
        """Event Grid's side: answer the validation handshake, queue each BlobCreated event."""
        if not secrets.compare_digest(request.query.get("code", ""), self.key):
            return web.Response(status=401)
        function_id = request.query.get("functionName", "")
        if function_id not in self._functions:
            return web.Response(status=404, text=f"no blob function {function_id}")
        try:
            document = json.loads(await request.read())
            events = document if isinstance(document, list) else [document]
            kind = request.headers.get("aeg-event-type")
            if kind == "SubscriptionValidation":
                return web.json_response({"validationResponse": events[0]["data"]["validationCode"]})
            if kind != "Notification":
                return web.Response(status=400, text=f"unknown aeg-event-type {kind}")
            messages = [
                _describe_blob(function_id, event["data"])
                for event in events
                if event["eventType"] == "Microsoft.Storage.BlobCreated"
            ]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return web.Response(status=400, text=f"not an Event Grid event: {error!r}")
        for message in messages:
            await self._queue.send_message(base64.b64encode(json.dumps(message).encode()).decode())
        return web.Response(status=202)

    async def run(self, function: Function, path: str, reason: str) -> None:
        """Invoke for one blob, `container/name`; ResourceNotFoundError when it is gone."""
        container, _, name = path.partition("/")
        blob = self._blobs.get_blob_client(container, name)
        properties = await blob.get_blob_properties()
        metadata = {
            "BlobTrigger": Datum(path, "string"),
            "Uri": Datum(blob.url, "string"),
            "Properties": Datum(json.dumps(_describe_properties(properties)), "json"),
            "Metadata": Datum(json.dumps(properties.metadata), "json"),
        }
        if function.is_deferred:
            reference = {"Connection": STORAGE, "ContainerName": container, "BlobName": name}
            data = Datum(ModelBindingData(json.dumps(reference).encode()), "model_binding_data")
        else:
            content = await (await blob.download_blob()).readall()
            data = Datum(content, "bytes")
        await self._invoker.invoke(function, data, metadata, reason=reason)

    async def _handle(self, message: ReceivedMessage) -> None:
        told = json.loads(message.body)
        function = self._functions.get(told["FunctionId"])
        if function is None:
            log.warning("an event for %s, which no longer exists, is dropped", told["FunctionId"])
            return
        path = f"{told['ContainerName']}/{told['BlobName']}"
        try:
            await self.run(function, path, f"New blob detected(EventGrid): {path}")
        except ResourceNotFoundError:
            if await self._exists(told):
                raise
            log.warning("the blob %s is gone before %s could run", path, function.name)

    async def _exists(self, told: Mapping[str, Any]) -> bool:
        return await self._blobs.get_blob_client(told["ContainerName"], told["BlobName"]).exists()


def _describe_blob(function_id: str, data: Mapping[str, Any]) -> dict[str, str]:
    """The message on the internal queue, field for field as the storage extension writes it."""
    blob = SyncBlobClient.from_blob_url(data["url"])
    with blob:
        return {
            "Type": "BlobTrigger",
            "FunctionId": function_id,
            "BlobType": data.get("blobType", "BlockBlob"),
            "ContainerName": blob.container_name,
            "BlobName": blob.blob_name,
            "ETag": f'"{data["eTag"]}"',
        }


def _describe_properties(properties: Any) -> dict[str, Any]:
    return {
        "ContentLength": properties.size,
        "ContentType": properties.content_settings.content_type,
        "ETag": properties.etag,
        "LastModified": properties.last_modified.isoformat(),
    }
