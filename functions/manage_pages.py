"""The pages of administrators: who has an account and which roles, and who did what."""

from urllib.parse import urlencode

import azure.functions as func
from pydantic import TypeAdapter, ValidationError

from core.accounts.models import Email, User
from core.caller import Role
from core.errors import AloudError
from functions.admin import RolesRequest
from functions.forms import Form, explain, parse, read_own_form
from functions.http import check_id
from functions.page import Visit, page, redirect, sign_place
from functions.services import services

blueprint = func.Blueprint()

_USERS_A_PAGE = 25
_ENTRIES_A_PAGE = 50
_GIVEN_ROLES: tuple[Role, ...] = ("publisher", "admin")
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)


@page(blueprint, "manage/users", access="admin", secret=True)
async def page_manage_users(visit: Visit) -> func.HttpResponse:
    """The accounts, the last to join first, or the one of an address."""
    return await _users_page(visit, visit.request.params.get("email", ""))


async def _users_page(visit: Visit, email: str, error: AloudError | None = None) -> func.HttpResponse:
    accounts = services().accounts
    email = email.strip()
    users: list[User] = []
    following = None
    if not email or _is_email(email):
        users, following = await accounts.administration.users(
            email or None, _USERS_A_PAGE, None if error else visit.read_place("users")
        )
    return visit.render(
        "manage_users.html",
        status=error.status if error else 200,
        next_path="/manage/users",
        users=[(user, accounts.sessions.roles(user)) for user in users],
        given_roles=_GIVEN_ROLES,
        email=email,
        after=visit.request.params.get("after", ""),
        more=sign_place("users", following),
        message=explain(error) if error else "",
    )


def _is_email(text: str) -> bool:
    try:
        _EMAIL.validate_python(text)
    except ValidationError:
        return False
    return True


@page(blueprint, "manage/users/{user_id}/roles", "POST", access="admin", secret=True)
async def page_manage_roles(visit: Visit) -> func.HttpResponse:
    """Set a person's roles."""
    try:
        form = read_own_form(visit)
        wish = parse(RolesRequest, {"roles": [role for role in _GIVEN_ROLES if role in form]})
        administration = services().accounts.administration
        user = await administration.set_roles(visit.user, _user_id(visit), tuple(wish.roles), visit.origin)
    except AloudError as error:
        return await _refuse(visit, error)
    return _back(form, f"{user.display_name}: the roles are set.")


@page(blueprint, "manage/users/{user_id}/close", "POST", access="admin", secret=True)
async def page_manage_close(visit: Visit) -> func.HttpResponse:
    """Close an account."""
    try:
        form = read_own_form(visit)
        user = await services().accounts.administration.close(visit.user, _user_id(visit), visit.origin)
    except AloudError as error:
        return await _refuse(visit, error)
    return _back(form, f"{user.display_name}: the account is closed.")


@page(blueprint, "manage/users/{user_id}/reopen", "POST", access="admin", secret=True)
async def page_manage_reopen(visit: Visit) -> func.HttpResponse:
    """Open a closed account again."""
    try:
        form = read_own_form(visit)
        user = await services().accounts.administration.reopen(visit.user, _user_id(visit), visit.origin)
    except AloudError as error:
        return await _refuse(visit, error)
    return _back(form, f"{user.display_name}: the account is open again.")


def _user_id(visit: Visit) -> str:
    return check_id(visit.request.route_params["user_id"])


async def _refuse(visit: Visit, error: AloudError) -> func.HttpResponse:
    if error.status >= 500:
        raise error
    return await _users_page(visit, "", error)


def _back(form: Form, news: str) -> func.HttpResponse:
    """Lead to the part of the list that the form was on."""
    query = urlencode({name: form[name] for name in ("email", "after") if form.get(name)})
    return redirect(f"/manage/users?{query}" if query else "/manage/users", news=news)


@page(blueprint, "manage/audit", access="admin", secret=True)
async def page_manage_audit(visit: Visit) -> func.HttpResponse:
    """Who did what, the newest first."""
    entries, following = await services().operations.audit(_ENTRIES_A_PAGE, visit.read_place("audit"))
    return visit.render(
        "manage_audit.html",
        next_path="/manage/users",
        entries=entries,
        after="after" in visit.request.params,
        more=sign_place("audit", following),
    )
