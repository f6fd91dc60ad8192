"""How many storage calls each HTTP route makes, as the product itself says in `Server-Timing`."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import azure.functions as func
import pyotp

from bench.rows import Limit, Row
from core.catalog.index.pointer import POINTER
from core.ids import new_id
from tests.aloud import Aloud
from tests.audio import make_audio, make_png
from tests.google_issuer import GoogleIssuer
from tests.person import form_with_file, write_blob
from tests.scripted_ai import ScriptedAi, status

_CALLS = re.compile(r'total;dur=([\d.]+), storage;desc="(\d+) calls in (\d+) rounds"')
_FORM_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')
_PASSWORD = "a sentence for the bench"
_LIMITS = {"login_user": Limit("<", 8), "get_own_user": Limit("<", 2), "check_out": Limit("<", 13)}
_GIVING = "checkout of a gift, with a voucher: storage calls"
_LOGIN_ROUNDS = Limit("<", 4)


@dataclass(frozen=True)
class Answer:
    """`calls` and `rounds` are None where the route does not say how many."""

    status: int
    body: Any
    calls: int | None
    rounds: int | None
    milliseconds: float | None


@dataclass
class Walk:
    """Asks every route once, in an order that works, and keeps each one's answer by function name."""

    aloud: Aloud
    browser: aiohttp.ClientSession
    answers: dict[str, Answer] = field(default_factory=dict)

    async def ask(self, name: str, method: str, path: str, *, token: str = "", **request: Any) -> Any:
        """Send a request as a program does: with a token, or with nothing."""
        code, body, headers = await self.aloud.call(method, path, token=token, **request)
        return self._keep(name, code, body, cast(Any, headers))

    async def visit(self, name: str, method: str, path: str, **request: Any) -> Any:
        """Send a request as a browser does: with the cookies that it was given."""
        async with self.browser.request(method, path, allow_redirects=False, **request) as answer:
            is_text = answer.content_type.startswith("text/")
            body = await answer.text() if is_text else await answer.read()
            return self._keep(name, answer.status, body, answer.headers)

    def _keep(self, name: str, code: int, body: Any, headers: Any) -> Any:
        said = _CALLS.fullmatch(headers.get("Server-Timing", ""))
        calls, rounds, milliseconds = (
            (int(said[2]), int(said[3]), float(said[1])) if said else (None, None, None)
        )
        self.answers[name] = Answer(code, body, calls, rounds, milliseconds)
        return body


async def measure(quick: bool) -> AsyncIterator[Row]:
    """Two walks; the second is shown, when connections and caches are warm, as on most requests."""
    async with (
        ScriptedAi.start() as ai,
        GoogleIssuer.start() as google,
        Aloud.start(openai_base_url=ai.base_url, CATALOG_REFRESH_SECONDS="3600", **google.settings) as aloud,
    ):
        google_tokens = [
            google.token(email=f"{name}@aloud.example", sub=name) for name in ("joins", "linked")
        ]
        book = await _make_book(aloud)
        ai.fail_with(status(400))
        await aloud.upload("failing.mp3", make_audio("mp3", 3, sounds=[(0, 3)]))
        failed = await aloud.wait_for("failing.mp3", "transcription_failed")
        refused = ai.transcriptions[-1].audio_sha256
        ai.heal()
        ai.choose(lambda call, _: status(400) if call.audio_sha256 == refused else None)
        for turn in ("first", "second"):
            async with aiohttp.ClientSession(
                aloud.base_url, cookie_jar=aiohttp.CookieJar(unsafe=True)
            ) as browser:
                walk = Walk(aloud, browser)
                await _walk(walk, book, failed["id"], turn, google_tokens)
            await aloud.settled("failing.mp3")
    for name, route in list_routes().items():
        answer = walk.answers.get(name)
        if answer is None:
            yield Row(f"storage calls: {route}", None, "calls", note="the bench has no request for it")
        else:
            took = ""
            if answer.milliseconds is not None:
                took = f" in {answer.rounds} rounds, {answer.milliseconds:.0f} ms"
            note = f"answers {answer.status}{took}"
            yield Row(f"storage calls: {route}", answer.calls, "calls", _LIMITS.get(name), note)
    giving, login = walk.answers[_GIVING], walk.answers["login_user"]
    yield Row(_GIVING, giving.calls, "calls", note=f"in {giving.rounds} rounds")
    yield Row("login: rounds", login.rounds, "rounds", _LOGIN_ROUNDS, "storage calls one after another")


def list_routes() -> dict[str, str]:
    """Return method and path of each HTTP function of the app, by its name."""
    import function_app

    routes = {}
    for function in function_app.app.get_functions():
        trigger = cast(Any, function.get_trigger())
        if trigger.type == "httpTrigger":
            method = func.HttpMethod(trigger.methods[0]).value
            routes[str(function.get_function_name())] = f"{method} /{trigger.route}"
    return dict(sorted(routes.items(), key=lambda item: item[1].split()[::-1]))


async def _make_book(aloud: Aloud) -> dict[str, Any]:
    audio = make_audio(
        "mp3",
        24,
        sounds=[(0, 9), (10, 24)],
        tags={"title": "Bench"},
        chapters=[("One", 0, 24)],
        cover=make_png(),
    )
    await aloud.upload("bench.mp3", audio)
    await aloud.wait_for("bench.mp3", "ready")
    index = aloud.blobs.get_blob_client("catalog", POINTER)
    async with asyncio.timeout(30):
        while not await index.exists():
            await asyncio.sleep(0.1)
    return await aloud.book_of("bench.mp3")


async def _walk(
    walk: Walk, book: dict[str, Any], failed_job: str, turn: str, google_tokens: list[str]
) -> None:
    api, book_path = "/api/v1", f"/api/v1/audiobooks/{book['id']}"
    admin = await walk.aloud.token()

    await walk.ask("health", "GET", "/health")
    await walk.ask("health_ready", "GET", "/health/ready")
    await walk.ask("openapi", "GET", "/openapi.json")
    await walk.ask("zz_unknown_path", "GET", "/api/v1/nothing")

    await _walk_account(walk, f"{turn}@aloud.example", google_tokens)

    await walk.ask("browse_books", "GET", f"{api}/audiobooks")
    await walk.ask("get_book", "GET", book_path)
    words = f"{api}/audiobooks/search?q=bench&facets=true"
    await walk.ask("browse_books_by_search", "GET", words)
    await walk.ask("browse_books_by_suggestion", "GET", f"{api}/audiobooks/suggest?q=ben")
    await walk.ask("get_book_relatives", "GET", f"{book_path}/similar")
    await walk.ask("get_book_companions", "GET", f"{book_path}/also-enjoyed")
    for kind in ("authors", "narrators", "genres", "series"):
        found = await walk.ask(f"list_{kind}", "GET", f"{api}/{kind}")
        if kind != "genres":
            term = found["items"][0]["id"] if found["items"] else "none"
            one = kind if kind == "series" else kind.removesuffix("s")
            await walk.ask(f"get_{one}", "GET", f"{api}/{kind}/{term}")
            await walk.visit(f"page_{one}", "GET", f"/{kind}/{term}")
    await walk.ask("get_book_chapters", "GET", f"{book_path}/chapters")
    await walk.ask("get_book_sample", "GET", f"{book_path}/sample")
    await walk.ask("get_book_transcript", "GET", f"{book_path}/transcript", token=admin)
    await walk.ask("stream_book", "GET", f"{book_path}/stream", token=admin)

    await _walk_buying(walk, book["id"], f"{turn}-buyer@aloud.example")
    await _walk_listening(walk, book["id"])
    await _walk_downloads(walk, book["id"], admin)
    await _walk_books(walk, book)
    await _walk_names(walk)
    await _walk_tasks(walk)
    await _walk_controls(walk)

    await walk.ask("list_jobs", "GET", f"{api}/admin/jobs", token=admin)
    await walk.ask("get_job", "GET", f"{api}/admin/jobs/{failed_job}", token=admin)
    await walk.ask("list_alerts", "GET", f"{api}/admin/alerts", token=admin)
    await walk.ask("retry_job", "POST", f"{api}/admin/jobs/{failed_job}/retry", token=admin)
    await walk.ask("cancel_job", "POST", f"{api}/admin/jobs/{failed_job}/cancel", token=admin)

    await walk.visit("page_sitemap", "GET", "/sitemap.xml")
    await walk.visit("page_feed", "GET", "/feed.xml")
    await walk.visit("page_robots", "GET", "/robots.txt")
    await walk.visit("page_docs", "GET", "/docs")
    await walk.visit("page_docs_asset", "GET", "/docs/assets/swagger-ui.css")
    form = {"csrf": _form_token(await walk.visit("page_register", "GET", "/register"))}
    newcomer = {"email": f"{turn}-browser@aloud.example", "password": _PASSWORD}
    await walk.visit("page_register_submit", "POST", "/register", data=form | newcomer)
    home = await walk.visit("page_home", "GET", "/")
    await walk.visit("page_book", "GET", f"/books/{book['slug']}")
    await walk.visit("page_search", "GET", "/search?q=the")
    await walk.visit("page_cover", "GET", f"/covers/{book['id']}")
    await walk.visit("page_static", "GET", re.findall(r'"(/static/[^"]+\.css)"', home)[0])
    await walk.visit("page_logout", "POST", "/logout", data={"csrf": _form_token(home)})
    form = {"csrf": _form_token(await walk.visit("page_login", "GET", "/login"))}
    await walk.visit("page_login_submit", "POST", "/login", data=form | newcomer)
    await _walk_task_pages(walk)
    order_id = await _walk_shop_pages(walk, book)
    await _walk_account_pages(walk, newcomer, order_id)


async def _walk_buying(walk: Walk, book_id: str, email: str) -> None:
    """A book that costs something, from the cart to the refund."""
    api, book, admin = "/api/v1", f"/api/v1/audiobooks/{book_id}", await walk.aloud.token()
    person = {"email": email, "password": _PASSWORD}
    await walk.ask("register_user", "POST", f"{api}/auth/register", json=person)
    session = await walk.ask("login_user", "POST", f"{api}/auth/login", json=person)
    token = session["access_token"]
    await walk.ask("change_book", "PATCH", book, token=admin, json={"price": {"amount": 999}})
    wanted = {"audiobook_ids": [book_id]}
    await walk.ask("merge_cart", "POST", f"{api}/cart/merge", token=token, json=wanted)
    await walk.ask("remove_from_cart", "DELETE", f"{api}/cart/{book_id}", token=token)
    await walk.ask("empty_cart", "DELETE", f"{api}/cart", token=token)
    for method in ("simulated-late", "simulated"):
        wish = {"json": {"payment_method": method}, "headers": {"Idempotency-Key": method}}
        await walk.ask("add_to_cart", "POST", f"{api}/cart/add", token=token, json={"audiobook_id": book_id})
        await walk.ask("get_cart", "GET", f"{api}/cart", token=token)
        order = await walk.ask("check_out", "POST", f"{api}/checkout", token=token, **wish)
        path = f"{api}/orders/{order['id']}"
        await walk.ask("confirm_order", "POST", f"{path}/confirm", token=token)
        if order["state"] == "pending":
            await walk.ask("cancel_order", "POST", f"{path}/cancel", token=token)
    await walk.ask("list_orders", "GET", f"{api}/orders", token=token)
    await walk.ask("get_order", "GET", path, token=token)
    await walk.ask("refund_order", "POST", f"{path}/refund", token=admin)
    await _walk_giving(walk, book_id, token, f"friend-of-{email}")
    await walk.ask("change_book", "PATCH", book, token=admin, json={"price": {"amount": 0}})


async def _walk_giving(walk: Walk, book_id: str, token: str, friend: str) -> None:
    """A gift that is bought with a voucher and redeemed, and one that its giver does not pay."""
    api, admin = "/api/v1", await walk.aloud.token()
    vouchers, code = f"{api}/admin/vouchers", f"BENCH-{new_id()}"[:32]
    terms = {"percent": 10}
    await walk.ask("create_voucher", "POST", vouchers, token=admin, json=terms | {"code": code})
    await walk.ask("list_vouchers", "GET", vouchers, token=admin)
    await walk.ask("change_voucher", "PUT", f"{vouchers}/{code}", token=admin, json=terms)
    gift = {"email": friend, "audiobook_ids": [book_id]}
    for method in ("simulated", "simulated-late"):
        wish = {"payment_method": method, "gift": gift, "voucher_code": code}
        headers = {"Idempotency-Key": f"gift-{method}"}
        order = await walk.ask(_GIVING, "POST", f"{api}/checkout", token=token, json=wish, headers=headers)
    page = order["pay_url"].removeprefix(walk.aloud.base_url)
    form = {"csrf": _form_token(await walk.visit("page_pay", "GET", page)), "answer": "no"}
    await walk.visit("page_pay_submit", "POST", page, data=form)
    await walk.ask("end_voucher", "DELETE", f"{vouchers}/{code}", token=admin)
    link = (await walk.aloud.mail(friend, "/gifts/")).partition("/gifts/")[2].split()[0]
    await walk.visit("page_gift", "GET", f"/gifts/{link}")
    await walk.ask("redeem_gift", "POST", f"{api}/gifts/redeem", token=token, json={"code": link})


async def _walk_downloads(walk: Walk, book_id: str, token: str) -> None:
    """A book's files to keep: one by one, and in a ZIP."""
    mine = "/api/v1/my-books"
    await walk.ask("list_my_books", "GET", mine, token=token)
    await walk.ask("load_my_book", "GET", f"{mine}/{book_id}/download", token=token)
    wanted = {"audiobook_ids": [book_id]}
    archive = await walk.ask("begin_my_download", "POST", f"{mine}/downloads", token=token, json=wanted)
    async with asyncio.timeout(30):
        while archive["status"] != "ready":
            await asyncio.sleep(0.1)
            path = f"{mine}/downloads/{archive['id']}"
            archive = await walk.ask("get_my_download", "GET", path, token=token)
    await walk.ask("list_my_downloads", "GET", f"{mine}/downloads", token=token)


async def _walk_account(walk: Walk, email: str, google_tokens: list[str]) -> None:
    """The life of an account, from its registration to its end."""
    auth, me, users = "/api/v1/auth", "/api/v1/users/me", "/api/v1/admin/users"
    admin = await walk.aloud.token()
    person, address = {"email": email, "password": _PASSWORD}, {"email": email}
    proof = {"password": _PASSWORD}

    user = await walk.ask("register_user", "POST", f"{auth}/register", json=person)
    await walk.ask("resend_verification", "POST", f"{auth}/verify-email/resend", json=address)
    link = {"token": await walk.aloud.mailed_token(email, "/verify")}
    await walk.ask("verify_email", "POST", f"{auth}/verify-email", json=link)
    await walk.ask("login_with_google", "POST", f"{auth}/google-login", json={"id_token": google_tokens[0]})
    other = await walk.ask("login_user", "POST", f"{auth}/login", json=person)
    await walk.ask("logout_user", "POST", f"{auth}/logout", token=other["access_token"])

    session = await walk.ask("login_user", "POST", f"{auth}/login", json=person)
    renewal = {"refresh_token": session["refresh_token"]}
    session = await walk.ask("refresh_session", "POST", f"{auth}/refresh", json=renewal)
    token = session["access_token"]
    await walk.ask("get_own_user", "GET", me, token=token)
    await walk.ask("change_own_user", "PUT", me, token=token, json={"bio": "Reads at night."})
    picture = {"data": make_png(), "headers": {"Content-Type": "image/png"}}
    await walk.ask("set_own_picture", "PUT", f"{me}/picture", token=token, **picture)
    await walk.ask("remove_own_picture", "DELETE", f"{me}/picture", token=token)

    export = await walk.ask("request_own_export", "POST", f"{me}/export", token=token)
    async with asyncio.timeout(30):
        while export["status"] != "ready":
            await asyncio.sleep(0.1)
            export = await walk.ask("get_own_export", "GET", f"{me}/export/{export['id']}", token=token)
    await walk.ask("list_own_exports", "GET", f"{me}/export", token=token)

    setup = await walk.ask("set_up_mfa", "POST", f"{auth}/mfa/setup", token=token, json=proof)
    code = {"mfa_code": pyotp.TOTP(setup["secret"]).now()}
    factor = await walk.ask("confirm_mfa", "POST", f"{auth}/mfa/confirm", token=token, json=code)
    code = {"mfa_code": factor["recovery_codes"][0]}
    await walk.ask("remove_mfa", "DELETE", f"{auth}/mfa", token=token, json=proof | code)
    shown = {"id_token": google_tokens[1]}
    await walk.ask("link_google", "PUT", f"{auth}/google", token=token, json=proof | shown)
    await walk.ask("unlink_google", "DELETE", f"{auth}/google", token=token, json=proof)

    await walk.ask("login_user", "POST", f"{auth}/login", json=person)
    sessions = await walk.ask("list_own_sessions", "GET", f"{me}/sessions", token=token)
    ended = next(item["id"] for item in sessions["items"] if not item["current"])
    await walk.ask("end_own_session", "DELETE", f"{me}/sessions/{ended}", token=token)

    new_password = {"current_password": _PASSWORD, "new_password": _PASSWORD}
    await walk.ask("change_own_password", "PUT", f"{me}/password", token=token, json=new_password)
    person["email"] = address["email"] = f"new-{email}"
    await walk.ask("request_own_email", "POST", f"{me}/email", token=token, json=person)
    link = {"token": await walk.aloud.mailed_token(person["email"], "/verify/email")}
    await walk.ask("confirm_own_email", "POST", f"{me}/email/confirm", json=link)
    await walk.ask("request_password_reset", "POST", f"{auth}/password-reset", json=address)
    link = {"token": await walk.aloud.mailed_token(person["email"], "/reset")}
    await walk.ask("reset_password", "POST", f"{auth}/password-reset/confirm", json=link | proof)

    await walk.ask("list_users", "GET", users, token=admin)
    path = f"{users}/{user['id']}"
    await walk.ask("set_user_roles", "PUT", f"{path}/roles", token=admin, json={"roles": ["publisher"]})
    await walk.ask("disable_user", "POST", f"{path}/disable", token=admin)
    await walk.ask("enable_user", "POST", f"{path}/enable", token=admin)
    await walk.ask("reset_user_mfa", "DELETE", f"{path}/mfa", token=admin)
    await walk.ask("list_audit", "GET", "/api/v1/admin/audit", token=admin)

    session = await walk.ask("login_user", "POST", f"{auth}/login", json=person)
    token = session["access_token"]
    await walk.ask("logout_user_everywhere", "POST", f"{auth}/logout-all", token=token)
    session = await walk.ask("login_user", "POST", f"{auth}/login", json=person)
    token = session["access_token"]
    await walk.ask("delete_own_user", "DELETE", me, token=token, json=proof)


async def _walk_listening(walk: Walk, book_id: str) -> None:
    """An evening with a book."""
    api = "/api/v1"
    token = await walk.aloud.token()
    at = {"position_seconds": 1, "device_id": "bench"}
    await walk.ask("begin_progress", "POST", f"{api}/progress/{book_id}", token=token, json=at)
    await walk.ask("save_progress", "PUT", f"{api}/progress/{book_id}", token=token, json=at)
    batch = {"items": [at | {"audiobook_id": book_id}]}
    await walk.ask("save_progress_of_many", "PUT", f"{api}/progress", token=token, json=batch)
    await walk.ask("get_progress", "GET", f"{api}/progress/{book_id}", token=token)
    sessions = f"{api}/listening/sessions"
    begun = {"audiobook_id": book_id, "start_position_seconds": 0}
    stretch = await walk.ask("begin_listening", "POST", sessions, token=token, json=begun)
    for seconds in (0.001, 0.002):
        heard = {"seconds_listened": seconds}
        await walk.ask("note_listening", "PUT", f"{sessions}/{stretch['id']}", token=token, json=heard)
    await walk.ask("list_books_begun", "GET", f"{api}/listening/current", token=token)
    await walk.ask("list_books_completed", "GET", f"{api}/listening/completed", token=token)
    await walk.ask("list_listening_history", "GET", f"{api}/listening/history", token=token)
    await walk.ask("get_own_stats", "GET", f"{api}/users/me/stats", token=token)
    await walk.ask("browse_books_recommended", "GET", f"{api}/audiobooks/recommended", token=token)


async def _walk_books(walk: Walk, ready: dict[str, Any]) -> None:
    """The life of a publisher's book, from its first title to its withdrawal."""
    books, uploads = "/api/v1/audiobooks", "/api/v1/uploads"
    admin = await walk.aloud.token()
    said = {"title": "By hand", "authors": ["Ann", "Ben"], "isbn": "9780306406157"}
    made = await walk.ask("create_book", "POST", books, token=admin, json=said)
    path = f"{books}/{made['id']}"
    await walk.ask("browse_own_books", "GET", f"{books}/mine", token=admin)
    await walk.ask("replace_book", "PUT", path, token=admin, json={"title": "By hand"})
    await walk.ask("change_book", "PATCH", path, token=admin, json={"price": {"amount": 500}})
    picture = {"data": make_png(), "headers": {"Content-Type": "image/png"}}
    await walk.ask("set_book_cover", "POST", f"{path}/cover", token=admin, **picture)
    await walk.ask("get_book_processing", "GET", f"{path}/processing", token=admin)
    await walk.ask("retry_book_processing", "POST", f"{path}/processing/retry", token=admin)
    text = f"{books}/{ready['id']}/transcript"
    mended = {"segments": [{"index": 0, "text": "Mended."}]}
    await walk.ask("change_book_transcript", "PATCH", text, token=admin, json=mended)
    await walk.ask(
        "replace_transcript_segment", "PUT", f"{text}/segments/0", token=admin, json={"text": "Mended."}
    )
    await walk.ask("list_transcript_versions", "GET", f"{text}/versions", token=admin)
    await walk.ask("get_transcript_version", "GET", f"{text}/versions/1", token=admin)
    await walk.ask("restore_transcript_version", "POST", f"{text}/versions/1/restore", token=admin)
    chapters = {"items": [{"title": "One", "start_seconds": 0, "end_seconds": 20}]}
    await walk.ask(
        "replace_book_chapters", "PUT", f"{books}/{ready['id']}/chapters", token=admin, json=chapters
    )
    await walk.ask("rerun_book_processing", "POST", f"{books}/{ready['id']}/processing/rerun", token=admin)
    file = {"filename": "a.mp3", "size_bytes": 5, "content_type": "audio/mpeg"}
    wanted = {"purpose": "audiobook", "audiobook_id": made["id"], **file}
    upload = await walk.ask("begin_upload", "POST", uploads, token=admin, json=wanted)
    await walk.ask("renew_upload", "GET", f"{uploads}/{upload['id']}", token=admin)
    await write_blob(upload["url"], b"words")
    await walk.ask("complete_upload", "POST", f"{uploads}/{upload['id']}/complete", token=admin)
    form = form_with_file(b"words", title="By form")
    await walk.ask("upload_book", "POST", f"{books}/upload", token=admin, data=form)
    await walk.ask("withdraw_book", "DELETE", path, token=admin)
    lines = {"data": b'{"title": "Imported"}', "headers": {"Content-Type": "application/jsonl"}}
    begun = await walk.ask("begin_import", "POST", "/api/v1/admin/import", token=admin, **lines)
    await walk.ask("get_import", "GET", f"/api/v1/admin/import/{begun['id']}", token=admin)
    exports = "/api/v1/admin/export"
    begun = await walk.ask("begin_export", "POST", exports, token=admin, json={"format": "jsonl"})
    await walk.ask("list_exports", "GET", exports, token=admin)
    await walk.ask("get_export", "GET", f"{exports}/{begun['id']}", token=admin)


async def _walk_controls(walk: Walk) -> None:
    """What administrators do with the pipeline."""
    at, token = "/api/v1/admin", await walk.aloud.token()
    await walk.ask("get_pipeline", "GET", f"{at}/pipeline", token=token)
    await walk.ask("set_pipeline", "PUT", f"{at}/pipeline", token=token, json={"is_paused": False})
    alerts = await walk.ask("list_alerts", "GET", f"{at}/alerts", token=token)
    alert = alerts["items"][0]["id"]
    await walk.ask("resolve_alert", "POST", f"{at}/alerts/{alert}/resolve", token=token)
    await walk.ask("redrive_queue", "POST", f"{at}/queues/notify/redrive", token=token)


async def _walk_tasks(walk: Walk) -> None:
    """The life of a private task."""
    tasks, token = "/api/v1/tasks", await walk.aloud.token()
    made = await walk.ask("create_task", "POST", tasks, token=token, json={"name": "Bench"})
    path, named = f"{tasks}/{made['id']}", {"id": made["id"], "name": "Bench 2"}
    await walk.ask("list_tasks", "GET", tasks, token=token)
    await walk.ask("get_task", "GET", path, token=token)
    await walk.ask("change_task", "PUT", path, token=token, json={"name": "Bench 1"})
    await walk.ask("change_tasks", "PUT", tasks, token=token, json={"items": [named]})
    await walk.ask("list_task_history", "GET", f"{path}/history", token=token)
    await walk.ask("restore_task", "POST", f"{path}/history/1/restore", token=token)
    await walk.ask("delete_task", "DELETE", path, token=token)
    form = form_with_file(make_audio("flac", 3, sounds=[(0, 3)]))
    heard = await walk.ask("transcribe", "POST", "/api/v1/transcribe?wait=60", token=token, data=form)
    path = f"{tasks}/{heard['task']['id']}"
    await walk.ask("get_task_transcript", "GET", f"{path}/transcript", token=token)
    await walk.ask("get_task_audio", "GET", f"{path}/audio", token=token)
    made = await walk.ask("create_task", "POST", tasks, token=token, json={"name": "Bench"})
    form = form_with_file(b"no recording")
    refused = await walk.ask("transcribe", "POST", "/api/v1/transcribe?wait=60", token=token, data=form)
    await walk.ask("retry_task", "POST", f"{tasks}/{refused['task']['id']}/retry", token=token)
    await walk.ask("delete_tasks", "DELETE", tasks, token=token, json={"ids": [made["id"]]})


async def _walk_task_pages(walk: Walk) -> None:
    """A recording that is none, sent from the page: refused, tried again, deleted."""
    own = {"csrf": _form_token(await walk.visit("page_tasks", "GET", "/tasks"))}
    form = form_with_file(b"words " * 100, **own)
    await walk.visit("page_task_send", "POST", "/tasks", data=form)
    path = re.findall(r'"(/tasks/[0-9a-z]+)"', await walk.visit("page_tasks", "GET", "/tasks"))[0]
    async with asyncio.timeout(30):
        while 'data-standing="rejected"' not in await walk.visit("page_task", "GET", path):
            await asyncio.sleep(0.1)
    await walk.visit("page_task_retry", "POST", f"{path}/retry", data=own)
    await walk.visit("page_task_change", "POST", path, data=own | {"name": "Bench", "tags": ""})
    await walk.visit("page_task_restore", "POST", f"{path}/restore", data=own | {"version": "1"})
    await walk.visit("page_task_delete", "POST", f"{path}/delete", data=own | {"sure": "yes"})


async def _walk_names(walk: Walk) -> None:
    """What administrators say of people, series and genres, and who follows whom."""
    admin = await walk.aloud.token()
    for path, word in (
        ("authors", "author"),
        ("narrators", "narrator"),
        ("genres", "genre"),
        ("series",) * 2,
    ):
        at = f"/api/v1/{path}"
        made = await walk.ask(f"create_{word}", "POST", at, token=admin, json={"name": f"Bench {word}"})
        if word in ("author", "narrator"):
            await walk.ask(f"follow_{word}", "PUT", f"{at}/{made['id']}/follow", token=admin)
            await walk.ask(f"unfollow_{word}", "DELETE", f"{at}/{made['id']}/follow", token=admin)
        one = f"{at}/{made['id']}"
        changed = {"name": f"Bench {word}", "about": "Measured."}
        await walk.ask(f"change_{word}", "PUT", one, token=admin, json=changed)
        await walk.ask(f"delete_{word}", "DELETE", one, token=admin)


async def _walk_shop_pages(walk: Walk, book: dict[str, Any]) -> str:
    """Get a book free, give it back, then buy it; returns the order."""
    slug, api, named = f"/books/{book['slug']}", f"/api/v1/audiobooks/{book['id']}", {"book_id": book["id"]}
    page = await walk.visit("page_book", "GET", slug)
    own = {"csrf": _form_token(page), **named}
    await walk.visit("page_library_take", "POST", "/library/take", data=own | {"key": "taken", "next": "/"})
    chosen = {"csrf": own["csrf"], f"book-{book['id']}": "on"}
    await walk.visit("page_archive_begin", "POST", "/library/downloads", data=chosen)
    library = ""
    async with asyncio.timeout(30):
        while "Ready" not in library:
            await asyncio.sleep(0.1)
            library = await walk.visit("page_library", "GET", "/library")
    archive = re.findall(r'"(/library/downloads/[^"]+)"', library)[0]
    await walk.visit("page_archive", "GET", archive)
    await walk.visit("page_archive_file", "GET", f"{archive}/file")
    free = re.findall(r'"/orders/([^"]+)"', await walk.visit("page_orders", "GET", "/orders"))[0]
    await walk.aloud.call("POST", f"/api/v1/orders/{free}/refund")

    await walk.aloud.call("PATCH", api, json={"price": {"amount": 999}})
    await walk.visit("page_cart_add", "POST", "/cart/add", data=own | {"next": slug})
    await walk.visit("page_cart_remove", "POST", "/cart/remove", data=own)
    order = ""
    for method in ("simulated-late", "simulated"):
        await walk.visit("page_cart_add", "POST", "/cart/add", data=own | {"next": slug})
        await walk.visit("page_cart", "GET", "/cart")
        await walk.visit("page_checkout", "GET", "/checkout")
        await walk.visit("page_checkout_review", "POST", "/checkout", data=own)
        shown = {"books": book["id"], "total": "999", "total_currency": "USD"}
        paid = shown | {"key": method, "payment_method": method}
        await walk.visit("page_checkout_pay", "POST", "/checkout/pay", data=own | paid)
        page = await walk.visit("page_orders", "GET", "/orders")
        order = re.findall(r'"(/orders/[^"]+)"', page)[0]
        await walk.visit("page_order", "GET", order)
        await walk.visit("page_order_confirm", "POST", f"{order}/confirm", data=own)
        if method == "simulated-late":
            await walk.visit("page_order_cancel", "POST", f"{order}/cancel", data=own)
    await walk.aloud.call("PATCH", api, json={"price": {"amount": 0}})
    return order.rpartition("/")[2]


async def _walk_account_pages(walk: Walk, person: dict[str, str], order_id: str) -> None:
    """What a person who is signed in does on the pages of the account, and an administrator on theirs."""
    account, proof = "/account", {"password": _PASSWORD}
    page = await walk.visit("page_account", "GET", account)
    own = {"csrf": _form_token(page)}
    profile = {"display_name": "Ann", "bio": "", "playback_speed": "1.25", "locale": "en"}
    await walk.visit("page_account_profile", "POST", f"{account}/profile", data=own | profile)
    picture = aiohttp.FormData(own)
    picture.add_field("picture", make_png(), filename="ann.png")
    await walk.visit("page_account_picture", "POST", f"{account}/picture", data=picture)
    page = await walk.visit("page_account", "GET", account)
    await walk.visit("page_picture", "GET", re.findall(r'"(/pictures/[^"]+)"', page)[0])
    await walk.visit("page_account_picture_remove", "POST", f"{account}/picture/remove", data=own)

    await walk.visit("page_account_verification", "POST", f"{account}/verification", data=own)
    link = {"token": await walk.aloud.mailed_token(person["email"], "/verify")}
    first = {
        "csrf": _last_form_token(await walk.visit("page_verify", "GET", f"/verify?token={link['token']}"))
    }
    await walk.visit("page_verify_submit", "POST", "/verify", data=first | link)
    await walk.visit("page_verify_resend", "POST", "/verify/resend", data=first | {"email": person["email"]})
    person["email"] = f"new-{person['email']}"
    await walk.visit("page_account_email", "POST", f"{account}/email", data=own | person)
    link = {"token": await walk.aloud.mailed_token(person["email"], "/verify/email")}
    await walk.visit("page_verify_email", "GET", f"/verify/email?token={link['token']}")
    await walk.visit("page_verify_email_submit", "POST", "/verify/email", data=first | link)
    change = proof | {"new_password": _PASSWORD}
    await walk.visit("page_account_password", "POST", f"{account}/password", data=own | change)

    page = await walk.visit("page_account_mfa_setup", "POST", f"{account}/mfa/setup", data=own | proof)
    secret = re.findall(r"data-secret>([A-Z2-7 ]+)<", page)[0].replace(" ", "")
    code = {"mfa_code": pyotp.TOTP(secret).now()}
    page = await walk.visit("page_account_mfa_confirm", "POST", f"{account}/mfa/confirm", data=own | code)
    code = {"mfa_code": re.findall(r"<li><code>([^<]+)<", page)[0]}
    await walk.visit("page_account_mfa_remove", "POST", f"{account}/mfa/remove", data=own | proof | code)

    await walk.visit("page_account_export_request", "POST", f"{account}/export", data=own)
    exports: list[str] = []
    async with asyncio.timeout(30):
        while not exports:
            await asyncio.sleep(0.1)
            exports = re.findall(
                r'"(/account/export/[^"]+)"', await walk.visit("page_account", "GET", account)
            )
    await walk.visit("page_account_export", "GET", exports[0])

    await walk.ask("login_user", "POST", "/api/v1/auth/login", json=person)
    page = await walk.visit("page_account", "GET", account)
    device = {"session_id": re.findall(r'name="session_id" value="([^"]+)"', page)[0]}
    await walk.visit("page_account_device_end", "POST", f"{account}/devices/end", data=own | device)
    await walk.visit("page_account_devices_end", "POST", f"{account}/devices/end-all", data=own)

    await walk.visit("page_reset", "GET", "/reset")
    await walk.visit("page_reset_submit", "POST", "/reset", data=first | {"email": person["email"]})
    link = {"token": await walk.aloud.mailed_token(person["email"], "/reset")}
    await walk.visit("page_reset_confirm", "POST", "/reset/confirm", data=first | link | proof)
    admin = {"email": walk.aloud.admin_email, "password": walk.aloud.admin_password}
    await walk.visit("page_login_submit", "POST", "/login", data=first | admin)
    page = await walk.visit("page_manage_users", "GET", "/manage/users")
    own = {"csrf": _form_token(page)}
    user = re.findall(r'"(/manage/users/[^"/]+)/close"', page)[0]
    await walk.visit("page_manage_roles", "POST", f"{user}/roles", data=own | {"publisher": "on"})
    await walk.visit("page_manage_close", "POST", f"{user}/close", data=own)
    await walk.visit("page_manage_reopen", "POST", f"{user}/reopen", data=own)
    await walk.visit("page_manage_audit", "GET", "/manage/audit")
    await walk.visit("page_manage_orders", "GET", f"/manage/orders?id={order_id}")
    await walk.visit("page_manage_refund", "POST", f"/manage/orders/{order_id}/refund", data=own)
    voucher = {"code": f"BENCH-{order_id[:26]}", "percent": "5"}
    await walk.visit("page_manage_voucher_make", "POST", "/manage/vouchers", data=own | voucher)
    await walk.visit("page_manage_vouchers", "GET", "/manage/vouchers")
    ended = own | {"voucher": voucher["code"]}
    await walk.visit("page_manage_voucher_end", "POST", "/manage/vouchers/end", data=ended)
    await walk.visit("page_manage_pipeline", "GET", "/manage/pipeline")
    await walk.visit("page_manage_pipeline_turn", "POST", "/manage/pipeline", data=own | {"turn": "resume"})
    await walk.visit(
        "page_manage_redrive", "POST", "/manage/pipeline/redrive", data=own | {"queue": "notify"}
    )
    await walk.visit("page_logout", "POST", "/logout", data=own)

    await walk.visit("page_login_submit", "POST", "/login", data=first | person)
    own = {"csrf": _form_token(await walk.visit("page_account", "GET", account))}
    await walk.visit("page_account_delete", "POST", f"{account}/delete", data=own | proof)


def _last_form_token(page: str) -> str:
    """Return the token of the last form, which on a page for strangers is not that of the header."""
    return str(_FORM_TOKEN.findall(page)[-1])


def _form_token(page: str) -> str:
    found = _FORM_TOKEN.search(page)
    if found is None:
        raise RuntimeError("the page has no form token")
    return found[1]
