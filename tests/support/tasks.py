"""Tasks outside of any ledger: new ones, and one that is completed."""

from dataclasses import replace

from luma_mcp.core.models import Status, Task, VideoRequest, new_key
from tests.support.rig import API_URL, EPOCH, SOURCE

COMPLETED = Task(
    key="k",
    caller="local",
    request=VideoRequest(prompt="A foggy autumn morning", source=SOURCE),
    created_at=EPOCH,
    updated_at=EPOCH,
    status=Status.COMPLETED,
    task_id="550e8400-e29b",
    finished_at=EPOCH,
)


def task(number: int = 0, *, key: str = "", caller: str = "local") -> Task:
    """Make a task that was created `number` seconds after the epoch of the tests."""
    request = VideoRequest(prompt=f"take {number}", source=SOURCE)
    at, key = EPOCH + number, key or new_key()
    draft = Task(key=key, caller=caller, request=request, origin=API_URL, created_at=at, updated_at=at)
    return replace(draft, wanted_at=at)


def code_of(task: Task) -> str:
    """Give the code of a task's error, nothing if it has none."""
    return task.error.code if task.error else ""
