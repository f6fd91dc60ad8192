"""Blob functions with the EventGrid source: the bridge, the webhook, and what they do not promise."""

import base64
import json
from collections import Counter

import aiohttp
from azure.storage.blob import BlobBlock

from localhost.azurite import Azurite
from localhost.host import Host
from localhost.host.bridge import describe_creation
from tests.localhost.sample import Sample, StartHost


def webhook(host: Host, code: str | None = None) -> str:
    key = host.blob_triggers.key if code is None else code
    return f"{host.base_url}/runtime/webhooks/blobs?functionName=Host.Functions.on_upload&code={key}"


async def test_a_blob_runs_the_function_once_over_restarts(start_host: StartHost, sample: Sample) -> None:
    async with start_host():
        await sample.upload("uploads", "only/é 1.mp3", "hello")
        [run] = await sample.wait_for_seen("upload")
    assert run == {"name": f"{sample.prefix}-uploads/only/é 1.mp3", "length": 5, "content": "hello"}
    await sample.upload("uploads", "only/2.mp3", "while nobody ran")
    async with start_host():
        runs = await sample.wait_for_seen("upload", 2)
    assert sorted(run["content"] for run in runs) == ["hello", "while nobody ran"]


async def test_it_looks_at_once_for_blobs_that_it_was_told_of(
    azurite: Azurite, start_host: StartHost, sample: Sample
) -> None:
    async with start_host(rest_seconds=3600) as host:
        azurite.tell(host.expect_message, host.expect_blob)
        await sample.upload("uploads", "whole.mp3", "whole")
        await sample.wait_for_seen("upload")
        blob = sample.blobs.get_blob_client(f"{sample.prefix}-uploads", "in blocks.mp3")
        await blob.stage_block("1", b"in blocks")
        await blob.commit_block_list([BlobBlock("1")])
        runs = await sample.wait_for_seen("upload", 2)
        azurite.tell_nobody()
    assert {run["content"] for run in runs} == {"whole", "in blocks"}


async def test_new_bytes_under_an_old_name_run_it_again(start_host: StartHost, sample: Sample) -> None:
    async with start_host():
        await sample.upload("uploads", "a.mp3", "one")
        await sample.wait_for_seen("upload")
        await sample.upload("uploads", "a.mp3", "two")
        runs = await sample.wait_for_seen("upload", 2)
    assert {run["content"] for run in runs} == {"one", "two"}


async def test_a_blob_that_fails_five_times_is_told_in_poison(start_host: StartHost, sample: Sample) -> None:
    async with start_host():
        await sample.upload("uploads", "a.mp3", "poison")
        await sample.wait_for_messages("webjobs-blobtrigger-poison")
        await sample.wait_for_seen("upload", 5)
    messages = [
        json.loads(base64.b64decode(m.content)) for m in await sample.peek("webjobs-blobtrigger-poison")
    ]
    [told] = [message for message in messages if message["ContainerName"] == f"{sample.prefix}-uploads"]
    assert told.keys() == {"Type", "FunctionId", "BlobType", "ContainerName", "BlobName", "ETag"}
    assert (told["FunctionId"], told["BlobName"]) == ("Host.Functions.on_upload", "a.mp3")
    assert len(await sample.seen("upload")) == 5


async def test_duplicate_and_reordered_events_each_run(start_host: StartHost, sample: Sample) -> None:
    events = []
    for name in ("b", "a", "a", "gone"):
        url, etag = await sample.upload("elsewhere", name, name)
        events.append(describe_creation(url, f"{sample.prefix}-elsewhere", name, etag, 1))
    await sample.blobs.get_blob_client(f"{sample.prefix}-elsewhere", "gone").delete_blob()
    headers = {"aeg-event-type": "Notification"}
    async with start_host() as host, aiohttp.ClientSession() as session:
        async with session.post(webhook(host), json=events, headers=headers) as response:
            assert response.status == 202
        runs = await sample.wait_for_seen("upload", 3)
    assert Counter(run["content"] for run in runs) == {"a": 2, "b": 1}


async def test_the_webhook_validates_a_subscription_and_refuses_strangers(start_host: StartHost) -> None:
    async with start_host() as host, aiohttp.ClientSession() as session:
        validation = [{"data": {"validationCode": "abc"}}]
        headers = {"aeg-event-type": "SubscriptionValidation"}
        async with session.post(webhook(host), json=validation, headers=headers) as response:
            assert (response.status, await response.json()) == (200, {"validationResponse": "abc"})
        async with session.post(webhook(host, "wrong"), json=validation, headers=headers) as response:
            assert response.status == 401
        async with session.post(webhook(host), data=b"{", headers=headers) as response:
            assert response.status == 400
        unknown = webhook(host).replace("on_upload", "absent")
        async with session.post(unknown, json=validation, headers=headers) as response:
            assert response.status == 404
