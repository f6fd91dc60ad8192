"""The cart's page, and what puts books into it; before sign-in the browser keeps the cart by itself."""

from typing import Any

import azure.functions as func

from core.commerce.models import CartView
from core.errors import AloudError
from functions.files import YEAR
from functions.forms import explain, read_own_form
from functions.http import check_id
from functions.page import Visit, local_path, make_cookie, page, redirect
from functions.prices import chosen_currency, currency_cookie, preferred_currency
from functions.services import services

blueprint = func.Blueprint()


@page(blueprint, "cart", secret=True)
async def page_cart(visit: Visit) -> func.HttpResponse:
    """What somebody wants to buy, at today's prices; a choice of currency is kept in a cookie."""
    chosen = chosen_currency(visit.request.params.get("currency"))
    cookie = make_cookie(currency_cookie(), chosen, YEAR) if chosen else None
    preferred = preferred_currency(visit.request)
    if visit.caller is None:
        return visit.render("cart_kept.html", currency=preferred or "", cookie=cookie)
    cart = await services().commerce.cart.show(visit.user, preferred=preferred)
    return visit.render("cart.html", **describe_cart(cart), values={}, errors={}, message="", cookie=cookie)


def describe_cart(cart: CartView) -> dict[str, Any]:
    """Return what the page of a cart shows of it."""
    can_buy = bool(cart.items) and all(item.problem is None for item in cart.items)
    return {"cart": cart, "cart_count": len(cart.items), "can_buy": can_buy}


@page(blueprint, "cart/add", "POST", access="listener", secret=True)
async def page_cart_add(visit: Visit) -> func.HttpResponse:
    """Put a book into the cart, and lead back to where it was found."""
    form = read_own_form(visit)
    target = local_path(form.get("next"))
    try:
        await services().commerce.cart.add(visit.user, check_id(form.get("book_id", "")))
    except AloudError as error:
        if error.status >= 500:
            raise
        return redirect(target, news=explain(error))
    return redirect(target, news="It is in your cart now.")


@page(blueprint, "cart/remove", "POST", access="listener", secret=True)
async def page_cart_remove(visit: Visit) -> func.HttpResponse:
    """Take a book out of the cart."""
    form = read_own_form(visit)
    await services().commerce.cart.remove(visit.user, check_id(form.get("book_id", "")))
    return redirect("/cart", news="The book is out of your cart.")
