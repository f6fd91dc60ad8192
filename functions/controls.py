"""The pipeline's controls over HTTP: its switch, its queues and budget, and what was set aside."""

import json
import math
from datetime import datetime
from typing import Annotated, Any

import azure.functions as func
from pydantic import BaseModel, Field, StringConstraints

from core.caller import Caller, Origin
from core.errors import ConflictError, NotFoundError
from core.ids import now
from core.operations.switch import Switch
from core.transcription.models import QUEUE_NAMES
from core.wiring import Services
from functions.http import API, Call, Payload, Reply, endpoint
from functions.pipeline import QUEUES

blueprint = func.Blueprint()

_DROPS = "webjobs-blobtrigger"


class QueueView(BaseModel):
    """A queue: about how many messages it has, and how many were set aside after their last try."""

    name: str
    messages: int
    set_aside: int


class BudgetView(BaseModel):
    """This month's budget: millionths of a dollar, and seconds of sound; a limit that is null is none."""

    month: str
    spent_microdollars: int
    reserved_microdollars: int
    limit_microdollars: int | None
    spent_seconds: int
    reserved_seconds: int
    limit_seconds: int | None
    used_percent: int = Field(description="Spent or reserved, of money or time, whichever is scarcer.")
    person_limit_microdollars: int | None = Field(description="What each person may spend.")
    person_limit_seconds: int | None


class PipelineView(BaseModel):
    """How the pipeline stands. `paused_by` null with `is_paused`: it has paused itself."""

    is_paused: bool
    reason: str | None
    paused_by: str | None
    since: datetime
    queues: list[QueueView]
    budget: BudgetView


class PipelineRequest(Payload):
    """Pause or resume, and why."""

    is_paused: bool
    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""


class RedriveReply(BaseModel):
    """How many messages were sent again."""

    redriven: int


async def view_pipeline(services: Services, switch: Switch) -> PipelineView:
    """Return how the pipeline stands, with its queues and this month's budget."""
    at, budgets = now(), services.operations.budgets
    sums, limit, person = await budgets.sums(None, at), budgets.limit(None), budgets.limit("")
    return PipelineView(
        is_paused=switch.is_paused,
        reason=switch.reason or None,
        paused_by=switch.actor if switch.is_paused else None,
        since=switch.since,
        queues=[
            QueueView(name=name, messages=length, set_aside=set_aside)
            for name, length, set_aside in await services.operations.count_messages(QUEUES)
        ],
        budget=BudgetView(
            month=f"{at:%Y-%m}",
            **sums.model_dump(),
            limit_microdollars=limit.microdollars,
            limit_seconds=limit.seconds,
            used_percent=math.floor(100 * limit.share(sums.used)),
            person_limit_microdollars=person.microdollars,
            person_limit_seconds=person.seconds,
        ),
    )


@endpoint(blueprint, "GET", f"{API}/admin/pipeline", access="admin", reply=PipelineView)
async def get_pipeline(call: Call[None, Any]) -> PipelineView:
    """Show whether the pipeline runs, what waits on its queues, and this month's budget."""
    return await view_pipeline(call.services, await call.services.operations.switch.look())


@endpoint(blueprint, "PUT", f"{API}/admin/pipeline", access="admin", body=PipelineRequest, reply=PipelineView)
async def set_pipeline(call: Call[PipelineRequest, Any]) -> PipelineView:
    """Pause the pipeline, or let it go on.

    While it is paused, what is under way at this moment is finished, everything else waits where it is, and
    no try is counted. After a long pause it takes up to five minutes until all of it goes on. It pauses
    itself where the AI's account has no money left or its key is refused.
    """
    asked = call.body
    switch = await call.services.operations.switch.turn(
        is_paused=asked.is_paused, reason=asked.reason, actor=call.user.user_id, origin=call.origin
    )
    return await view_pipeline(call.services, switch)


@endpoint(
    blueprint,
    "POST",
    f"{API}/admin/queues/{{name}}/redrive",
    access="admin",
    reply=RedriveReply,
    status=202,
)
async def redrive_queue(call: Call[None, Any]) -> Reply:
    """Send again all messages of a queue that were set aside after their last try.

    For the queues of the pipeline, the jobs that have failed there run again; only what is missing is done.
    A message that cannot be read, or whose job lacks the money, stays set aside; after a month they go.
    """
    redriven = await redrive(call.services, call.params["name"], call.user, call.origin)
    return Reply(RedriveReply(redriven=redriven), status=202)


async def redrive(services: Services, queue: str, admin: Caller, origin: Origin) -> int:
    """Send again what was set aside of a queue, and return how much. Raises NotFoundError, ConflictError."""
    if queue not in QUEUES:
        raise NotFoundError("There is no such queue.")
    letters = services.operations.dead_letters

    async def revive(body: str) -> None:
        if queue in QUEUE_NAMES:
            await services.transcription.revive(body)
        elif queue == _DROPS:
            await services.transcription.accept_drop(*_read_drop(body))
        else:
            await letters.send_again(queue, body)

    await services.operations.record("queue.redriven", admin.user_id, queue, origin)
    return await letters.redrive(queue, revive)


def _read_drop(body: str) -> tuple[str, str]:
    """Return container and name of the blob that a message of the host is about."""
    try:
        content = json.loads(body)
        return str(content["ContainerName"]), str(content["BlobName"])
    except (ValueError, KeyError, TypeError):
        raise ConflictError("A message about a drop cannot be read; drop the file again.") from None
