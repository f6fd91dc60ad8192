"""What looks like a secret does not get into the log, or before an administrator's eyes."""

import pytest

from core.redaction import redact

GUID = "8f14e45f-ceea-467f-a2d3-0123456789ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Incorrect API key provided: sk-proj-aB3****xyz9.", "Incorrect API key provided: […]"),
        ("Rate limit reached for org-Zx81kQmmW on TPM.", "Rate limit reached for […] on TPM."),
        ("Bad header Authorization: Bearer eyJh.b", "Bad header Authorization: […]"),
        ("API key AIzaSyD-9tSrke72PouQMnMX is not valid", "API key […] is not valid"),
        ("POST https://me.openai.azure.com/openai/v1?k=1 failed", "POST […] failed"),
        ("cannot connect to me.openai.azure.com:443 now", "cannot connect to […] now"),
        ("Cannot connect to 10.0.3.7:8080", "Cannot connect to […]"),
        (f"Tenant {GUID} has no such deployment", "Tenant […] has no such deployment"),
        (f"/subscriptions/{GUID}/resourceGroups/x is off", "[…] is off"),
        ("Ask ann.lee@example.com for access", "Ask […] for access"),
        ("Token a81c9f02bb7d4e55a0c1d2e3f4 is odd", "Token […] is odd"),
        (f'The prompt "{"my secret diagnosis is " * 4}" was filtered', "The prompt […] was filtered"),
        ("Slow down.\n Try again in 20s (limit 3 / min).", "Slow down. Try again in 20s (limit 3 / min)."),
        ("The model `gpt-4o-transcribe` does not exist", "The model `gpt-4o-transcribe` does not exist"),
        ("", ""),
    ],
)
def test_secrets_go_and_sentences_stay(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize("text", ["a." * 500_000, "-" * 1_000_000, '"' * 1_000_000, "a1" * 500_000])
def test_a_long_text_is_cut_and_ends(text: str) -> None:
    """A pattern that tries everything would take hours."""
    assert len(redact(text)) <= 300
