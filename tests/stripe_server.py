"""A server that speaks Stripe's forms: Checkout Sessions, refunds, idempotency, errors, signed webhooks.

async with StripeServer.start() as stripe:
    stripe.settings                     # STRIPE_API_BASE, STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET
    stripe.requests                     # what came, as (method, path, fields, headers)
    stripe.pay(session_id)              # the buyer pays on the hosted page; stripe.expire(session_id)
    stripe.webhook("checkout.session.completed", session_id)        # body and headers, signed now
    stripe.fail_with(503); stripe.lose_answers(); stripe.heal()     # the work of a lost answer is done
"""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

from core.ids import new_id

API_KEY = "sk_test_aloud"
WEBHOOK_SECRET = "whsec_aloud"
_OPEN_FIELDS = {
    "mode",
    "allowed_payment_method_types[0]",
    "line_items[0][quantity]",
    "line_items[0][price_data][currency]",
    "line_items[0][price_data][unit_amount]",
    "line_items[0][price_data][product_data][name]",
    "customer_email",
    "client_reference_id",
    "metadata[user_id]",
    "metadata[order_id]",
    "payment_intent_data[description]",
    "payment_intent_data[metadata][user_id]",
    "payment_intent_data[metadata][order_id]",
    "success_url",
    "cancel_url",
    "expires_at",
}


@dataclass(frozen=True)
class Request:
    """What came over the wire."""

    method: str
    path: str
    fields: dict[str, str]
    headers: dict[str, str]


def sign(body: bytes, secret: str = WEBHOOK_SECRET, at: int | None = None) -> dict[str, str]:
    """Return the headers of a webhook, as Stripe's documentation says they are made."""
    seconds = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, "sha256").hexdigest()
    return {"content-type": "application/json", "stripe-signature": f"t={seconds},v1={digest}"}


class _RefusalError(Exception):
    def __init__(self, status: int, **error: str) -> None:
        self.status = status
        self.error = error


class StripeServer:
    """The server: its sessions, what was refunded, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.sessions: dict[str, dict[str, Any]] = {}
        self.refunded: dict[str, int] = {}
        self._answers: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self._failure: tuple[int, dict[str, str], dict[str, str]] | None = None
        self._loses = False

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        server = cls()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.5, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield server
        finally:
            await runner.cleanup()

    @property
    def settings(self) -> dict[str, str]:
        """What makes Aloud take payments here."""
        return {
            "STRIPE_API_BASE": self.url,
            "STRIPE_API_KEY": API_KEY,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }

    # What buyers and the world do

    def pay(self, session_id: str) -> None:
        session = self.sessions[session_id]
        assert session["status"] == "open"
        session |= {"status": "complete", "payment_status": "paid", "payment_intent": f"pi_{new_id()}"}

    def expire(self, session_id: str) -> None:
        self.sessions[session_id] |= {"status": "expired", "url": None}

    def fail_with(self, status: int, headers: dict[str, str] | None = None, **error: str) -> None:
        """Answer every request with this error, and do nothing, until `heal`."""
        self._failure = (status, headers or {}, error)

    def lose_answers(self) -> None:
        """Do what is asked and cut the connection before the answer, until `heal`."""
        self._loses = True

    def heal(self) -> None:
        self._failure, self._loses = None, False

    def webhook(
        self, kind: str, session_id: str, event_id: str | None = None, at: int | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of the webhook that tells of a session as it is now."""
        event = {
            "id": event_id or f"evt_{new_id()}",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": int(time.time()),
            "data": {"object": self.sessions[session_id]},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
        body = json.dumps(event, indent=2).encode()
        return body, sign(body, at=at)

    # What is asked

    async def _answer(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Request(request.method, request.path, form, headers))
        if self._failure is not None:
            status, more, error = self._failure
            return web.json_response({"error": error}, status=status, headers=more)
        try:
            answer = self._do(request.method, request.path, form, headers)
        except _RefusalError as refusal:
            return web.json_response({"error": refusal.error}, status=refusal.status)
        if self._loses:
            assert request.transport is not None
            request.transport.abort()
            await asyncio.sleep(0)
        return web.json_response(answer, headers={"Request-Id": f"req_{new_id()}"})

    def _do(self, method: str, path: str, form: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
        if headers.get("authorization") != f"Bearer {API_KEY}":
            raise _RefusalError(
                401, type="invalid_request_error", message="Invalid API Key provided: sk_test_***"
            )
        key = headers.get("idempotency-key")
        if method == "POST" and key is not None and key in self._answers:
            known, answer = self._answers[key]
            if known != form:
                raise _RefusalError(
                    400, type="idempotency_error", message="Keys can only be used with the same parameters."
                )
            return answer
        match method, path.strip("/").split("/"):
            case "POST", ["v1", "checkout", "sessions"]:
                answer = self._open(form)
            case "GET", ["v1", "checkout", "sessions", session_id]:
                return self._session(session_id)
            case "POST", ["v1", "checkout", "sessions", session_id, "expire"]:
                if self._session(session_id)["status"] != "open":
                    raise _RefusalError(
                        400,
                        type="invalid_request_error",
                        message='Only Checkout Sessions with a status in ["open"] can be expired.',
                    )
                self.expire(session_id)
                return self._session(session_id)
            case "POST", ["v1", "refunds"]:
                answer = self._refund(form)
            case _:
                raise _RefusalError(404, type="invalid_request_error", message=f"Unrecognized URL ({path}).")
        if key is not None:
            self._answers[key] = (form, dict(answer))
        return answer

    def _session(self, session_id: str) -> dict[str, Any]:
        if session_id not in self.sessions:
            raise _RefusalError(
                404, type="invalid_request_error", code="resource_missing", message="No such checkout.session"
            )
        return self.sessions[session_id]

    def _open(self, form: dict[str, str]) -> dict[str, Any]:
        if unknown := form.keys() ^ _OPEN_FIELDS:
            raise _RefusalError(
                400, type="invalid_request_error", param=sorted(unknown)[0], code="parameter_unknown"
            )
        seconds = int(form["expires_at"]) - time.time()
        if not 1800 <= seconds <= 86400:
            raise _RefusalError(
                400, type="invalid_request_error", param="expires_at", message="30 minutes at least."
            )
        amount = int(form["line_items[0][price_data][unit_amount]"])
        if amount < 50:
            raise _RefusalError(
                400, type="invalid_request_error", code="amount_too_small", message="Too small."
            )
        session_id = f"cs_test_{new_id()}"
        self.sessions[session_id] = {
            "id": session_id,
            "object": "checkout.session",
            "amount_total": amount,
            "client_reference_id": form["client_reference_id"],
            "currency": form["line_items[0][price_data][currency]"],
            "expires_at": int(form["expires_at"]),
            "metadata": {"user_id": form["metadata[user_id]"], "order_id": form["metadata[order_id]"]},
            "mode": form["mode"],
            "payment_intent": None,
            "payment_status": "unpaid",
            "status": "open",
            "url": f"https://checkout.stripe.com/c/pay/{session_id}",
        }
        return self.sessions[session_id]

    def _refund(self, form: dict[str, str]) -> dict[str, Any]:
        intent, amount = form["payment_intent"], int(form["amount"])
        (session,) = (s for s in self.sessions.values() if s["payment_intent"] == intent)
        before = self.refunded.get(intent, 0)
        if before >= session["amount_total"]:
            raise _RefusalError(
                400, type="invalid_request_error", code="charge_already_refunded", message="Already refunded."
            )
        if before + amount > session["amount_total"]:
            raise _RefusalError(
                400, type="invalid_request_error", param="amount", message="Greater than left."
            )
        self.refunded[intent] = before + amount
        return {"id": f"re_{new_id()}", "object": "refund", "amount": amount, "status": "succeeded"}
