"""Files as pages serve them: read once, and named by their content."""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import azure.functions as func

ROOT = Path(__file__).parent.parent
DAY = 86400
YEAR = 365 * DAY
_STATIC = ROOT / "web" / "static"


@dataclass(frozen=True)
class StaticFile:
    """A file of ours, read once."""

    content: bytes
    content_type: str
    tag: str


@cache
def static_files() -> Mapping[str, StaticFile]:
    """Every file that may be served, by its path under web/static."""
    return {
        path.relative_to(_STATIC).as_posix(): read_file(path) for path in _STATIC.rglob("*") if path.is_file()
    }


@cache
def read_file(path: Path) -> StaticFile:
    """Return a file with its media type and its tag."""
    content = path.read_bytes()
    kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
    return StaticFile(content, kind or "application/octet-stream", tag_of(content))


@cache
def static_version() -> str:
    """A name for the present state of all static files; in their addresses it lets browsers keep them."""
    return tag_of("".join(f"{name} {file.tag} " for name, file in sorted(static_files().items())).encode())[
        :12
    ]


def serve(
    req: func.HttpRequest, content: bytes, content_type: str, tag: str, caching: str
) -> func.HttpResponse:
    """Answer with a file, or with 304 where the browser has it."""
    headers = {"ETag": f'"{tag}"', "Cache-Control": caching}
    if tag in {
        seen.strip().removeprefix("W/").strip('"') for seen in req.headers.get("if-none-match", "").split(",")
    }:
        return func.HttpResponse(status_code=304, headers=headers)
    return func.HttpResponse(content, headers=headers, mimetype=content_type)


def tag_of(content: bytes) -> str:
    """Return the ETag of these bytes."""
    return hashlib.sha256(content).hexdigest()[:32]
