"""The pages of one's own account: profile, ways to sign in, devices, a copy of everything, the end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import azure.functions as func

from core.accounts.models import Proof
from core.accounts.profiles import ProfileChange
from core.errors import AloudError
from core.ids import now
from functions.accounts import CodeRequest
from functions.bars import show_bars
from functions.callers import check_form_token, cookie_name
from functions.files import YEAR, serve
from functions.forms import Form, explain, faults, parse, read_form_with_file, read_own_form
from functions.http import check_id
from functions.page import (
    HttpFunction,
    Visit,
    as_stranger,
    make_cookie,
    page,
    redirect,
    retry_after,
)
from functions.services import services
from functions.users import MAX_PICTURE_BYTES, NewEmailRequest, NewPasswordRequest

blueprint = func.Blueprint()

_LANGUAGES = {
    "en": "English",
    "cs": "Čeština",
    "da": "Dansk",
    "de": "Deutsch",
    "es": "Español",
    "fr": "Français",
    "it": "Italiano",
    "nl": "Nederlands",
    "pl": "Polski",
    "pt": "Português",
    "sv": "Svenska",
}
_HOME = "/account"

FormHandler = Callable[[Visit, Form], Awaitable[func.HttpResponse]]


@dataclass(frozen=True)
class Refused:
    """A form of the account's page that was not taken, and why. Passwords and codes do not come back."""

    form: str = ""
    message: str = ""
    faults: dict[str, str] = field(default_factory=dict)
    values: Form = field(default_factory=dict)


@page(blueprint, "account", access="listener", secret=True)
async def page_account(visit: Visit) -> func.HttpResponse:
    """Everything about one's own account."""
    return await _account_page(visit, Refused())


async def _account_page(visit: Visit, refused: Refused, status: int = 200) -> func.HttpResponse:
    accounts = services().accounts
    person = visit.person
    devices, exports, stats = await asyncio.gather(
        accounts.sessions.devices(visit.user),
        accounts.holdings.exports(visit.user),
        services().listening.sessions.stats(visit.user.user_id),
    )
    return visit.render(
        "account.html",
        status=status,
        refused=refused,
        devices=devices,
        exports=exports[:5],
        stats=stats,
        bars=show_bars(stats, now().date()),
        is_exporting=any(export.status in ("waiting", "running") for export in exports),
        codes_left=len(person.second_factor.recovery) if person.second_factor else 0,
        languages={person.locale: person.locale, **_LANGUAGES},
    )


def account_form(route: str) -> Callable[[FormHandler], HttpFunction]:
    """Register an async handler for a form of the account's page; what it refuses is told on that page."""

    def register(handler: FormHandler) -> HttpFunction:
        async def submit(visit: Visit) -> func.HttpResponse:
            form: Form = {}
            try:
                form = read_own_form(visit)
                return await handler(visit, form)
            except AloudError as error:
                if error.status >= 500:
                    raise
                return await _refuse(visit, route, error, form)

        submit.__name__ = handler.__name__
        submit.__doc__ = handler.__doc__
        submit.__module__ = handler.__module__
        return page(blueprint, f"account/{route}", "POST", access="listener", secret=True)(submit)

    return register


async def _refuse(visit: Visit, form_name: str, error: AloudError, form: Form) -> func.HttpResponse:
    refused = Refused(form_name, explain(error), faults(error), form)
    response = await _account_page(visit, refused, error.status)
    response.headers.update(retry_after(error))
    return response


def _read_proof(form: Form) -> Proof:
    code = form.get("mfa_code", "").strip()
    return parse(Proof, {"password": form.get("password") or None, "mfa_code": code or None})


# Profile


@account_form("profile")
async def page_account_profile(visit: Visit, form: Form) -> func.HttpResponse:
    """Set what a person shows and prefers."""
    change = parse(
        ProfileChange,
        {
            **{name: form.get(name, "") for name in ("display_name", "bio", "playback_speed", "locale")},
            "notifications": {name: name in form for name in ("new_releases", "recommendations")},
        },
    )
    await services().accounts.profiles.change(visit.user.user_id, change)
    return redirect(_HOME, news="Your profile is saved.")


@page(blueprint, "account/picture", "POST", access="listener", secret=True)
async def page_account_picture(visit: Visit) -> func.HttpResponse:
    """Set one's picture, from a form with a file."""
    try:
        form, content = read_form_with_file(visit.request, "picture", MAX_PICTURE_BYTES)
        check_form_token(visit.user.session_id, form.get("csrf", ""))
        await services().accounts.profiles.set_picture(visit.user.user_id, content)
    except AloudError as error:
        if error.status >= 500:
            raise
        return await _refuse(visit, "picture", error, {})
    return redirect(_HOME, news="Your new picture is here.")


@account_form("picture/remove")
async def page_account_picture_remove(visit: Visit, _: Form) -> func.HttpResponse:
    """Go without a picture."""
    await services().accounts.profiles.remove_picture(visit.user.user_id)
    return redirect(_HOME, news="Your picture is gone.")


@page(blueprint, "pictures/{user_id}/{picture_id}", same_for_all=True)
async def page_picture(visit: Visit) -> func.HttpResponse:
    """A person's picture; under its address it never changes. Only browsers keep it: it may be removed."""
    user_id, picture_id = (check_id(visit.request.route_params[name]) for name in ("user_id", "picture_id"))
    content = await services().accounts.profiles.picture(user_id, picture_id)
    return serve(visit.request, content, "image/webp", picture_id, f"private, max-age={YEAR}, immutable")


# Ways to sign in


@account_form("email")
async def page_account_email(visit: Visit, form: Form) -> func.HttpResponse:
    """Mail a link that moves the account to another address."""
    wish = parse(NewEmailRequest, {"email": form.get("email", "")})
    await services().accounts.recovery.request_email(visit.user, wish.email, _read_proof(form), visit.origin)
    return redirect(_HOME, news="Look into the mail of the new address: the link there completes the change.")


@account_form("verification")
async def page_account_verification(visit: Visit, _: Form) -> func.HttpResponse:
    """Mail the link that confirms one's address."""
    person = visit.person
    await services().accounts.registration.request_link(person.email, visit.origin)
    return redirect(_HOME, news="Look into your mail: the link there confirms your address.")


@account_form("password")
async def page_account_password(visit: Visit, form: Form) -> func.HttpResponse:
    """Set a new password; all other devices are signed out."""
    wish = parse(NewPasswordRequest, {"new_password": form.get("new_password", "")})
    await services().accounts.recovery.change_password(
        visit.user, _read_proof(form), wish.new_password, visit.origin
    )
    return redirect(_HOME, news="Your new password is set. All other devices are signed out.")


@account_form("mfa/setup")
async def page_account_mfa_setup(visit: Visit, form: Form) -> func.HttpResponse:
    """Begin with a second factor: its secret is on this one answer alone."""
    setup = await services().accounts.factors.set_up(visit.user, _read_proof(form), visit.origin)
    return visit.render("mfa_setup.html", setup=setup, message="", next_path=_HOME)


@page(blueprint, "account/mfa/confirm", "POST", access="listener", secret=True)
async def page_account_mfa_confirm(visit: Visit) -> func.HttpResponse:
    """Switch the second factor on: the recovery codes are on this one answer alone."""
    try:
        form = read_own_form(visit)
        wish = parse(CodeRequest, {"mfa_code": form.get("mfa_code", "").strip()})
        shown = await services().accounts.factors.confirm(visit.user, wish.mfa_code, visit.origin)
    except AloudError as error:
        if error.status >= 500:
            raise
        response = visit.render(
            "mfa_setup.html",
            status=error.status,
            setup=None,
            message=faults(error).get("mfa_code", explain(error)),
            next_path=_HOME,
        )
        response.headers.update(retry_after(error))
        return response
    return visit.render("mfa_codes.html", codes=shown.recovery_codes, next_path=_HOME)


@account_form("mfa/remove")
async def page_account_mfa_remove(visit: Visit, form: Form) -> func.HttpResponse:
    """Switch the second factor off."""
    await services().accounts.factors.remove(visit.user, _read_proof(form), visit.origin)
    return redirect(_HOME, news="The second factor is off. Your password alone signs you in.")


# Devices


@account_form("devices/end")
async def page_account_device_end(visit: Visit, form: Form) -> func.HttpResponse:
    """Sign one device out."""
    session_id = check_id(form.get("session_id", ""))
    await services().accounts.sessions.end(visit.user, session_id, visit.origin)
    if session_id == visit.user.session_id:
        return _goodbye("You are signed out.")
    return redirect(_HOME, news="That device is signed out.")


@account_form("devices/end-all")
async def page_account_devices_end(visit: Visit, _: Form) -> func.HttpResponse:
    """Sign every device out, this one too."""
    await services().accounts.sessions.log_out_everywhere(visit.user, visit.origin)
    return _goodbye("You are signed out everywhere.")


def _goodbye(news: str) -> func.HttpResponse:
    return redirect("/login", news=news, cookie=make_cookie(cookie_name(), "", 0))


# What is held


@account_form("export")
async def page_account_export_request(visit: Visit, _: Form) -> func.HttpResponse:
    """Ask for a copy of everything."""
    await services().accounts.holdings.request_export(visit.user, visit.origin)
    return redirect(_HOME, news="Your copy is being made. A mail tells when it is ready.")


@page(blueprint, "account/export/{export_id}", access="listener", secret=True)
async def page_account_export(visit: Visit) -> func.HttpResponse:
    """Lead to the file of a copy, by a link that is good for some minutes."""
    export_id = check_id(visit.request.route_params["export_id"])
    export = await services().accounts.holdings.export(visit.user, export_id)
    if export.url is None:
        return redirect(_HOME, news="That copy is not there. Ask for a new one.")
    return func.HttpResponse(status_code=303, headers={"Location": export.url})


@account_form("delete")
async def page_account_delete(visit: Visit, form: Form) -> func.HttpResponse:
    """Delete the account, and say goodbye."""
    receipt = await services().accounts.holdings.request_erasure(visit.user, _read_proof(form), visit.origin)
    return as_stranger(visit).render(
        "goodbye.html", receipt=receipt, next_path="/", cookie=make_cookie(cookie_name(), "", 0)
    )
