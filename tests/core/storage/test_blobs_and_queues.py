"""Versions of blobs stay apart, links open one blob for a while, messages are as the host reads them."""

import asyncio
import base64
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest
import pytest_asyncio
from azure.storage.queue.aio import QueueClient
from pydantic import BaseModel

from core.errors import ConflictError, NotFoundError, StaleError, StorageLimitError
from core.ids import new_id
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.blobs import Container
from localhost.azurite import Azurite


class Note(BaseModel):
    text: str
    extra: str | None = None


@pytest_asyncio.fixture(scope="module")
async def account(azurite: Azurite) -> AsyncIterator[StorageAccount]:
    environment = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    account = StorageAccount(Settings.read(environment))
    yield account
    await account.close()


@pytest.fixture
def container(account: StorageAccount) -> Container:
    return account.container(f"c{new_id()}")


async def test_a_range_is_read_of_one_version_only(container: Container) -> None:
    etag = await container.write("folder/a.bin", b"0123456789", "audio/mpeg")
    assert await container.read_range("folder/a.bin", 2, 3, etag) == b"234"
    await container.write("folder/a.bin", b"other bytes", "audio/mpeg")
    with pytest.raises(StaleError):
        await container.read_range("folder/a.bin", 2, 3, etag)
    with pytest.raises(NotFoundError):
        await container.read("absent")


async def test_a_pointer_is_swapped_once(container: Container) -> None:
    etag = await container.write("pointer", b"1", "text/plain", if_absent=True)
    with pytest.raises(ConflictError):
        await container.write("pointer", b"1", "text/plain", if_absent=True)
    results = await asyncio.gather(
        *(container.write("pointer", b"2", "text/plain", if_etag=etag) for _ in range(4)),
        return_exceptions=True,
    )
    assert [type(r) for r in results].count(StaleError) == 3
    content, now_at = await container.read_with_etag("pointer")
    assert content == b"2"
    assert await container.read_if_changed("pointer", now_at) is None
    assert await container.read_if_changed("pointer", etag) == (b"2", now_at)


async def test_a_copy_is_of_the_version_that_was_meant(account: StorageAccount, container: Container) -> None:
    source = account.container(f"s{new_id()}")
    etag = await source.write("in put/ä#1.mp3", b"sound", "application/octet-stream")
    facts = await container.copy_from(source, "in put/ä#1.mp3", "audio.mp3", etag)
    assert facts.size == 5
    await source.write("in put/ä#1.mp3", b"other", "application/octet-stream")
    assert await container.copy_from(source, "in put/ä#1.mp3", "audio.mp3", etag) == facts
    with pytest.raises(StaleError):
        await container.copy_from(source, "in put/ä#1.mp3", "second.mp3", etag)
    with pytest.raises(NotFoundError):
        await container.copy_from(source, "gone.mp3", "third.mp3", etag)


async def test_a_recording_of_more_than_half_a_gigabyte_is_copied_too(container: Container) -> None:
    """The emulator gets a source to see whether it may be read, and has no text that is longer."""
    await container.stage("long.mp3", "one", bytes(1_000_000))
    await container.commit("long.mp3", ["one"] * 560, "audio/mpeg")
    long = await container.facts("long.mp3")
    assert (await container.copy_from(container, "long.mp3", "copy.mp3", long.etag)).size == 560_000_000
    empty = await container.write("empty.mp3", b"", "audio/mpeg")
    assert (await container.copy_from(container, "empty.mp3", "none.mp3", empty)).size == 0


async def test_a_link_reads_one_blob_with_ranges_until_it_ends(container: Container) -> None:
    await container.write("a.mp3", b"0123456789", "application/octet-stream")
    await container.write("b.mp3", b"secret", "audio/mpeg")
    link = await container.link("a.mp3", timedelta(minutes=5), "audio/mpeg")
    ended = await container.link("a.mp3", timedelta(minutes=-1))
    async with aiohttp.ClientSession() as http:
        async with http.get(link.url, headers={"Range": "bytes=2-4"}) as answer:
            assert (answer.status, await answer.read()) == (206, b"234")
            assert answer.content_type == "audio/mpeg"
        async with http.get(link.url.replace("a.mp3?", "b.mp3?")) as answer:
            assert answer.status == 403
        async with http.put(link.url, data=b"x", headers={"x-ms-blob-type": "BlockBlob"}) as answer:
            assert answer.status == 403
        async with http.get(ended.url) as answer:
            assert answer.status == 403


async def test_messages_are_what_the_host_expects(account: StorageAccount, azurite: Azurite) -> None:
    name = f"q{new_id()}"
    queues = account.queues()
    await queues.send(name, Note(text="ö"))
    await queues.send(name, Note(text="later"), delay_seconds=60)
    async with QueueClient.from_connection_string(azurite.connection_string, name) as client:
        seen = [message async for message in client.receive_messages()]
    assert [base64.b64decode(message.content).decode() for message in seen] == ['{"text":"ö"}']
    assert seen[0].expires_on is not None
    assert seen[0].expires_on.year == 9999
    with pytest.raises(StorageLimitError):
        await queues.send(name, Note(text="x" * 50_000))


async def test_a_storage_that_is_away_is_said_to_be_away() -> None:
    dead = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;" + "".join(
        f"{kind}Endpoint=http://127.0.0.1:9/a;" for kind in ("Blob", "Queue", "Table")
    )
    account = StorageAccount(Settings.read({"AzureWebJobsStorage": dead, "JWT_SIGNING_KEY": "k" * 32}))
    states = await account.check()
    assert set(states) == {"blobs", "queues", "tables"}
    assert "ok" not in states.values()
    await account.close()


async def test_a_file_is_whole_in_a_container_that_was_not_there(account: StorageAccount) -> None:
    container = account.container(f"c{new_id()}")
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100_000)
        file.flush()
        await container.write("file", file, "text/plain")
    assert await container.read("file") == b"x" * 100_000


async def test_blocks_become_a_blob_at_once_and_only_once(container: Container) -> None:
    for name, content in (("02", b"world"), ("01", b"hello "), ("02", b"there")):
        await container.stage("a", name, content)
    with pytest.raises(NotFoundError):
        await container.read("a")
    assert [name async for name in container.names()] == []
    with pytest.raises(StaleError):
        await container.commit("a", ["01", "03"], "text/plain", if_absent=True)
    await container.commit("a", ["01", "02"], "text/plain", if_absent=True)
    assert await container.read("a") == b"hello there"
    await container.stage("a", "01", b"other ")
    with pytest.raises(ConflictError):
        await container.commit("a", ["01"], "text/plain", if_absent=True)
    assert await container.read("a") == b"hello there"
