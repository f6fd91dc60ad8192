"""Who has bought a book hears and reads it, whatever becomes of it in the shop."""

import pytest

from core.caller import Caller
from core.errors import NotFoundError, NotOwnedError
from core.storage.account import count_calls
from tests.core.commerce.conftest import Shop


async def hears(shop: Shop, book_id: str, person: Caller) -> bool:
    try:
        await shop.catalog.stream(book_id, person)
        assert (await shop.catalog.transcript(book_id, "txt", person))[0] == b"words"
    except NotOwnedError:
        return False
    return True


async def test_only_who_owns_a_book_hears_it(shop: Shop) -> None:
    buyer, other = await shop.join(), await shop.join()
    book = await shop.stock()
    assert not await hears(shop, book.id, buyer)
    assert not (await shop.catalog.show(book.id, buyer)).owned
    await shop.give(buyer, book)
    assert await hears(shop, book.id, buyer)
    assert (await shop.catalog.show(book.id, buyer)).owned
    assert not await hears(shop, book.id, other)
    assert not (await shop.catalog.show(book.id, other)).owned


async def test_a_book_that_is_being_bought_is_not_owned_yet(shop: Shop) -> None:
    buyer, book = await shop.join(), await shop.stock()
    await shop.give(buyer, book, "pending")
    assert not await hears(shop, book.id, buyer)
    assert not (await shop.catalog.show(book.id, buyer)).owned


async def test_a_withdrawn_book_stays_with_its_buyer_and_is_nobody_elses(shop: Shop) -> None:
    buyer, other = await shop.join(), await shop.join()
    book = await shop.stock(title="Kept")
    await shop.give(buyer, book)
    await shop.withdraw(book)
    assert await hears(shop, book.id, buyer)
    shown = await shop.catalog.show(book.id, buyer)
    assert (shown.title, shown.visibility, shown.owned) == ("Kept", "withdrawn", True)
    for ask in (shop.catalog.show, shop.catalog.stream):
        with pytest.raises(NotFoundError):
            await ask(book.id, other)
    with pytest.raises(NotFoundError):
        await shop.catalog.show(book.id, None)


async def test_to_ask_who_owns_a_book_costs_no_further_round(shop: Shop) -> None:
    buyer, book = await shop.join(), await shop.stock()
    await shop.give(buyer, book)
    for act in (shop.catalog.show, shop.catalog.stream):
        calls = count_calls()
        await act(book.id, buyer)
        assert calls.rounds == 1


async def test_a_sold_mark_is_kept_and_is_no_new_revision(shop: Shop) -> None:
    book = await shop.stock()
    read = await shop.catalog.read([book.id, "nothing"])
    assert list(read) == [book.id]
    await shop.catalog.update(book.id, lambda now: now.model_copy(update={"title": "Newer"}))
    await shop.catalog.mark_sold(read.values())
    stored = await shop.catalog.book(book.id)
    assert (stored.sold, stored.title, stored.revision) == (True, "Newer", book.revision + 1)
