"""What a storm has left: the books, the claims, the messages, and what was paid for."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.aloud import FINAL, Aloud
from tests.chaos.moods import Moods
from tests.chaos.storage import Storage, newest_jobs
from tests.chaos.storm import IN_FLIGHT, Storm

FORMS = ("json", "txt", "srt", "vtt")

Transcripts = dict[str, dict[str, bytes]]
"""By path and form."""


@dataclass
class Outcome:
    """How a storm ended; `problems` should be empty. `chunks` are those that had to be heard once each."""

    books: int
    chunks: int
    cuts: int = 0
    torn: int = 0
    paid_twice: int = 0
    lost: int = 0
    """Paid answers that no row knows of."""
    answers: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def bound(self) -> int:
        """How many answers may be paid twice or lost: for each cut, as many as a host works on."""
        return self.cuts * IN_FLIGHT


async def wait_for_ends(storage: Storage, paths: Sequence[str], seconds: float) -> dict[str, dict[str, Any]]:
    """Wait until each path's newest job is final and no message is left; return those jobs by path.

    Raises TimeoutError that says what is missing.
    """
    jobs: dict[str, dict[str, Any]] = {}
    left: dict[str, int] = {}
    try:
        async with asyncio.timeout(seconds):
            while True:
                jobs = newest_jobs(await storage.rows("jobs"))
                if all(path in jobs and jobs[path]["status"] in FINAL for path in paths):
                    left = await storage.messages()
                    if not left:
                        return {path: jobs[path] for path in paths}
                await asyncio.sleep(0.5)
    except TimeoutError:
        statuses = {path: jobs[path]["status"] if path in jobs else "unknown" for path in paths}
        open_ = {path: status for path, status in statuses.items() if status not in FINAL}
        raise TimeoutError(f"not settled: {open_}, messages: {left}") from None


async def read_transcripts(aloud: Aloud, job: dict[str, Any]) -> dict[str, bytes]:
    """Return the transcript of a job's book in each form; empty where there is none."""
    found = {}
    headers = {"Authorization": f"Bearer {await aloud.token()}"}
    for form in FORMS:
        path = f"/api/v1/audiobooks/{job['target_id']}/transcript?format={form}"
        async with aloud.http.get(path, headers=headers) as answer:
            found[form] = await answer.read() if answer.status == 200 else b""
    return found


async def examine(storm: Storm, moods: Moods, expected: Transcripts, outcome: Outcome, wait: float) -> None:
    """Wait for the end, and note in the outcome everything that is not as it should be."""
    say = outcome.problems.append
    outcome.cuts, outcome.torn, outcome.answers = storm.cuts, storm.torn, moods.answers
    try:
        jobs = await wait_for_ends(storm.storage, list(expected), wait)
    except TimeoutError as error:
        say(str(error))
        return
    for path, job in jobs.items():
        if job["status"] != "ready":
            say(f"{path} is {job['status']}: {job.get('reason')}")
        for form, content in (await read_transcripts(storm.aloud, job)).items():
            if content != expected[path][form]:
                say(f"{path}: the transcript's {form} is not that of fair weather")
    rows = await storm.storage.rows("jobs")
    outcome.problems += [
        f"a claim is left on {row['PartitionKey']}/{row['RowKey']}"
        for row in rows
        if row.get("claimed_by") or row.get("running_until")
    ]
    outcome.problems += _check_payments(rows, moods, outcome)
    outcome.problems += await _check_budget(storm, rows)
    for alert in (await storm.aloud.get("/api/v1/admin/alerts?limit=100"))["items"]:
        say(f"alert {alert['kind']}: {alert['detail'][:300]}")


def _check_payments(rows: Sequence[dict[str, Any]], moods: Moods, outcome: Outcome) -> list[str]:
    """Compare what the AI has answered with what had to be heard, and with what the rows have counted."""
    counted = sum(int(row["calls"]) for row in rows if row["RowKey"].startswith("chunk_"))
    outcome.paid_twice = moods.texts.total() - outcome.chunks
    outcome.lost = moods.paid_speech - counted
    return [
        f"{count} paid answers {what}; crashes explain 0 to {outcome.bound}"
        for count, what in ((outcome.paid_twice, "came twice"), (outcome.lost, "are on no row"))
        if not 0 <= count <= outcome.bound
    ]


async def _check_budget(storm: Storm, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Compare the sums with what the rows of jobs and chunks have cost.

    What a crash has left reserved the watchdog settles; here it is not waited for.
    """
    async with storm.aloud.http.post("/admin/functions/wake_stalled_jobs", json={"input": ""}) as answer:
        assert answer.status == 202
    cost = sum(row.get("cost_microdollars", 0) + row.get("text_cost_microdollars", 0) for row in rows)
    sums = (-1, -1)
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while sums != (0, cost):
                await asyncio.sleep(0.2)
                sums = await _sums(storm.storage)
    if sums == (0, cost) and cost > 0:
        return []
    return [f"the budget has {sums[0]} reserved and {sums[1]} spent; the rows say {cost} microdollars"]


async def _sums(storage: Storage) -> tuple[int, int]:
    """Return what the budget of all has reserved and spent, in all months together."""
    sums = [
        row
        for row in await storage.rows("budgets")
        if row["RowKey"] == "sum" and row["PartitionKey"].startswith("all_")
    ]
    reserved = sum(int(row["reserved_microdollars"]) for row in sums)
    return reserved, sum(int(row["spent_microdollars"]) for row in sums)
