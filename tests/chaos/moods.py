"""An AI with moods: by a seed it refuses, hangs, hangs up, or answers nonsense; asked again, it works."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from tests.scripted_ai import (
    Call,
    Reply,
    ScriptedAi,
    cut,
    empty,
    fill_schema,
    garbage,
    hang,
    ok,
    rate_limited,
    say_default,
    status,
)

WORST = 4
"""So often at most is the same question answered badly."""

_LOOP = "and so on " * 12
_FAULTS: dict[str, tuple[int, Callable[[], Reply]]] = {
    "429": (4, lambda: rate_limited(1)),
    "500": (4, lambda: status(500)),
    "503": (2, lambda: status(503)),
    "hangs": (1, hang),
    "cut off": (3, cut),
    "cut off midway": (3, lambda: cut(midway=True)),
    "garbage": (3, garbage),
    "empty body": (2, empty),
    "no text": (3, lambda: ok("")),
}
_PAID = {"text", "garbage", "empty body", "no text", "loop"}


class Moods:
    """Chooses the answers of a ScriptedAi and counts those that arrived, by kind and by what was asked.

    The same question, asked for the same time, gets the same answer wherever the seed is the same.
    """

    def __init__(self, ai: ScriptedAi, share: float) -> None:
        self.answers: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()
        """How often each audio, by its SHA-256, was answered with what was said in it."""
        self.paid_speech = 0
        """Answers of the speech model with status 200, of use or not."""
        self._share = share
        self._seed = ""
        self._asked: Counter[str] = Counter()
        ai.choose(self._choose)

    def change(self, seed: str) -> None:
        """Forget what was asked before, and go on by another seed."""
        self._seed = seed
        self._asked.clear()

    def _choose(self, call: Call, _: bytes) -> Reply:
        question = call.audio_sha256 or _material(call)
        number = self._asked[question]
        self._asked[question] += 1
        kind, reply = self._pick(call, question, number)

        async def count(request: web.Request, call: Call) -> web.StreamResponse:
            response = await reply(request, call)
            self.answers[kind] += 1
            if call.audio_sha256:
                self.paid_speech += kind in _PAID
                self.texts[call.audio_sha256] += kind == "text"
            return response

        return count

    def _pick(self, call: Call, question: str, number: int) -> tuple[str, Reply]:
        chance = random.Random(f"{self._seed} {question} {number}")
        if number >= WORST or chance.random() >= self._share:
            return "text", say_default if call.audio_sha256 else ok(fill_schema(call.body))
        if call.audio_sha256 and not number and chance.random() < 0.1:
            return "loop", ok(_LOOP)  # a second odd text would be kept with a flag, as it should be
        kinds = list(_FAULTS)
        kind = chance.choices(kinds, [weight for weight, _ in _FAULTS.values()])[0]
        return kind, _FAULTS[kind][1]()


def _material(call: Call) -> str:
    """Return what tells a chat's question; the marks around its material are new each time."""
    lines = str(call.body["messages"][-1]["content"]).split("\n")[1:-1]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
