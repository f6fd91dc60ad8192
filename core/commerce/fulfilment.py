"""How an order changes: paid, failed, waiting for its payment, refunded. Each is one transaction.

The order's row, replaced as it was read, guards the rest: whoever comes second finds it changed and stops.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from core.commerce.models import (
    Actor,
    Answer,
    Cart,
    ChoreKind,
    Failure,
    Idempotency,
    LetterKind,
    Order,
    OrderEvent,
    OrderState,
    Outbox,
    Owned,
    show,
)
from core.commerce.store import CommerceStore, put_letter, put_owned, remove_owned
from core.errors import ConflictError, NotFoundError, PaymentDeclinedError, StaleError, UnavailableError
from core.ids import now
from core.payments import Charge
from core.storage.tables import Operation, Put, Replace, Stored

_TRIES = 20

Step = Callable[[Order, Stored[Cart] | None], tuple[Order, list[Operation]]]


class Fulfilment:
    def __init__(self, store: CommerceStore) -> None:
        self._store = store

    async def pay(self, stored: Stored[Order], charge: Charge, cart: Stored[Cart] | None) -> Order:
        """Hand over the books of a pending order that is paid, and take them out of the cart they came from.

        `cart` as it was read; None: it is not known, or there is none.
        """

        def step(order: Order, cart: Stored[Cart] | None) -> tuple[Order, list[Operation]]:
            paid = _change(order, "paid", "provider" if order.total else "buyer", "paid")
            paid = _with_payment(paid, reference=charge.reference).model_copy(update={"is_open": False})
            owned = [
                Owned(book_id=book_id, order_id=order.id, state="owned", acquired_at=paid.updated_at)
                for book_id in order.grants
            ]
            operations: list[Operation] = [*map(put_owned, owned), _letter(paid, "receipt"), *_chores(paid)]
            bought = () if order.gift and order.gift.audiobook_ids else order.book_ids
            if cart is not None and cart.value.without(*bought) != cart.value:
                operations.append(Replace(cart, cart.value.without(*bought)))
            return paid, operations

        return await self._take(stored, step, "pending", cart)

    async def fail(self, stored: Stored[Order], charge: Charge) -> Order:
        """Give up a pending order that was not paid and never will be, and give back what it has taken.

        A refusal to open a payment says nothing of one that somebody else has opened meanwhile.
        """
        reason = charge.reason or "The payment was declined."

        def step(order: Order, _: object) -> tuple[Order, list[Operation]]:
            if charge.reference is None and order.payment.reference != stored.value.payment.reference:
                return order, []
            failed = _change(order, "failed", "provider", reason).model_copy(update={"is_open": False})
            operations: list[Operation] = [*map(remove_owned, order.grants), *_chores(failed)]
            if order.answered:  # the buyer was told to wait
                operations.append(_letter(failed, "order-failed"))
            return failed, operations

        return await self._take(stored, step, "pending")

    async def wait(self, stored: Stored[Order], charge: Charge | None) -> Order:
        """Note of a pending order where it is paid, and answer that it is pending. None: nobody knows yet."""

        def step(order: Order, _: object) -> tuple[Order, list[Operation]]:
            if charge is None:
                return order, []
            return _with_payment(order, reference=charge.reference, pay_url=charge.pay_url), []

        return await self._take(stored, step, "pending")

    async def mark_refund(self, stored: Stored[Order], reason: str) -> Stored[Order]:
        """Note that the money of a paid order goes back. Raises StaleError where somebody was faster."""
        order = stored.value
        cause = f"refund begun: {reason}" if reason else "refund begun"
        marked = _change(order, "paid", "administrator", cause).model_copy(update={"is_open": True})
        return await self._store.change_order(stored, marked)

    async def refuse_refund(self, stored: Stored[Order], reason: str) -> Order:
        """Note that the provider does not give the money back."""

        def step(order: Order, _: object) -> tuple[Order, list[Operation]]:
            kept = _change(order, "paid", "provider", f"refund refused: {reason}")
            return kept.model_copy(update={"is_open": False}), []

        return await self._take(stored, step, "paid")

    async def take_back(self, stored: Stored[Order]) -> Order:
        """Take the books of an order back whose money went back."""

        def step(order: Order, _: object) -> tuple[Order, list[Operation]]:
            refunded = _change(order, "refunded", "shop", "refunded").model_copy(update={"is_open": False})
            taken: list[Operation] = [remove_owned(book_id) for book_id in order.grants]
            return refunded, [*taken, _letter(refunded, "order-refunded"), *_chores(refunded)]

        return await self._take(stored, step, "paid")

    async def _take(
        self, stored: Stored[Order], step: Step, begins: OrderState, cart: Stored[Cart] | None = None
    ) -> Order:
        """Do a step that begins in this state; returns the order as it is, by whomever it got there."""
        for _ in range(_TRIES):
            order, operations = step(stored.value, cart)
            if not order.answered:
                order = order.model_copy(update={"answered": True})
                operations = [*operations, _answer(order)]
            if order == stored.value:
                return order
            try:
                return (await self._store.change_order(stored, order, operations)).value
            except (StaleError, ConflictError, NotFoundError):
                found = await self._store.find_order(order.id)
                if found is None:
                    raise
                if found.value.state != begins or not found.value.is_open:
                    return found.value
                stored, cart = found, await self._store.find_cart(order.user_id)
        raise UnavailableError("This order changes too often.", retry_after=1)


def begin_history(at: datetime) -> tuple[OrderEvent, ...]:
    """Return the first line of an order's audit trail."""
    return (OrderEvent(state="pending", at=at, actor="buyer", cause="checkout"),)


def _change(order: Order, state: OrderState, actor: Actor, cause: str) -> Order:
    event = OrderEvent(state=state, at=now(), actor=actor, cause=cause)
    return order.model_copy(
        update={"state": state, "updated_at": event.at, "history": (*order.history, event)}
    )


def _with_payment(order: Order, **fields: Any) -> Order:
    known = {name: value for name, value in fields.items() if value is not None}
    return order.model_copy(update={"payment": order.payment.model_copy(update=known)})


def _chores(order: Order) -> list[Operation]:
    """Return what an order's new state means for its voucher and its gift, each with rows elsewhere."""
    kinds: list[ChoreKind] = []
    if order.voucher is not None and order.state != "refunded":
        kinds.append("voucher")
    if order.gift is not None and order.state != "failed":
        kinds.append("gift" if order.state == "paid" else "gift-refunded")
    return [_letter(order, kind) for kind in kinds]


def _letter(order: Order, kind: LetterKind | ChoreKind) -> Put:
    return put_letter(Outbox(order_id=order.id, kind=kind, at=order.updated_at))


def _answer(order: Order) -> Put:
    """Return the row that holds what the order's request is answered, now and whenever it is repeated."""
    request = order.request
    row = Idempotency(
        request_hash=request.hash, order_id=order.id, at=order.created_at, answer=answer_of(order)
    )
    return Put(request.key, row)


def answer_of(order: Order) -> Answer:
    """Return what a checkout answers whose order has become this."""
    if order.state != "failed":
        return Answer(order=show(order))
    return Answer(failure=Failure.of(PaymentDeclinedError(order.history[-1].cause), order.request.id))
