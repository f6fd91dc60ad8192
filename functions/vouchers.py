"""Vouchers over HTTP, for administrators."""

from datetime import datetime
from typing import Annotated, Any, Self

import azure.functions as func
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from core.catalog.models import Money
from core.commerce.discounts import Voucher
from core.commerce.vouchers import make_code, normalise_code
from core.currencies import check_step
from core.ids import ID_PATTERN, now
from functions.http import API, Call, Listing, Payload, Reply, endpoint

blueprint = func.Blueprint()


def _check_code(text: str) -> str:
    code = normalise_code(text)
    if not code:
        raise ValueError("has 4 to 32 letters (A to Z), digits and hyphens")
    return code


_Code = Annotated[str, AfterValidator(_check_code), Field(max_length=64, examples=["SPRING-10"])]
_BookId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
_Uses = Annotated[int, Field(ge=1, le=1_000_000_000)]


class TakenOff(Money):
    """What an order gets cheaper by, in minor units of its currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: int = Field(gt=0, le=10_000_000)

    @model_validator(mode="after")
    def check_payable(self) -> Self:
        check_step(self.amount, self.currency)
        return self


class VoucherTerms(Payload):
    """What a voucher is worth, and to whom: either `percent` or `amount`. What is left out is no limit."""

    percent: int | None = Field(None, ge=1, le=100)
    amount: TakenOff | None = Field(None, description="Only for orders in this currency.")
    audiobook_ids: list[_BookId] = Field([], max_length=200, description="Empty: every book.")
    starts_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    max_uses: _Uses | None = Field(None, description="In all.")
    max_uses_per_user: _Uses | None = None
    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""

    @model_validator(mode="after")
    def check_worth(self) -> Self:
        if (self.percent is None) == (self.amount is None):
            raise ValueError("Set either percent or amount.")
        if self.starts_at and self.expires_at and self.starts_at >= self.expires_at:
            raise ValueError("It starts before it expires.")
        return self

    def fields(self) -> dict[str, object]:
        """Return these terms by the names of `Voucher`."""
        content = {name: getattr(self, name) for name in VoucherTerms.model_fields}
        content["book_ids"] = tuple(content.pop("audiobook_ids"))
        return content


class NewVoucher(VoucherTerms):
    """A voucher; its code is the same in capitals and small letters, and is never given again."""

    code: _Code = Field(default_factory=make_code, description="Left out: one that nobody guesses.")


class VoucherReply(BaseModel):
    """A voucher; `uses` counts orders that are paid and those that still may be."""

    code: str
    percent: int | None
    amount: Money | None
    audiobook_ids: list[str]
    starts_at: datetime | None
    expires_at: datetime | None
    max_uses: int | None
    max_uses_per_user: int | None
    note: str
    uses: int
    created_at: datetime
    ended_at: datetime | None


class VoucherList(BaseModel):
    """A page of vouchers."""

    items: list[VoucherReply]
    next_cursor: str | None


def _show(voucher: Voucher) -> VoucherReply:
    return VoucherReply(**voucher.model_dump(exclude={"book_ids"}), audiobook_ids=list(voucher.book_ids))


@endpoint(blueprint, "GET", f"{API}/admin/vouchers", access="admin", query=Listing, reply=VoucherList)
async def list_vouchers(call: Call[None, Listing]) -> VoucherList:
    """List the vouchers, newest first; ended ones too."""
    after = (str(call.after[0]), str(call.after[1])) if call.after else None
    vouchers, following = await call.services.commerce.vouchers.list_newest(call.query.limit, after)
    return VoucherList(items=[_show(one) for one in vouchers], next_cursor=call.next_cursor(following))


@endpoint(
    blueprint,
    "POST",
    f"{API}/admin/vouchers",
    access="admin",
    body=NewVoucher,
    reply=VoucherReply,
    status=201,
    failures=(409,),
)
async def create_voucher(call: Call[NewVoucher, Any]) -> VoucherReply:
    """Make a voucher. 409 if there is or was one with this code."""
    voucher = Voucher.model_validate({"code": call.body.code, "created_at": now(), **call.body.fields()})
    return _show(await call.services.commerce.vouchers.create(call.user, voucher, call.origin))


@endpoint(
    blueprint,
    "PUT",
    f"{API}/admin/vouchers/{{code}}",
    access="admin",
    body=VoucherTerms,
    reply=VoucherReply,
    failures=(409,),
)
async def change_voucher(call: Call[VoucherTerms, Any]) -> VoucherReply:
    """Give a voucher other terms; orders that have used it keep their prices. 409 where it has ended."""
    fields = call.body.fields()
    vouchers = call.services.commerce.vouchers
    code = call.params["code"]
    return _show(
        await vouchers.change(call.user, code, lambda voucher: voucher.model_copy(update=fields), call.origin)
    )


@endpoint(blueprint, "DELETE", f"{API}/admin/vouchers/{{code}}", access="admin", status=204)
async def end_voucher(call: Call[None, Any]) -> Reply:
    """End a voucher: nobody uses it any more, but orders under way keep it."""
    await call.services.commerce.vouchers.end(call.user, call.params["code"], call.origin)
    return Reply(status=204)
