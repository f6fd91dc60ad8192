"""The environment of a program that is started to be timed."""

import os

_DISTURBING = ("PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME", "OPENAI_API_KEY", "OPENAI_BASE_URL")


def environment() -> dict[str, str]:
    """Ours, without what would make it compile all code anew, or use another AI than its own."""
    return {name: value for name, value in os.environ.items() if name not in _DISTURBING}
