"""What callers are told: the one task object, the task list, and failures, fact for fact as text too."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from luma_mcp.app.app import SUBMIT_SECONDS, Outcome, cursor_after
from luma_mcp.core.errors import KEEPS_ASKING, Failure, LumaError, TaskNotFound
from luma_mcp.core.models import SANDBOX_ORIGIN, Status, Task
from luma_mcp.core.money import PRICE_USD
from luma_mcp.core.settings import Settings

USUAL_WAIT = 40
LARGEST_PAGE_BYTES = 39_000  # of a list as hosts get it, in both forms, with room for what the protocol puts around it
SHOWN_OF_PROMPT = 80
PLAYED = " This is the sandbox: nothing was charged (cost_usd is played), and the video is a stand-in."
LINK = "Give the user the link in video_urls; it works until expires_at."
NOWHERE = (
    "This is the sandbox: nothing was charged, and the link in video_urls leads nowhere. Call save_video with task_id"
    ' "{task_id}" to put a stand-in on disk.'
)
ELSEWHERE = "This is the sandbox: nothing was charged, and the stand-in lies on the server's own machine, as"
PRICED = f"costs {PRICE_USD:.2f} USD when it succeeds"
FREE = "is free in the sandbox"
StatusWord = Literal["submitting", "pending", "processing", "completed", "failed", "unconfirmed"]
Moment = Annotated[str, Field(description="RFC 3339, UTC", json_schema_extra={"format": "date-time"})]


def described(words: str) -> ConfigDict:
    """Describe an object of a schema; docstrings do not last where Python leaves them out (`-OO`)."""
    return ConfigDict(json_schema_extra={"description": words})


@with_config(described("why something failed, whether it cost money, and what to do"))
class ErrorObject(TypedDict):
    """A failure."""

    code: str
    message: str
    charged: Annotated[Literal["no", "yes", "unknown"], Field(description="whether this cost money")]
    retry_safe: Annotated[bool, Field(description="whether repeating the same call cannot charge twice")]
    hint: Annotated[str, Field(description="what to do about it")]


@with_config(described("a task; a failure that concerns no task has only error and next_step"))
class TaskObject(TypedDict, total=False):
    """A task as every tool tells it that speaks of one."""

    task_id: Annotated[str, Field(description="id for get_task; empty until RunAPI has confirmed the submission")]
    status: StatusWord
    done: Annotated[bool, Field(description="true once the task is completed or failed")]
    prompt: str
    model: str
    source_video_url: str
    source_size_bytes: Annotated[int, Field(description="size of a clip that was uploaded from a file")]
    source_duration_seconds: Annotated[float, Field(description="how long that clip lasts, by its header")]
    video_urls: Annotated[list[str], Field(description="where the finished video can be downloaded until expires_at")]
    video_path: Annotated[str, Field(description="absolute path of the saved file, empty if not saved")]
    take: Annotated[int, Field(description="which take of its request this is")]
    joined: Annotated[bool, Field(description="true if this call joined a task that already existed: no new charge")]
    created_at: Moment
    updated_at: Moment
    finished_at: Moment
    elapsed_seconds: Annotated[float, Field(description="from submission to the end, or to now")]
    expires_at: Moment
    cost_usd: Annotated[float, Field(description="what RunAPI reported as the charge")]
    error: ErrorObject
    ignored_arguments: Annotated[
        list[str], Field(description="arguments of this call that modify_video does not have; absent if none")
    ]
    next_step: Annotated[str, Field(description="what to do next")]


@with_config(described("a task in short; get_task has the rest"))
class TaskRow(TypedDict, total=False):
    """A task as lists tell it."""

    task_id: Annotated[str, Field(description="id for get_task; empty until RunAPI has confirmed the submission")]
    status: StatusWord
    prompt: Annotated[str, Field(description=f"its first {SHOWN_OF_PROMPT} characters")]
    take: Annotated[int, Field(description="which take of its request this is")]
    created_at: Moment
    cost_usd: Annotated[float, Field(description="what RunAPI reported as the charge")]
    video_path: Annotated[str, Field(description="absolute path of the saved file, empty if not saved")]
    error_code: Annotated[str, Field(description="error.code of get_task; absent if all is well")]


@with_config(described("tasks, newest first; a failure has only error and next_step"))
class TaskList(TypedDict, total=False):
    """A page of tasks."""

    tasks: list[TaskRow]
    next_cursor: Annotated[str, Field(description="pass as cursor for the next page; empty at the end")]
    error: ErrorObject
    next_step: Annotated[str, Field(description="what to do next")]


def advised_wait(settings: Settings) -> int:
    """Give the wait_seconds that texts name: the setting, which people choose below the limit of their host."""
    return int(settings.bound(-1) or settings.bound(USUAL_WAIT))


def own_seconds(settings: Settings) -> dict[str, int]:
    """Give this server's own seconds for the named fields of texts for models."""
    return {"wait": advised_wait(settings), "bound": round(max(settings.bound(-1), SUBMIT_SECONDS))}


def task_object(outcome: Outcome, now: float, *, remote: bool = False, wait: int = USUAL_WAIT) -> TaskObject:
    """Describe a task as a call leaves it; what is not known is absent.

    `remote` callers, on other machines, cannot open what is saved on this one; `wait` is how long a call should wait.
    """
    task = outcome.task
    answer: TaskObject = {
        "task_id": task.task_id,
        "status": task.status.value,
        "done": task.status.done,
        "prompt": task.request.prompt,
        "model": task.request.model,
        "source_video_url": task.request.source,
        "video_urls": list(task.video_urls),
        "video_path": task.video_path,
        "take": task.request.take,
        "joined": outcome.joined,
        "created_at": moment(task.created_at),
        "updated_at": moment(task.updated_at),
        "elapsed_seconds": round(task.elapsed(now), 1),
    }
    if task.source_bytes is not None:
        answer["source_size_bytes"] = task.source_bytes
    if task.source_seconds is not None:
        answer["source_duration_seconds"] = round(task.source_seconds, 3)
    if task.finished_at is not None:
        answer["finished_at"] = moment(task.finished_at)
    if task.expires_at is not None:
        answer["expires_at"] = moment(task.expires_at)
    if task.cost_usd is not None:
        answer["cost_usd"] = task.cost_usd
    if task.error is not None:
        answer["error"] = error_object(task.error)
    answer["next_step"] = " ".join(next_steps(outcome, now, remote=remote, wait=wait))
    return answer


def failure_object(error: LumaError) -> TaskObject:
    """Describe a failure that concerns no task."""
    return {"error": error_object(error.failure()), "next_step": error.hint}


def error_object(failure: Failure) -> ErrorObject:
    """Describe what went wrong."""
    return {
        "code": failure.code,
        "message": failure.message,
        "charged": failure.charged,
        "retry_safe": failure.retry_safe,
        "hint": failure.hint,
    }


def next_steps(outcome: Outcome, now: float, *, remote: bool, wait: int) -> Iterator[str]:
    """Tell the model what its call has cost if it found the task there, what to do next, and how to have another."""
    task = outcome.task
    if outcome.joined:
        yield f"{cost_of(outcome)}: the same request was made at {moment(task.created_at)}."
    if outcome.joined and outcome.other_callback:
        yield "The callback_url of this call is not called: the task was submitted without it."
    yield next_step(task, now, remote=remote, wait=wait)
    if offers_take(outcome, now):
        yield way_on(task, outcome.next_take, now)
    elif outcome.is_new and 0 < outcome.next_take < task.request.take:
        yield f"Take {outcome.next_take} was never made: takes can be had in any order."


def cost_of(outcome: Outcome) -> str:
    """Say what a call has cost that joined a task: what is not completed may still be charged, once."""
    ended = outcome.is_free and outcome.task.status is Status.COMPLETED
    return "This call cost nothing" if ended else "This call adds no cost of its own"


def offers_take(outcome: Outcome, now: float) -> bool:
    """Tell whether another take is the way on: from a result that is there, or where no repetition brings one."""
    task = outcome.task
    settles_itself = task.status is Status.UNCONFIRMED and task.error is not None and task.error.retry_safe
    completed = outcome.joined and task.status is Status.COMPLETED
    return completed or (task.is_lost(now) and not settles_itself)


def way_on(task: Task, take: int, now: float) -> str:
    """Name the take that is another version of a task's request, and its price."""
    if not take:
        return "All takes of this request were made: for another version, change its prompt."
    wish = "agrees to pay for another one" if task.is_lost(now) else "wants another version"
    return f"Only if the user {wish}: modify_video with the same arguments and take {take}, which {priced(task)}."


def priced(task: Task) -> str:
    """Say what another take of a task's request costs."""
    return FREE if task.origin == SANDBOX_ORIGIN else PRICED


def next_step(task: Task, now: float, *, remote: bool = False, wait: int = USUAL_WAIT) -> str:
    """Tell the model in one sentence what to do next about a task."""
    match task.status:
        case Status.SUBMITTING:
            return submitting_step(task)
        case Status.PENDING | Status.PROCESSING:
            return running_step(task, now, wait)
        case Status.COMPLETED:
            return completed_step(task, remote=remote, wait=wait)
        case Status.FAILED | Status.UNCONFIRMED:
            return task.error.hint if task.error else "Nothing more can be done."


def submitting_step(task: Task) -> str:
    """Tell how to go on while RunAPI has not named the task."""
    so_far = "The clip is still being uploaded" if task.is_uploading else "RunAPI has not confirmed the task yet"
    if task.error:
        so_far = f"{task.error.message.rstrip('.')}. This server keeps trying"
    return (
        f"{so_far}: repeat the same modify_video call in a few seconds; it joins this submission and is not charged"
        " twice."
    )


def running_step(task: Task, now: float, wait: int) -> str:
    """Tell how to wait for the end, or what keeps RunAPI from being asked for it."""
    named = f'get_task with task_id "{task.task_id}"'
    if task.error and task.is_lost(now):
        return task.error.hint
    if task.error and task.error.code == TaskNotFound.code:
        unknown = "Tell the user that RunAPI does not know this task at the moment."
        return f"{unknown} This server keeps asking: call {named} in a few minutes."
    if task.error and task.error.hint != KEEPS_ASKING:
        return f"{task.error.hint} Then call {named}: the task goes on at RunAPI."
    return f"Call {named} and wait_seconds {wait} until done is true; do not call modify_video again for this."


def completed_step(task: Task, *, remote: bool, wait: int) -> str:
    """Tell where a finished video is."""
    sandbox = task.origin == SANDBOX_ORIGIN
    if task.video_path and remote:
        kept = f"{LINK} The server also keeps it, as {task.video_path} on its own machine."
        return f"{ELSEWHERE} {task.video_path}." if sandbox else kept
    if task.video_path:
        played = PLAYED if sandbox else ""
        return f"Tell the user that the finished video is at {task.video_path}; nothing more is to be done.{played}"
    if task.error:
        return task.error.hint
    if task.awaits_file:
        waiting = f'get_task with task_id "{task.task_id}" and wait_seconds {wait}'
        return f"The video is being saved: call {waiting} for its path."
    if sandbox:
        return NOWHERE.format(task_id=task.task_id)
    return LINK if remote else f'{LINK} Or call save_video with task_id "{task.task_id}" to keep it on disk.'


def is_failure(task: Task, now: float) -> bool:
    """Tell whether an answer about this task is an error: it ended badly, or there is nothing to be had for it."""
    return task.is_lost(now) or (task.status.done and task.error is not None)


def as_text(answer: Mapping[str, Any]) -> str:
    """Say the same as the structured answer, for hosts that show the model only text."""
    return json.dumps(answer, ensure_ascii=False, indent=2)


def task_row(task: Task) -> TaskRow:
    """Describe a task in short, for a list."""
    row: TaskRow = {
        "task_id": task.task_id,
        "status": task.status.value,
        "prompt": task.request.prompt[:SHOWN_OF_PROMPT],
        "take": task.request.take,
        "created_at": moment(task.created_at),
        "video_path": task.video_path,
    }
    if task.cost_usd is not None:
        row["cost_usd"] = task.cost_usd
    if task.error is not None:
        row["error_code"] = task.error.code
    return row


def task_page(tasks: Sequence[Task], next_cursor: str) -> TaskList:
    """Describe as many tasks of a page, at least one, as fit into `LARGEST_PAGE_BYTES`; the next page goes on there."""
    rows = [task_row(task) for task in tasks]
    fit = bisect_right(range(1, len(rows) + 1), LARGEST_PAGE_BYTES, key=lambda count: size({"tasks": rows[:count]}))
    if fit < len(rows):
        last = tasks[max(fit, 1) - 1]
        next_cursor = cursor_after(last)
    return {"tasks": rows[: max(fit, 1)], "next_cursor": next_cursor}


def size(answer: TaskList) -> int:
    """Count the bytes of an answer in both its forms, as they are sent by whoever escapes all that is not ASCII."""
    return len(json.dumps(answer)) + len(json.dumps(as_text(answer)))


def moment(seconds: float) -> str:
    """Write POSIX seconds as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
