"""What a voucher takes off: a share or an amount, of all books or of some."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from core.catalog.models import Money
from core.currencies import step_of


class Voucher(BaseModel):
    """Row `voucher`: what a code is worth, and to whom; exactly one of `percent` and `amount` is set.

    `book_ids` empty: every book. `uses` counts orders that are paid and those that still may be; a limit
    that is None is none. It counts from `starts_at` until `expires_at`, and never after `ended_at`.
    """

    model_config = ConfigDict(frozen=True)

    code: str
    percent: int | None = None
    amount: Money | None = None
    book_ids: tuple[str, ...] = ()
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    max_uses: int | None = None
    max_uses_per_user: int | None = None
    note: str = ""
    uses: int = 0
    created_at: datetime
    ended_at: datetime | None = None


def split_discount(voucher: Voucher, lines: Sequence[tuple[str, int]], currency: str) -> list[int]:
    """Return what is taken off each line (book id, price in minor units of the currency), in their order.

    A share is rounded on each line to what can be paid. An amount is shared out in proportion to the prices;
    what rounding leaves goes to the lines with the largest remainders. No line gets below zero. All zeros
    where the voucher fits nothing here.
    """
    prices = [price if not voucher.book_ids or book in voucher.book_ids else 0 for book, price in lines]
    if voucher.percent is not None:
        step = step_of(currency)
        shares = [(price * voucher.percent + 50 * step) // (100 * step) * step for price in prices]
        return [min(share, price) for share, price in zip(shares, prices, strict=True)]
    total = sum(prices)
    if voucher.amount is None or voucher.amount.currency != currency or total == 0:
        return [0] * len(prices)
    amount = min(voucher.amount.amount, total)
    shares = [price * amount // total for price in prices]
    by_remainder = sorted(range(len(prices)), key=lambda place: -(prices[place] * amount % total))
    for place in by_remainder[: amount - sum(shares)]:
        shares[place] += 1
    return shares
