"""The pages on which administrators look after the shop: an order and its refund, and vouchers."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import azure.functions as func

from core.commerce.discounts import Voucher
from core.commerce.models import Order, show
from core.currencies import decimals_of
from core.errors import AloudError, InvalidError, NotFoundError
from core.ids import now
from functions.forms import FORM, Form, explain, faults, parse, read_own_form
from functions.http import check_id
from functions.page import Visit, page, redirect, sign_place
from functions.prices import chosen_currency
from functions.services import services
from functions.vouchers import NewVoucher

blueprint = func.Blueprint()

_ORDERS, _VOUCHERS = "/manage/orders", "/manage/vouchers"
_VOUCHERS_A_PAGE = 25
_MAX_REASON = 500


# Orders


@page(blueprint, "manage/orders", access="admin", secret=True)
async def page_manage_orders(visit: Visit) -> func.HttpResponse:
    """An order, found by its id."""
    return await _orders_page(visit, visit.request.params.get("id", ""))


@page(blueprint, "manage/orders/{id}/refund", "POST", access="admin", secret=True)
async def page_manage_refund(visit: Visit) -> func.HttpResponse:
    """Give the money of an order back, and take its books back."""
    order_id = visit.request.route_params["id"]
    try:
        form = read_own_form(visit)
        check_id(order_id)
        reason = form.get("reason", "").strip()[:_MAX_REASON]
        order = await services().commerce.orders.refund(visit.user, order_id, reason, visit.origin)
    except AloudError as error:
        return await _orders_page(visit, order_id, error)
    return redirect(f"{_ORDERS}?id={order_id}", news=f"Order {order.number} is refunded.")


async def _orders_page(visit: Visit, text: str, error: AloudError | None = None) -> func.HttpResponse:
    if error is not None and error.status >= 500:
        raise error
    order = await _find(text.strip())
    return visit.render(
        "manage_orders.html",
        status=error.status if error else 200,
        next_path=_ORDERS,
        wanted=text.strip(),
        order=show(order) if order else None,
        buyer=order.user_id if order else "",
        email=order.payment.email if order else "",
        message=explain(error) if error else "",
    )


async def _find(order_id: str) -> Order | None:
    try:
        return await services().commerce.orders.find(check_id(order_id)) if order_id else None
    except NotFoundError:
        return None


# Vouchers


@page(blueprint, "manage/vouchers", access="admin", secret=True)
async def page_manage_vouchers(visit: Visit) -> func.HttpResponse:
    """The vouchers, the newest first, and a form for one more."""
    return await _vouchers_page(visit)


@page(blueprint, "manage/vouchers", "POST", access="admin", secret=True)
async def page_manage_voucher_make(visit: Visit) -> func.HttpResponse:
    """Make a voucher."""
    form: Form = {}
    try:
        form = read_own_form(visit)
        wish = parse(NewVoucher, _read_terms(form))
        voucher = Voucher.model_validate({"code": wish.code, "created_at": now(), **wish.fields()})
        await services().commerce.vouchers.create(visit.user, voucher, visit.origin)
    except AloudError as error:
        return await _vouchers_page(visit, error, form)
    return redirect(_VOUCHERS, news=f"{voucher.code} can be used.")


@page(blueprint, "manage/vouchers/end", "POST", access="admin", secret=True)
async def page_manage_voucher_end(visit: Visit) -> func.HttpResponse:
    """End a voucher."""
    try:
        code = read_own_form(visit).get("voucher", "")
        await services().commerce.vouchers.end(visit.user, code, visit.origin)
    except AloudError as error:
        return await _vouchers_page(visit, error)
    return redirect(_VOUCHERS, news=f"{code} has ended.")


def _read_terms(form: Form) -> dict[str, Any]:
    """Return the terms that a form names, as the API takes them; times are UTC."""
    said: dict[str, Any] = {
        "audiobook_ids": form.get("books", "").split(),
        "note": form.get("note", ""),
    }
    if form.get("code", "").strip():
        said["code"] = form["code"]
    for name in ("max_uses", "max_uses_per_user"):
        said[name] = form.get(name, "").strip() or None
    for name in ("starts_at", "expires_at"):
        said[name] = _read_time(name, form.get(name, ""))
    if form.get("worth") == "amount":
        said["amount"] = _read_amount(form)
    else:
        said["percent"] = form.get("percent", "").strip() or None
    return said


def _read_time(name: str, text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
    except ValueError:
        raise InvalidError("Check the times.", ((name, "Write it as 2026-12-24T18:00."),)) from None


def _read_amount(form: Form) -> dict[str, Any]:
    currency = form.get("currency", "").strip().upper()
    if chosen_currency(currency) is None:
        raise InvalidError("Check the amount.", (("currency", "Three letters, as USD."),))
    try:
        amount = Decimal(form.get("amount", "").strip()).scaleb(decimals_of(currency))
        if not 0 < amount < 10**12 or amount != int(amount):
            raise InvalidOperation
    except InvalidOperation:
        raise InvalidError("Check the amount.", (("amount", "An amount over 0, as 5.00."),)) from None
    return {"amount": int(amount), "currency": currency}


async def _vouchers_page(
    visit: Visit, error: AloudError | None = None, form: Form | None = None
) -> func.HttpResponse:
    if error is not None and error.status >= 500:
        raise error
    place = None if error else visit.read_place("vouchers")
    vouchers, following = await services().commerce.vouchers.list_newest(_VOUCHERS_A_PAGE, place)
    wrong = faults(error) if error else {}
    if "audiobook_ids" in wrong:
        wrong["books"] = wrong["audiobook_ids"]
    return visit.render(
        "manage_vouchers.html",
        status=error.status if error else 200,
        next_path=_VOUCHERS,
        vouchers=vouchers,
        at=now(),
        after=visit.request.params.get("after", ""),
        more=sign_place("vouchers", following),
        values=form or {},
        errors=wrong,
        message=wrong.get(FORM) or (explain(error) if error else ""),
    )
