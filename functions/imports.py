"""Imports and exports of books over HTTP."""

from typing import Any

import azure.functions as func
from pydantic import BaseModel

from core.catalog.exporting import ExportFormat, ExportView
from core.catalog.formats import FileFormat
from core.catalog.importing import ImportView
from functions.http import API, Call, Payload, Reply, check_id, endpoint

blueprint = func.Blueprint()

_FORMATS: dict[str, FileFormat] = {
    "text/csv": "csv",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/oebps-package+xml": "opf",
}
MAX_IMPORT_BYTES = 25 * 1024 * 1024


class ImportQuery(Payload):
    """`dry_run` checks the rows and changes nothing."""

    dry_run: bool = False


@endpoint(
    blueprint,
    "POST",
    f"{API}/admin/import",
    access="admin",
    query=ImportQuery,
    body=bytes,
    accepts=tuple(_FORMATS),
    max_bytes=MAX_IMPORT_BYTES,
    reply=ImportView,
    status=202,
)
async def begin_import(call: Call[bytes, ImportQuery]) -> Reply:
    """Import books from a file: CSV with a line of column names, JSON lines, or an OPF package; up to 25 MB.

    A row changes the book that has its id or its ISBN, or that an earlier import has made of the same title,
    people and series; otherwise it makes a draft. A cell that is empty empties the field, a column that is
    missing leaves it. `Location` tells how it goes, and which rows are bad and why.
    """
    media_type = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    imports = call.services.imports
    begun = await imports.begin(
        call.body, _FORMATS[media_type], call.user.user_id, call.origin, dry_run=call.query.dry_run
    )
    await imports.queue(begun.id)
    return Reply(begun, status=202, headers={"Location": f"{API}/admin/import/{begun.id}"})


@endpoint(blueprint, "GET", f"{API}/admin/import/{{id}}", access="admin", reply=ImportView)
async def get_import(call: Call[None, Any]) -> ImportView:
    """Show how an import goes, with the bad rows by line."""
    return await call.services.imports.show(check_id(call.params["id"]))


class ExportRequest(Payload):
    """The form of the file."""

    format: ExportFormat = "csv"


class ExportList(BaseModel):
    """The exports of the last days, the newest first."""

    items: list[ExportView]


@endpoint(
    blueprint,
    "POST",
    f"{API}/admin/export",
    access="admin",
    body=ExportRequest,
    reply=ExportView,
    status=202,
)
async def begin_export(call: Call[ExportRequest, Any]) -> Reply:
    """Export all books, drafts too, as a file that the import takes: CSV or JSON lines.

    It is made in the background; `Location` tells how it goes and, when it is done, where the file is.
    """
    exports = call.services.exports
    begun = await exports.begin(call.body.format, call.user.user_id, call.origin)
    await exports.queue(begun.id)
    return Reply(begun, status=202, headers={"Location": f"{API}/admin/export/{begun.id}"})


@endpoint(blueprint, "GET", f"{API}/admin/export", access="admin", reply=ExportList)
async def list_exports(call: Call[None, Any]) -> ExportList:
    """List the exports of the last week, each that is done with an address of its file."""
    return ExportList(items=await call.services.exports.recent())


@endpoint(blueprint, "GET", f"{API}/admin/export/{{id}}", access="admin", reply=ExportView)
async def get_export(call: Call[None, Any]) -> ExportView:
    """Show how an export goes; once it is done, with an address of the file that is good for some minutes."""
    return await call.services.exports.show(check_id(call.params["id"]))
