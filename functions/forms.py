"""What people send with forms, what shows that a form is ours, and how it tells what is wrong."""

import re
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeVar
from urllib.parse import parse_qs

import azure.functions as func
from pydantic import BaseModel, ValidationError

from core.errors import (
    AloudError,
    ForbiddenError,
    InvalidError,
    MalformedRequestError,
    MfaInvalidError,
    MfaRequiredError,
    ThrottledError,
    TooLargeError,
    UnauthenticatedError,
    UnsupportedMediaError,
)
from functions.callers import check_form_token, cookie_name, form_token
from functions.multipart import read_multipart
from functions.page import Visit, make_cookie, retry_after
from functions.rendering import length_of_time

_MAX_FORM_BYTES = 16 * 1024
_MAX_FIELDS = 20
_FORM_SECONDS = 3600
FORM = "form"
"""The name of what is wrong with no field alone."""

Form = Mapping[str, str]
M = TypeVar("M", bound=BaseModel)


def read_form(req: func.HttpRequest, max_fields: int = _MAX_FIELDS) -> Form:
    """The fields of a posted form; of a field sent twice, the first."""
    body = req.get_body()
    if len(body) > _MAX_FORM_BYTES:
        raise TooLargeError("This form is too long.")
    if _media_type(req) != "application/x-www-form-urlencoded":
        raise UnsupportedMediaError("Send the form as a browser does.")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=max_fields)
    except ValueError:
        raise MalformedRequestError("This form cannot be read.") from None
    return {name: values[0] for name, values in fields.items()}


def read_form_with_file(req: func.HttpRequest, name: str, max_bytes: int) -> tuple[Form, bytes]:
    """The fields of a form and the content of its one file, empty if none was chosen."""
    if len(req.get_body()) > max_bytes + _MAX_FORM_BYTES:
        raise TooLargeError(f"This file has more than {max_bytes // 2**20} MB.")
    form = read_multipart(req, name, max_field_bytes=_MAX_FORM_BYTES, max_parts=_MAX_FIELDS)
    return {field: values[0] for field, values in form.fields.items()}, form.content


def _media_type(req: func.HttpRequest) -> str:
    return str(req.headers.get("content-type", "")).partition(";")[0].strip().lower()


def read_own_form(visit: Visit, max_fields: int = _MAX_FIELDS) -> Form:
    """The fields of a form of the caller's own session. Raises ForbiddenError for any other."""
    form = read_form(visit.request, max_fields)
    check_form_token(visit.user.session_id, form.get("csrf", ""))
    return form


def parse(shape: type[M], values: Mapping[str, object]) -> M:
    """Return the model of these fields. Raises InvalidError with a sentence for each field that is wrong."""
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        fields = tuple(
            (str(item["loc"][0]) if item["loc"] else FORM, _sentence(item)) for item in error.errors()
        )
        raise InvalidError("Please check what is marked below.", fields) from None


def _sentence(item: Any) -> str:
    limits = item.get("ctx", {})
    match item["type"]:
        case "missing" | "none_required":
            return "Please fill this in."
        case "string_too_short":
            least = limits["min_length"]
            return "Please fill this in." if least == 1 else f"Use at least {least} characters."
        case "string_too_long" | "too_long":
            return f"Use at most {limits['max_length']} characters."
    text = str(item["msg"]).removeprefix("Value error, ")
    text = text.removeprefix("value is not a valid email address: ")
    if text.startswith("is "):
        text = f"This {text}"
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


# What is wrong


def explain(error: AloudError) -> str:
    """Return what a form says above its fields."""
    match error:
        case ThrottledError():
            return f"Too many tries. Try again in {length_of_time(error.retry_after)}."
        case MfaRequiredError():
            return "Your account asks for a code as well. Enter it together with your password."
        case _ if faults(error):
            return "Please check what is marked below."
    return error.detail


def faults(error: AloudError) -> dict[str, str]:
    """Return what is wrong with which field that people see; a mailed link's token is none."""
    match error:
        case InvalidError():
            return {name: text for name, text in error.fields if name != "token"}
        case MfaRequiredError():
            return {}
        case MfaInvalidError():
            return {"mfa_code": error.detail}
        case UnauthenticatedError():
            return {"password": error.detail}
    return {}


# Forms that are sent before sign-in


async def first_form(
    visit: Visit, template: str, error: AloudError | None = None, target: str = "/", **context: Any
) -> func.HttpResponse:
    """A form that is sent before sign-in: a cookie of its own ties it to this browser."""
    seed = _form_seed(visit.request) or secrets.token_urlsafe(16)
    response = visit.render(
        template,
        status=error.status if error else 200,
        cookie=make_cookie(_form_cookie_name(), seed, _FORM_SECONDS),
        next_path=target,
        form_csrf=form_token(seed),
        next=target,
        message=explain(error) if error else "",
        errors=faults(error) if error else {},
        **context,
    )
    if error:
        response.headers.update(retry_after(error))
    return response


def check_first_form(req: func.HttpRequest, form: Form) -> None:
    """Raises ForbiddenError unless the form was made for this browser."""
    seed = _form_seed(req)
    if seed is None:
        raise ForbiddenError("Your browser did not send our cookie back. Allow cookies, and try again.")
    check_form_token(seed, form.get("csrf", ""))


def _form_seed(req: func.HttpRequest) -> str | None:
    """Return what the form cookie holds, if it is one of ours."""
    try:
        morsel = SimpleCookie(req.headers.get("cookie", "")).get(_form_cookie_name())
    except CookieError:
        return None
    return morsel.value if morsel and re.fullmatch(r"[\w-]{22}", morsel.value, re.ASCII) else None


def _form_cookie_name() -> str:
    return f"{cookie_name()}-form"
