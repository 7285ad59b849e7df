"""Addresses of this server's own: tasks as resources and sources (`luma://tasks/{task_id}`), and where it is called."""

from urllib.parse import quote, unquote

CALLBACKS_PATH = "/callbacks"  # below this server's public address
TASKS_URI = "luma://tasks"
TASK_PREFIX = f"{TASKS_URI}/"
TASK_TEMPLATE = f"{TASK_PREFIX}{{task_id}}"


def task_uri(task_id: str) -> str:
    """Name a task by its id at RunAPI."""
    return f"{TASK_PREFIX}{quote(task_id, safe='')}"


def task_id_of(uri: str) -> str:
    """Read the id out of a task's URI; empty if the URI names no single task."""
    scheme, tail = uri[: len(TASK_PREFIX)].lower(), uri[len(TASK_PREFIX) :]
    return "" if scheme != TASK_PREFIX or any(c in tail for c in "/?#") else unquote(tail)
