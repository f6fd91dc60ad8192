"""The pages of one's own orders: the history, and one order, to follow, to cancel and to print."""

import asyncio

import azure.functions as func

from core.errors import AloudError
from functions.forms import explain, read_own_form
from functions.http import check_id
from functions.page import Visit, page, redirect, sign_place
from functions.services import services

blueprint = func.Blueprint()

_ORDERS_A_PAGE = 20
_NEWS = {
    "pending": "It is not paid yet.",
    "paid": "It is paid. Thank you.",
    "failed": "This order has ended. Nothing was paid for it.",
    "refunded": "This order was refunded.",
}


@page(blueprint, "orders", access="listener", secret=True)
async def page_orders(visit: Visit) -> func.HttpResponse:
    """What somebody has ordered, the newest first."""
    orders, following = await services().commerce.orders.history(
        visit.user, _ORDERS_A_PAGE, visit.read_place("orders")
    )
    return visit.render(
        "orders.html",
        orders=orders,
        after="after" in visit.request.params,
        more=sign_place("orders", following),
    )


@page(blueprint, "orders/{id}", access="listener", secret=True)
async def page_order(visit: Visit) -> func.HttpResponse:
    """One order: a receipt, or where to pay."""
    commerce = services().commerce
    order, cart_count = await asyncio.gather(
        commerce.orders.get(visit.user, _order_id(visit)), commerce.cart.size(visit.user)
    )
    return visit.render("order.html", order=order, cart_count=cart_count)


@page(blueprint, "orders/{id}/confirm", "POST", access="listener", secret=True)
async def page_order_confirm(visit: Visit) -> func.HttpResponse:
    """Look whether an order was paid."""
    read_own_form(visit)
    order = await services().commerce.orders.confirm(visit.user, _order_id(visit))
    return redirect(f"/orders/{order.id}", news=_NEWS[order.state])


@page(blueprint, "orders/{id}/cancel", "POST", access="listener", secret=True)
async def page_order_cancel(visit: Visit) -> func.HttpResponse:
    """End an order that waits for its payment."""
    read_own_form(visit)
    order_id = _order_id(visit)
    try:
        order = await services().commerce.orders.cancel(visit.user, order_id)
    except AloudError as error:
        if error.status >= 500 or error.status == 404:
            raise
        return redirect(f"/orders/{order_id}", news=explain(error))
    return redirect(f"/orders/{order.id}", news=_NEWS[order.state])


def _order_id(visit: Visit) -> str:
    return check_id(visit.request.route_params["id"])
