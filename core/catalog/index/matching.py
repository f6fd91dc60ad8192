"""Which books fit a text, and how well: by all its words, then by likely corrections, then by some of them.

What a person typed never reaches MATCH as it is: every word is quoted, and words hold no quotes.
"""

import base64
import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log1p

from core.catalog.folding import fold, plain_words, separate, words
from core.catalog.index.documents import title_key
from core.catalog.index.filters import Narrowed
from core.catalog.index.highlighting import Wanted
from core.catalog.index.spelling import correct

_WORDS = 12
_WORD_CHARACTERS = 40
_DEPTH = 400
"""How many books of one text can be paged through in the order of relevance."""
_WEIGHED = 100
_SCORED = 2500
"""Where more books than this have the words, the newest of them are put in order."""
_HEAD_WEIGHTS = "10.0, 4.0, 8.0, 3.0, 6.0, 2.0, 6.0"
_TEXT_WEIGHTS = f"{_HEAD_WEIGHTS}, 1.0, 0.7"
_BROAD_SHARE = 0.1
_BROAD_BOOKS = 200
_RARE_MATCHES = 3

_EXACT_TITLE, _TITLE_BEGINS, _FAME = 1000.0, 6.0, 0.15


@dataclass(frozen=True)
class Asked:
    """One word of the text: what to look for in its place, and whether it may go on."""

    phrases: tuple[str, ...]
    folded: str
    uses: int
    is_prefix: bool = False

    def expression(self, shortest_prefix: int) -> str:
        parts = [f'"{phrase}"' for phrase in self.phrases]
        if self.is_prefix and len(self.folded) >= shortest_prefix:
            # of several words (O'Con) only the last would go on, and O's would mean every word with an s
            parts += [f'"{phrase}"*' for phrase in self.phrases if phrase.isalnum()]
        return f"({' OR '.join(dict.fromkeys(parts))})"


@dataclass(frozen=True)
class Match:
    """The books of one page, best first, with a short code for each; the expression that found them."""

    books: list[int]
    codes: list[str]
    has_more: bool
    total: int
    expression: str
    wanted: Wanted
    words: str | None = None
    in_heads: bool = False

    def everything(self, narrowed: Narrowed) -> tuple[str, tuple[object, ...]]:
        """Return a query for all books that match, and its values."""
        return _all_matches("heads" if self.in_heads else "texts", narrowed), (
            self.expression,
            *narrowed.values,
        )


@dataclass
class _Found:
    """Books with their score, the lowest first, in tiers: those of a later tier come after all before."""

    tiers: list[list[tuple[int, float]]] = field(default_factory=list)
    known: set[int] = field(default_factory=set)

    def add(self, rows: Sequence[tuple[int, float]]) -> None:
        fresh = [row for row in rows if row[0] not in self.known]
        self.known.update(book for book, _ in fresh)
        self.tiers.append(fresh)


def find_matches(
    database: sqlite3.Connection,
    text: str,
    narrowed: Narrowed,
    limit: int,
    seen: frozenset[str],
    count: Callable[[str, str], int],
) -> Match | None:
    """Return the next books that fit; None where the text has no words or nothing fits.

    `count` tells how many a table has for an expression: `count_matches`, or what it said before.
    """
    asked = _read(database, text)
    if not asked:
        return None
    depth = min(max(_WEIGHED, len(seen) + limit + 1), _DEPTH)
    found = _Found()
    strict, loose = _conjunction(asked, 2), _conjunction(asked, 3)
    title = title_key(text)
    heads = _run(database, "heads", strict, narrowed, depth)
    found.add(_weigh(database, heads, title, narrowed))
    used, said, in_heads = loose, None, False
    total = count("texts", loose)
    unknown = [word for word in asked if word.uses == 0]
    if not heads and total < _RARE_MATCHES:
        corrected = _correct(database, asked, everything=not unknown)
        if corrected is not None:
            better = _conjunction(corrected, 3)
            rows = _run(database, "heads", better, narrowed, depth)
            found.add(_weigh(database, rows, title, narrowed))
            if rows or not total:
                more = count("texts", better)
                if more:
                    asked = corrected
                    used, total, said = better, max(total, more), _spell(corrected)
    if len(found.known) <= len(seen) + limit:
        found.add(_run(database, "texts", used, narrowed, depth))
        if used != loose:
            found.add(_run(database, "texts", loose, narrowed, depth))
    if not found.known:
        asked = _correct(database, asked, everything=False) or asked
        in_heads = True
        for used in (_all_but_one(asked), _disjunction(asked)):
            rows = _run(database, "heads", used, narrowed, depth)
            if rows:
                found.add(_weigh(database, rows, title, narrowed))
                total = count("heads", used)
                break
    total = max(total, len(found.known))
    return _cut(
        database, found, limit, seen, Match([], [], False, total, used, _wanted(asked), said, in_heads)
    )


def _read(database: sqlite3.Connection, text: str) -> list[Asked]:
    """Return the words of a text; those that are in every tenth book are left out if others remain."""
    written = [word[:_WORD_CHARACTERS] for word in words(text[: _WORDS * _WORD_CHARACTERS])][:_WORDS]
    asked = []
    for number, word in enumerate(written):
        folded = fold(word)
        parts = plain_words(word)
        joined = "".join(parts)
        phrases = dict.fromkeys(map(separate, (word.lower(), folded, joined)))
        is_last = number == len(written) - 1 and not text[-1].isspace()
        asked.append(Asked(tuple(p for p in phrases if p), joined, 0, is_last and len(joined) > 1))
    if not asked:
        return []
    looked_up = {part for word in written for part in (*plain_words(word), "".join(plain_words(word)))}
    marks = ", ".join("?" * len(looked_up))
    uses = dict(
        database.execute(f"SELECT text, uses FROM vocabulary WHERE text IN ({marks})", tuple(looked_up))
    )
    asked = [
        Asked(
            word.phrases,
            word.folded,
            max(
                uses.get(word.folded, 0),
                min((uses.get(part, 0) for part in plain_words(written[number])), default=0),
            ),
            word.is_prefix,
        )
        for number, word in enumerate(asked)
    ]
    (books,) = database.execute("SELECT value FROM facts WHERE name = 'books'").fetchone()
    telling = [word for word in asked if word.uses <= max(_BROAD_BOOKS, books * _BROAD_SHARE)]
    return telling or asked


def _correct(database: sqlite3.Connection, asked: list[Asked], *, everything: bool) -> list[Asked] | None:
    """Put likely words beside those that no book has (or beside all); None where there are none."""
    corrected = []
    for word in asked:
        found = correct(database, word.folded) if everything or word.uses == 0 else []
        if not found and word.uses == 0 and not word.is_prefix:
            continue  # nobody knows what was meant: the others have to do
        phrases = tuple(found) if word.uses == 0 and found else (*word.phrases, *found)
        corrected.append(Asked(phrases, found[0] if found else word.folded, word.uses, word.is_prefix))
    return corrected if corrected and corrected != asked else None


def _spell(asked: list[Asked]) -> str:
    return " ".join(word.folded for word in asked)


def _conjunction(asked: list[Asked], shortest_prefix: int) -> str:
    return " AND ".join(word.expression(shortest_prefix) for word in asked)


def _all_but_one(asked: list[Asked]) -> str:
    if len(asked) < 3:
        return _disjunction(asked)
    return " OR ".join(
        f"({_conjunction(asked[:number] + asked[number + 1 :], 3)})" for number in range(len(asked))
    )


def _disjunction(asked: list[Asked]) -> str:
    return " OR ".join(word.expression(3) for word in asked)


def _all_matches(table: str, narrowed: Narrowed) -> str:
    if not narrowed.terms and not narrowed.conditions:
        return f"SELECT rowid AS book FROM {table} WHERE {table} MATCH ?"
    return (
        f"SELECT b.book FROM {table} f CROSS JOIN books b ON b.book = f.rowid "
        f"WHERE {table} MATCH ? AND {narrowed.clause}"
    )


def count_matches(database: sqlite3.Connection, table: str, expression: str, narrowed: Narrowed) -> int:
    """Return how many books have the words in a table and pass."""
    query = f"SELECT count(*) FROM ({_all_matches(table, narrowed)})"
    (count,) = database.execute(query, (expression, *narrowed.values)).fetchone()
    return int(count)


def _run(
    database: sqlite3.Connection, table: str, expression: str, narrowed: Narrowed, depth: int
) -> list[tuple[int, float]]:
    weights = _HEAD_WEIGHTS if table == "heads" else _TEXT_WEIGHTS
    if not narrowed.terms and not narrowed.conditions:
        matches = (
            f"SELECT rowid AS book, bm25({table}, {weights}) AS score FROM {table} f WHERE {table} MATCH ?"
        )
    else:
        matches = (
            f"SELECT b.book, bm25({table}, {weights}) AS score FROM {table} f "
            f"CROSS JOIN books b ON b.book = f.rowid WHERE {table} MATCH ? AND {narrowed.clause}"
        )
    return database.execute(
        f"SELECT book, score FROM ({matches} ORDER BY f.rowid DESC LIMIT ?) ORDER BY score LIMIT ?",
        (expression, *narrowed.values, _SCORED, depth),
    ).fetchall()


def _weigh(
    database: sqlite3.Connection, rows: list[tuple[int, float]], title: str, narrowed: Narrowed
) -> list[tuple[int, float]]:
    """Put those whose title is the text itself, or begins with it, and the better known ones, further up."""
    same = database.execute(
        f"SELECT b.book FROM books b WHERE b.title = ? AND {narrowed.clause} LIMIT ?",
        (title, *narrowed.values, _WEIGHED),
    ).fetchall()
    scores = {book: 0.0 for (book,) in same} | dict(rows[:_WEIGHED])
    marks = ", ".join("?" * len(scores))
    facts = database.execute(
        f"SELECT book, title, popular FROM books WHERE book IN ({marks})",
        tuple(scores),
    )
    weighed = []
    for book, found, plays in facts:
        bonus = _FAME * log1p(plays)
        if found == title:
            bonus += _EXACT_TITLE
        elif found.startswith(title):
            bonus += _TITLE_BEGINS
        weighed.append((book, scores[book] - bonus))
    weighed.sort(key=lambda row: (row[1], row[0]))
    return weighed + [row for row in rows[_WEIGHED:] if row[0] not in scores]


def _cut(
    database: sqlite3.Connection, found: _Found, limit: int, seen: frozenset[str], match: Match
) -> Match | None:
    ranked = [book for tier in found.tiers for book, _ in tier]
    if not ranked:
        return None
    coded = ranked if seen else ranked[: limit + 1]
    marks = ", ".join("?" * len(coded))
    ids = dict(database.execute(f"SELECT book, id FROM books WHERE book IN ({marks})", coded))
    fresh = [(book, code) for book in coded if (code := code_of(ids[book])) not in seen]
    shown = fresh[:limit]
    return Match(
        books=[book for book, _ in shown],
        codes=[code for _, code in shown],
        has_more=len(fresh) > limit and len(seen) + limit < _DEPTH,
        total=match.total,
        expression=match.expression,
        wanted=match.wanted,
        words=match.words,
        in_heads=match.in_heads,
    )


def code_of(book_id: str) -> str:
    """Return four characters that tell a book from the few hundred of one search."""
    digest = hashlib.blake2b(book_id.encode(), digest_size=3).digest()
    return base64.urlsafe_b64encode(digest).decode()


def _wanted(asked: Sequence[Asked]) -> Wanted:
    """Return what to mark for words that were searched; an unfinished one to its end."""
    equal = {part for word in asked for phrase in word.phrases for part in plain_words(phrase)}
    beginnings = {
        plain_words(phrase)[-1] for word in asked if word.is_prefix for phrase in word.phrases if phrase
    }
    return Wanted(tuple(equal), tuple(word for word in beginnings if len(word) > 1))
