"""The page on which administrators look after the pipeline: its switch, queues and budget."""

import azure.functions as func

from core.errors import AloudError
from functions.controls import PipelineRequest, redrive, view_pipeline
from functions.forms import Form, explain, faults, parse, read_own_form
from functions.page import Visit, page, redirect
from functions.services import services

blueprint = func.Blueprint()

_HOME = "/manage/pipeline"


@page(blueprint, "manage/pipeline", access="admin", secret=True)
async def page_manage_pipeline(visit: Visit) -> func.HttpResponse:
    """Whether the pipeline runs, what waits, and what this month may still cost."""
    return await _show(visit)


@page(blueprint, "manage/pipeline", "POST", access="admin", secret=True)
async def page_manage_pipeline_turn(visit: Visit) -> func.HttpResponse:
    """Pause the pipeline, or let it go on."""
    form: Form = {}
    try:
        form = read_own_form(visit)
        wish = parse(
            PipelineRequest, {"is_paused": form.get("turn") == "pause", "reason": form.get("reason", "")}
        )
    except AloudError as error:
        return await _show(visit, error, form)
    await services().operations.switch.turn(
        is_paused=wish.is_paused, reason=wish.reason, actor=visit.user.user_id, origin=visit.origin
    )
    return redirect(_HOME, news="The pipeline is paused." if wish.is_paused else "The pipeline goes on.")


@page(blueprint, "manage/pipeline/redrive", "POST", access="admin", secret=True)
async def page_manage_redrive(visit: Visit) -> func.HttpResponse:
    """Send again what was set aside of one queue."""
    try:
        form = read_own_form(visit)
        count = await redrive(services(), form.get("queue", ""), visit.user, visit.origin)
    except AloudError as error:
        return await _show(visit, error)
    return redirect(_HOME, news=f"{count} {'message was' if count == 1 else 'messages were'} sent again.")


async def _show(visit: Visit, error: AloudError | None = None, form: Form | None = None) -> func.HttpResponse:
    if error is not None and error.status >= 500:
        raise error
    pipeline = await view_pipeline(services(), await services().operations.switch.look())
    return visit.render(
        "manage_pipeline.html",
        status=error.status if error else 200,
        next_path=_HOME,
        pipeline=pipeline,
        values=form or {},
        errors=faults(error) if error else {},
        message=explain(error) if error else "",
    )
