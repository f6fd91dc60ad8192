"""Timer functions: six fields, a remembered last run, one late run after an absence."""

import json
from pathlib import Path

import pytest

from localhost.errors import FunctionLoadError
from tests.localhost.sample import Sample, StartHost

TIMER_APP = """
import azure.functions as func
app = func.FunctionApp()

@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%")
async def tick(timer: func.TimerRequest) -> None: ...
"""


async def test_a_missed_time_is_made_up_for_once(start_host: StartHost, sample: Sample) -> None:
    path = f"timers/{sample.prefix}/Host.Functions.yearly.Listener/status"
    status = sample.blobs.get_blob_client("azure-webjobs-hosts", path)
    async with start_host():
        pass
    assert await sample.seen("timer") == []
    first = json.loads(await (await status.download_blob()).readall())
    long_ago = {**first, "Last": "2020-01-01T03:00:00+00:00", "LastUpdated": "2020-01-01T03:00:00+00:00"}
    await status.upload_blob(json.dumps(long_ago), overwrite=True)
    async with start_host():
        assert await sample.wait_for_seen("timer") == [{"past_due": True}]
    async with start_host():
        pass
    assert len(await sample.seen("timer")) == 1
    assert json.loads(await (await status.download_blob()).readall())["Next"] == first["Next"]


async def test_a_schedule_without_seconds_is_refused(
    start_host: StartHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text(TIMER_APP)
    monkeypatch.setenv("SCHEDULE", "*/5 * * * *")
    with pytest.raises(FunctionLoadError, match="six fields"):
        async with start_host(tmp_path):
            pass
