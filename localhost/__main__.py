"""`python -m localhost` runs the whole product here; its commands name an admin, import and export books."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localhost.azurite import ROOT, STORAGE, Azurite, allow_origin, find_running, noted_as_running
from localhost.child import Child
from localhost.environment import choose_ai, load_local_settings, set_defaults
from localhost.errors import AppImportError, LocalhostError
from localhost.first_run import (
    LISTENER,
    admin_account,
    register,
    show_demo,
    wait_until_ready,
    write_ready_file,
)
from localhost.host import Host, HostOptions, open_port
from localhost.logs import set_up_logs

if TYPE_CHECKING:
    from core.wiring import Services

log = logging.getLogger("localhost")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m localhost", description="Run the whole product on this machine."
    )
    parser.add_argument("--port", type=int, default=7071, help="where the app listens (default 7071)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--data", type=Path, default=Path(".data"), help="keeps all data (default .data)")
    place.add_argument("--ephemeral", action="store_true", help="keep nothing; every part takes a free port")
    parser.add_argument("--no-demo", action="store_true", help="no demo books, no demo listener")
    parser.add_argument(
        "--ready-file", type=Path, help="written when the app answers, with addresses and pid"
    )
    parser.add_argument("--openai-base-url", help="an OpenAI-compatible server instead of the offline AI")
    parser.add_argument(
        "--app", type=Path, default=ROOT, help="folder with function_app.py (default: this one)"
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=15,
        metavar="SECONDS",
        help="how long a killed run keeps its messages (default 15; 600 in the cloud)",
    )
    commands = parser.add_subparsers(dest="command", metavar="admin EMAIL | import FILE | export FILE")
    admin = commands.add_parser("admin", help="give an existing account the admin role")
    admin.add_argument("email")
    take = commands.add_parser("import", help="make or change books from a file: .csv, .jsonl or .opf")
    take.add_argument("file", type=Path)
    take.add_argument("--dry-run", action="store_true", help="check the rows and change nothing")
    give = commands.add_parser("export", help="write all books to a file: .csv or .jsonl")
    give.add_argument("file", type=Path)
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    """Start everything in order, serve until SIGTERM, SIGINT or the end of a part, and stop everything."""
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    listener = open_port(0 if options.ephemeral else options.port)
    port = listener.getsockname()[1]
    app = options.app.resolve()
    load_local_settings(app)
    async with contextlib.AsyncExitStack() as parts:
        parts.callback(listener.close)
        azurite = await parts.enter_async_context(
            Azurite.start(data=options.data, ephemeral=options.ephemeral)
        )
        if not options.ephemeral and not azurite.has_usual_ports:
            log.warning("ports 10000 to 10002 are taken, Azurite uses others")
        os.environ[STORAGE] = azurite.connection_string
        if not options.ephemeral:
            parts.enter_context(noted_as_running(options.data, azurite.connection_string))
        await allow_origin(azurite.connection_string, f"http://localhost:{port}")
        ai = await parts.enter_async_context(choose_ai(options.openai_base_url))
        set_defaults(port, None if options.ephemeral else options.data, with_demo=not options.no_demo)
        if app == ROOT:
            check_settings()
            parts.push_async_callback(close_product)
        host_options = HostOptions(
            folder=app,
            connection_string=azurite.connection_string,
            lease_seconds=options.lease,
            rest_seconds=options.lease,  # of a lease that runs out, nobody tells
        )
        host = await parts.enter_async_context(Host.start(host_options, listener))
        azurite.tell(host.expect_message, host.expect_blob)
        greeting = asyncio.create_task(greet(options, f"http://localhost:{port}"))
        try:
            await wait_for_end(stopped, greeting, [azurite.child, *([ai] if ai else [])])
        finally:
            greeting.cancel()
            await asyncio.wait([greeting])
            log.info("stopping")


def check_settings() -> None:
    """Say what is wrong with a setting before the first request would."""
    from core.settings import Settings, SettingsError

    try:
        Settings.read()
    except SettingsError as error:
        raise LocalhostError(str(error)) from None


async def close_product() -> None:
    """Give back what the app holds, its catalog on disk too: the end of this process would not."""
    from functions.services import services

    if services.cache_info().currsize:
        await services().close()


async def greet(options: argparse.Namespace, base_url: str) -> None:
    """Make the accounts, write the ready file, show the demo."""
    await wait_until_ready(base_url)
    admin = admin_account()
    await register(base_url, admin)
    if not options.no_demo:
        await register(base_url, LISTENER)
    if options.ready_file is not None:
        write_ready_file(options.ready_file, base_url, admin)
    if not options.no_demo:
        await show_demo(base_url, admin)


async def wait_for_end(stopped: asyncio.Event, greeting: asyncio.Task[None], children: list[Child]) -> None:
    """Return when asked to stop; raise when the greeting failed or a part ended by itself."""
    asked = asyncio.create_task(stopped.wait())
    ends: dict[asyncio.Task[Any], str] = {asyncio.create_task(child.wait()): child.name for child in children}
    waiting: set[asyncio.Task[Any]] = {asked, greeting, *ends}
    try:
        while not asked.done():
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            waiting -= done
            for task in done & ends.keys():
                raise LocalhostError(f"{ends[task]} has ended unexpectedly: {task.result()}")
            if greeting in done:
                greeting.result()
    finally:
        for task in waiting - {greeting}:
            task.cancel()


@contextlib.asynccontextmanager
async def product_services(options: argparse.Namespace) -> AsyncIterator["Services"]:
    """Yield the product on the data of a running host, or of one that is not running."""
    async with contextlib.AsyncExitStack() as parts:
        connection = find_running(options.data)
        if connection is None:
            azurite = await parts.enter_async_context(Azurite.start(data=options.data))
            connection = azurite.connection_string
        os.environ[STORAGE] = connection
        load_local_settings(options.app)
        set_defaults(options.port, options.data, with_demo=False)
        from functions.services import services

        parts.push_async_callback(services().close)
        yield services()


async def name_admin(options: argparse.Namespace) -> None:
    """Give an existing account the admin role."""
    from core.errors import NotFoundError

    async with product_services(options) as services:
        try:
            profile = await services.accounts.administration.grant_role(options.email, "admin")
        except NotFoundError as error:
            raise LocalhostError(f"{error.detail} Register it first.") from None
    print(f"{profile.email} is an administrator from its next sign-in on.")


async def import_books(options: argparse.Namespace) -> None:
    """Make or change books from a file, and say which rows are bad; again changes nothing."""
    from core.caller import Origin
    from core.errors import MalformedRequestError

    form = options.file.suffix.lower().removeprefix(".")
    if form not in ("csv", "jsonl", "opf"):
        raise LocalhostError("Name a .csv, .jsonl or .opf file.")
    try:
        content = options.file.read_bytes()
    except OSError as error:
        raise LocalhostError(f"{options.file}: {error.strerror}") from None
    async with product_services(options) as services:
        try:
            begun = await services.imports.begin(
                content, form, None, Origin(address="", request_id=""), dry_run=options.dry_run
            )
        except MalformedRequestError as error:
            raise LocalhostError(f"{options.file}: {error.detail}") from None
        while await services.imports.run(begun.id):
            shown = await services.imports.show(begun.id)
            print(f"{shown.done} of {shown.total} rows", file=sys.stderr)
        shown = await services.imports.show(begun.id)
    for row in shown.bad_rows:
        print(f"line {row.line}: {row.reason}")
    counts = f"{shown.created} new, {shown.updated} changed, {shown.unchanged} unchanged, {shown.bad} bad"
    print(f"{shown.total} rows{' (dry run)' if shown.dry_run else ''}: {counts}.")


async def export_books(options: argparse.Namespace) -> None:
    """Write all books to a file that the import takes."""
    form = options.file.suffix.lower().removeprefix(".")
    if form not in ("csv", "jsonl"):
        raise LocalhostError("Name a .csv or .jsonl file.")
    async with product_services(options) as services:
        with options.file.open("w", encoding="utf-8", newline="") as file:
            async for line in services.exports.lines(form):
                file.write(line)


def main() -> int:
    """Run, and tell in one line why not; the traceback only where it is the app's own."""
    options = parse_arguments(sys.argv[1:])
    set_up_logs()
    try:
        commands = {"admin": name_admin, "import": import_books, "export": export_books}
        asyncio.run(commands.get(options.command, serve)(options))
    except AppImportError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(error, file=sys.stderr)
        return 1
    except LocalhostError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A synchronous function may still run in its thread, and an ordinary exit would wait for it.
    os._exit(code)
