"""Generated books in a storage: whole, with covers, and again nothing new."""

from core.settings import Settings
from core.wiring import build
from localhost.azurite import STORAGE, Azurite
from localhost.seed.__main__ import seed
from localhost.seed.books import generate


async def test_a_seeded_catalog_has_books_with_covers_and_counts(azurite: Azurite) -> None:
    assert await seed(azurite.connection_string, 3, with_covers=True) == 3
    assert await seed(azurite.connection_string, 3, with_covers=False) == 0
    services = build(Settings.read({STORAGE: azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32}))
    try:
        await services.catalog.publish()
        for book, chapters in generate(3):
            shown = await services.catalog.show(book.id, None)
            assert (shown.title, shown.plays, len(shown.chapters)) == (book.title, book.plays, len(chapters))
            content, content_type = await services.catalog.cover(book.id, None)
            assert (content[:3], content_type) == (b"\xff\xd8\xff", "image/jpeg")
    finally:
        await services.close()
