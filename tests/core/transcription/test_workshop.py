"""The threads that decode hand over what is done, whatever waits behind it."""

import asyncio
import threading
from contextlib import closing

from core.transcription.workshop import Workshop


async def test_a_piece_is_handed_over_before_the_next_one_is_cut() -> None:
    handed_over = threading.Event()
    with closing(Workshop()) as workshop:

        async def take_first() -> None:
            await workshop.do_heavy(str)
            handed_over.set()

        _, was_first = await asyncio.gather(take_first(), workshop.do_heavy(handed_over.wait, 10))
    assert was_first
