"""The same catalog as most would build it: FastAPI and asyncpg over PostgreSQL's full text and trigrams."""

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-not-found]
from fastapi import FastAPI, Response  # type: ignore[import-not-found]

POOL: list[Any] = []
ORDERS = {
    "newest": "newest DESC, id DESC",
    "popular": "popular DESC, id DESC",
    "rating": "rating DESC, id DESC",
    "title": "title, id",
    "duration": "duration, id",
    "price": "price, id",
}
MARKS = "StartSel=<mark>, StopSel=</mark>, MaxWords=24, MinWords=8"


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    POOL.append(await asyncpg.create_pool(os.environ["PEER_DSN"], min_size=8, max_size=8))
    yield
    await POOL[0].close()


app = FastAPI(lifespan=lifespan)


def _filters(genre: str | None, language: str | None, max_price: int | None, values: list[Any]) -> str:
    conditions = []
    for text, value in (
        ("genres @> ARRAY[${}]", genre),
        ("language = ${}", language),
        ("price <= ${}", max_price),
    ):
        if value is not None:
            values.append(value)
            conditions.append(text.format(len(values)))
    return " AND ".join(conditions) or "true"


def _reply(items: list[str], total: int) -> Any:
    body = f'{{"items":[{",".join(items)}],"total":{total}}}'
    return Response(body, media_type="application/json")


@app.get("/audiobooks")  # type: ignore[untyped-decorator]
async def browse(
    sort: str = "newest",
    genre: str | None = None,
    language: str | None = None,
    max_price: int | None = None,
    limit: int = 20,
) -> Any:
    values: list[Any] = []
    clause = _filters(genre, language, max_price, values)
    async with POOL[0].acquire() as database:
        total = await database.fetchval(f"SELECT count(*) FROM books WHERE {clause}", *values)
        rows = await database.fetch(
            f"SELECT card FROM books WHERE {clause} ORDER BY {ORDERS[sort]} LIMIT {limit}", *values
        )
    return _reply([row["card"] for row in rows], total)


@app.get("/audiobooks/search")  # type: ignore[untyped-decorator]
async def search(q: str, limit: int = 20) -> Any:
    words = re.findall(r"\w+", q)
    query = " & ".join([*words[:-1], f"{words[-1]}:*"]) if words else ""
    async with POOL[0].acquire() as database:
        rows = await database.fetch(
            "WITH q AS (SELECT to_tsquery('catalog', $1) AS q), found AS ("
            "  SELECT id, ts_rank(tsv, q.q) + 0.01 * ln(1 + popular) AS score, count(*) OVER () AS total "
            "  FROM books, q WHERE tsv @@ q.q ORDER BY 2 DESC, id LIMIT $2) "
            "SELECT card, total, ts_headline('catalog', title, q.q, $3) AS title, "
            "ts_headline('catalog', summary, q.q, $3) AS summary "
            "FROM found JOIN books USING (id), q ORDER BY score DESC, id",
            query,
            limit,
            MARKS,
        )
        if not rows:
            rows = await database.fetch(
                "SELECT card, count(*) OVER () AS total, title, summary FROM books WHERE title % $1 "
                "ORDER BY similarity(title, $1) DESC, id LIMIT $2",
                q,
                limit,
            )
    items = [
        f'{row["card"][:-1]},"highlights":{json.dumps({"title": row["title"], "summary": row["summary"]})}}}'
        for row in rows
    ]
    return _reply(items, rows[0]["total"] if rows else 0)
