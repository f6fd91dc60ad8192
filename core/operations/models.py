"""Alerts: what a person has to know of, and whether someone has seen to it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Alert(BaseModel):
    """Row of `alerts`, one partition a month, the newest first.

    `kind` is a slug (`transcription-failed`, `poison-message`), `target` the id of what it is about.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    title: str
    detail: str
    target: str
    created_at: datetime
    resolved_at: datetime | None = None


class Notice(BaseModel):
    """Message on `notify`: mail this alert to those who want to know."""

    partition: str
    key: str
