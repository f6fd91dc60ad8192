"""The shop's rows, what it shows of them, and the work that waits on its queue.

Money is an integer in minor units of the one currency of its order.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.backoff import Tried
from core.catalog.models import Book, Money
from core.commerce.giving import GiftWish
from core.errors import AloudError, InvalidError
from core.ids import inverted, owner_of, time_of

MAX_BOOKS = 50

OrderState = Literal["pending", "paid", "failed", "refunded"]
Actor = Literal["buyer", "shop", "provider", "administrator"]
LetterKind = Literal["receipt", "order-failed", "order-refunded"]
ChoreKind = Literal["voucher", "gift", "gift-refunded"]
CartProblem = Literal["owned", "unavailable", "no-price"]


class CartEntry(BaseModel):
    """A book that somebody wants to buy."""

    model_config = ConfigDict(frozen=True)

    book_id: str
    added_at: datetime


class Cart(BaseModel):
    """Row `cart`: at most 50 books, the first to be added first."""

    model_config = ConfigDict(frozen=True)

    entries: tuple[CartEntry, ...] = ()

    @property
    def book_ids(self) -> list[str]:
        return [entry.book_id for entry in self.entries]

    def without(self, *book_ids: str) -> "Cart":
        """Return the cart without these books."""
        return Cart(entries=tuple(entry for entry in self.entries if entry.book_id not in book_ids))


class Owned(BaseModel):
    """Row `owned_{book}`: a book that a person has bought (`owned`), or is about to (`pending`).

    It comes and goes only together with a change of its order; of a book that came with a gift, `order_id` is
    the gift's.
    """

    model_config = ConfigDict(frozen=True)

    book_id: str
    order_id: str
    state: Literal["pending", "owned"]
    acquired_at: datetime

    def is_bought_by(self, user_id: str) -> bool:
        """Tell whether this comes of the user's own order, and not with a gift."""
        return owner_of(self.order_id) == user_id


class Item(BaseModel):
    """A book in an order, as it was sold; `tax` is contained in what is left after the discount."""

    model_config = ConfigDict(frozen=True)

    book_id: str
    title: str
    price: int
    discount: int = 0
    tax: int = 0
    tax_basis_points: int = 0

    @property
    def total(self) -> int:
        return self.price - self.discount


class OrderEvent(BaseModel):
    """A line of an order's audit trail: what it became, when, by whom, why."""

    model_config = ConfigDict(frozen=True)

    state: OrderState
    at: datetime
    actor: Actor
    cause: str


class Payment(BaseModel):
    """How an order is paid. `email` is kept, since a repeated request has to be the same request."""

    model_config = ConfigDict(frozen=True)

    method: str
    email: str
    reference: str | None = None
    pay_url: str | None = None


class OrderRequest(BaseModel):
    """The request that made an order: the key of its row, the hash of its body, and its id in the log."""

    model_config = ConfigDict(frozen=True)

    key: str
    hash: str
    id: str


class Order(BaseModel):
    """Row `order_{inverted time}_{id}`; the id ends with the buyer's, so that it can be found by it alone.

    `is_open` while somebody has still to bring it to an end: it is pending, or its refund is under way.
    `answered` says whether the request that made it has its answer.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    user_id: str
    state: OrderState = "pending"
    is_open: bool = True
    items: tuple[Item, ...]
    currency: str
    country: str | None = None
    payment: Payment
    voucher: str | None = None
    gift: GiftWish | None = None
    request: OrderRequest
    answered: bool = False
    history: tuple[OrderEvent, ...]
    created_at: datetime
    updated_at: datetime

    @property
    def key(self) -> str:
        return order_key(self.id)

    @property
    def total(self) -> int:
        return sum(item.total for item in self.items)

    @property
    def book_ids(self) -> list[str]:
        return [item.book_id for item in self.items]

    @property
    def grants(self) -> list[str]:
        """The books that become the buyer's own."""
        return [] if self.gift else self.book_ids

    @property
    def number(self) -> str:
        """What people call the order by."""
        return self.id[16:26].upper()


def order_key(order_id: str) -> str:
    """Return the row key of an order: the newest come first."""
    return f"order_{inverted(time_of(order_id))}_{order_id}"


class Failure(BaseModel):
    """An answer that was an error; `request_id` is that of the request that got it first."""

    model_config = ConfigDict(frozen=True)

    status: int
    slug: str
    title: str
    detail: str
    fields: tuple[tuple[str, str], ...] = ()
    request_id: str

    @classmethod
    def of(cls, error: AloudError, request_id: str) -> "Failure":
        """Return what an error answers."""
        return cls(
            status=error.status,
            slug=error.slug,
            title=error.title,
            detail=error.detail,
            fields=error.fields if isinstance(error, InvalidError) else (),
            request_id=request_id,
        )


class ItemView(BaseModel):
    """A book in an order; `total` is the price after the discount and contains the tax."""

    audiobook_id: str
    title: str
    price: Money
    discount: Money
    tax: Money
    tax_basis_points: int = Field(description="The rate of the tax: 1900 is 19 %.")
    total: Money


class Bill(BaseModel):
    """What books cost together."""

    items: list[ItemView]
    currency: str
    subtotal: Money
    discount: Money
    tax: Money = Field(description="Contained in the total.")
    total: Money


class OrderView(Bill):
    """An order. While it is `pending`, `pay_url` is where to pay, if the provider has a page for it."""

    id: str
    number: str
    state: OrderState
    payment_method: str
    pay_url: str | None
    voucher_code: str | None
    gift: GiftWish | None
    history: list[OrderEvent]
    created_at: datetime
    updated_at: datetime


class Answer(BaseModel):
    """What a checkout answers, the first time and each time it is repeated: an order, or a failure."""

    model_config = ConfigDict(frozen=True)

    order: OrderView | None = None
    failure: Failure | None = None


class Idempotency(BaseModel):
    """Row `idem_{SHA-256 of route and key}`: a request that was made, and its answer once there is one."""

    model_config = ConfigDict(frozen=True)

    request_hash: str
    order_id: str | None = None
    at: datetime
    answer: Answer | None = None


class Outbox(BaseModel):
    """Row `outbox_{order}_{kind}`: what is certain to be done, but was not yet: a letter, a chore."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    kind: LetterKind | ChoreKind
    at: datetime


class Settle(Tried):
    """Message on `settle`: bring this order to its end, and send its letters.

    `voucher` is the code that its checkout was about to use, in case there is no order.
    """

    model_config = ConfigDict(frozen=True)

    order_id: str
    voucher: str | None = None


class DueOrder(BaseModel):
    """Row of `due`: an order that should have come to its end by then, or never to be.

    `request_key` is that of its checkout's row, which is kept for longer.
    """

    model_config = ConfigDict(frozen=True)

    order_id: str
    request_key: str | None = None
    voucher: str | None = None


class SeeToGift(Tried):
    """Message on `settle`: let people own what this gift says."""

    model_config = ConfigDict(frozen=True)

    gift_id: str


SHELVES = "shelves"


class ShelfChanged(Tried):
    """Message on `shelves`: what this person owns has changed, or may have. It comes after the change."""

    model_config = ConfigDict(frozen=True)

    user_id: str


class ExpectedTotal(Money):
    """What the buyer was shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckoutWish(BaseModel):
    """How the cart is to be bought.

    `country` (ISO 3166) is where the buyer lives, for the tax that prices contain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    payment_method: str = Field(min_length=1, max_length=40, examples=["simulated"])
    voucher_code: str | None = Field(None, min_length=1, max_length=64)
    gift: GiftWish | None = Field(None, description="What is bought goes to somebody else, by mail.")
    currency: str | None = Field(None, pattern="^[A-Z]{3}$")
    country: str | None = Field(None, pattern="^[A-Z]{2}$")
    expected_total: ExpectedTotal | None = Field(
        None, description="Where the books cost something else by now, nothing is bought: 409."
    )


class CartItem(BaseModel):
    """A book in the cart; where it cannot be bought, `problem` says why: it is the buyer's already, or being
    bought; it is not on sale; it has no price in this currency.
    """

    audiobook_id: str
    slug: str
    title: str
    authors: list[str]
    cover_url: str | None
    price: Money | None
    problem: CartProblem | None
    added_at: datetime


class CartView(BaseModel):
    """The cart at the prices of this moment; `total` is of what can be bought and contains the tax."""

    items: list[CartItem]
    currency: str
    currencies: list[str] = Field(description="In which all that can be bought has a price.")
    tax: Money
    total: Money


class Standing(BaseModel):
    """What a book is to a person: bought, being bought with this order, or in the cart of so many books."""

    model_config = ConfigDict(frozen=True)

    owned: Owned | None
    is_in_cart: bool
    cart_size: int


class Skipped(BaseModel):
    """A book that was not taken into the cart."""

    audiobook_id: str
    reason: Literal["owned", "unavailable", "full"]


def add_up(items: Sequence[Item], currency: str) -> Bill:
    """Return what these cost together."""

    def money(amount: int) -> Money:
        return Money(amount=amount, currency=currency)

    lines = [
        ItemView(
            audiobook_id=item.book_id,
            title=item.title,
            price=money(item.price),
            discount=money(item.discount),
            tax=money(item.tax),
            tax_basis_points=item.tax_basis_points,
            total=money(item.total),
        )
        for item in items
    ]
    return Bill(
        items=lines,
        currency=currency,
        subtotal=money(sum(item.price for item in items)),
        discount=money(sum(item.discount for item in items)),
        tax=money(sum(item.tax for item in items)),
        total=money(sum(item.total for item in items)),
    )


def show(order: Order) -> OrderView:
    """Return what the buyer sees of an order."""
    return OrderView(
        **dict(add_up(order.items, order.currency)),
        id=order.id,
        number=order.number,
        state=order.state,
        payment_method=order.payment.method,
        pay_url=order.payment.pay_url if order.state == "pending" else None,
        voucher_code=order.voucher,
        gift=order.gift,
        history=list(order.history),
        created_at=order.created_at,
        updated_at=order.updated_at,
    )


def sellable(book: Book | None) -> bool:
    """Tell whether a book is on sale."""
    return book is not None and book.visibility == "published" and book.price is not None
