"""Bodies of the kind multipart/form-data: fields and one file, within bounds."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import azure.functions as func
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from core.errors import MalformedRequestError, UnsupportedMediaError


@dataclass(frozen=True)
class Multipart:
    """The fields in their order, a field sent twice with both values; of the file what its sender says."""

    fields: Mapping[str, list[str]]
    content: bytes
    file_name: str
    content_type: str


def _keep_in_memory(
    total_content_length: int | None,
    content_type: str | None,
    filename: str | None,
    content_length: int | None = None,
) -> io.BytesIO:
    """Where the parser puts a file; the whole body is in memory as it is."""
    return io.BytesIO()


def read_multipart(req: func.HttpRequest, file: str, *, max_field_bytes: int, max_parts: int) -> Multipart:
    """Return fields and the file of the given name, empty if there is none.

    The size of the whole body has been checked before. Raises UnsupportedMediaError, MalformedRequestError.
    """
    media_type, options = parse_options_header(req.headers.get("content-type", ""))
    if media_type != "multipart/form-data":
        raise UnsupportedMediaError("Send multipart/form-data.")
    parser = MultiPartParser(
        _keep_in_memory,
        max_form_memory_size=max_field_bytes,
        buffer_size=max_field_bytes // 4,  # what it reads at once is held to the limit of a field as well
        max_form_parts=max_parts,
    )
    body = req.get_body()
    try:
        boundary = options.get("boundary", "").encode("ascii")
        fields, files = parser.parse(io.BytesIO(body), boundary, len(body))
    except (ValueError, RequestEntityTooLarge):
        raise MalformedRequestError("This form cannot be read.") from None
    found = files.get(file)
    part = (found.read(), found.filename or "", found.content_type or "") if found else (b"", "", "")
    return Multipart(fields.to_dict(flat=False), *part)
