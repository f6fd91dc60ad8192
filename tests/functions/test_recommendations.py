"""What others enjoyed and what is chosen for a listener, over HTTP and on the pages."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from core.catalog.models import Money, SeriesPlace, name_id
from core.ids import new_id
from core.settings import Settings
from core.wiring import build
from tests.aloud import Aloud
from tests.functions.test_names import publish
from tests.functions.test_shop_pages import Buyer, form_of, joined
from tests.visitor import visit


async def ask(buyer: Buyer, path: str) -> Any:
    return json.loads(await buyer.read(f"/api/v1{path}"))


async def test_three_owners_make_a_shelf_and_a_series_goes_on(aloud: Aloud) -> None:
    name = f"Saga {new_id()}"
    series = {"id": name_id("series", name), "name": name}
    free = Money(amount=0)
    one = await publish(aloud, title="One", series=SeriesPlace(**series, position=1), price=free)
    two = await publish(aloud, title="Two", series=SeriesPlace(**series, position=2), price=free)
    liked = await publish(aloud, title="Much liked", price=free)
    async with asyncio.timeout(20):
        while len((await aloud.get(f"/api/v1/audiobooks?series={series['id']}"))["items"]) < 2:
            await asyncio.sleep(0.1)
    connection = {"AzureWebJobsStorage": aloud.connection_string, "JWT_SIGNING_KEY": "k" * 32}
    services = build(Settings.read(connection))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(services.close)
        stranger = await stack.enter_async_context(visit(aloud))
        for number in range(3):
            buyer = await stack.enter_async_context(joined(aloud))
            assert (await ask(buyer, f"/audiobooks/{one.id}/also-enjoyed")) == {"items": []}
            for book in (one, liked):
                form = form_of(await buyer.read(f"/books/{book.slug}"), "/library/take")
                assert (await buyer.post("/library/take", **form))[0] == 303
            # the message of the purchase comes by itself some seconds later, and then changes nothing
            await services.recommendations.follow((await ask(buyer, "/users/me"))["id"])
            assert "Listeners also enjoyed" not in await buyer.read(f"/books/{two.slug}"), number

        found = await ask(buyer, f"/audiobooks/{one.id}/also-enjoyed?limit=20")
        assert [item["id"] for item in found["items"]] == [liked.id]
        _, page, _ = await stranger.get(f"/books/{one.slug}")
        shelf = page.partition("Listeners also enjoyed")[2]
        assert f'href="/books/{liked.slug}"' in shelf

        found = await ask(buyer, "/audiobooks/recommended?limit=3")
        assert found["items"][0]["id"] == two.id
        assert found["items"][0]["reason"] == {"kind": "series", "text": f"Next in {name}"}
        mine = (await buyer.read("/")).partition("For you")[2].partition("books-heading")[0]
        assert f'href="/books/{two.slug}"' in mine
        assert f"Next in {name}" in mine
        assert one.slug not in mine
        assert "For you" not in (await stranger.get("/"))[1]
