"""`luma-mcp wait`: waiting for a task from the command line."""

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.settings import Settings


def run_wait(settings: Settings, task_id: str, *, as_json: bool) -> int:
    """Wait for a task's end; raise a `LumaError` if nothing came of it."""
    raise InvalidRequest("This is still to be written.")
