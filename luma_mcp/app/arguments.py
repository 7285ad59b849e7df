"""What callers pass, checked as far as that takes neither money nor a look at anything else."""

from collections.abc import Sequence

import httpx

from luma_mcp.core.errors import InvalidRequest, SourceNotAllowed
from luma_mcp.core.models import MODEL, MOST_TAKES, Status, VideoRequest
from luma_mcp.core.uris import TASK_PREFIX, task_id_of
from luma_mcp.media.sources import PublicUrl, check_public_url, parse_source

LONGEST_PROMPT = 20_000
TAKE_HINT = f"Leave take out, or give 2, 3, … (up to {MOST_TAKES}) when the user wants another version."
LONGEST_ID = 200
PORTS = {"http": 80, "https": 443}


def check_request(request: VideoRequest, callback_hosts: Sequence[str]) -> None:
    """Raise `InvalidRequest` for a request that RunAPI could not fulfil, or `SourceNotAllowed` for its callback.

    `callback_hosts` are those that RunAPI may send the result of a clip of the user's own to.
    """
    check_words(request)
    check_callback(request, callback_hosts)


def check_words(request: VideoRequest) -> None:
    """Raise `InvalidRequest` for what RunAPI could not fulfil, or for a take that there cannot be."""
    if not any(c.isprintable() and not c.isspace() for c in request.prompt):
        raise InvalidRequest("prompt must say how the video should change.")
    if any("\ud800" <= c <= "\udfff" for c in request.prompt + request.source):
        raise InvalidRequest("prompt and source_video_url must be valid Unicode text.")
    if len(request.prompt) > LONGEST_PROMPT:
        raise InvalidRequest(f"prompt must be at most {LONGEST_PROMPT} characters.")
    if request.model != MODEL:
        raise InvalidRequest(f"model must be {MODEL}, the only one that RunAPI offers here.")
    if not 1 <= request.take <= MOST_TAKES:
        raise InvalidRequest(f"take must be from 1 to {MOST_TAKES}.", hint=TAKE_HINT)


def check_callback(request: VideoRequest, hosts: Sequence[str]) -> None:
    """Raise `SourceNotAllowed` or `InvalidRequest` for an address that RunAPI could not call, or must not.

    RunAPI sends it the result. That of a clip of the user's own (a file, or an earlier result) goes only to hosts that
    the user named, each a name or `name:port`; for a public clip any public address may be called.
    """
    if not request.callback_url:
        return
    try:
        check_public_url(request.callback_url, "callback_url")
    except SourceNotAllowed as error:
        error.hint = "Give an http(s) URL that RunAPI can reach, or no callback_url."
        raise
    host = host_of(request.callback_url)
    if not isinstance(parse_source(request.source), PublicUrl) and not {host, host.rpartition(":")[0]} & {*hosts}:
        raise SourceNotAllowed(
            f"callback_url: RunAPI would send the result of a clip of the user's own to {host}, which nobody allowed.",
            hint="Leave callback_url out, or have its host added to LUMA_MCP_CALLBACK_HOSTS in this server's settings.",
        )


def host_of(url: str) -> str:
    """Give the host and the port of a URL, in the form that settings have: `name:port`, in lower case."""
    parsed = httpx.URL(url)
    name = parsed.raw_host.decode("ascii").lower().removesuffix(".")
    return f"{f'[{name}]' if ':' in name else name}:{parsed.port or PORTS[parsed.scheme]}"


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
