"""`python -m localhost.ai [--port N] [--workers N]`: says where it listens; ends with its piped input."""

import argparse
import asyncio
import os
import sys

from localhost.ai.server import make_app
from localhost.ai.serving import run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m localhost.ai", description="An offline demonstration engine behind OpenAI's protocol."
    )
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0: any free one")
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1), help="speech processes")
    options = parser.parse_args()
    return asyncio.run(run(make_app(max(1, options.workers)), options.port))


if __name__ == "__main__":
    sys.exit(main())
