"""Buying over HTTP: the cart, the checkout, orders."""

import json
import re
from typing import Annotated, Any

import azure.functions as func
from pydantic import BaseModel, Field, StringConstraints

from core.commerce.models import Answer, CartView, CheckoutWish, OrderView, Skipped
from core.errors import MalformedRequestError
from core.ids import ID_PATTERN
from functions.http import API, Call, Listing, Payload, Reply, endpoint
from functions.replies import describe_problem
from functions.requests import check_id

blueprint = func.Blueprint()

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_Currency = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
_BookId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]


class CartQuery(Payload):
    """Of the cart."""

    currency: _Currency | None = Field(None, description="In which to show it; else one that all books have.")


class CartAddRequest(Payload):
    """A book to buy."""

    audiobook_id: _BookId


class CartMergeRequest(Payload):
    """What a browser has kept before its user signed in."""

    audiobook_ids: Annotated[list[_BookId], Field(max_length=200)]


class MergedCart(CartView):
    """The cart, and what was not taken into it."""

    skipped: list[Skipped]


class OrderList(BaseModel):
    """A page of orders."""

    items: list[OrderView]
    next_cursor: str | None


class RefundQuery(Payload):
    """Why money goes back: for the audit, and for the buyer, who sees it in the order's history."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""


@endpoint(blueprint, "GET", f"{API}/cart", access="listener", query=CartQuery, reply=CartView)
async def get_cart(call: Call[None, CartQuery]) -> CartView:
    """Show the cart at today's prices.

    A book that cannot be bought has a `problem` and does not count.
    """
    return await call.services.commerce.cart.show(call.user, call.query.currency)


@endpoint(
    blueprint,
    "POST",
    f"{API}/cart/add",
    access="listener",
    body=CartAddRequest,
    reply=CartView,
    failures=(404, 409),
)
async def add_to_cart(call: Call[CartAddRequest, Any]) -> CartView:
    """Put a book into the cart; one that is there already stays.

    409 for a book that is owned, being bought or not on sale, and when 50 are in the cart.
    """
    return await call.services.commerce.cart.add(call.user, call.body.audiobook_id)


@endpoint(blueprint, "POST", f"{API}/cart/merge", access="listener", body=CartMergeRequest, reply=MergedCart)
async def merge_cart(call: Call[CartMergeRequest, Any]) -> MergedCart:
    """Take what a browser has kept into the cart, at login.

    `skipped` says what was left out: owned, not on sale, or beyond 50 books.
    """
    cart, skipped = await call.services.commerce.cart.merge(call.user, call.body.audiobook_ids)
    return MergedCart(**cart.model_dump(), skipped=skipped)


@endpoint(blueprint, "DELETE", f"{API}/cart", access="listener", status=204)
async def empty_cart(call: Call[None, Any]) -> Reply:
    """Take all books out of the cart."""
    await call.services.commerce.cart.empty(call.user)
    return Reply(status=204)


@endpoint(blueprint, "DELETE", f"{API}/cart/{{audiobook_id}}", access="listener", reply=CartView)
async def remove_from_cart(call: Call[None, Any]) -> CartView:
    """Take a book out of the cart; one that is not there is fine."""
    return await call.services.commerce.cart.remove(call.user, check_id(call.params["audiobook_id"]))


@endpoint(
    blueprint,
    "POST",
    f"{API}/checkout",
    access="listener",
    body=CheckoutWish,
    reply=OrderView,
    status=201,
    failures=(402, 409, 429),
    idempotent=True,
)
async def check_out(call: Call[CheckoutWish, Any]) -> Reply:
    """Buy what is in the cart.

    Prices are read anew: with `expected_total` nothing is bought where they have changed (409
    `price-changed`). 402 where the payment was declined; 409 for an empty cart, and for a book that is owned,
    being bought or not on sale. A `pending` order is to be paid at its `pay_url`, or its provider has not
    answered yet: confirm it later. Sent again with the same key, the answer is repeated, errors too, with the
    header `Idempotent-Replayed`; with another body that is a 422.
    """
    key = call.request.headers.get("idempotency-key", "")
    if not _KEY.fullmatch(key):
        raise MalformedRequestError(
            "Send the header Idempotency-Key: 1 to 200 characters, the same ones if you have to ask again."
        )
    answer, is_repeat = await call.services.commerce.checkout.check_out(
        call.user, key, call.body, call.request_id
    )
    return show_answer(call.request, answer, is_repeat)


def show_answer(req: func.HttpRequest, answer: Answer, is_repeat: bool) -> Reply:
    """Return an answer of the checkout as it was the first time."""
    headers = {"Idempotent-Replayed": "true"} if is_repeat else {}
    failure = answer.failure
    if failure is None:
        assert answer.order is not None
        location = {"Location": f"{API}/orders/{answer.order.id}"}
        return Reply(answer.order, 201, headers=headers | location)
    return Reply(
        json.dumps(describe_problem(failure, req, failure.request_id, failure.fields)),
        failure.status,
        "application/problem+json",
        headers=headers,
    )


@endpoint(blueprint, "GET", f"{API}/orders", access="listener", query=Listing, reply=OrderList)
async def list_orders(call: Call[None, Listing]) -> OrderList:
    """List my orders, the newest first."""
    after = None if call.after is None else str(call.after)
    orders, following = await call.services.commerce.orders.history(call.user, call.query.limit, after)
    return OrderList(items=orders, next_cursor=call.next_cursor(following))


@endpoint(blueprint, "GET", f"{API}/orders/{{id}}", access="listener", reply=OrderView)
async def get_order(call: Call[None, Any]) -> OrderView:
    """Show one of my orders, with its history."""
    return await call.services.commerce.orders.get(call.user, check_id(call.params["id"]))


@endpoint(
    blueprint,
    "POST",
    f"{API}/orders/{{id}}/confirm",
    access="listener",
    reply=OrderView,
    failures=(429,),
)
async def confirm_order(call: Call[None, Any]) -> OrderView:
    """Look whether my order was paid, for instance on coming back from the provider's page."""
    return await call.services.commerce.orders.confirm(call.user, check_id(call.params["id"]))


@endpoint(
    blueprint,
    "POST",
    f"{API}/orders/{{id}}/cancel",
    access="listener",
    reply=OrderView,
    failures=(429,),
)
async def cancel_order(call: Call[None, Any]) -> OrderView:
    """End my order that is still pending, so that its books can be bought again.

    One that was paid in this moment is paid; the answer tells.
    """
    return await call.services.commerce.orders.cancel(call.user, check_id(call.params["id"]))


@endpoint(
    blueprint,
    "POST",
    f"{API}/orders/{{id}}/refund",
    access="admin",
    query=RefundQuery,
    reply=OrderView,
    failures=(409,),
)
async def refund_order(call: Call[None, RefundQuery]) -> OrderView:
    """Give the money of a paid order back, take its books back, and tell its buyer.

    It is done once, however often it is asked for. 409 for an order that was not paid, and where the
    provider refuses.
    """
    order_id, reason = check_id(call.params["id"]), call.query.reason
    return await call.services.commerce.orders.refund(call.user, order_id, reason, call.origin)
