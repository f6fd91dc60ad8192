"""`python -m tests.chaos` is a storm of minutes over many books, with a table at its end."""

import argparse
import asyncio
import logging
import os
import secrets
import sys
import time
from contextlib import aclosing

from tests.chaos.aftermath import Outcome
from tests.chaos.rounds import run_rounds
from tests.chaos.storm import Acts

_BOOKS_AN_ACT = 20
_MOST_CALLS = 12
_SETTLE_SECONDS = 1200


def acts_for(books: int) -> Acts:
    """Return what happens in a round, more with more books."""
    times = max(1, books // _BOOKS_AN_ACT)
    return Acts(
        kill=4 * times, restart_storage=times, freeze_storage=times, duplicate=3 * times, drop_again=2 * times
    )


async def soak(books: int, minutes: float, seed: int) -> Outcome:
    """Begin rounds until the minutes are over."""
    outcome = Outcome(0, 0)
    until = time.monotonic() + minutes * 60
    async with aclosing(run_rounds(books, acts_for(books), seed, _MOST_CALLS, _SETTLE_SECONDS)) as rounds:
        async for ended in rounds:
            outcome = ended
            if time.monotonic() > until:
                break
    return outcome


def describe(outcome: Outcome, seed: int, seconds: float) -> str:
    """Return the table that ends a soak."""
    answers = ", ".join(f"{count} {kind}" for kind, count in outcome.answers.most_common())
    rows = (
        ("seed", seed),
        ("minutes", f"{seconds / 60:.1f}"),
        ("books", outcome.books),
        ("chunks to be heard", outcome.chunks),
        ("answers of the AI", answers),
        ("host killed, or storage stopped", f"{outcome.cuts}, with {outcome.torn} calls under way"),
        ("chunks paid twice", f"{outcome.paid_twice}, at most {outcome.bound}"),
        ("paid answers on no row", f"{outcome.lost}, at most {outcome.bound}"),
        ("problems", len(outcome.problems)),
    )
    lines = [f"{name:<32} {value}" for name, value in rows]
    return "\n".join([*lines, *(f"  {problem}" for problem in outcome.problems)])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Drop books while the AI fails, the host is killed and the storage stops; compare them "
        "with those of fair weather.",
    )
    parser.add_argument("--minutes", type=float, default=30, help="begin rounds for so long (default 30)")
    parser.add_argument("--books", type=int, default=60, help="books in a round (default 60)")
    parser.add_argument("--seed", type=int, help="repeat a storm (default CHAOS_SEED, else a new one)")
    options = parser.parse_args()
    seed = options.seed or int(os.environ.get("CHAOS_SEED", "0")) or secrets.randbelow(1_000_000) + 1
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("chaos").setLevel(logging.INFO)
    started = time.monotonic()
    outcome = asyncio.run(soak(options.books, options.minutes, seed))
    print(describe(outcome, seed, time.monotonic() - started))
    return bool(outcome.problems)


if __name__ == "__main__":
    sys.exit(main())
