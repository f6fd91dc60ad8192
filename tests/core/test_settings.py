"""A wrong setting stops the start with a sentence that names it and shows no secret."""

import pytest

from core.settings import Settings, SettingsError

KEY = "0123456789abcdef0123456789abcdef"
LOCAL = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "JWT_SIGNING_KEY": KEY}
CLOUD = LOCAL | {"PUBLIC_BASE_URL": "https://aloud.example", "DATA_KEY": KEY, "WEBSITE_SITE_NAME": "aloud"}
CLOUD |= {"MAIL_ENDPOINT": "https://mail.example"}


def test_the_least_that_is_needed() -> None:
    assert Settings.read(LOCAL).is_local
    assert not Settings.read(LOCAL).verified_email_required
    assert not Settings.read(CLOUD).is_local
    assert Settings.read(CLOUD).verified_email_required


def test_verification_can_be_chosen_against_the_place() -> None:
    assert Settings.read(LOCAL | {"REQUIRE_VERIFIED_EMAIL": "true"}).verified_email_required
    assert not Settings.read(CLOUD | {"REQUIRE_VERIFIED_EMAIL": "false"}).verified_email_required


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"AzureWebJobsStorage": ""}, "AzureWebJobsStorage"),
        ({"JWT_SIGNING_KEY": ""}, "JWT_SIGNING_KEY"),
        ({"JWT_SIGNING_KEY": "too short"}, "JWT_SIGNING_KEY"),
        ({"JWT_SIGNING_KEY": f"{KEY} short"}, "JWT_SIGNING_KEY"),
        ({"JWT_SIGNING_KEY": "   "}, "JWT_SIGNING_KEY"),
        ({"DATA_KEY": "short"}, "DATA_KEY"),
        ({"DATA_KEY": ""}, "DATA_KEY"),
        ({"JWT_SIGNING_KEY": f"development-{KEY}"}, "JWT_SIGNING_KEY"),
        ({"DATA_KEY": f"{KEY} development-{KEY}"}, "DATA_KEY"),
        ({"JWT_SIGNING_KEY": "replace-this-by-at-least-32-random-characters"}, "JWT_SIGNING_KEY"),
        ({"JWT_SIGNING_KEY": f"@Microsoft.KeyVault(SecretUri=https://{KEY})"}, "JWT_SIGNING_KEY"),
        ({"PUBLIC_BASE_URL": "http://aloud.example"}, "PUBLIC_BASE_URL"),
        ({"PUBLIC_BASE_URL": "http://localhost:7071"}, "PUBLIC_BASE_URL"),
        ({"MAIL_ENDPOINT": ""}, "MAIL_CONNECTION or MAIL_ENDPOINT"),
        ({"GOOGLE_CLIENT_ID": "x", "GOOGLE_JWKS_URL": "http://keys.example"}, "GOOGLE_JWKS_URL"),
        ({"ACCOUNT_ATTEMPTS": "0"}, "ACCOUNT_ATTEMPTS"),
        ({"BUDGET_DOLLARS": "endless"}, "BUDGET_DOLLARS"),
        ({"BUDGET_DOLLARS": "inf"}, "BUDGET_DOLLARS"),
        ({"USER_BUDGET_HOURS": "-1"}, "USER_BUDGET_HOURS"),
    ],
)
def test_in_the_cloud_what_is_wrong_is_named(change: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.read(CLOUD | change)
    assert named in str(caught.value)
    assert KEY not in str(caught.value)


def test_nothing_is_spent_without_end_unless_somebody_says_so() -> None:
    settings = Settings.read(CLOUD | {"OPENAI_API_KEY": "sk-x"})
    longest = settings.max_audio_hours
    for limit, least in (
        (settings.budget_dollars, 25),
        (settings.budget_hours, longest),
        (settings.user_budget_dollars, longest * 0.36),  # the price of the default model
        (settings.user_budget_hours, longest),
    ):
        assert isinstance(limit, float)
        assert least <= limit <= 1000, "the longest recording is not kept waiting for ever"
    assert Settings.read(CLOUD | {"BUDGET_DOLLARS": "unlimited"}).budget_dollars == "unlimited"


def test_on_one_machine_a_development_key_will_do() -> None:
    assert Settings.read(LOCAL | {"JWT_SIGNING_KEY": f"development-{KEY}"}).is_local
