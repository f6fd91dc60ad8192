"""A function app whose blob function takes only the blob's name."""

import os

import azure.functions as func
from azure.storage.blob.aio import BlobServiceClient
from blob_name import BlobName  # type: ignore[import-not-found]

STORAGE = "AzureWebJobsStorage"
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="health/ready", methods=["GET"])
async def health_ready(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("ready")


@app.route(route="api/v1/auth/register", methods=["POST"])
async def register(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(status_code=409)


@app.blob_trigger(arg_name="blob", path="drop/{name}", connection=STORAGE, source=func.BlobSource.EVENT_GRID)
async def on_drop(blob: BlobName) -> None:
    async with BlobServiceClient.from_connection_string(os.environ[STORAGE]) as service:
        container = service.get_container_client("told")
        if not await container.exists():
            await container.create_container()
        told = f"{blob.connection} {blob.container} {blob.name} {blob.source}"
        await container.upload_blob("told", told, overwrite=True)
