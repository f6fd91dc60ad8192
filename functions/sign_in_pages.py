"""The pages before sign-in: sign in, join, confirm an address, choose a new password; and sign out."""

import azure.functions as func

from core.errors import (
    AloudError,
    ConflictError,
    EmailUnverifiedError,
    InvalidError,
    MfaInvalidError,
    MfaRequiredError,
)
from functions.accounts import AddressRequest, NewPasswordRequest, RegisterRequest
from functions.callers import cookie_name
from functions.files import DAY
from functions.forms import check_first_form, first_form, parse, read_form, read_own_form
from functions.page import Visit, local_path, make_cookie, page, redirect
from functions.services import services

blueprint = func.Blueprint()


# Sign in and out


@page(blueprint, "login")
async def page_login(visit: Visit) -> func.HttpResponse:
    """The form to sign in."""
    target = local_path(visit.request.params.get("next"))
    return redirect(target) if visit.caller else await _login_form(visit, target)


@page(blueprint, "login", "POST")
async def page_login_submit(visit: Visit) -> func.HttpResponse:
    """Sign in, and go on to where the visitor came from; who needs a code is asked for it."""
    form = read_form(visit.request)
    email, password, target = form.get("email", ""), form.get("password", ""), local_path(form.get("next"))
    sessions = services().accounts.sessions
    try:
        check_first_form(visit.request, form)
        code = form.get("mfa_code", "").strip() or None
        session = await sessions.open_site_session(email, password, code, visit.origin)
    except AloudError as error:
        if error.status >= 500:
            raise
        return await _login_form(visit, target, error, email)
    if visit.caller is not None:
        await sessions.log_out(visit.caller, visit.origin)
    return _enter(session, target)


async def _login_form(
    visit: Visit, target: str, error: AloudError | None = None, email: str = ""
) -> func.HttpResponse:
    return await first_form(
        visit,
        "login.html",
        error,
        target,
        email=email,
        needs_code=isinstance(error, (MfaRequiredError, MfaInvalidError)),
        is_unverified=isinstance(error, EmailUnverifiedError),
    )


@page(blueprint, "logout", "POST")
async def page_logout(visit: Visit) -> func.HttpResponse:
    """End this browser's session."""
    if visit.caller is not None:
        read_own_form(visit)
        await services().accounts.sessions.log_out(visit.caller, visit.origin)
    return redirect("/", cookie=make_cookie(cookie_name(), "", 0))


def _enter(session: str, target: str) -> func.HttpResponse:
    return redirect(
        target, cookie=make_cookie(cookie_name(), session, services().settings.session_days * DAY)
    )


# Join


@page(blueprint, "register")
async def page_register(visit: Visit) -> func.HttpResponse:
    """The form to join."""
    target = local_path(visit.request.params.get("next"))
    if visit.caller is not None:
        return redirect(target)
    return await first_form(visit, "register.html", None, target, email="", display_name="")


@page(blueprint, "register", "POST")
async def page_register_submit(visit: Visit) -> func.HttpResponse:
    """Create the account; sign it in and go on, or, where mail has to be verified, say that one is coming.

    That answer is the same whoever has the address.
    """
    form = read_form(visit.request)
    email, password, name = form.get("email", ""), form.get("password", ""), form.get("display_name", "")
    target = local_path(form.get("next"))
    accounts = services().accounts
    try:
        check_first_form(visit.request, form)
        wish = parse(
            RegisterRequest, {"email": email, "password": password, "display_name": name.strip() or None}
        )
        user = await accounts.registration.register(
            wish.email, wish.password, wish.display_name, visit.origin
        )
        if user is None:
            return await first_form(visit, "sent.html", what="register", email=wish.email)
        session = await accounts.sessions.open_site_session(wish.email, wish.password, None, visit.origin)
    except AloudError as error:
        if error.status >= 500:
            raise
        return await first_form(visit, "register.html", error, target, email=email, display_name=name)
    return _enter(session, target)


# Confirm an address. Whoever scans mails follows their links, so following one changes nothing yet.


@page(blueprint, "verify", secret=True)
async def page_verify(visit: Visit) -> func.HttpResponse:
    """A button that confirms an address; without a token, a form that asks for the link."""
    return await _verify_form(visit, visit.request.params.get("token", ""))


@page(blueprint, "verify", "POST", secret=True)
async def page_verify_submit(visit: Visit) -> func.HttpResponse:
    """Confirm an address, and lead to the sign-in."""
    form = read_form(visit.request)
    try:
        check_first_form(visit.request, form)
        await services().accounts.registration.verify(form.get("token", ""), visit.origin)
    except AloudError as error:
        if error.status >= 500:
            raise
        return await _verify_form(
            visit, "" if isinstance(error, InvalidError) else form.get("token", ""), error
        )
    news = "Your address is confirmed."
    return (
        redirect("/account", news=news) if visit.caller else redirect("/login", news=f"{news} Sign in now.")
    )


async def _verify_form(visit: Visit, token: str, error: AloudError | None = None) -> func.HttpResponse:
    template = "verify.html" if token else "verify_ask.html"
    return await first_form(visit, template, error, token=token, action="/verify", email="")


@page(blueprint, "verify/resend", "POST", secret=True)
async def page_verify_resend(visit: Visit) -> func.HttpResponse:
    """Mail the link again; the answer is the same for every address."""
    form = read_form(visit.request)
    email = form.get("email", "")
    try:
        check_first_form(visit.request, form)
        wish = parse(AddressRequest, {"email": email})
        await services().accounts.registration.request_link(wish.email, visit.origin)
    except AloudError as error:
        if error.status >= 500:
            raise
        return await first_form(visit, "verify_ask.html", error, email=email)
    return await first_form(visit, "sent.html", what="verify", email=wish.email)


@page(blueprint, "verify/email", secret=True)
async def page_verify_email(visit: Visit) -> func.HttpResponse:
    """A button that confirms a change of address."""
    return await _verify_email_form(visit, visit.request.params.get("token", ""))


@page(blueprint, "verify/email", "POST", secret=True)
async def page_verify_email_submit(visit: Visit) -> func.HttpResponse:
    """Move the account to the address that the link was mailed to."""
    form = read_form(visit.request)
    try:
        check_first_form(visit.request, form)
        await services().accounts.recovery.confirm_email(form.get("token", ""), visit.origin)
    except AloudError as error:
        if error.status >= 500:
            raise
        is_over = isinstance(error, (InvalidError, ConflictError))
        return await _verify_email_form(visit, "" if is_over else form.get("token", ""), error)
    news = "Your account has its new address."
    return redirect("/account", news=news) if visit.caller else redirect("/login", news=f"{news} Sign in.")


async def _verify_email_form(visit: Visit, token: str, error: AloudError | None = None) -> func.HttpResponse:
    template = "verify.html" if token else "verify_email_over.html"
    return await first_form(visit, template, error, token=token, action="/verify/email")


# Choose a new password


@page(blueprint, "reset", secret=True)
async def page_reset(visit: Visit) -> func.HttpResponse:
    """A form for the address, or, with the mailed link, for the new password."""
    return await _reset_form(visit, visit.request.params.get("token", ""))


@page(blueprint, "reset", "POST", secret=True)
async def page_reset_submit(visit: Visit) -> func.HttpResponse:
    """Mail a link that sets a new password; the answer is the same for every address."""
    form = read_form(visit.request)
    email = form.get("email", "")
    try:
        check_first_form(visit.request, form)
        wish = parse(AddressRequest, {"email": email})
        await services().accounts.recovery.request_reset(wish.email, visit.origin)
    except AloudError as error:
        if error.status >= 500:
            raise
        return await _reset_form(visit, "", error, email)
    return await first_form(visit, "sent.html", what="reset", email=wish.email)


@page(blueprint, "reset/confirm", "POST", secret=True)
async def page_reset_confirm(visit: Visit) -> func.HttpResponse:
    """Set the new password; every session ends."""
    form = read_form(visit.request)
    token = form.get("token", "")
    try:
        check_first_form(visit.request, form)
        wish = parse(NewPasswordRequest, {"token": token, "password": form.get("password", "")})
        await services().accounts.recovery.reset_password(wish.token, wish.password, visit.origin)
    except AloudError as error:
        if error.status >= 500:
            raise
        is_over = isinstance(error, InvalidError) and "token" in dict(error.fields)
        return await _reset_form(visit, "" if is_over else token, error)
    return redirect(
        "/login",
        news="Your new password is set, and every device is signed out. Sign in with it.",
        cookie=make_cookie(cookie_name(), "", 0),
    )


async def _reset_form(
    visit: Visit, token: str, error: AloudError | None = None, email: str = ""
) -> func.HttpResponse:
    template = "reset_confirm.html" if token else "reset.html"
    return await first_form(visit, template, error, token=token, email=email)
