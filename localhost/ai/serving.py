"""How a server of the offline AI starts, says where it is, and ends with whoever started it."""

import asyncio
import os
import signal
import stat
import sys

from aiohttp import web


async def listen(app: web.Application, port: int) -> tuple[web.AppRunner, str]:
    """Serve `app` on loopback (port 0: any free one); returns the runner and the API's base address.

    A call whose client has gone is cancelled. Raises OSError where the port is taken.
    """
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


async def run(app: web.Application, port: int) -> int:
    """Serve until SIGTERM, SIGINT or the end of a piped standard input; returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def read_input() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()

    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, read_input)
    try:
        runner, base_url = await listen(app, port)
    except OSError as error:
        print(f"Port {port} cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    print(f"listening on {base_url}", flush=True)
    await stop.wait()
    await runner.cleanup()
    return 0
