"""The same checkout as most would build it: FastAPI, asyncpg and one transaction, the charge inside."""

import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-not-found]
from fastapi import FastAPI, Header, HTTPException, Request, Response  # type: ignore[import-not-found]

POOL: list[Any] = []


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    POOL.append(await asyncpg.create_pool(os.environ["PEER_DSN"], min_size=16, max_size=16))
    yield
    await POOL[0].close()


app = FastAPI(lifespan=lifespan)


@app.post("/checkout")  # type: ignore[untyped-decorator]
async def check_out(
    request: Request, authorization: str = Header(), idempotency_key: str = Header()
) -> Response:
    body = await request.body()
    wish = json.loads(body)
    hashed = hashlib.sha256(body).hexdigest()
    async with POOL[0].acquire() as database, database.transaction():
        user = await database.fetchrow(
            "SELECT u.id, u.email FROM sessions s JOIN users u ON u.id = s.user_id "
            "WHERE s.id = $1 AND s.epoch = u.epoch AND s.expires_at > now()",
            authorization.removeprefix("Bearer "),
        )
        if user is None:
            raise HTTPException(401)
        is_new = await database.fetchval(
            "INSERT INTO requests (user_id, key, hash) VALUES ($1, $2, $3) "
            "ON CONFLICT DO NOTHING RETURNING true",
            user["id"],
            idempotency_key,
            hashed,
        )
        if not is_new:
            known = await database.fetchrow(
                "SELECT hash, status, answer FROM requests WHERE user_id = $1 AND key = $2",
                user["id"],
                idempotency_key,
            )
            if known["hash"] != hashed:
                raise HTTPException(422)
            return Response(known["answer"], known["status"], media_type="application/json")
        books = await database.fetch(
            "SELECT b.id, b.title, b.price, b.currency, b.visibility FROM cart_items c "
            "JOIN books b ON b.id = c.book_id WHERE c.user_id = $1 ORDER BY c.added_at FOR SHARE OF b",
            user["id"],
        )
        if not books or any(book["visibility"] != "published" for book in books):
            raise HTTPException(409)
        order_id, total = secrets.token_hex(13), sum(book["price"] for book in books)
        ids = [book["id"] for book in books]
        await database.execute(
            "INSERT INTO orders (id, user_id, state, total, currency, method) "
            "VALUES ($1, $2, 'paid', $3, $4, $5)",
            order_id,
            user["id"],
            total,
            books[0]["currency"],
            wish["payment_method"],
        )
        await database.execute(
            "INSERT INTO order_items (order_id, book_id, title, price) "
            "SELECT $1, * FROM unnest($2::text[], $3::text[], $4::integer[])",
            order_id,
            ids,
            [book["title"] for book in books],
            [book["price"] for book in books],
        )
        await database.execute(
            "INSERT INTO owned (user_id, book_id, order_id) SELECT $1, unnest($2::text[]), $3",
            user["id"],
            ids,
            order_id,
        )
        await database.execute(
            "INSERT INTO charges (order_id, amount, currency, state) VALUES ($1, $2, $3, 'paid')",
            order_id,
            total,
            books[0]["currency"],
        )
        await database.execute("DELETE FROM cart_items WHERE user_id = $1", user["id"])
        await database.execute("INSERT INTO outbox (order_id, kind) VALUES ($1, 'receipt')", order_id)
        answer = json.dumps({
            "id": order_id,
            "state": "paid",
            "total": {"amount": total, "currency": books[0]["currency"]},
            "items": [
                {"audiobook_id": book["id"], "title": book["title"], "price": book["price"]} for book in books
            ],
        })  # fmt: skip
        await database.execute(
            "UPDATE requests SET status = 201, answer = $3 WHERE user_id = $1 AND key = $2",
            user["id"],
            idempotency_key,
            answer,
        )
    return Response(answer, 201, media_type="application/json")
