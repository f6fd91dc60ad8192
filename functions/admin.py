"""Administration over HTTP: jobs with their progress, retries, alerts, people, the audit."""

from datetime import datetime
from typing import Annotated, Any

import azure.functions as func
from pydantic import BaseModel, Field

from core.accounts.models import Email, User
from core.caller import Role
from core.operations.models import Alert, AuditEntry
from core.transcription.models import JobDetail, JobView
from functions.http import API, Call, Listing, Payload, check_id, endpoint
from functions.users import UserReply, show_user

blueprint = func.Blueprint()


class JobList(BaseModel):
    """A page of jobs."""

    items: list[JobView]
    next_cursor: str | None


class AlertList(BaseModel):
    """A page of alerts."""

    items: list[Alert]
    next_cursor: str | None


class UserQuery(Listing):
    """`email` finds the one account of an address."""

    email: Email | None = None


class RolesRequest(Payload):
    """The roles besides `listener`, which everyone has."""

    roles: Annotated[list[Role], Field(max_length=3)]


class UserRow(UserReply):
    """An account as administrators see it."""

    disabled: bool
    last_login_at: datetime | None


class UserList(BaseModel):
    """A page of accounts."""

    items: list[UserRow]
    next_cursor: str | None


class AuditList(BaseModel):
    """A page of the audit."""

    items: list[AuditEntry]
    next_cursor: str | None


def _show(call: Call[Any, Any], user: User) -> UserRow:
    return UserRow(
        **show_user(user, call.services.accounts.sessions.roles(user)).model_dump(),
        disabled=user.disabled_at is not None,
        last_login_at=user.last_login_at,
    )


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


@endpoint(
    blueprint,
    "POST",
    f"{API}/admin/jobs/{{id}}/retry",
    access="admin",
    reply=JobDetail,
    status=202,
    failures=(409,),
)
async def retry_job(call: Call[None, Any]) -> JobDetail:
    """Run a failed job again; only what is missing is done.

    409 unless the job has failed, was rejected or cancelled.
    """
    return await call.services.transcription.retry(check_id(call.params["id"]))


@endpoint(
    blueprint,
    "POST",
    f"{API}/admin/jobs/{{id}}/cancel",
    access="admin",
    reply=JobDetail,
    status=202,
    failures=(409,),
)
async def cancel_job(call: Call[None, Any]) -> JobDetail:
    """End a job: nothing more is asked of the AI for it. What is done stays; a retry goes on from there."""
    job_id = check_id(call.params["id"])
    await call.services.operations.record("job.cancelled", call.user.user_id, job_id, call.origin)
    return await call.services.transcription.cancel(job_id)


@endpoint(blueprint, "GET", f"{API}/admin/alerts", access="admin", query=Listing, reply=AlertList)
async def list_alerts(call: Call[None, Listing]) -> AlertList:
    """List the alerts, newest first."""
    alerts, following = await call.services.operations.alerts(call.query.limit, _place(call.after))
    return AlertList(items=alerts, next_cursor=call.next_cursor(following))


@endpoint(blueprint, "POST", f"{API}/admin/alerts/{{id}}/resolve", access="admin", reply=Alert)
async def resolve_alert(call: Call[None, Any]) -> Alert:
    """Note that an alert has been dealt with."""
    alert_id = check_id(call.params["id"])
    return await call.services.operations.resolve_alert(alert_id, call.user.user_id, call.origin)


@endpoint(blueprint, "GET", f"{API}/admin/users", access="admin", query=UserQuery, reply=UserList)
async def list_users(call: Call[None, UserQuery]) -> UserList:
    """List the accounts, the last to join first."""
    query = call.query
    users, following = await call.services.accounts.administration.users(
        query.email, query.limit, _place(call.after)
    )
    return UserList(items=[_show(call, user) for user in users], next_cursor=call.next_cursor(following))


@endpoint(
    blueprint,
    "PUT",
    f"{API}/admin/users/{{id}}/roles",
    access="admin",
    body=RolesRequest,
    reply=UserRow,
    failures=(409,),
)
async def set_user_roles(call: Call[RolesRequest, Any]) -> UserRow:
    """Set the roles of an account.

    For changes and for administration they hold at once, for other reading from the next access token on.
    409 where administrators would take the role from themselves.
    """
    user_id = check_id(call.params["id"])
    roles = tuple(call.body.roles)
    administration = call.services.accounts.administration
    return _show(call, await administration.set_roles(call.user, user_id, roles, call.origin))


@endpoint(
    blueprint, "POST", f"{API}/admin/users/{{id}}/disable", access="admin", reply=UserRow, failures=(409,)
)
async def disable_user(call: Call[None, Any]) -> UserRow:
    """Close an account.

    It changes nothing from now on, and reads nothing once its access token has ended. 409 for one's own.
    """
    user_id = check_id(call.params["id"])
    return _show(call, await call.services.accounts.administration.close(call.user, user_id, call.origin))


@endpoint(blueprint, "POST", f"{API}/admin/users/{{id}}/enable", access="admin", reply=UserRow)
async def enable_user(call: Call[None, Any]) -> UserRow:
    """Open a closed account again."""
    user_id = check_id(call.params["id"])
    return _show(call, await call.services.accounts.administration.reopen(call.user, user_id, call.origin))


@endpoint(blueprint, "DELETE", f"{API}/admin/users/{{id}}/mfa", access="admin", reply=UserRow)
async def reset_user_mfa(call: Call[None, Any]) -> UserRow:
    """Take a lost second factor from an account; its sessions end, and its owner is told by mail."""
    user_id = check_id(call.params["id"])
    return _show(call, await call.services.accounts.factors.reset(call.user, user_id, call.origin))


@endpoint(blueprint, "GET", f"{API}/admin/audit", access="admin", query=Listing, reply=AuditList)
async def list_audit(call: Call[None, Listing]) -> AuditList:
    """List who did what, newest first."""
    entries, following = await call.services.operations.audit(call.query.limit, _place(call.after))
    return AuditList(items=entries, next_cursor=call.next_cursor(following))
