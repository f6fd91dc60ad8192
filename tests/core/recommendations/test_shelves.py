"""What is bought, given and taken back reaches what is counted, by messages of the shop."""

import pytest
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient

from core.caller import Caller
from core.catalog.models import Book
from core.commerce.models import SHELVES
from localhost.azurite import Azurite
from tests.core.commerce.conftest import Shop, at_once, shop, start
from tests.core.commerce.test_gifts import a_wish, mailed_code

__all__ = ["at_once", "shop", "start"]
pytestmark = pytest.mark.usefixtures("at_once")


async def counts(shop: Shop, azurite: Azurite, book: Book) -> dict[str, int]:
    """Let the messages come that wait, and return what is counted under a book."""
    await shop.settle_all()
    async with QueueClient.from_connection_string(
        azurite.connection_string, SHELVES, message_decode_policy=TextBase64DecodePolicy()
    ) as queue:
        async for message in queue.receive_messages(messages_per_page=32):
            await shop.services.recommendations.run(message.content)
            await queue.delete_message(message)
    top = await shop.services.recommendations._store.top(book.id)
    return {item.book_id: item.owners for item in top.items}


async def buyer(shop: Shop, *books: Book) -> tuple[Caller, str]:
    person = await shop.join()
    return person, (await shop.bought(person, *books)).id


async def test_purchases_count_and_a_refund_is_taken_back(shop: Shop, azurite: Azurite) -> None:
    one, two = await shop.stock("One"), await shop.stock("Two")
    orders = [(await buyer(shop, one, two))[1] for _ in range(3)]
    assert await counts(shop, azurite, one) == {two.id: 3}
    await shop.refund(orders[0])
    assert await counts(shop, azurite, one) == {}


async def test_a_gift_counts_for_whoever_redeems_it_until_it_is_refunded(
    shop: Shop, azurite: Azurite
) -> None:
    one, two = await shop.stock("One"), await shop.stock("Two")
    for _ in range(2):
        await buyer(shop, one, two)
    giver, wish = await shop.join(), a_wish()
    await shop.put_in_cart(giver, one, two)
    answer, _ = await shop.buy(giver, gift=wish)
    assert answer.order is not None
    assert await counts(shop, azurite, one) == {}
    await shop.gifts.redeem(await shop.join(), await mailed_code(shop, wish["email"]))
    assert await counts(shop, azurite, one) == {two.id: 3}
    await shop.refund(answer.order.id)
    assert await counts(shop, azurite, one) == {}
