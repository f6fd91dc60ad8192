"""What the app finds in its environment on one machine."""

import json
import os
from pathlib import Path

import pytest

from localhost.__main__ import check_settings
from localhost.environment import choose_ai, load_local_settings, set_defaults
from localhost.errors import LocalhostError


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts with nothing set, and leaves nothing behind."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in ("JWT_SIGNING_KEY", "PUBLIC_BASE_URL", "AUTO_PUBLISH", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        os.environ.pop(name, None)


def test_the_environment_beats_the_file_and_the_file_beats_the_defaults(tmp_path: Path) -> None:
    values = {
        "PUBLIC_BASE_URL": "http://file",
        "AUTO_PUBLISH": "false",
        "BLOB_TRIGGER_SOURCE": "LogsAndContainerScan",
    }
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": values}))
    os.environ["PUBLIC_BASE_URL"] = "http://environment"
    load_local_settings(tmp_path)
    set_defaults(7071, tmp_path, with_demo=True)
    assert os.environ["PUBLIC_BASE_URL"] == "http://environment"
    assert os.environ["AUTO_PUBLISH"] == "false"
    assert os.environ["AZURE_FUNCTIONS_ENVIRONMENT"] == "Development"
    assert os.environ["BLOB_TRIGGER_SOURCE"] == "EventGrid"


def test_the_signing_key_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    set_defaults(7071, tmp_path, with_demo=False)
    key = os.environ.pop("JWT_SIGNING_KEY")
    set_defaults(7071, tmp_path, with_demo=False)
    assert os.environ["JWT_SIGNING_KEY"] == key
    assert len(bytes.fromhex(key.removeprefix("development-"))) == 32
    assert (tmp_path / "jwt.key").stat().st_mode & 0o777 == 0o600


def test_a_run_that_keeps_nothing_has_a_key_of_its_own() -> None:
    set_defaults(7071, None, with_demo=False)
    key = os.environ.pop("JWT_SIGNING_KEY")
    set_defaults(7071, None, with_demo=False)
    assert os.environ["JWT_SIGNING_KEY"] != key
    assert "AUTO_PUBLISH" not in os.environ


async def test_a_configured_ai_is_left_alone() -> None:
    os.environ["OPENAI_API_KEY"] = "sk-configured"
    async with choose_ai(None) as child:
        assert child is None
    assert os.environ["OPENAI_API_KEY"] == "sk-configured"
    assert "OPENAI_BASE_URL" not in os.environ


async def test_a_given_ai_server_wins() -> None:
    os.environ["OPENAI_BASE_URL"] = "http://configured/v1"
    async with choose_ai("http://given/v1") as child:
        assert child is None
    assert os.environ["OPENAI_BASE_URL"] == "http://given/v1"
    assert os.environ["OPENAI_API_KEY"] == "local"


def test_a_bad_setting_is_told_before_anything_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AzureWebJobsStorage", "UseDevelopmentStorage=true")
    monkeypatch.setenv("JWT_SIGNING_KEY", "short")
    with pytest.raises(LocalhostError, match="JWT_SIGNING_KEY"):
        check_settings()
