"""How many storage calls each HTTP route makes, as the product itself says in `Server-Timing`."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import azure.functions as func

from bench.rows import Row
from tests.aloud import Aloud
from tests.audio import make_audio, make_png
from tests.scripted_ai import ScriptedAi, status

_CALLS = re.compile(r'total;dur=([\d.]+), storage;desc="(\d+) calls"')
_FORM_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')
_PASSWORD = "a sentence for the bench"


@dataclass(frozen=True)
class Answer:
    """`calls` is None where the route does not say how many."""

    status: int
    body: Any
    calls: int | None
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
        calls, milliseconds = (int(said[2]), float(said[1])) if said else (None, None)
        self.answers[name] = Answer(code, body, calls, milliseconds)
        return body


async def measure(quick: bool) -> AsyncIterator[Row]:
    """Two walks; the second is shown, when connections and caches are warm, as on most requests."""
    async with (
        ScriptedAi.start() as ai,
        Aloud.start(openai_base_url=ai.base_url, CATALOG_REFRESH_SECONDS="3600") as aloud,
    ):
        book = await _make_book(aloud)
        ai.fail_with(status(400))
        await aloud.upload("failing.mp3", make_audio("mp3", 3, sounds=[(0, 3)]))
        failed = await aloud.wait_for("failing.mp3", "transcription_failed")
        for turn in ("first", "second"):
            async with aiohttp.ClientSession(
                aloud.base_url, cookie_jar=aiohttp.CookieJar(unsafe=True)
            ) as browser:
                walk = Walk(aloud, browser)
                await _walk(walk, book, failed["id"], turn)
            await aloud.wait_for("failing.mp3", "transcription_failed")
    for name, route in list_routes().items():
        answer = walk.answers.get(name)
        if answer is None:
            yield Row(f"storage calls: {route}", None, "calls", note="the bench has no request for it")
        else:
            took = "" if answer.milliseconds is None else f", {answer.milliseconds:.0f} ms"
            yield Row(f"storage calls: {route}", answer.calls, "calls", note=f"answers {answer.status}{took}")


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
        20,
        sounds=[(0, 9), (10, 20)],
        tags={"title": "Bench"},
        chapters=[("One", 0, 20)],
        cover=make_png(),
    )
    await aloud.upload("bench.mp3", audio)
    await aloud.wait_for("bench.mp3", "ready")
    index = aloud.blobs.get_blob_client("catalog", "v1/pointer.json")
    async with asyncio.timeout(30):
        while not await index.exists():
            await asyncio.sleep(0.1)
    return await aloud.book_of("bench.mp3")


async def _walk(walk: Walk, book: dict[str, Any], failed_job: str, turn: str) -> None:
    api, book_path = "/api/v1", f"/api/v1/audiobooks/{book['id']}"
    person = {"email": f"{turn}@aloud.example", "password": _PASSWORD}
    admin = await walk.aloud.token()

    await walk.ask("health", "GET", "/health")
    await walk.ask("health_ready", "GET", "/health/ready")
    await walk.ask("openapi", "GET", "/openapi.json")
    await walk.ask("zz_unknown_path", "GET", "/api/v1/nothing")

    await walk.ask("register_user", "POST", f"{api}/auth/register", json=person)
    session = await walk.ask("login_user", "POST", f"{api}/auth/login", json=person)
    renewal = {"refresh_token": session["refresh_token"]}
    session = await walk.ask("refresh_session", "POST", f"{api}/auth/refresh", json=renewal)
    token = session["access_token"]
    await walk.ask("get_own_user", "GET", f"{api}/users/me", token=token)

    await walk.ask("browse_books", "GET", f"{api}/audiobooks")
    await walk.ask("get_book", "GET", book_path)
    await walk.ask("get_book_chapters", "GET", f"{book_path}/chapters")
    await walk.ask("get_book_transcript", "GET", f"{book_path}/transcript", token=token)
    await walk.ask("stream_book", "GET", f"{book_path}/stream", token=token)
    await walk.ask("logout_user", "POST", f"{api}/auth/logout", token=token)

    await walk.ask("list_jobs", "GET", f"{api}/admin/jobs", token=admin)
    await walk.ask("get_job", "GET", f"{api}/admin/jobs/{failed_job}", token=admin)
    await walk.ask("list_alerts", "GET", f"{api}/admin/alerts", token=admin)
    await walk.ask("retry_job", "POST", f"{api}/admin/jobs/{failed_job}/retry", token=admin)

    await walk.visit("page_robots", "GET", "/robots.txt")
    await walk.visit("page_docs", "GET", "/docs")
    await walk.visit("page_docs_asset", "GET", "/docs/assets/swagger-ui.css")
    form = {"csrf": _form_token(await walk.visit("page_register", "GET", "/register"))}
    newcomer = {"email": f"{turn}-browser@aloud.example", "password": _PASSWORD}
    await walk.visit("page_register_submit", "POST", "/register", data=form | newcomer)
    home = await walk.visit("page_home", "GET", "/")
    await walk.visit("page_book", "GET", f"/books/{book['slug']}")
    await walk.visit("page_cover", "GET", f"/covers/{book['id']}")
    await walk.visit("page_static", "GET", re.findall(r'"(/static/[^"]+\.css)"', home)[0])
    await walk.visit("page_logout", "POST", "/logout", data={"csrf": _form_token(home)})
    form = {"csrf": _form_token(await walk.visit("page_login", "GET", "/login"))}
    await walk.visit("page_login_submit", "POST", "/login", data=form | newcomer)


def _form_token(page: str) -> str:
    found = _FORM_TOKEN.search(page)
    if found is None:
        raise RuntimeError("the page has no form token")
    return found[1]
