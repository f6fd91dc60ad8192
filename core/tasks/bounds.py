"""How much private text one person may keep: enough for years of work, and not without end."""

from core.errors import ConflictError
from core.tasks.models import Task

MAX_TASKS = 2_000
MAX_VERSIONS = 1_000
"""Of one task, those that the transcription makes counted too, but never refused."""
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Of the passages of all versions of one task; whatever is under it may still be exceeded once."""


def check_tasks(count: int) -> None:
    """Raise ConflictError for a person who has as many tasks as one may have."""
    if count >= MAX_TASKS:
        raise ConflictError(f"You have {MAX_TASKS} tasks, the most that one can have; delete some first.")


def check_versions(task: Task) -> None:
    """Raise ConflictError for a task that can have no further version by a person."""
    if task.version >= MAX_VERSIONS:
        full = f"{MAX_VERSIONS} versions"
    elif task.kept_bytes >= MAX_KEPT_BYTES:
        full = f"{MAX_KEPT_BYTES // 1024**2} MB of text in its versions"
    else:
        return
    raise ConflictError(f"Task {task.id} has {full}, the most that is kept of one; go on in a new task.")
