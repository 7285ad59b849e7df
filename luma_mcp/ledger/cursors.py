"""Places in a list of tasks, newest first, as the words that callers pass from page to page."""

import math
import uuid

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import Task


def cursor_after(task: Task) -> str:
    """Name the place behind a task."""
    return named(task.created_at, task.key)


def named(created_at: float, key: str) -> str:
    """Write a place as a word."""
    return f"{created_at!r}_{key}"


def position(cursor: str) -> tuple[float, str]:
    """Read a cursor of ours: the age and key of the last task of the page before; raise `InvalidRequest`."""
    if not cursor:
        return math.inf, ""
    created_at, _, key = cursor.partition("_")
    try:
        place = float(created_at), str(uuid.UUID(key))
    except ValueError as error:
        raise InvalidRequest("cursor is not one that list_tasks returned.") from error
    if not math.isfinite(place[0]) or cursor != named(*place):
        raise InvalidRequest("cursor is not one that list_tasks returned.")
    return place
