"""Vouchers: what they take off, how often they can be used whatever races or crashes, who may guess."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from core.caller import Caller, Origin
from core.catalog.models import Money
from core.commerce.discounts import Voucher, split_discount
from core.commerce.vouchers import BuyerUses, Vouchers, VoucherUse, normalise_code
from core.errors import ConflictError, InvalidError, NotFoundError, ThrottledError
from core.ids import new_id, now
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.wiring import build
from functions.vouchers import NewVoucher
from localhost.azurite import Azurite
from tests.faults import crash_everywhere

ORIGIN = Origin(address="192.0.2.1", request_id="r", device="a test")
ADMIN = Caller(user_id="admin", session_id="s", roles=frozenset({"admin"}))
LINES = [("jane", 1000), ("emma", 500)]


def percent(share: int, **fields: object) -> Voucher:
    return Voucher.model_validate({"code": "SPRING", "percent": share, "created_at": now(), **fields})


def amount(minor: int, currency: str = "USD", **fields: object) -> Voucher:
    money = Money(amount=minor, currency=currency)
    return Voucher.model_validate({"code": "SPRING", "amount": money, "created_at": now(), **fields})


# What is taken off


def test_a_share_is_rounded_on_each_book() -> None:
    assert split_discount(percent(10), [("a", 995), ("b", 994), ("c", 1)], "USD") == [100, 99, 0]
    assert split_discount(percent(100), LINES, "USD") == [1000, 500]


def test_an_amount_is_shared_out_and_never_more_than_the_books_cost() -> None:
    assert split_discount(amount(100), [("a", 999), ("b", 999), ("c", 999)], "USD") == [34, 33, 33]
    assert split_discount(amount(5000), LINES, "USD") == [1000, 500]
    assert split_discount(amount(100), [("a", 0), ("b", 0)], "USD") == [0, 0]


def test_books_that_a_voucher_is_not_for_keep_their_price() -> None:
    assert split_discount(percent(50, book_ids=("emma",)), LINES, "USD") == [0, 250]
    assert split_discount(amount(700, book_ids=("emma", "other")), LINES, "USD") == [0, 500]


@given(
    st.lists(st.integers(0, 10**7), min_size=1, max_size=50),
    st.one_of(st.integers(1, 100).map(percent), st.integers(1, 10**8).map(amount)),
)
def test_no_book_gets_cheaper_than_nothing_and_no_cent_is_lost(prices: list[int], voucher: Voucher) -> None:
    shares = split_discount(voucher, [(str(place), price) for place, price in enumerate(prices)], "USD")
    assert all(0 <= share <= price for share, price in zip(shares, prices, strict=True))
    if voucher.amount is not None:
        assert sum(shares) == min(voucher.amount.amount, sum(prices))


def test_codes_are_the_same_however_they_are_typed() -> None:
    assert normalise_code(" spring-10 ") == normalise_code("SPRING -10") == "SPRING-10"
    for text in ("", "abc", "a" * 33, "----", "spring!", "straße", "a/b#c?", "list_x"):
        assert normalise_code(text) == ""


# How often


@dataclass
class Till:
    """The vouchers of one instance, and their rows."""

    vouchers: Vouchers
    account: StorageAccount

    async def make(self, **fields: object) -> Voucher:
        voucher = percent(10, code=f"V-{new_id().upper()}", **fields)
        return await self.vouchers.create(ADMIN, voucher, ORIGIN)

    async def uses(self, code: str) -> tuple[int, int, int]:
        """Return the count of a voucher, what is reserved and what is used; the counts have to agree."""
        table = self.account.table("vouchers")
        voucher = (await table.get(Voucher, code, "voucher")).value
        reserved = [stored.value async for stored in table.each(VoucherUse, code, "reserved_")]
        used = [stored.value async for stored in table.each(VoucherUse, code, "used_")]
        buyers = [stored.value.uses async for stored in table.each(BuyerUses, code, "buyer_")]
        assert voucher.uses == len(reserved) + len(used) == sum(buyers)
        return voucher.uses, len(reserved), len(used)

    async def close(self) -> None:
        await self.account.close()


Build = Callable[[Watch | None], Till]


@pytest.fixture(scope="module")
def start(azurite: Azurite) -> Build:
    def build_one(watch: Watch | None = None) -> Till:
        settings = Settings.read(
            {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}
        )
        account = StorageAccount(settings, watch)
        services = build(settings, account)
        return Till(services.commerce.vouchers, account)

    return build_one


@pytest_asyncio.fixture(scope="module")
async def till(start: Build) -> AsyncIterator[Till]:
    till = start(None)
    yield till
    await till.close()


async def test_a_voucher_of_five_uses_is_used_five_times_by_thirty_at_once(till: Till, start: Build) -> None:
    voucher = await till.make(max_uses=5)
    instances = [till, start(None), start(None)]
    answers = await asyncio.gather(
        *(instances[n % 3].vouchers.reserve(voucher.code, new_id(), new_id()) for n in range(30)),
        return_exceptions=True,
    )
    for instance in instances[1:]:
        await instance.close()
    assert [answer for answer in answers if answer is not None and not isinstance(answer, InvalidError)] == []
    assert answers.count(None) == 5
    assert await till.uses(voucher.code) == (5, 5, 0)


async def test_one_buyer_with_many_orders_at_once_uses_it_as_often_as_one_may(till: Till) -> None:
    voucher = await till.make(max_uses_per_user=2)
    orders = [new_id() for _ in range(8)]
    answers = await asyncio.gather(
        *(till.vouchers.reserve(voucher.code, "ada", order) for order in orders), return_exceptions=True
    )
    assert answers.count(None) == 2
    assert await till.uses(voucher.code) == (2, 2, 0)
    with pytest.raises(InvalidError, match="You have used this code already"):
        await till.vouchers.find("ada", voucher.code)
    await till.vouchers.reserve(voucher.code, "bob", new_id())


async def test_an_order_reserves_once_and_what_it_gives_back_is_anyones(till: Till) -> None:
    voucher = await till.make(max_uses=1, max_uses_per_user=1)
    order = new_id()
    await asyncio.gather(*(till.vouchers.reserve(voucher.code, "ada", order) for _ in range(4)))
    assert await till.uses(voucher.code) == (1, 1, 0)
    await asyncio.gather(*(till.vouchers.release(voucher.code, order) for _ in range(4)))
    assert await till.uses(voucher.code) == (0, 0, 0)
    other = new_id()
    await till.vouchers.reserve(voucher.code, "ada", other)
    await asyncio.gather(*(till.vouchers.settle(voucher.code, other) for _ in range(4)))
    await till.vouchers.release(voucher.code, other)
    assert await till.uses(voucher.code) == (1, 0, 1)


async def test_of_a_settling_and_a_release_at_once_one_wins(till: Till) -> None:
    voucher = await till.make()
    order = new_id()
    await till.vouchers.reserve(voucher.code, "ada", order)
    await asyncio.gather(
        till.vouchers.settle(voucher.code, order), till.vouchers.release(voucher.code, order)
    )
    assert await till.uses(voucher.code) in ((0, 0, 0), (1, 0, 1))


async def test_reserving_cut_off_anywhere_is_nothing_or_all(start: Build) -> None:
    async def prepare(till: Till) -> tuple[str, str]:
        return (await till.make(max_uses=1, max_uses_per_user=1)).code, new_id()

    async def buy(till: Till, data: tuple[str, str]) -> None:
        await till.vouchers.reserve(data[0], "ada", data[1])
        await till.vouchers.settle(*data)

    async def check(till: Till, data: tuple[str, str]) -> None:
        await till.uses(data[0])

    async def give_back(till: Till, data: tuple[str, str]) -> None:
        """The order came to nothing, unless it was told of: then another can have the voucher."""
        _, _, used = await till.uses(data[0])
        await till.vouchers.release(*data)
        if not used:
            assert await till.uses(data[0]) == (0, 0, 0)
            await buy(till, (data[0], new_id()))

    async def check_done(till: Till, data: tuple[str, str]) -> None:
        assert await till.uses(data[0]) == (1, 0, 1)

    assert (
        len(await crash_everywhere(start, prepare, buy, check, give_back, check_done, in_sequence=True)) >= 2
    )


async def test_who_leaves_is_forgotten_and_the_use_goes_on_to_count(till: Till) -> None:
    voucher, order = await till.make(max_uses=1), new_id()
    await till.vouchers.reserve(voucher.code, "ada", order)
    await till.vouchers.settle(voucher.code, order)
    for _ in range(2):
        await till.vouchers.forget_buyer(voucher.code, "ada", order)
    table = till.account.table("vouchers")
    assert [stored.key async for stored in table.each(BuyerUses, voucher.code, "buyer_")] == []
    assert [stored.key async for stored in table.each(VoucherUse, voucher.code, "used_")] == []
    with pytest.raises(InvalidError, match="used up"):
        await till.vouchers.find("bob", voucher.code)


# Which


async def test_a_code_is_found_as_it_is_typed_while_it_counts(till: Till) -> None:
    voucher = await till.make(max_uses=1)
    assert await till.vouchers.find("ada", f" {voucher.code.lower()} ") == voucher
    later = now() + timedelta(days=1)
    cases: list[tuple[dict[str, datetime], str]] = [
        ({"expires_at": now()}, "This code has expired"),
        ({"starts_at": later}, f"This code can be used from {later:%d %B %Y}"),
    ]
    for fields, sentence in cases:
        with pytest.raises(InvalidError, match=sentence) as caught:
            await till.vouchers.find("ada", (await till.make(**fields)).code)
        assert [name for name, _ in caught.value.fields] == ["voucher_code"]
    for unknown in ("UNKNOWN-1", "no/such#code?", ""):
        with pytest.raises(InvalidError, match="We do not know this code"):
            await till.vouchers.find("ada", unknown)
    await till.vouchers.reserve(voucher.code, "ada", new_id())
    with pytest.raises(InvalidError, match="used up"):
        await till.vouchers.find("bob", voucher.code)


async def test_who_guesses_codes_has_to_wait_even_with_the_right_one(till: Till) -> None:
    voucher, guesser = await till.make(), new_id()
    for number in range(20):
        with pytest.raises(InvalidError):
            await till.vouchers.find(guesser, f"GUESS-{number}")
    with pytest.raises(ThrottledError):
        await till.vouchers.find(guesser, voucher.code)
    await till.vouchers.find(new_id(), voucher.code)


async def test_a_code_that_takes_nothing_off_is_refused(till: Till) -> None:
    with pytest.raises(InvalidError, match="not for these books"):
        till.vouchers.discounts(percent(10, book_ids=("other",)), LINES, "USD")
    with pytest.raises(InvalidError, match="orders in EUR"):
        till.vouchers.discounts(amount(100, "EUR"), LINES, "USD")
    assert till.vouchers.discounts(percent(10), LINES, "EUR") == [100, 50]


# Administrators


async def test_administrators_make_change_and_end_vouchers(till: Till) -> None:
    voucher = await till.make()
    with pytest.raises(ConflictError):
        await till.vouchers.create(ADMIN, percent(20, code=voucher.code), ORIGIN)
    listed, _ = await till.vouchers.list_newest(100, None)
    assert [found for found in listed if found.code == voucher.code] == [voucher]

    def double(voucher: Voucher) -> Voucher:
        return voucher.model_copy(update={"percent": 20})

    await till.vouchers.reserve(voucher.code, "ada", "order")
    changed = await till.vouchers.change(ADMIN, voucher.code.lower(), double, ORIGIN)
    assert (changed.percent, changed.uses) == (20, 1)
    for _ in range(2):
        await till.vouchers.end(ADMIN, voucher.code, ORIGIN)
    with pytest.raises(InvalidError, match="expired"):
        await till.vouchers.reserve(voucher.code, "bob", new_id())
    await till.vouchers.settle(voucher.code, "order")
    assert await till.uses(voucher.code) == (1, 0, 1)
    with pytest.raises(ConflictError):
        await till.vouchers.change(ADMIN, voucher.code, double, ORIGIN)
    for missing in ("NOT-THERE", "no/such"):
        with pytest.raises(NotFoundError):
            await till.vouchers.end(ADMIN, missing, ORIGIN)
        with pytest.raises(NotFoundError):
            await till.vouchers.change(ADMIN, missing, double, ORIGIN)


def test_a_code_that_is_made_here_can_be_typed_and_not_guessed() -> None:
    codes = {NewVoucher(percent=10).code for _ in range(100)}
    assert len(codes) == 100
    assert all(normalise_code(code.lower()) == code and len(code) == 19 for code in codes)
