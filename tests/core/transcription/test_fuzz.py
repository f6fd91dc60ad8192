"""Files that are damaged, disguised or absurd: each is rejected with a reason, or becomes a book."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from localhost.azurite import Azurite
from tests.fuzz.ingest import Intake
from tests.fuzz.variants import KINDS, make_variant

VARIANTS = 6
SEED = int(os.environ.get("FUZZ_SEED", "1"))


@pytest_asyncio.fixture(scope="module")
async def intake(azurite: Azurite) -> AsyncIterator[Intake]:
    async with Intake.start(azurite.connection_string) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
async def test_each_variant_ends_rejected_or_ready(intake: Intake, kind: str) -> None:
    """FUZZ_SEED makes others, `make fuzz` many."""
    ends = [await intake.take(make_variant(kind, number, SEED)) for number in range(VARIANTS)]
    assert [end for end in ends if end.fault] == []
    assert "ready" in {end.status for end in ends}, "the damage was too much to prove anything"
