"""Words that were meant in place of words that no book has."""

import sqlite3

from core.catalog.index.documents import shortened

_CANDIDATES = 200
_LONG = 8
_OFFERED = 3


def distance(one: str, other: str, limit: int) -> int:
    """Return how many letters were left out, put in, mistaken or swapped, or `limit` + 1 for more."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before, last = last, row
    return last[-1]


def correct(database: sqlite3.Connection, word: str) -> list[str]:
    """Return the likeliest words for a folded one, the best first: near, in titles or names, often used.

    All words at a distance of 1 are found; at 2, which only longer words may be, most.
    """
    if not 4 <= len(word) <= 30 or word.isdigit():
        return []
    limit = 1 if len(word) < 6 else 2
    forms = shortened(word)
    if len(word) >= _LONG:
        forms |= {shorter for form in forms for shorter in shortened(form)}
    rows = database.execute(
        "SELECT text, uses, is_head FROM vocabulary WHERE word IN "
        f"(SELECT word FROM misspellings WHERE form IN ({', '.join('?' * len(forms))}) LIMIT ?)",
        (*forms, _CANDIDATES),
    ).fetchall()
    found = []
    for text, uses, is_head in rows:
        away = distance(word, text, limit)
        if 0 < away <= limit:
            found.append((away + (text[0] != word[0]) * 0.5, not is_head, -uses, text))
    found.sort()
    return [text for away, _, _, text in found[:_OFFERED] if away <= found[0][0] + 0.5]
