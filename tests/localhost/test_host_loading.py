"""An app that the real host would refuse, or that this host cannot run, is refused with its reason."""

from pathlib import Path

import pytest

from localhost.errors import (
    AppImportError,
    FunctionLoadError,
    HostConfigError,
    HostError,
    PortError,
    UnsupportedBindingError,
)
from localhost.host import open_port
from tests.localhost.sample import StartHost

HEAD = "import azure.functions as func\napp = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n"
QUEUE = '@app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")\n'
REFUSED: list[tuple[str, type[HostError], str]] = [
    ("import absent_module", AppImportError, "absent_module"),
    ("app = None", AppImportError, "exactly one FunctionApp"),
    (HEAD + "other = func.FunctionApp()", AppImportError, "exactly one FunctionApp"),
    (
        HEAD + '@app.route(route="administrators")\nasync def f(req: func.HttpRequest) -> str: ...',
        FunctionLoadError,
        "reserved",
    ),
    (
        HEAD + '@app.route(route="{a:alpha}")\nasync def f(req: func.HttpRequest) -> str: ...',
        FunctionLoadError,
        "constraint alpha",
    ),
    (
        HEAD + '@app.route(route="x")\nasync def f(req: func.HttpRequest) -> dict: ...',
        FunctionLoadError,
        "returns an HttpResponse",
    ),
    (HEAD + QUEUE + "async def f(other: func.QueueMessage) -> None: ...", FunctionLoadError, "no binding"),
    (HEAD + QUEUE + "async def f(m: func.TimerRequest) -> None: ...", FunctionLoadError, "TimerRequest"),
    (
        HEAD + QUEUE.replace('"q"', '"%ABSENT_SETTING%"') + "async def f(m: func.QueueMessage) -> None: ...",
        FunctionLoadError,
        "ABSENT_SETTING",
    ),
    (
        HEAD
        + QUEUE.replace("AzureWebJobsStorage", "Other")
        + "async def f(m: func.QueueMessage) -> None: ...",
        UnsupportedBindingError,
        "only the connection AzureWebJobsStorage",
    ),
    (
        HEAD + '@app.event_grid_trigger(arg_name="e")\nasync def f(e: func.EventGridEvent) -> None: ...',
        UnsupportedBindingError,
        "function f uses the binding eventGridTrigger",
    ),
    (
        HEAD
        + '@app.queue_output(arg_name="o", queue_name="q", connection="AzureWebJobsStorage")\n'
        + '@app.route(route="x")\nasync def f(req: func.HttpRequest, o: func.Out[str]) -> str: ...',
        UnsupportedBindingError,
        r"function f uses the binding queue \(o\)",
    ),
    (
        HEAD
        + '@app.blob_trigger(arg_name="b", path="c/{n}", connection="AzureWebJobsStorage")\n'
        + "async def f(b: func.InputStream) -> None: ...",
        UnsupportedBindingError,
        "only source EventGrid",
    ),
]


@pytest.mark.parametrize(("source", "error", "reason"), REFUSED, ids=[reason for _, _, reason in REFUSED])
async def test_a_refused_app(
    start_host: StartHost, tmp_path: Path, source: str, error: type[HostError], reason: str
) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text(source)
    with pytest.raises(error, match=reason):
        async with start_host(tmp_path):
            pass


@pytest.mark.parametrize("text", ["{", "[]", '{"version": "1.0"}', '{"version": "2.0", "extensions": 1}'])
async def test_a_broken_host_json(start_host: StartHost, tmp_path: Path, text: str) -> None:
    (tmp_path / "host.json").write_text(text)
    with pytest.raises(HostConfigError, match=r"host\.json"):
        async with start_host(tmp_path):
            pass


async def test_a_busy_port(start_host: StartHost) -> None:
    with open_port(0) as taken, pytest.raises(PortError, match=str(taken.getsockname()[1])):
        async with start_host(port=taken.getsockname()[1]):
            pass
