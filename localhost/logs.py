"""Plain log lines on standard error, coloured only for a terminal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}
RESET = "\x1b[0m"
QUIET = ("azure", "aiohttp", "asyncio", "openai", "httpx", "httpcore", "urllib3")


class LineFormatter(logging.Formatter):
    """Time, level where it matters, text."""

    def __init__(self, *, is_coloured: bool) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        colour = COLOURS.get(record.levelno)
        return f"{colour}{line}{RESET}" if colour and self._is_coloured else line


def set_up_logs() -> None:
    """Send everything from INFO up to standard error; the libraries speak only to warn."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(is_coloured=sys.stderr.isatty()))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def quiet_terminal() -> Iterator[None]:
    """Let only warnings through while something else paints on the terminal; a log file stays complete."""
    root = logging.getLogger()
    level = root.level
    if sys.stderr.isatty():
        root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.setLevel(level)
