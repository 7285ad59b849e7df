"""What callers pass, checked as far as that takes neither money nor a look at anything else."""

from luma_mcp.errors import InvalidRequest, SourceNotAllowed
from luma_mcp.models import MODEL, Status, VideoRequest
from luma_mcp.sources import check_public_url
from luma_mcp.task_uris import TASK_PREFIX, task_id_of

LONGEST_PROMPT = 20_000
LONGEST_ID = 200


def check_request(request: VideoRequest) -> None:
    """Raise `InvalidRequest` for a request that RunAPI could not fulfil, whatever its source is."""
    if not any(c.isprintable() and not c.isspace() for c in request.prompt):
        raise InvalidRequest("prompt must say how the video should change.")
    if any("\ud800" <= c <= "\udfff" for c in request.prompt + request.source):
        raise InvalidRequest("prompt and source_video_url must be valid Unicode text.")
    if len(request.prompt) > LONGEST_PROMPT:
        raise InvalidRequest(f"prompt must be at most {LONGEST_PROMPT} characters.")
    if request.model != MODEL:
        raise InvalidRequest(f"model must be {MODEL}, the only one that RunAPI offers here.")
    if request.callback_url:
        check_callback(request.callback_url)


def check_callback(url: str) -> None:
    """Raise `SourceNotAllowed` or `InvalidRequest` for an address that RunAPI could not call."""
    try:
        check_public_url(url, "callback_url")
    except SourceNotAllowed as error:
        error.hint = "Give an http(s) URL that RunAPI can reach, or no callback_url."
        raise


def checked_id(task_id: str) -> str:
    """Give a task id without the blanks around it; raise `InvalidRequest` if it cannot be one."""
    given = task_id.strip(" ")
    found = task_id_of(given) or given.removeprefix(TASK_PREFIX)
    if not found or len(found) > LONGEST_ID or not found.isprintable() or any(c in found for c in " /\\"):
        raise InvalidRequest("task_id must be the id that modify_video or list_tasks gave.")
    return found


def check_listing(status: str, limit: int) -> None:
    """Raise `InvalidRequest` for a list that cannot be given."""
    if status and status not in list(Status):
        raise InvalidRequest(f"status must be one of {', '.join(Status)}, or empty for all.")
    if not 1 <= limit <= 100:
        raise InvalidRequest("limit must be from 1 to 100.")
