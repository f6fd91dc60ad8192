"""Everything goes wrong at once, and each book ends with the transcript that it would have had anyway."""

import os
from contextlib import aclosing

import pytest

from tests.chaos.rounds import run_rounds
from tests.chaos.storm import Acts

SEED = int(os.environ.get("CHAOS_SEED", "1"))
ACTS = Acts(kill=2, restart_storage=1, freeze_storage=1, duplicate=2, drop_again=1)


@pytest.mark.timeout(300)
async def test_a_storm_changes_no_transcript_and_leaves_nothing_behind() -> None:
    """CHAOS_SEED makes another storm, `make soak` a longer one."""
    print(f"CHAOS_SEED={SEED}")
    async with aclosing(run_rounds(books=5, acts=ACTS, seed=SEED, most_calls=4, wait=120)) as rounds:
        outcome = await anext(rounds)
    print(outcome)
    assert not outcome.problems, "\n".join(outcome.problems)
    assert outcome.torn, "no cut hit any work, so nothing was shown"
    assert len(outcome.answers) > 3, "the AI was in too good a mood to show anything"
