"""The checkout's pages: a look at what it costs, then one press of a button that counts once."""

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import azure.functions as func

from core.commerce.giving import GiftWish
from core.commerce.models import MAX_BOOKS, Answer, CheckoutWish, ExpectedTotal, Failure
from core.errors import (
    AloudError,
    ConflictError,
    InvalidError,
    MalformedRequestError,
    ThrottledError,
)
from core.ids import is_id
from functions.forms import Form, explain, faults, parse, read_own_form
from functions.http import check_id
from functions.page import Visit, local_path, page, redirect, retry_after
from functions.prices import chosen_currency, preferred_currency
from functions.services import services

blueprint = func.Blueprint()

_FREE = "free"
_MAX_KEY = 64
_AMOUNT = re.compile(r"[0-9]{1,15}")
_ADVICE = {
    "price-changed": "Nothing was bought. If you want it at this price, press the button once more.",
    "payment-declined": "Nothing was paid. Try another way to pay, or this one again.",
}
_PAGE_IS_OLD = (
    "This page was sent before, with something else chosen. Check it, and press the button once more."
)

_PAGE_IS_BROKEN = "This page was not sent as a whole. Load it again."


@dataclass(frozen=True)
class Trouble:
    """Why nothing was bought: a sentence for all of the page, and one for each field that is wrong."""

    message: str = ""
    faults: dict[str, str] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: AloudError) -> "Trouble":
        """Return what an error tells; one that cannot be told here is raised."""
        if error.status >= 500 or not isinstance(error, (ConflictError, InvalidError, ThrottledError)):
            raise error
        return cls(explain(error), faults(error), error.status, retry_after(error))

    @classmethod
    def answered(cls, failure: Failure) -> "Trouble":
        """Return what a checkout was answered that bought nothing."""
        fields = dict(failure.fields)
        message = "Please check what is marked below." if fields else failure.detail
        return cls(f"{message} {_ADVICE.get(failure.slug, '')}".strip(), _by_field(fields), failure.status)


def _by_field(fields: dict[str, str]) -> dict[str, str]:
    """Name what is wrong with a gift after its fields in the form."""
    known = {"gift": "gift_email", "email": "gift_email", "message": "gift_message"}
    return {known.get(name, name): text for name, text in fields.items()}


@page(blueprint, "checkout", access="listener", secret=True)
async def page_checkout(visit: Visit) -> func.HttpResponse:
    """What the cart costs now, and the ways to pay for it; with `give`, one book as a gift instead."""
    given = visit.request.params.get("give", "")
    return await _review(visit, {"give": given} if given else {})


@page(blueprint, "checkout", "POST", access="listener", secret=True)
async def page_checkout_review(visit: Visit) -> func.HttpResponse:
    """The same with a voucher, as a gift, in another currency; nothing is bought yet."""
    form = read_own_form(visit)
    try:
        _read_gift(form)
    except InvalidError as error:
        return await _review(visit, form, Trouble.of(error))
    return await _review(visit, form)


@page(blueprint, "checkout/pay", "POST", access="listener", secret=True)
async def page_checkout_pay(visit: Visit) -> func.HttpResponse:
    """Buy what the page has shown, whatever the cart holds by now, once; and lead to the order."""
    form = read_own_form(visit)
    try:
        wish = _read_wish(form)
        answer, _ = await services().commerce.checkout.check_out(
            visit.user, _read_key(form), wish, visit.request_id, only=_read_books(form)
        )
    except AloudError as error:
        if isinstance(error, InvalidError) and "Idempotency-Key" in dict(error.fields):
            return await _review(visit, form, Trouble(_PAGE_IS_OLD, status=error.status))
        return await _review(visit, form, Trouble.of(error))
    if answer.order is not None:
        return _lead_to_order(answer)
    assert answer.failure is not None
    return await _review(visit, form, Trouble.answered(answer.failure))


@page(blueprint, "library/take", "POST", access="listener", secret=True)
async def page_library_take(visit: Visit) -> func.HttpResponse:
    """Get a free book, whatever else is in the cart."""
    form = read_own_form(visit)
    book_id = check_id(form.get("book_id", ""))
    answer, _ = await services().commerce.checkout.take(
        visit.user, book_id, _read_key(form), visit.request_id
    )
    news = answer.failure.detail if answer.failure else "It is in your library now."
    return redirect(local_path(form.get("next")), news=news)


def make_key() -> str:
    """Return what tells a page from all others, so that what it sends is done once."""
    return secrets.token_urlsafe(16)


def _read_key(form: Form) -> str:
    key = form.get("key", "")
    if not key or len(key) > _MAX_KEY or not key.isascii() or not key.isprintable():
        raise MalformedRequestError(_PAGE_IS_BROKEN)
    return f"page-{key}"


def _read_books(form: Form) -> list[str]:
    book_ids = list(dict.fromkeys(form.get("books", "").split()))
    if not 0 < len(book_ids) <= MAX_BOOKS or not all(map(is_id, book_ids)):
        raise MalformedRequestError(_PAGE_IS_BROKEN)
    return book_ids


def _read_gift(form: Form) -> GiftWish | None:
    email, message = form.get("gift_email", "").strip(), form.get("gift_message", "").strip()
    given = _given(form)
    if not email and not message and not given:
        return None
    fields = {"email": email, "message": message.replace("\r\n", "\n"), "audiobook_ids": given}
    try:
        return parse(GiftWish, fields)
    except InvalidError as error:
        raise InvalidError(error.detail, tuple(_by_field(dict(error.fields)).items())) from None


def _given(form: Form) -> list[str]:
    """Return the one book that is given away, if that is what the page is for."""
    return [check_id(form["give"])] if form.get("give") else []


def _read_wish(form: Form) -> CheckoutWish:
    amount, currency = form.get("total", ""), form.get("total_currency", "")
    if not _AMOUNT.fullmatch(amount) or chosen_currency(currency) is None:
        raise MalformedRequestError(_PAGE_IS_BROKEN)
    fields: dict[str, Any] = {
        "payment_method": form.get("payment_method", _FREE),
        "voucher_code": form.get("voucher_code", "").strip() or None,
        "gift": _read_gift(form),
        "currency": currency,
        "expected_total": ExpectedTotal(amount=int(amount), currency=currency),
    }
    return parse(CheckoutWish, fields)


def _lead_to_order(answer: Answer) -> func.HttpResponse:
    order = answer.order
    assert order is not None
    news = None
    if order.state == "paid":
        news = "Thank you. The gift is on its way." if order.gift else "Thank you. It is all in your library."
    return redirect(f"/orders/{order.id}", news=news)


def _has_gift(form: Form, shown: Trouble) -> bool:
    """Tell whether the form says to whom it all goes, and nothing is wrong with that."""
    return bool(form.get("gift_email")) and not shown.faults.keys() & {"gift_email", "gift_message"}


async def _review(visit: Visit, form: Form, trouble: Trouble | None = None) -> func.HttpResponse:
    """Show what the cart costs, with a key of this page alone; a voucher that is refused is left out."""
    checkout = services().commerce.checkout
    code = form.get("voucher_code", "").strip() or None
    if trouble is not None and "voucher_code" in trouble.faults:
        code = None
    currency = chosen_currency(form.get("currency"))
    preferred = currency or preferred_currency(visit.request)
    bill, shown = None, trouble or Trouble()
    try:
        bill = await checkout.quote(visit.user, code, preferred, _given(form))
    except (InvalidError, ThrottledError) as error:
        refused = Trouble.of(error)
        fault = refused.faults.get("voucher_code", refused.message)
        shown = trouble or Trouble(
            "Please check what is marked below.", {"voucher_code": fault}, refused.status, refused.headers
        )
        code, bill = None, await checkout.quote(visit.user, None, preferred, _given(form))
    except ConflictError as error:
        if trouble is None:
            return redirect("/cart", news=error.detail)
        shown = trouble
    response = visit.render(
        "checkout.html",
        status=shown.status,
        next_path="/cart",
        bill=bill,
        code=code,
        give=form.get("give", ""),
        gift=_read_gift(form) if _has_gift(form, shown) else None,
        values=form,
        errors=shown.faults,
        message=shown.message,
        methods=checkout.methods,
        chosen_method=form.get("payment_method", ""),
        key=make_key(),
    )
    response.headers.update(shown.headers)
    return response
