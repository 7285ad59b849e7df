"""Addresses of this server's own: tasks as resources and sources (`luma://tasks/{task_id}`), and where it is called."""

from urllib.parse import quote, unquote

from luma_mcp.core.errors import InvalidRequest

CALLBACKS_PATH = "/callbacks"  # below this server's public address
TASKS_URI = "luma://tasks"
TASK_PREFIX = f"{TASKS_URI}/"
TASK_TEMPLATE = f"{TASK_PREFIX}{{task_id}}"
PREVIEW_SUFFIX = "/preview"
PREVIEW_TEMPLATE = f"{TASK_TEMPLATE}{PREVIEW_SUFFIX}"
MAX_TASK_ID_LENGTH = 200


def task_uri(task_id: str) -> str:
    """Give the URI of a task by its id at RunAPI."""
    return f"{TASK_PREFIX}{quote(task_id, safe='')}"


def task_id_of(uri: str) -> str:
    """Give the id in a task's URI; empty if the URI is not that of a task."""
    scheme, tail = uri[: len(TASK_PREFIX)].lower(), uri[len(TASK_PREFIX) :]
    return "" if scheme != TASK_PREFIX or any(c in tail for c in "/?#") else unquote(tail)


def preview_uri(task_id: str) -> str:
    """Give the URI of the picture of a task's result."""
    return f"{task_uri(task_id)}{PREVIEW_SUFFIX}"


def parse_task_id(task_id: str) -> str:
    """Give the task id in an id or a URI, blanks stripped; raise `InvalidRequest` if it cannot be one."""
    given = task_id.strip(" ")
    found = task_id_of(given) or given.removeprefix(TASK_PREFIX)
    if not found or len(found) > MAX_TASK_ID_LENGTH or not found.isprintable() or any(c in found for c in " /\\"):
        raise InvalidRequest("task_id must be the id that modify_video or list_tasks gave.")
    return found
