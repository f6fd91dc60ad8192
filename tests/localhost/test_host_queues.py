"""Queue functions: tries, poison, leases, and what a stop does to them."""

import aiohttp
import pytest

from localhost.azurite import Azurite
from tests.localhost.sample import Sample, StartHost


async def test_a_failed_message_is_tried_again_and_counted(start_host: StartHost, sample: Sample) -> None:
    async with start_host():
        await sample.send("work", {"id": 1, "fail": 2})
        assert await sample.wait_for_seen("done") == [{"id": 1, "dequeue_count": 3}]
    assert sorted(run["dequeue_count"] for run in await sample.seen("started")) == [1, 2, 3]
    assert await sample.peek(f"{sample.prefix}-work") == []


async def test_after_five_tries_the_identical_message_is_in_poison(
    start_host: StartHost, sample: Sample
) -> None:
    async with start_host():
        content = await sample.send("work", {"id": 1, "fail": 99})
        [message] = await sample.wait_for_messages(f"{sample.prefix}-work-poison")
    assert message.content == content
    assert len(await sample.seen("started")) == 5
    assert await sample.peek(f"{sample.prefix}-work") == []


async def test_an_undecodable_message_goes_to_poison_and_never_runs(
    start_host: StartHost, sample: Sample
) -> None:
    async with start_host():
        await sample.send_raw("work", "<not base64>")
        [message] = await sample.wait_for_messages(f"{sample.prefix}-work-poison")
    assert message.content == "<not base64>"
    assert await sample.seen("started") == []


async def test_a_long_run_keeps_its_message(start_host: StartHost, sample: Sample) -> None:
    async with start_host(lease_seconds=2):
        await sample.send("work", {"id": 1, "seconds": 3})
        assert await sample.wait_for_seen("done") == [{"id": 1, "dequeue_count": 1}]
    assert len(await sample.seen("started")) == 1


async def test_a_stop_waits_for_what_runs(start_host: StartHost, sample: Sample) -> None:
    async with start_host():
        await sample.send("work", {"id": 1, "seconds": 0.5})
        await sample.wait_for_seen("started")
        await sample.send("work", {"id": 2})
    assert {"id": 1, "dequeue_count": 1} in await sample.seen("done")


async def test_what_outlasts_the_stop_is_free_at_once(start_host: StartHost, sample: Sample) -> None:
    async with start_host(drain_seconds=0.1, lease_seconds=600):
        await sample.send("work", {"id": 1, "seconds": 600})
        await sample.wait_for_seen("started")
    assert await sample.seen("done") == []
    async with start_host():
        assert await sample.wait_for_seen("done") == [{"id": 1, "dequeue_count": 2}]


async def test_a_plain_function_runs_in_a_thread(start_host: StartHost, sample: Sample) -> None:
    async with start_host():
        await sample.send("plain", {"a": 1})
        [run] = await sample.wait_for_seen("plain")
    assert run["body"] == '{"a": 1}'
    assert run["thread"] != "MainThread"


async def test_a_run_by_hand(start_host: StartHost, sample: Sample) -> None:
    async with start_host() as host, aiohttp.ClientSession() as session:
        url = f"{host.base_url}/admin/functions/plain"
        async with session.post(url, json={"input": "by hand"}) as response:
            assert response.status == 202
        [run] = await sample.wait_for_seen("plain")
    assert run["body"] == "by hand"


async def test_it_looks_at_once_for_messages_that_it_was_told_of(
    azurite: Azurite, start_host: StartHost, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AzureFunctionsJobHost__extensions__queues__maxPollingInterval", "01:00:00")
    monkeypatch.setenv("AzureFunctionsJobHost__extensions__queues__visibilityTimeout", "00:00:01")
    async with start_host(rest_seconds=3600) as host:
        azurite.tell(host.expect_message, host.expect_blob)
        await sample.send("work", {"id": 1, "fail": 1})
        assert await sample.wait_for_seen("done") == [{"id": 1, "dequeue_count": 2}]
        azurite.tell_nobody()
