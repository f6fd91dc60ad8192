"""Somebody who has used everything leaves; then all tables, containers and queues are searched for them.

On a storage of its own, which is read past the product to its last byte.
"""

import gzip
import json
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from core.accounts.models import MakeExport, Proof
from core.caller import Caller, Origin
from core.catalog.editing import BookPatch
from core.ids import fingerprint, new_id, now
from core.listening.models import ProgressEntry
from core.settings import Settings
from core.tasks.models import NewTask, Prompt, TaskContent
from core.transcription.models import QUEUE_NAMES, Job, Step
from core.transcription.revising import SegmentText, TranscriptPatch
from core.transcription.uploads import AnyUpload, UploadRequest
from core.wiring import Services
from localhost.azurite import Azurite
from tests.audio import make_audio, make_png
from tests.core.commerce.conftest import Shop
from tests.scripted_ai import ScriptedAi, status

PASSWORD = "the rain in spain"
ORIGIN = Origin(address="192.0.2.1", request_id="test", device="a test")
SAID = [Prompt(index=0, start_seconds=0, end_seconds=1, text="What I thought of Mrs Bennet.")]

KEPT = {
    "table audit": "who did what: only ever added, people by number",
    "table attempts": "counted tries, under a hash, until the nightly sweep",
    "table due": "which orders the nightly sweep looks at again, by number, for a month",
    "queue settle": "a look at an order, due when it should be paid: finds none any more, and is gone",
    "container mail": "mails that were sent, as files where no mail service is set",
}
"""All that may still lead to somebody who has left."""


def recording(seconds: int) -> bytes:
    return make_audio("bare mp3", seconds, sounds=[(0.2, seconds - 0.2)], rate=16_000)


class Somebody:
    """A person of whom one searches everything: number, address, its hash, name, and how they call things."""

    def __init__(self, shop: Shop) -> None:
        self.services: Services = shop.services
        self.shop = shop
        self.mark = secrets.token_hex(8)
        self.email = f"ada.{self.mark}@example.com"
        self.caller = Caller(user_id="", session_id="", roles=frozenset())

    @property
    def traces(self) -> list[str]:
        return [self.caller.user_id, self.email, self.mark, fingerprint(self.email)]

    async def join(self) -> None:
        accounts = self.services.accounts
        user = await accounts.registration.register(self.email, PASSWORD, f"Ada {self.mark}", ORIGIN)
        assert user is not None
        admin = Caller(user_id=new_id(), session_id="", roles=frozenset({"admin"}))
        await accounts.administration.set_roles(admin, user.id, ("publisher",), ORIGIN)
        tokens = await accounts.sessions.log_in(self.email, PASSWORD, None, ORIGIN)
        self.caller = accounts.sessions.caller_of_token(tokens.access_token)
        await accounts.profiles.set_picture(self.caller.user_id, make_png())

    async def announce(self, purpose: str, seconds: int) -> AnyUpload:
        wanted = {"size_bytes": len(recording(seconds)), "content_type": "audio/mpeg"}
        name = f"diary {self.mark}.mp3" if purpose == "task" else "My book.mp3"
        request = UploadRequest.model_validate({"purpose": purpose, "filename": name, **wanted})
        return (await self.services.uploads.begin(request, self.caller, ORIGIN))[0]

    async def send(self, upload: AnyUpload, seconds: int) -> Job | None:
        """Write the file of an upload, and tell the pipeline of it."""
        container = self.services.uploads._container(upload)
        await container.write(upload.blob_name, recording(seconds), "audio/mpeg")
        return await self.services.transcription.accept_drop(container.name, upload.blob_name)

    async def use_private_transcription(self, ai: ScriptedAi) -> AnyUpload:
        """Do all that one can with tasks; returns an upload of which nothing has come yet."""
        tasks, user_id = self.services.tasks, self.caller.user_id
        upload = await self.announce("task", 4)
        for seconds in (4, 4):
            job = await self.send(upload, seconds)
            assert job is not None
        await work_off(self.shop)
        await tasks.change(user_id, upload.id, TaskContent(prompts=SAID), None)
        await tasks.restore(user_id, upload.id, 2)

        failing = await self.announce("task", 5)
        await self.send(failing, 5)
        ai.fail_with(status(400))
        await work_off(self.shop)
        ai.heal()
        assert (await tasks.task(user_id, failing.id)).status == "transcription_failed"

        await tasks.add(user_id, NewTask(name=f"By hand {self.mark}", prompts=SAID))
        gone = await self.announce("task", 6)
        await self.send(gone, 6)
        await self.services.recordings.delete(user_id, [gone.id])
        dropped = f"{user_id}/{new_id()}/thoughts {self.mark}.mp3"
        drops = self.services.transcription._targets["task"].drops
        await drops.write(dropped, recording(7), "audio/mpeg")
        await self.services.transcription.accept_drop("tasks", dropped)
        await work_off(self.shop)
        await self.send(await self.announce("task", 8), 8)
        return await self.announce("task", 9)

    async def publish(self) -> None:
        """Bring a book, mend its transcript, put it on sale; and bring one that stays a draft."""
        upload = await self.announce("audiobook", 10)
        job = await self.send(upload, 10)
        assert job is not None
        await work_off(self.shop)
        patch = TranscriptPatch(segments=[SegmentText(index=0, text="Mended.")])
        await self.services.revisions.edit(job.target_id, patch, self.caller, ORIGIN)
        price = {"visibility": "published", "price": {"amount": 300, "currency": "USD"}}
        patch_ = BookPatch.model_validate(price)
        await self.services.editing.change(job.target_id, patch_, self.caller, ORIGIN)
        draft = await self.send(await self.announce("audiobook", 11), 11)
        assert draft is not None
        self.books = (job.target_id, draft.target_id)

    async def shop_and_listen(self) -> None:
        book = await self.shop.stock("Emma")
        order = await self.shop.bought(self.caller, book, await self.shop.stock("Sanditon"))
        assert order.state == "paid"
        await self.shop.put_in_cart(self.caller, await self.shop.stock("Persuasion"))
        await self.services.listening.progress.save(self.caller, book.id, ProgressEntry(position_seconds=1))
        export = await self.services.accounts.holdings.request_export(self.caller, ORIGIN)
        work = MakeExport(id=export.id, at=export.created_at, user_id=self.caller.user_id)
        await self.services.accounts.holdings.make_export(work)

    async def leave(self) -> None:
        wish = Proof(password=PASSWORD)
        await self.services.accounts.holdings.request_erasure(self.caller, wish, ORIGIN)
        await work_off(self.shop)


def connection(shop: Shop) -> str:
    assert shop._connection is not None
    return shop._connection.get_secret_value()


async def work_off(shop: Shop) -> None:
    """Do what waits on the queues, as the host would, until nothing does."""
    services = shop.services
    pipeline = services.transcription
    handlers: dict[str, Any] = {
        "accounts": services.accounts.run,
        "catalog-work": services.catalog_work.run,
        "gather": services.gather.run,
        "notify": services.operations.send_notice,
        "settle": services.commerce.orders.run,
        "shelves": services.recommendations.run,
        "tasks-work": services.tasks.run,
        "transcribe-poison": lambda body: pipeline.settle_poison("transcribe", body),
    }
    async with QueueServiceClient.from_connection_string(connection(shop)) as queues:
        busy = True
        while busy:
            busy = False
            names = [str(queue.name) async for queue in queues.list_queues()]
            for name in names:
                queue: QueueClient = queues.get_queue_client(
                    name, message_decode_policy=TextBase64DecodePolicy()
                )
                async for message in queue.receive_messages(messages_per_page=32, visibility_timeout=600):
                    busy = True
                    body = str(message.content)
                    if name == "catalog":
                        await services.catalog.publish()
                    elif name in QUEUE_NAMES:
                        await pipeline.run(name, Step.model_validate_json(body))
                    else:
                        await handlers[name](body)
                    await queue.delete_message(message)


async def everything(connection_string: str) -> AsyncIterator[tuple[str, str]]:
    """Yield where something is in the storage, and all of its text."""
    async with TableServiceClient.from_connection_string(connection_string) as tables:
        names = [table.name async for table in tables.list_tables()]
        for name in names:
            async for row in tables.get_table_client(name).list_entities():
                yield f"table {name}", json.dumps(dict(row), default=str)
    async with BlobServiceClient.from_connection_string(connection_string) as blobs:
        containers = [container.name async for container in blobs.list_containers()]
        for name in containers:
            async for blob in blobs.get_container_client(name).list_blob_names():
                content = await (await blobs.get_blob_client(name, blob).download_blob()).readall()
                if blob.endswith(".gz"):
                    content = gzip.decompress(content)
                yield f"container {name}", blob + content.decode("utf-8", "replace")
    async with QueueServiceClient.from_connection_string(connection_string) as queues:
        waiting = [str(queue.name) async for queue in queues.list_queues()]
        for name in waiting:
            client = queues.get_queue_client(name, message_decode_policy=TextBase64DecodePolicy())
            for message in await client.peek_messages(32):
                yield f"queue {name}", str(message.content)


async def found(connection_string: str, traces: list[str]) -> list[tuple[str, str]]:
    """Return the places and the beginnings of all that holds a trace, but for what is declared to stay."""
    return [
        (place, text[:300])
        async for place, text in everything(connection_string)
        if any(trace in text for trace in traces) and not place.startswith(tuple(KEPT))
    ]


async def pass_hours(services: Services) -> None:
    """Let what is due within hours be due now."""
    store = services.transcription._store
    later = [job_id async for job_id, _ in store.removals(now() + timedelta(hours=30))]
    for job_id in later:
        await store.note_removal(job_id, now() - timedelta(minutes=1))
    await services.transcription.remove_retired()


async def check_books(services: Services) -> None:
    """See that the budget of all is what its rows say, and that nothing is reserved any more."""
    sums = await services.operations.budgets.sums(None, now())
    rows = [row async for row in services.operations.budgets.unsettled(now())]
    assert (rows, sums.reserved_microdollars, sums.reserved_seconds) == ([], 0, 0)
    assert sums.spent_seconds > 4


async def test_of_who_leaves_only_what_is_declared_is_left() -> None:
    async with Azurite.start(ephemeral=True) as azurite, ScriptedAi.start() as ai:
        settings = {
            "AzureWebJobsStorage": azurite.connection_string,
            "JWT_SIGNING_KEY": "k" * 32,
            "OPENAI_BASE_URL": ai.base_url,
            "QUIET_SECONDS": "0",
            "CATALOG_REFRESH_SECONDS": "0",
            "ALERT_EMAIL": "admin@example.com",
            "ALERT_MAIL_MINUTES": "0",
        }
        shop = Shop(Settings.read(settings))
        try:
            ada = Somebody(shop)
            await ada.join()
            unsent = await ada.use_private_transcription(ai)
            await ada.publish()
            await ada.shop_and_listen()
            await shop.services.recommendations.follow(ada.caller.user_id)
            places = {place for place, _ in await found(connection(shop), ada.traces)}
            assert {"table uploads", "table budgets", "table jobs", "container tasks"} <= places, "or no test"
            assert {"table transcripts", "table books", "table shelves", "container private"} <= places
            assert "table companions" in places

            await ada.leave()
            await pass_hours(shop.services)
            assert await found(connection(shop), ada.traces) == []
            await check_books(shop.services)

            # what comes by a link that was given out before, and the message that looks after it once more
            assert await ada.send(unsent, 9) is None
            await work_off(shop)
            assert await found(connection(shop), ada.traces) == []

            sold, draft = [await shop.catalog.book(book_id) for book_id in ada.books]
            assert (sold.owner_id, sold.visibility) == (None, "published")
            assert (draft.owner_id, draft.visibility) == (None, "withdrawn")
        finally:
            await shop.close()
