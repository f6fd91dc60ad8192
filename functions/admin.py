"""Administration over HTTP: jobs with their progress, retries, alerts."""

from typing import Any

import azure.functions as func
from pydantic import BaseModel

from core.operations.models import Alert
from core.transcription.models import JobDetail, JobView
from functions.http import API, Call, Listing, check_id, endpoint

blueprint = func.Blueprint()


class JobList(BaseModel):
    """A page of jobs."""

    items: list[JobView]
    next_cursor: str | None


class AlertList(BaseModel):
    """A page of alerts."""

    items: list[Alert]
    next_cursor: str | None


def _place(after: Any) -> tuple[str, str] | None:
    return (str(after[0]), str(after[1])) if after else None


@endpoint(blueprint, "GET", f"{API}/admin/jobs", access="admin", query=Listing, reply=JobList)
async def list_jobs(call: Call[None, Listing]) -> JobList:
    """List the jobs of the pipeline, newest first."""
    jobs, following = await call.services.transcription.jobs(call.query.limit, _place(call.after))
    return JobList(items=jobs, next_cursor=call.next_cursor(following))


@endpoint(blueprint, "GET", f"{API}/admin/jobs/{{id}}", access="admin", reply=JobDetail)
async def get_job(call: Call[None, Any]) -> JobDetail:
    """Show a job with each of its chunks, their tries, errors and cost."""
    return await call.services.transcription.job(check_id(call.params["id"]))


@endpoint(blueprint, "POST", f"{API}/admin/jobs/{{id}}/retry", access="admin", reply=JobDetail, status=202)
async def retry_job(call: Call[None, Any]) -> JobDetail:
    """Run a failed job again; only what is missing is done.

    409 unless the job has failed, was rejected or cancelled.
    """
    return await call.services.transcription.retry(check_id(call.params["id"]))


@endpoint(blueprint, "GET", f"{API}/admin/alerts", access="admin", query=Listing, reply=AlertList)
async def list_alerts(call: Call[None, Listing]) -> AlertList:
    """List the alerts, newest first."""
    alerts, following = await call.services.operations.alerts(call.query.limit, _place(call.after))
    return AlertList(items=alerts, next_cursor=call.next_cursor(following))
