"""Addresses of this server's own: tasks as resources and sources (`luma://tasks/{task_id}`), and where it is called."""

import re
from urllib.parse import quote, unquote

from luma_mcp.core.errors import InvalidRequest

CALLBACKS_PATH = "/callbacks"  # below this server's public address
UPLOADS_PATH = "/uploads"
VIDEOS_PATH = "/videos"
TASKS_URI = "luma://tasks"
TASK_PREFIX = f"{TASKS_URI}/"
TASK_TEMPLATE = f"{TASK_PREFIX}{{task_id}}"
PREVIEW_SUFFIX = "/preview"
PREVIEW_TEMPLATE = f"{TASK_TEMPLATE}{PREVIEW_SUFFIX}"
CLIP_PREFIX = "luma://clips/"
CLIP_DIGEST = re.compile(r"md5:[A-Za-z0-9+/]{22}==:[0-9]{1,18}")
UPLOAD_PREFIX = "luma://uploads/"
UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{16}")
MAX_TASK_ID_LENGTH = 200


def task_uri(task_id: str) -> str:
    """Give the URI of a task by its id at RunAPI."""
    return f"{TASK_PREFIX}{quote(task_id, safe='')}"


def task_id_of(uri: str) -> str:
    """Give the id in a task's URI; empty if the URI is not that of a task."""
    scheme, tail = uri[: len(TASK_PREFIX)].lower(), uri[len(TASK_PREFIX) :]
    return "" if scheme != TASK_PREFIX or any(c in tail for c in "/?#") else unquote(tail)


def clip_uri(digest: str) -> str:
    """Give the URI of a clip that was handed over with a call, by what identifies its content."""
    return f"{CLIP_PREFIX}{quote(digest, safe='')}"


def clip_digest_of(uri: str) -> str:
    """Give what identifies the content in a clip's URI; empty if the URI is not that of a clip."""
    digest = unquote(uri[len(CLIP_PREFIX) :]) if uri.startswith(CLIP_PREFIX) else ""
    return digest if CLIP_DIGEST.fullmatch(digest) else ""


def upload_uri(upload_id: str) -> str:
    """Give the URI of a clip that comes, or came, by an upload ticket."""
    return f"{UPLOAD_PREFIX}{upload_id}"


def upload_id_of(uri: str) -> str:
    """Give the id in an upload's URI; empty if the URI is not that of an upload."""
    tail = uri.removeprefix(UPLOAD_PREFIX) if uri.startswith(UPLOAD_PREFIX) else ""
    return tail if UPLOAD_ID.fullmatch(tail) else ""


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
