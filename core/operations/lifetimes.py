"""Warns in time that a service will switch off a model that is configured."""

from datetime import UTC, date, datetime, time, timedelta

from core.ai import Models
from core.operations.service import Operations

_KIND = "model-ends"


class Lifetimes:
    def __init__(self, models: Models, operations: Operations) -> None:
        self._models = models
        self._operations = operations

    async def warn(self, today: date) -> None:
        """Raise one alert 60, 30 and 7 days before the end of each model, or when first called after that."""
        for ending in self._models.endings(today):
            due = datetime.combine(ending.ends, time(), UTC) - timedelta(days=ending.threshold)
            target = f"{ending.model}/{ending.threshold}"
            if not await self._operations.is_alerted(_KIND, target, due):
                title = f"The model {ending.model} ends on {ending.ends.isoformat()}"
                await self._operations.raise_alert(_KIND, title, ending.describe(), target, due)
