"""Bodies of the kind multipart/form-data: fields and one file, within bounds."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import azure.functions as func
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from core.errors import MalformedRequestError, UnsupportedMediaError


@dataclass(frozen=True)
class Multipart:
    """The fields in their order, a field sent twice with both values; of the file what its sender says."""

    fields: Mapping[str, list[str]]
    content: bytes
    file_name: str
    content_type: str


def read_multipart(req: func.HttpRequest, file: str, *, max_field_bytes: int, max_parts: int) -> Multipart:
    """Return fields and the file of the given name, empty if there is none.

    The size of the whole body has been checked before. Raises UnsupportedMediaError, MalformedRequestError.
    """
    media_type, options = parse_options_header(req.headers.get("content-type", ""))
    if media_type != "multipart/form-data":
        raise UnsupportedMediaError("Send multipart/form-data.")
    parser = FormDataParser(max_form_memory_size=max_field_bytes, max_form_parts=max_parts)
    try:
        _, fields, files = parser.parse(io.BytesIO(req.get_body()), media_type, None, options)
    except (ValueError, RequestEntityTooLarge):
        raise MalformedRequestError("This form cannot be read.") from None
    found = files.get(file)
    part = (found.read(), found.filename or "", found.content_type or "") if found else (b"", "", "")
    for opened in (each for same_name in files.listvalues() for each in same_name):
        opened.close()
    return Multipart(fields.to_dict(flat=False), *part)
