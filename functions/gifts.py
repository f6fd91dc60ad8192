"""Gifts over HTTP, and the page that a gift's link leads to."""

from datetime import datetime
from typing import Any

import azure.functions as func
from pydantic import BaseModel

from core.catalog.models import summarise
from core.commerce.giving import Gift, GiftCode, GiftState
from core.errors import AloudError, ConflictError
from functions.forms import read_own_form
from functions.http import API, Call, Payload, endpoint
from functions.page import Visit, page, redirect
from functions.services import services

blueprint = func.Blueprint()


class RedeemRequest(Payload):
    """A gift, by the last part of its link."""

    code: GiftCode


class RedeemedBook(BaseModel):
    """A book that came with a gift."""

    audiobook_id: str
    title: str


class RedeemedGift(BaseModel):
    """What the caller has got of a gift; `open` while it holds books for others."""

    state: GiftState
    giver: str
    message: str
    redeemed: list[RedeemedBook]
    created_at: datetime


@endpoint(
    blueprint,
    "POST",
    f"{API}/gifts/redeem",
    access="listener",
    body=RedeemRequest,
    reply=RedeemedGift,
    failures=(404, 409, 429),
)
async def redeem_gift(call: Call[RedeemRequest, Any]) -> RedeemedGift:
    """Make the books of a gift the caller's own; sent again, the answer is the same.

    A book that the caller has already stays in the gift, for whoever else gets the link. 409 where it was
    redeemed by somebody else, or refunded, or holds nothing that the caller does not have.
    """
    gift = await call.services.commerce.gifts.redeem(call.user, call.body.code)
    redeemed = [
        RedeemedBook(audiobook_id=book.book_id, title=book.title) for book in gift.books_of(call.user.user_id)
    ]
    return RedeemedGift(
        state=gift.state,
        giver=gift.giver,
        message=gift.message,
        redeemed=redeemed,
        created_at=gift.created_at,
    )


@page(blueprint, "gifts/{code}", secret=True)
async def page_gift(visit: Visit) -> func.HttpResponse:
    """What somebody has been given, and the button that makes it theirs."""
    return await _show(visit, await services().commerce.gifts.find(_code(visit)))


@page(blueprint, "gifts/{code}", "POST", secret=True)
async def page_gift_submit(visit: Visit) -> func.HttpResponse:
    """Make the books of a gift the visitor's own."""
    code = _code(visit)
    gifts = services().commerce.gifts
    try:
        read_own_form(visit)
        await gifts.redeem(visit.user, code)
    except ConflictError as error:
        return await _show(visit, await gifts.find(code), error)
    return redirect(f"/gifts/{code}", news="It is yours now. Enjoy!")


def _code(visit: Visit) -> str:
    return str(visit.request.route_params["code"])


async def _show(visit: Visit, gift: Gift, error: AloudError | None = None) -> func.HttpResponse:
    mine = {book.book_id for book in gift.books_of(visit.caller.user_id)} if visit.caller else set()
    left = [book.book_id for book in gift.books if book.redeemed_by is None]
    shown = [book.book_id for book in gift.books if book.book_id in mine or book.book_id in left]
    found = await services().catalog.read(shown) if gift.state != "refunded" else {}
    return visit.render(
        "gift.html",
        status=error.status if error else 200,
        gift=gift,
        books=[summarise(found[book_id].value) for book_id in shown if book_id in found],
        mine=mine,
        can_redeem=bool(left) and gift.state == "open",
        message=error.detail if error else "",
    )
