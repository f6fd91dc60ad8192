"""Orders: paid, settled, given back. `settle` is the one way in which an order comes to its end."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

from core.accounts.service import Accounts
from core.backoff import Backoff
from core.caller import Caller, Origin
from core.commerce.fulfilment import Fulfilment
from core.commerce.gifts import Gifts, gift_of
from core.commerce.models import Cart, DueOrder, Order, OrderView, SeeToGift, Settle, show
from core.commerce.post import Post
from core.commerce.store import REQUEST_LIFE, CommerceStore
from core.commerce.vouchers import Vouchers
from core.errors import ConflictError, NotFoundError, PaymentAccountError, StaleError, UnavailableError
from core.ids import fingerprint, now, owner_of, time_of
from core.operations.service import Operations
from core.payments import Charge, PaymentRequest, Provider
from core.settings import Settings
from core.storage.due import Due
from core.storage.queues import Queues
from core.storage.tables import Stored

_log = logging.getLogger("aloud.commerce")

QUEUE = "settle"
_FIRST_SECONDS = 5.0  # by then, most orders are paid, and their receipts wait
_AGAIN_SECONDS = 300.0
_UNDER_WAY = timedelta(minutes=2)  # after that, no checkout has still to write its order, or to be paid
_TIME_TO_PAY = timedelta(minutes=40)  # the provider's own page closes a little earlier
_DUE_AFTER = timedelta(days=1)
_MAX_LOOKS = 120  # of one account in ATTEMPT_WINDOW_SECONDS: each asks the provider
_FREE = Charge(state="paid")
_WORK: TypeAdapter[Settle | SeeToGift] = TypeAdapter(Settle | SeeToGift)


class Orders:
    def __init__(
        self,
        settings: Settings,
        store: CommerceStore,
        accounts: Accounts,
        providers: Mapping[str, Provider],
        post: Post,
        gifts: Gifts,
        vouchers: Vouchers,
        queues: Queues,
        due: Due,
        operations: Operations,
    ) -> None:
        self._store = store
        self._due = due
        self._throttles = accounts.throttles
        self._fulfilment = Fulfilment(store)
        self._providers = providers
        self._post = post
        self._gifts = gifts
        self._vouchers = vouchers
        self._queues = queues
        self._operations = operations
        self._backoff = Backoff(settings)
        self._site = settings.public_base_url.rstrip("/")

    # What buyers see

    async def history(
        self, caller: Caller, limit: int, after: str | None
    ) -> tuple[list[OrderView], str | None]:
        """Return the caller's orders, the newest first, and where the next page begins."""
        orders, following = await self._store.orders(caller.user_id, limit, after)
        return [show(order) for order in orders], following

    async def get(self, caller: Caller, order_id: str) -> OrderView:
        """Raises NotFoundError, for another's too."""
        return show((await self._own(caller, order_id)).value)

    async def find(self, order_id: str) -> Order:
        """Return anybody's order, as administrators see it. Raises NotFoundError."""
        stored = await self._store.find_order(order_id)
        if stored is None:
            raise NotFoundError("There is no such order.")
        return stored.value

    async def confirm(self, caller: Caller, order_id: str) -> OrderView:
        """Look whether an order was paid, since its buyer says so or has come back from where one pays.

        Raises NotFoundError, ThrottledError.
        """
        await self._count_look(await self._own(caller, order_id))
        return show(await self.settle(order_id))

    async def cancel(self, caller: Caller, order_id: str) -> OrderView:
        """End a pending order that its buyer does not want to pay any more; one that was paid stays so.

        Raises NotFoundError, ThrottledError.
        """
        await self._count_look(await self._own(caller, order_id))
        return show(await self.settle(order_id, give_up=True))

    async def _count_look(self, stored: Stored[Order]) -> None:
        if stored.value.is_open:
            subject = fingerprint("user", stored.value.user_id)
            await self._throttles.attempt(subject, "settle", _MAX_LOOKS)

    async def _own(self, caller: Caller, order_id: str) -> Stored[Order]:
        found = None if owner_of(order_id) != caller.user_id else await self._store.find_order(order_id)
        if found is None:
            raise NotFoundError("There is no such order.")
        return found

    # The way to the end

    async def announce(
        self, order_id: str, voucher: str | None = None, request_key: str | None = None
    ) -> None:
        """Send for `settle`, and note it for a night: before what may be cut off, so that it is seen to.

        With the key of its request: this is a checkout, else a refund.
        """
        due = DueOrder(order_id=order_id, request_key=request_key, voucher=voucher)
        key = order_id if request_key else f"{order_id}_refund"
        await asyncio.gather(
            self._send(order_id, _FIRST_SECONDS, voucher), self._due.note(due, key, now() + _DUE_AFTER)
        )

    async def _send(self, order_id: str, delay_seconds: float, voucher: str | None = None) -> None:
        await self._queues.send(QUEUE, Settle(order_id=order_id, voucher=voucher), delay_seconds)

    async def charge(self, stored: Stored[Order], cart: Stored[Cart] | None) -> Order:
        """Take the money for a pending order, for a buyer who is waiting, and do what follows.

        It can be repeated: an order is charged once. Where nobody knows what has become of it, it stays
        pending, and `settle` finds out.
        """
        order = stored.value
        try:
            charge = _FREE if order.total == 0 else await self._provider(order).charge(self.ask(order))
        except PaymentAccountError:
            charge = Charge(state="declined", reason="Nothing can be paid this way at the moment.")
        except UnavailableError as error:
            _log.warning("order %s: %s", order.number, error.detail)
            return await self._fulfilment.wait(stored, None)
        order = await self._follow(stored, charge, cart)
        if order.state == "failed" and order.voucher is not None:
            with suppress(UnavailableError):  # else the buyer could use it again only after the message
                await self._post.send(order)
        return order

    async def settle(self, order_id: str, *, give_up: bool = False) -> Order:
        """Bring an order to its end, if it has come that far, and send its letters; again changes nothing.

        The client's confirmation, webhooks, messages and the sweep all come here. With `give_up`, or when
        the time to pay is over, no payment is possible any more. Raises NotFoundError; UnavailableError
        where it has to be tried again.
        """
        stored = await self._store.find_order(order_id)
        if stored is None:
            raise NotFoundError("There is no such order.")
        order = stored.value
        if order.state == "pending":
            order = await self._settle_pending(stored, give_up)
        elif order.state == "paid" and order.is_open:
            order = await self._give_back(stored)
        await self._send_post(order)
        if order.gift is not None:
            await self._gifts.see_to(gift_of(order.id))
        return order

    async def _send_post(self, order: Order) -> None:
        """Do what an order's outbox holds; what cannot be done now is tried again by a message."""
        try:
            await self._post.send(order)
        except UnavailableError as error:
            _log.warning("order %s: %s", order.number, error.detail)
            await self._send(order.id, _AGAIN_SECONDS)

    async def _settle_pending(self, stored: Stored[Order], give_up: bool) -> Order:
        order, cart = stored.value, await self._store.find_cart(stored.value.user_id)
        if order.total == 0:
            return await self._follow(stored, _FREE, cart)
        age = now() - order.created_at
        is_over = give_up or age >= _TIME_TO_PAY
        provider = self._providers.get(order.payment.method)
        if provider is None:
            return await self._abandon(stored) if is_over else order
        request, reference = self.ask(order), order.payment.reference
        charge: Charge | None = None
        if not is_over:
            charge = await provider.look(request, reference)
            if charge is None and age < _UNDER_WAY:
                return order  # its checkout may still be on its way to the provider
        if charge is None:
            charge = await provider.end(request, reference)
        return await self._follow(stored, charge, cart)

    async def _abandon(self, stored: Stored[Order]) -> Order:
        """Give up a pending order whose way to pay was taken away; only a person can look there any more."""
        await self._alert_gone(stored.value, "Where it was paid nevertheless, give the money back there.")
        reason = "This way to pay is not offered any more."
        reference = stored.value.payment.reference
        return await self._fulfilment.fail(
            stored, Charge(state="declined", reference=reference, reason=reason)
        )

    async def _alert_gone(self, order: Order, advice: str) -> None:
        payment = order.payment
        await self._operations.raise_alert(
            "payment-method-gone",
            f"Order {order.number} waited for {payment.method}, which is not set up any more",
            f"Order: {order.id}\nReference there: {payment.reference or 'none is known'}\n{advice}",
            order.id,
            order.created_at,
        )

    async def _follow(self, stored: Stored[Order], charge: Charge, cart: Stored[Cart] | None) -> Order:
        """Do to an order what a provider's answer means for it."""
        match charge.state:
            case "paid":
                return await self._fulfilment.pay(stored, charge, cart)
            case "declined":
                return await self._fulfilment.fail(stored, charge)
            case "pending":
                return await self._fulfilment.wait(stored, charge)

    def _provider(self, order: Order) -> Provider:
        provider = self._providers.get(order.payment.method)
        if provider is None:
            raise UnavailableError(f"Nobody takes payments by {order.payment.method} any more.")
        return provider

    def ask(self, order: Order) -> PaymentRequest:
        """Return what a provider is asked, each time the same."""
        titles = [item.title for item in order.items]
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        return PaymentRequest(
            user_id=order.user_id,
            order_id=order.id,
            amount=order.total,
            currency=order.currency,
            email=order.payment.email,
            description=f"Aloud, order {order.number}: {titles[0]}{more}",
            method=order.payment.method,
            return_url=f"{self._site}/orders/{order.id}",
        )

    # The way back

    async def refund(self, caller: Caller, order_id: str, reason: str, origin: Origin) -> OrderView:
        """Give the money of a paid order back, then take its books back and say so; once.

        Raises NotFoundError; ConflictError for an order that is not paid, or a provider that refuses.
        """
        stored = await self._store.find_order(order_id)
        if stored is None:
            raise NotFoundError("There is no such order.")
        if stored.value.state == "refunded":
            return show(stored.value)
        if stored.value.state != "paid":
            raise ConflictError(f"This order is {stored.value.state}; only a paid one can be refunded.")
        if not stored.value.is_open:
            await asyncio.gather(
                self.announce(order_id),
                self._operations.record("order.refunded", caller.user_id, order_id, origin, reason),
            )
            try:
                stored = await self._fulfilment.mark_refund(stored, reason)
            except StaleError:
                raise ConflictError("Somebody is refunding this order at this moment.") from None
        order = await self._give_back(stored)
        if order.state == "paid":
            raise ConflictError(f"The provider does not give the money back: {order.history[-1].cause}.")
        await self._send_post(order)
        return show(order)

    async def _give_back(self, stored: Stored[Order]) -> Order:
        order, method = stored.value, stored.value.payment.method
        if order.total > 0 and method not in self._providers:
            await self._alert_gone(order, "Its refund had begun: see there whether it has come through.")
            return await self._fulfilment.refuse_refund(stored, f"{method} is not set up any more")
        if order.total > 0:
            try:
                await self._provider(order).refund(self.ask(order), order.payment.reference, order.total)
            except (ConflictError, NotFoundError) as error:
                return await self._fulfilment.refuse_refund(stored, error.detail)
        return await self._fulfilment.take_back(stored)

    # What comes by itself

    async def run(self, body: str) -> None:
        """Do what a message on the queue `settle` asks; an order that stays open comes again."""
        try:
            work = _WORK.validate_json(body)
        except ValidationError:
            _log.error("a message on %s cannot be read and is set aside", QUEUE)
            await self._alert("a message that cannot be read", "unknown")
            return
        await self._backoff.run(self._queues, QUEUE, work, self._do)

    async def _do(self, work: Settle | SeeToGift) -> None:
        if isinstance(work, SeeToGift):
            await self._gifts.see_to(work.gift_id)
            return
        is_young = now() - time_of(work.order_id) < _UNDER_WAY
        try:
            is_open = (await self.settle(work.order_id)).is_open
        except NotFoundError:  # its checkout has ended before there was an order, or its buyer has left
            is_open = is_young
            if not is_young and work.voucher is not None:
                await self._vouchers.release(work.voucher, work.order_id)
        if is_open:
            again = _UNDER_WAY.total_seconds() if is_young else _AGAIN_SECONDS
            await self._send(work.order_id, again, work.voucher)

    async def settle_poison(self, body: str) -> None:
        """Tell a person of an order or a gift that could not be settled; the sweep tries an order again."""
        try:
            work = _WORK.validate_json(body)
        except ValidationError:
            await self._alert("a message that cannot be read", "unknown")
            return
        if isinstance(work, SeeToGift):
            await self._alert(f"gift {work.gift_id}", work.gift_id)
        else:
            await self._alert(f"order {work.order_id}", work.order_id)

    async def _alert(self, what: str, target: str) -> None:
        await self._operations.raise_alert(
            "poison-message",
            f"Commerce: {what} could not be settled",
            f"Queue: {QUEUE}\nConcerns: {target}\nThe log tells the cause.",
            target,
            now(),
        )

    async def sweep(self) -> None:
        """See to what is due: send again for what is still open, forget requests after their days."""
        await self._due.work_off(DueOrder, now(), self._look_at)

    async def _look_at(self, due: DueOrder) -> bool:
        """Tell whether nothing is left to do of an order; what is kept for longer is due again later."""
        stored = await self._store.find_order(due.order_id)
        if stored is not None and (stored.value.is_open or await self._store.has_letters(stored.value)):
            await self._send(due.order_id, 0)
            return False
        if stored is None and due.voucher is not None:
            await self._vouchers.release(due.voucher, due.order_id)
        if due.request_key is not None:
            request = await self._store.find_request(owner_of(due.order_id), due.request_key)
            if request is not None:
                await self._due.note(due, due.order_id, request.value.at + REQUEST_LIFE)
        return True
