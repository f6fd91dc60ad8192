"""The administrators hear of the end of a model while there is time to choose another."""

from datetime import date

import pytest

from core.settings import Settings
from core.wiring import Services, build
from localhost.azurite import Azurite


async def warned(services: Services, today: str) -> list[str]:
    """Let the clock say `today` and return which warnings there are now."""
    await services.lifetimes.warn(date.fromisoformat(today))
    alerts, _ = await services.operations.alerts(100, None)
    return sorted(alert.target for alert in alerts if alert.kind == "model-ends")


async def test_each_threshold_gives_one_alert_even_if_its_day_was_missed(
    azurite: Azurite, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {
        "AzureWebJobsStorage": azurite.connection_string,
        "JWT_SIGNING_KEY": "k" * 32,
        "SPEECH_MODEL": "gpt-4o-transcribe",  # ends on 2027-02-26
        "TEXT_MODEL": "gpt-4o-mini",  # ends on 2027-01-14
    }
    services = build(Settings.read(environment))
    assert await warned(services, "2026-11-14") == []
    assert await warned(services, "2026-11-15") == ["gpt-4o-mini/60"]
    caplog.clear()
    assert await warned(services, "2026-11-16") == ["gpt-4o-mini/60"]
    assert "raised before" not in caplog.text  # and so nobody was told twice
    assert await warned(services, "2026-12-20") == ["gpt-4o-mini/30", "gpt-4o-mini/60"]
    assert await warned(services, "2027-01-08") == [
        "gpt-4o-mini/30",
        "gpt-4o-mini/60",
        "gpt-4o-mini/7",
        "gpt-4o-transcribe/60",
    ]
    assert await warned(services, "2027-03-01") == [
        "gpt-4o-mini/30",
        "gpt-4o-mini/60",
        "gpt-4o-mini/7",
        "gpt-4o-transcribe/60",
        "gpt-4o-transcribe/7",
    ]
    alerts, _ = await services.operations.alerts(100, None)
    last = next(alert for alert in alerts if alert.target == "gpt-4o-transcribe/7")
    assert "3 days ago" in last.detail
    assert "SPEECH_MODEL" in last.detail
    await services.close()


async def test_a_model_without_an_end_is_no_news(azurite: Azurite, caplog: pytest.LogCaptureFixture) -> None:
    environment = {
        "AzureWebJobsStorage": azurite.connection_string,
        "JWT_SIGNING_KEY": "k" * 32,
        "SPEECH_MODEL": "gpt-transcribe",
        "TEXT_MODEL": "my-deployment",
        "TEXT_PROFILE": "gpt-4o-mini",
    }
    services = build(Settings.read(environment))
    before = await warned(services, "2026-01-01")
    assert await warned(services, "2030-01-01") == before
    assert "ends on" not in caplog.text
    await services.close()
