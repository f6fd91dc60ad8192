"""A small function app that shows from outside what the host did to it: each run leaves a blob in -seen.

Environment: SAMPLE_PREFIX begins the names of its queues and containers, so that hosts can share an account.
"""

import asyncio
import contextlib
import json
import os
import threading
import uuid

import azure.functions as func
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob.aio import BlobServiceClient

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
STORAGE = "AzureWebJobsStorage"


async def record(kind: str, **facts: object) -> None:
    async with BlobServiceClient.from_connection_string(os.environ[STORAGE]) as service:
        container = service.get_container_client(os.environ["SAMPLE_PREFIX"] + "-seen")
        with contextlib.suppress(ResourceExistsError):
            await container.create_container()
        await container.upload_blob(f"{kind}/{uuid.uuid4()}", json.dumps(facts))


@app.route(route="health/ready", methods=["GET"])
async def health_ready(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("ready")


@app.route(route="api/v1/auth/register", methods=["POST"])
async def register(req: func.HttpRequest) -> func.HttpResponse:
    await record("register", email=req.get_json()["email"])
    return func.HttpResponse(status_code=201)


@app.function_name("books_mine")
@app.route(route="books/mine", methods=["GET"])
async def read_mine(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("mine")


@app.function_name("books_show")
@app.route(route="books/{id}", methods=["GET"])
async def show_book(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("book " + req.route_params["id"])


@app.function_name("books_zero")
@app.route(route="books/zero", methods=["GET", "DELETE"])
async def shadowed(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("zero")


@app.route(route="echo", methods=["POST"])
def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    facts = {
        "body": req.get_body().decode(),
        "headers": dict(req.headers),
        "params": dict(req.params),
        "url": req.url,
        "function": context.function_name,
        "trace": context.trace_context.trace_parent,
        "thread": threading.current_thread().name,
    }
    reply = func.HttpResponse(json.dumps(facts), mimetype="application/json")
    reply.headers.add("Set-Cookie", "a=1; Path=/; HttpOnly; SameSite=Lax")
    reply.headers.add("Set-Cookie", "b=2; Max-Age=60")
    return reply


@app.route(route="items/{number:int}/{*rest}", methods=["GET"])
async def items(req: func.HttpRequest) -> str:
    return json.dumps(dict(req.route_params))


@app.route(route="{root:maxlength(0)?}", methods=["GET"])
async def home(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("home")


@app.route(route="nothing", methods=["GET"])
async def nothing(req: func.HttpRequest):  # type: ignore[no-untyped-def]
    return None


@app.route(route="mapping", methods=["GET"])
async def mapping(req: func.HttpRequest):  # type: ignore[no-untyped-def]
    return {"a": 1}


@app.queue_trigger(arg_name="message", queue_name="%SAMPLE_PREFIX%-work", connection=STORAGE)
async def work(message: func.QueueMessage) -> None:
    """The body says what to do: {"id", "fail": so many first tries fail, "seconds": the first try takes}."""
    task = message.get_json()
    await record("started", id=task["id"], dequeue_count=message.dequeue_count)
    if message.dequeue_count == 1:
        await asyncio.sleep(task.get("seconds", 0))
    if (message.dequeue_count or 0) <= task.get("fail", 0):
        raise RuntimeError("told to fail")
    await record("done", id=task["id"], dequeue_count=message.dequeue_count)


@app.queue_trigger(arg_name="message", queue_name="%SAMPLE_PREFIX%-plain", connection=STORAGE)
def plain(message: func.QueueMessage) -> None:
    asyncio.run(record("plain", thread=threading.current_thread().name, body=message.get_body().decode()))


@app.blob_trigger(
    arg_name="blob",
    path="%SAMPLE_PREFIX%-uploads/only/{name}",
    connection=STORAGE,
    source=func.BlobSource.EVENT_GRID,
)
async def on_upload(blob: func.InputStream) -> None:
    content = blob.read().decode()
    await record("upload", name=blob.name, length=blob.length, content=content)
    if content == "poison":
        raise RuntimeError("told to fail")


@app.timer_trigger(arg_name="timer", schedule="0 0 3 1 1 *", run_on_startup=False)
async def yearly(timer: func.TimerRequest) -> None:
    await record("timer", past_due=timer.past_due)
