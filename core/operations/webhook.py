"""Alerts on their way to a chat: the incoming webhooks of Slack and of Microsoft Teams."""

import logging
from typing import Any, Self
from urllib.parse import urlsplit

from core.errors import UnavailableError
from core.settings import Settings

_log = logging.getLogger("aloud.operations")

_SECONDS = 20


class Webhook:
    """Posts to one address, in the form that its host wants. The address is a secret of the operator."""

    def __init__(self, url: str) -> None:
        self._url = url

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the webhook of the settings, None without one."""
        return None if settings.alert_webhook is None else cls(settings.alert_webhook.get_secret_value())

    async def post(self, title: str, detail: str, link: str) -> None:
        """Raises UnavailableError where it has to be tried again; a refusal is logged and that is all."""
        import aiohttp

        body = compose_message(self._url, title, detail, link)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(self._url, json=body, allow_redirects=False) as answer,
            ):
                status = answer.status
        except (TimeoutError, aiohttp.ClientError):
            raise UnavailableError("The webhook for alerts does not answer.") from None
        if status in (408, 429) or status >= 500:
            raise UnavailableError(f"The webhook for alerts answers {status}.")
        if status >= 300:
            _log.error("the webhook for alerts refuses them with %s; check ALERT_WEBHOOK", status)


def compose_message(url: str, title: str, detail: str, link: str) -> dict[str, Any]:
    """Return the body that an address wants: Slack's text, elsewhere the card that Teams shows."""
    if (urlsplit(url).hostname or "").endswith(("slack.com", "slack-gov.com")):
        marks = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
        return {"text": f"*{title.translate(marks)}*\n{detail.translate(marks)}\n<{link}>"}
    texts = [
        {"type": "TextBlock", "text": title, "weight": "bolder", "wrap": True},
        {"type": "TextBlock", "text": detail, "wrap": True},
    ]
    card = {
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": texts,
        "actions": [{"type": "Action.OpenUrl", "title": "Open Aloud", "url": link}],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "text": f"{title}\n{detail}", "attachments": [attachment]}
