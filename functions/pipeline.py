"""What starts by itself: drops in storage, messages on queues, poison messages, the clock."""

import json
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

import azure.functions as func
from azurefunctions.extensions.base import Datum, InConverter, SdkType
from pydantic import ValidationError

from core.catalog.names import QUEUE as WORK_QUEUE
from core.catalog.service import QUEUE
from core.commerce.archives import QUEUE as ARCHIVE_QUEUE
from core.commerce.models import SHELVES
from core.ids import now
from core.tasks.service import QUEUE as TASKS_QUEUE
from core.transcription.drops import GATHER
from core.transcription.models import QUEUE_NAMES, QueueName, Step
from functions.services import services

_log = logging.getLogger("aloud.pipeline")

blueprint = func.Blueprint()

_STORAGE = "AzureWebJobsStorage"


class DroppedBlob(SdkType):  # type: ignore[misc]
    """Names a blob that was dropped. `func.InputStream` would load the whole file into memory first."""

    def __init__(self, container: str, name: str) -> None:
        super().__init__()
        self.container = container
        self.name = name

    def get_sdk_type(self) -> "DroppedBlob":
        return self


class _DroppedBlobConverter(InConverter, binding="blob", trigger="blobTrigger"):  # type: ignore[misc, call-arg]
    """Lets the worker hand over the host's reference to a blob instead of its content."""

    @classmethod
    def check_input_type_annotation(cls, pytype: type) -> bool:
        return issubclass(pytype, DroppedBlob)

    @classmethod
    def decode(cls, data: Datum, *, trigger_metadata: Any, pytype: type = DroppedBlob) -> DroppedBlob:
        reference = json.loads(data.value.content)
        return DroppedBlob(reference["ContainerName"], reference["BlobName"])


# Event Grid in the cloud; `func start` has none, so there a scan of the container is chosen by this setting.
_SOURCE = func.BlobSource(os.environ.get("BLOB_TRIGGER_SOURCE", func.BlobSource.EVENT_GRID.value))


@blueprint.blob_trigger(arg_name="blob", path="uploads/{name}", connection=_STORAGE, source=_SOURCE)
async def on_upload(blob: DroppedBlob, context: func.Context) -> None:
    """A file was dropped: make its book and its job, and queue the first step."""
    trace = getattr(context.trace_context, "Traceparent", None)
    await services().transcription.accept_drop(blob.container, blob.name, trace or None)


@blueprint.blob_trigger(arg_name="blob", path="tasks/{name}", connection=_STORAGE, source=_SOURCE)
async def on_recording(blob: DroppedBlob, context: func.Context) -> None:
    """A private recording was dropped: make its task, if it has none, and its job."""
    trace = getattr(context.trace_context, "Traceparent", None)
    await services().transcription.accept_drop(blob.container, blob.name, trace or None)


Handler = Callable[[func.QueueMessage], Awaitable[None]]


def _named(name: str, doc: str, handler: Handler) -> Handler:
    handler.__name__ = name
    handler.__doc__ = doc
    return handler


def _step_handler(queue: QueueName) -> Handler:
    async def handle(msg: func.QueueMessage) -> None:
        body = msg.get_body().decode(errors="replace")
        try:
            step = Step.model_validate_json(body)
        except ValidationError:
            _log.error("a message on %s cannot be read and is set aside", queue)
            await services().transcription.alert_poison(queue, body)
            return
        await services().transcription.run(queue, step)

    return _named(f"run_{queue}", f"Do the step `{queue}` of a job.", handle)


def _poison_handler(queue: QueueName) -> Handler:
    async def handle(msg: func.QueueMessage) -> None:
        await services().transcription.settle_poison(queue, msg.get_body().decode(errors="replace"))

    return _named(f"settle_{queue}_poison", f"Settle a message that `{queue}` could not be done for.", handle)


def _foreign_poison_handler(name: str, queue: str) -> Handler:
    async def handle(msg: func.QueueMessage) -> None:
        await services().transcription.alert_poison(queue, msg.get_body().decode(errors="replace"))

    return _named(name, f"Tell a person of a message on `{queue}`.", handle)


async def send_notice(msg: func.QueueMessage) -> None:
    """Mail an alert to those who want to know, or a letter to one person."""
    await services().operations.send_notice(msg.get_body().decode(errors="replace"))


async def settle_notify_poison(msg: func.QueueMessage) -> None:
    """Tell of a mail that could not be sent; not of its content, and not by mail."""
    await services().operations.alert_lost_mail()


async def run_accounts(msg: func.QueueMessage) -> None:
    """Do work on one account: make it, mail it a link, export it, erase it."""
    await services().accounts.run(msg.get_body().decode(errors="replace"))


async def settle_accounts_poison(msg: func.QueueMessage) -> None:
    """Tell a person of work on an account that could not be done."""
    await services().accounts.settle_poison(msg.get_body().decode(errors="replace"))


async def sweep_accounts(timer: func.TimerRequest) -> None:
    """Forget counted attempts, exports that are over, and messages that nobody has sent again for a month."""
    await services().accounts.sweep()
    await services().operations.dead_letters.sweep()


async def run_tasks_work(msg: func.QueueMessage) -> None:
    """Remove what belonged to tasks that were deleted."""
    await services().tasks.run(msg.get_body().decode(errors="replace"))


async def settle_tasks_work_poison(msg: func.QueueMessage) -> None:
    """Tell a person of what could not be removed."""
    await services().tasks.settle_poison(msg.get_body().decode(errors="replace"))


async def run_settle(msg: func.QueueMessage) -> None:
    """Bring an order to its end, and send its letters."""
    await services().commerce.orders.run(msg.get_body().decode(errors="replace"))


async def settle_settle_poison(msg: func.QueueMessage) -> None:
    """Tell a person of an order that could not be settled."""
    await services().commerce.orders.settle_poison(msg.get_body().decode(errors="replace"))


async def sweep_orders(timer: func.TimerRequest) -> None:
    """Settle what was left open, and forget old requests."""
    await services().commerce.orders.sweep()
    await services().commerce.webhooks.sweep()


async def gather_files(msg: func.QueueMessage) -> None:
    """Make one book of a folder's files, or of a book's parts, once no more have come for a while."""
    await services().gather.run(msg.get_body().decode(errors="replace"))


async def settle_gather_poison(msg: func.QueueMessage) -> None:
    """Tell a person of dropped files that became no book."""
    await services().gather.settle_poison(msg.get_body().decode(errors="replace"))


async def publish_catalog(msg: func.QueueMessage) -> None:
    """Bring the catalog's index up to date."""
    await services().catalog.publish()


async def run_catalog_work(msg: func.QueueMessage) -> None:
    """Do the catalog's work on many books: a new name, an import."""
    await services().catalog_work.run(msg.get_body().decode(errors="replace"))


async def settle_catalog_work_poison(msg: func.QueueMessage) -> None:
    """Tell a person of work on many books that could not be done."""
    await services().catalog_work.settle_poison(msg.get_body().decode(errors="replace"))


async def sweep_catalog(timer: func.TimerRequest) -> None:
    """Forget exported files, and recordings of books that nobody has bought, whose time is over."""
    await services().catalog_work.sweep()


async def pack_books(msg: func.QueueMessage) -> None:
    """Do the next step of a ZIP of books."""
    await services().commerce.archives.run(msg.get_body().decode(errors="replace"))


async def settle_archives_poison(msg: func.QueueMessage) -> None:
    """Say of a ZIP that it could not be made."""
    await services().commerce.archives.settle_poison(msg.get_body().decode(errors="replace"))


async def sweep_archives(timer: func.TimerRequest) -> None:
    """Delete ZIPs whose days are over."""
    await services().commerce.archives.sweep()


async def count_shelf(msg: func.QueueMessage) -> None:
    """Count which books somebody owns together, after these have changed."""
    await services().recommendations.run(msg.get_body().decode(errors="replace"))


async def settle_shelves_poison(msg: func.QueueMessage) -> None:
    """Tell a person of a shelf that was not counted."""
    await services().recommendations.settle_poison()


async def keep_catalog(timer: func.TimerRequest) -> None:
    """Publish what no message told of, and keep the index small and whole."""
    await services().catalog.keep()


async def publish_catalog_counts(timer: func.TimerRequest) -> None:
    """Bring plays and ratings into the catalog's index."""
    await services().catalog.publish_counts()


async def remove_retired_jobs(timer: func.TimerRequest) -> None:
    """Delete what newer versions of recordings have made superfluous."""
    await services().transcription.remove_retired()


async def wake_stalled_jobs(timer: func.TimerRequest) -> None:
    """Start again what has had no news for a long time."""
    await services().transcription.wake_stalled()


def _keep_first(queue: str, handler: Handler) -> Handler:
    async def handle(msg: func.QueueMessage) -> None:
        body = msg.get_body().decode(errors="replace")
        await services().operations.dead_letters.keep(queue, str(msg.id), body)
        await handler(msg)

    return _named(handler.__name__, handler.__doc__ or "", handle)


QUEUES: list[str] = []
"""Every queue that has a poison queue beside it."""


async def warn_of_model_ends(timer: func.TimerRequest) -> None:
    """Tell a person in time that a configured model will be switched off."""
    await services().lifetimes.warn(now().date())


def _on_queue(queue: str, handler: Handler) -> None:
    """Register a handler. What comes to a poison queue is kept first, for whoever sends it again."""
    name = queue.removesuffix("-poison")
    if name != queue:
        QUEUES.append(name)
        handler = _keep_first(name, handler)
    blueprint.queue_trigger(arg_name="msg", queue_name=queue, connection=_STORAGE)(handler)


for _queue in QUEUE_NAMES:
    _on_queue(_queue, _step_handler(_queue))
    _on_queue(f"{_queue}-poison", _poison_handler(_queue))
_on_queue(GATHER, gather_files)
_on_queue(f"{GATHER}-poison", settle_gather_poison)
_on_queue("accounts", run_accounts)
_on_queue("accounts-poison", settle_accounts_poison)
_on_queue("settle", run_settle)
_on_queue("settle-poison", settle_settle_poison)
_on_queue(QUEUE, publish_catalog)
_on_queue(f"{QUEUE}-poison", _foreign_poison_handler("settle_catalog_poison", f"{QUEUE}-poison"))
_on_queue(WORK_QUEUE, run_catalog_work)
_on_queue(f"{WORK_QUEUE}-poison", settle_catalog_work_poison)
_on_queue(TASKS_QUEUE, run_tasks_work)
_on_queue(f"{TASKS_QUEUE}-poison", settle_tasks_work_poison)
_on_queue(ARCHIVE_QUEUE, pack_books)
_on_queue(f"{ARCHIVE_QUEUE}-poison", settle_archives_poison)
_on_queue(SHELVES, count_shelf)
_on_queue(f"{SHELVES}-poison", settle_shelves_poison)
_on_queue("notify", send_notice)
_on_queue("notify-poison", settle_notify_poison)
_on_queue(
    "webjobs-blobtrigger-poison",
    _foreign_poison_handler("settle_upload_poison", "webjobs-blobtrigger-poison"),
)
blueprint.timer_trigger(arg_name="timer", schedule="30 * * * * *", run_on_startup=False)(keep_catalog)
blueprint.timer_trigger(arg_name="timer", schedule="15 */10 * * * *", run_on_startup=False)(
    publish_catalog_counts
)
blueprint.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=False)(wake_stalled_jobs)
blueprint.timer_trigger(arg_name="timer", schedule="0 40 * * * *", run_on_startup=False)(remove_retired_jobs)
blueprint.timer_trigger(arg_name="timer", schedule="0 30 3 * * *", run_on_startup=False)(sweep_accounts)
blueprint.timer_trigger(arg_name="timer", schedule="0 0 4 * * *", run_on_startup=False)(sweep_orders)
blueprint.timer_trigger(arg_name="timer", schedule="0 40 3 * * *", run_on_startup=False)(sweep_catalog)
blueprint.timer_trigger(arg_name="timer", schedule="0 20 * * * *", run_on_startup=False)(sweep_archives)
blueprint.timer_trigger(arg_name="timer", schedule="0 0 8 * * *", run_on_startup=False)(warn_of_model_ends)
