"""What callers are told: tasks, lists, prices and limits, and failures, fact for fact as text too."""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from luma_mcp.app.account import Account
from luma_mcp.app.app import MIN_SUBMIT_SECONDS, Outcome, next_page_cursor
from luma_mcp.app.save import PREVIEW_SECONDS
from luma_mcp.app.tickets import UploadOffer, VideoLink
from luma_mcp.core.errors import (
    KEEPS_ASKING,
    ActiveLimitReached,
    BudgetSpent,
    BudgetTooSmall,
    DailyLimitReached,
    Failure,
    LimitReached,
    LumaError,
    MissingApiKey,
    TaskNotFound,
)
from luma_mcp.core.models import MICROS, PRICE_USD, SANDBOX_ORIGIN, Status, Task
from luma_mcp.core.observer import UNEXPECTED
from luma_mcp.core.settings import DEFAULT_WAIT_SECONDS, Settings
from luma_mcp.core.text import Json, is_object

T = TypeVar("T")
R = TypeVar("R")
MAX_PAGE_BYTES = 39_000  # of a list in both forms: under 40,000 with what the protocol puts around it
PROMPT_PREVIEW_LENGTH = 80
SANDBOX_CHARGE_NOTE = " This is the sandbox: nothing was charged (cost_usd is simulated), and the video is {what}."
STAND_IN, OWN_CLIP = "a stand-in", "the user's own clip, unchanged"
LINK_STEP = "Give the user the link in video_urls; it works until expires_at."
SANDBOX_LINK_STEP = (
    "This is the sandbox: nothing was charged, and the link in video_urls leads nowhere. Call save_video with task_id"
    ' "{task_id}" to put a stand-in on disk.'
)
SANDBOX_REMOTE_STEP = "This is the sandbox: nothing was charged, and the stand-in lies on the server's own machine, as"
OWN_LINK_STEP = (
    "Give the user the first link in video_urls, at which this server gives the saved video until expires_at; get_task"
    ' with task_id "{task_id}" gives a new link at any time.'
)
UPLOAD_STEP = (
    "Give the user upload_url to open in a browser and pick the clip there, or send the file to it by HTTP PUT. When it"
    ' has arrived, call modify_video with source_video_url "{source}".'
)
SANDBOX_TASKS_STEP = (
    "Tasks in the sandbox, which only a server with --sandbox shows: {count}. The user can list them with"
    " `luma-mcp tasks --sandbox`."
)
PRICE = f"{PRICE_USD:.2f} USD"  # of one task
TAKE_COST = f"costs {PRICE} when it succeeds"
SANDBOX_TAKE_COST = "is free in the sandbox"
OTHER_CALLBACK_NOTE = "The callback_url of this call is not called: the task was submitted without it."
StatusWord = Annotated[str, Field(json_schema_extra={"enum": [*Status]})]
Timestamp = Annotated[str, Field(description="RFC 3339, UTC", json_schema_extra={"format": "date-time"})]
PLAY_MONEY = "This is the sandbox: all amounts are simulated."
NO_KEY = f"Without a RunAPI key the balance is not known and nothing can be submitted. {MissingApiKey.hint}"
ACTIVE_LIMIT_STEP = "The limit of tasks at once is reached: wait for one to end, or have LUMA_MCP_MAX_ACTIVE raised."
DAILY_LIMIT_STEP = (
    "The limit of tasks in 24 hours is reached: wait until older ones are longer ago, or have LUMA_MCP_DAILY_LIMIT"
    " raised."
)
LOW_BALANCE_STEP = "The balance does not pay for another task: have credits added to the RunAPI account."
NEVER_PAYS_STEP = (
    "This server never pays (LUMA_MCP_DAILY_LIMIT is 0): it makes no new task, and sends none that waits in its ledger."
    " Earlier tasks can be seen, saved and looked at."
)
LEFT_STEP = (
    "RunAPI has not confirmed this task, and this server never pays, so it sends nothing: that is left to the other"
    " servers on this ledger. Tell the user; do not repeat the call here."
)
BUDGET_STEP = (
    "The budget of 24 hours does not pay for another task: wait until older charges are longer ago, or have"
    " LUMA_MCP_DAILY_BUDGET raised."
)
LIMIT_STEPS: Mapping[type[LimitReached], str] = {
    ActiveLimitReached: ACTIVE_LIMIT_STEP,
    DailyLimitReached: DAILY_LIMIT_STEP,
    BudgetSpent: BUDGET_STEP,
    BudgetTooSmall: BudgetTooSmall.hint,
}
READY_STEP = "Nothing to do: another task can be submitted."


def schema_description(words: str) -> ConfigDict:
    """Describe an object in a JSON schema; docstrings would be gone under `python -OO`."""
    return ConfigDict(json_schema_extra={"description": words})


@with_config(schema_description("why something failed, whether it cost money, and what to do"))
class ErrorObject(TypedDict):
    """A failure."""

    code: str
    message: str
    charged: Annotated[Literal["no", "yes", "unknown"], Field(description="whether this cost money")]
    retry_safe: Annotated[bool, Field(description="whether repeating the same call cannot charge twice")]
    hint: Annotated[str, Field(description="what to do about it")]


@with_config(schema_description("a task; a failure that concerns no task has only error and next_step"))
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
    created_at: Timestamp
    updated_at: Timestamp
    finished_at: Timestamp
    elapsed_seconds: Annotated[float, Field(description="from submission to the end, or to now")]
    expires_at: Timestamp
    cost_usd: Annotated[float, Field(description="what RunAPI reported as the charge")]
    error: ErrorObject
    ignored_arguments: Annotated[
        list[str], Field(description="arguments of this call that modify_video does not have; absent if none")
    ]
    next_step: Annotated[str, Field(description="what to do next")]


@with_config(schema_description("a task in short; get_task has the rest"))
class TaskRow(TypedDict, total=False):
    """A task as lists tell it."""

    task_id: Annotated[str, Field(description="id for get_task; empty until RunAPI has confirmed the submission")]
    status: StatusWord
    prompt: Annotated[str, Field(description=f"its first {PROMPT_PREVIEW_LENGTH} characters")]
    take: Annotated[int, Field(description="which take of its request this is")]
    created_at: Timestamp
    cost_usd: Annotated[float, Field(description="what RunAPI reported as the charge")]
    video_path: Annotated[str, Field(description="absolute path of the saved file, empty if not saved")]
    error_code: Annotated[str, Field(description="error.code of get_task; absent if all is well")]


@with_config(schema_description("tasks, newest first; a failure has only error and next_step"))
class TaskList(TypedDict, total=False):
    """A page of tasks."""

    tasks: list[TaskRow]
    next_cursor: Annotated[str, Field(description="pass as cursor for the next page; empty at the end")]
    error: ErrorObject
    next_step: Annotated[str, Field(description="what to do next")]


@with_config(schema_description("a piece of a video; a failure has only error and next_step"))
class VideoPiece(TypedDict, total=False):
    """A part of a video file, for the page in a chat, which cannot open files."""

    bytes: Annotated[str, Field(description="in base64")]
    offset: Annotated[int, Field(description="where in the file the piece begins")]
    byte_count: Annotated[int, Field(description="how many bytes the piece has")]
    total_bytes: Annotated[int, Field(description="how many the file has")]
    has_more: Annotated[bool, Field(description="whether another piece follows")]
    mime_type: str
    error: ErrorObject
    next_step: Annotated[str, Field(description="what to do next")]


@with_config(schema_description("where a clip may be uploaded; a failure has only error and next_step"))
class UploadObject(TypedDict, total=False):
    """An address for one clip of somebody who is elsewhere."""

    upload_url: Annotated[str, Field(description="where to upload one clip: in a browser, or by HTTP PUT")]
    source_video_url: Annotated[str, Field(description="what to pass to modify_video once the clip has arrived")]
    expires_at: Timestamp
    max_bytes: Annotated[int, Field(description="how large the clip may be")]
    error: ErrorObject
    next_step: Annotated[str, Field(description="what to do next")]


@with_config(
    schema_description('money in USD and limits; what is not known is absent, and "today" begins at midnight UTC')
)
class AccountObject(TypedDict, total=False):
    """What is known of money and limits."""

    price_usd: Annotated[float, Field(description="what one task costs, charged only if it succeeds")]
    price_as_of: Annotated[str, Field(description="when RunAPI last stated that price")]
    balance_usd: Annotated[float, Field(description="what is left on the RunAPI account")]
    account_spent_today_usd: Annotated[float, Field(description="spent from the account today, by whatever program")]
    account_spent_total_usd: Annotated[float, Field(description="spent from the account in all")]
    server_spent_today_usd: Annotated[float, Field(description="spent through this server today, by its ledger")]
    server_spent_total_usd: Annotated[
        float, Field(description="spent through this server in all, as far as its ledger goes back")
    ]
    active_tasks: Annotated[int, Field(description="tasks that run now")]
    max_active: Annotated[int, Field(description="how many may run at once")]
    tasks_in_24_hours: Annotated[int, Field(description="tasks submitted in the last 24 hours")]
    daily_limit: Annotated[int, Field(description="how many may be submitted in 24 hours; absent if any number")]
    tasks_left: Annotated[int, Field(description="how many more tasks the limits allow right now")]
    daily_budget_usd: Annotated[float, Field(description="how much may be charged in 24 hours; absent if any amount")]
    budget_left_usd: Annotated[
        float, Field(description="what is left of it: what runs or is in doubt counts with its price")
    ]
    next_task_cost_usd: Annotated[
        float, Field(description="what the next task would cost, by RunAPI's price or else the documented one")
    ]
    next_task_allowed: Annotated[bool, Field(description="whether the limits allow another task now")]
    limit_reached: Annotated[str, Field(description="the setting that does not allow it; absent if it is allowed")]
    error: ErrorObject
    next_step: Annotated[str, Field(description="what to do next")]


def advised_wait(settings: Settings) -> int:
    """Give the wait_seconds that texts advise: the setting, which people choose below the limit of their host."""
    return int(settings.clamp_wait(-1) or settings.clamp_wait(DEFAULT_WAIT_SECONDS))


def text_fields(settings: Settings) -> dict[str, object]:
    """Give the price of a task, and this server's seconds, for the named fields of texts for models."""
    bound = round(max(settings.clamp_wait(-1), MIN_SUBMIT_SECONDS))
    seconds = {"wait": advised_wait(settings), "bound": bound, "preview": round(PREVIEW_SECONDS)}
    return {"price": PRICE, **seconds}


def task_object(outcome: Outcome, now: float, *, remote: bool = False, wait: int = DEFAULT_WAIT_SECONDS) -> TaskObject:
    """Describe a task as a call leaves it; what is not known is absent.

    `remote` callers, on other machines, cannot open files saved on this one; `wait` is the advised wait in seconds.
    """
    task, link = outcome.task, outcome.video_link
    answer = {
        "task_id": task.task_id,
        "status": task.status.value,
        "done": task.status.done,
        "prompt": task.request.prompt,
        "model": task.request.model,
        "source_video_url": task.request.source,
        "video_urls": video_urls(task, link),
        "video_path": task.video_path,
        "take": task.request.take,
        "joined": outcome.joined,
        "created_at": format_timestamp(task.created_at),
        "updated_at": format_timestamp(task.updated_at),
        "elapsed_seconds": round(task.elapsed_seconds(now), 1),
        "source_size_bytes": task.source_bytes,
        "source_duration_seconds": if_known(task.source_seconds, lambda seconds: round(seconds, 3)),
        "finished_at": if_known(task.finished_at, format_timestamp),
        "expires_at": if_known(link.expires_at if link else task.expires_at, format_timestamp),
        "cost_usd": task.cost_usd,
        "error": if_known(task_failure(outcome), error_object),
        "next_step": " ".join(next_step_sentences(outcome, now, remote=remote, wait=wait)),
    }
    return cast("TaskObject", without_unknown(answer))


def video_urls(task: Task, link: VideoLink | None) -> list[str]:
    """List what leads to a finished video: this server's own link, if there is one, in place of RunAPI's dead ones."""
    if link is None:
        return list(task.video_urls)
    return [link.url, *(task.video_urls if task.origin == SANDBOX_ORIGIN else ())]  # by which pages know the sandbox


def failure_object(error: LumaError) -> TaskObject:
    """Describe a failure that concerns no task."""
    return {"error": error_object(error.failure()), "next_step": error.hint}


def task_page(tasks: Sequence[Task], next_cursor: str) -> TaskList:
    """Describe as many tasks as fit into `MAX_PAGE_BYTES`, at least one; the cursor goes on after the last."""
    rows = [task_row(task) for task in tasks]
    fit = bisect_right(range(1, len(rows) + 1), MAX_PAGE_BYTES, key=lambda count: page_bytes({"tasks": rows[:count]}))
    if fit < len(rows):
        last = tasks[max(fit, 1) - 1]
        next_cursor = next_page_cursor(last)
    return {"tasks": rows[: max(fit, 1)], "next_cursor": next_cursor}


def account_object(account: Account, origin: str, *, shared: bool) -> AccountObject:
    """Describe an account; if several callers spend from it (`shared`), its own spending is left out."""
    spending, limits, price, balance = account.spending, account.limits, account.price, account.balance
    spent, used, refusal = None if shared else balance, spending.used, account.refusal
    answer = {
        "price_usd": if_known(price, lambda price: price.usd),
        "price_as_of": if_known(price, lambda price: price.as_of or None),
        "balance_usd": if_known(balance, lambda balance: balance.usd),
        "account_spent_today_usd": if_known(spent, lambda balance: balance.spent_today_usd),
        "account_spent_total_usd": if_known(spent, lambda balance: balance.spent_total_usd),
        "server_spent_today_usd": round(spending.today_usd, 4),
        "server_spent_total_usd": round(spending.total_usd, 4),
        "active_tasks": used.active,
        "max_active": limits.active,
        "tasks_in_24_hours": used.submitted,
        "daily_limit": limits.daily,
        "tasks_left": account.tasks_left,
        "daily_budget_usd": if_known(limits.budget, lambda budget: budget / MICROS),
        "budget_left_usd": if_known(limits.budget, lambda _: limits.budget_left(used) / MICROS),
        "next_task_cost_usd": limits.price / MICROS,
        "next_task_allowed": refusal is None,
        "limit_reached": if_known(refusal, lambda refused: refused.variable),
        "error": if_known(account.failure, error_object),
        "next_step": account_step(account, origin),
    }
    return cast("AccountObject", without_unknown(answer))


def upload_object(offer: UploadOffer, public_url: str) -> UploadObject:
    """Describe where a clip may be uploaded, below this server's address."""
    return {
        "upload_url": f"{public_url}{offer.path}",
        "source_video_url": offer.source,
        "expires_at": format_timestamp(offer.expires_at),
        "max_bytes": offer.most,
        "next_step": UPLOAD_STEP.format(source=offer.source),
    }


def is_failure(task: Task, now: float) -> bool:
    """Tell whether an answer about this task is an error: it ended badly, or nothing is to be had for it."""
    return task.is_lost(now) or (task.status.done and task.error is not None)


def json_text(answer: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """Write the structured answer as text, for hosts that show the model nothing else."""
    return json.dumps(answer, ensure_ascii=False, indent=2)


def task_row(task: Task) -> TaskRow:
    row = {
        "task_id": task.task_id,
        "status": task.status.value,
        "prompt": task.request.prompt[:PROMPT_PREVIEW_LENGTH],
        "take": task.request.take,
        "created_at": format_timestamp(task.created_at),
        "video_path": task.video_path,
        "cost_usd": task.cost_usd,
        "error_code": if_known(task.error, lambda error: error.code),
    }
    return cast("TaskRow", without_unknown(row))


def page_bytes(answer: TaskList) -> int:
    """Count the bytes of an answer in both its forms, as senders write it that escape all but ASCII."""
    return len(json.dumps(answer)) + len(json.dumps(json_text(answer)))


def error_object(failure: Failure) -> ErrorObject:
    return {
        "code": failure.code,
        "message": failure.message,
        "charged": failure.charged,
        "retry_safe": failure.retry_safe,
        "hint": failure.hint,
    }


def task_failure(outcome: Outcome) -> Failure | None:
    """Give what went wrong with a task, with no advice to repeat a call that this server would not send."""
    failure = outcome.task.error
    return replace(failure, hint=LEFT_STEP) if failure and outcome.left_to_others else failure


def next_step_sentences(outcome: Outcome, now: float, *, remote: bool, wait: int) -> Iterator[str]:
    """Say what a call cost that joined its task, what to do next, and how to have another version."""
    task = outcome.task
    if outcome.joined:
        yield f"{call_cost(outcome)}: the same request was made at {format_timestamp(task.created_at)}."
    if outcome.joined and outcome.other_callback:
        yield OTHER_CALLBACK_NOTE
    if outcome.left_to_others:
        yield LEFT_STEP
        return
    if outcome.video_link:
        yield linked_step(task, own_clip=outcome.own_clip)
    else:
        yield task_step(task, now, remote=remote, wait=wait, own_clip=outcome.own_clip)
    if has_take_offer(outcome, now):
        yield take_offer(task, outcome.next_take, now)
    elif outcome.is_new and 0 < outcome.next_take < task.request.take:
        yield f"Take {outcome.next_take} was never made: takes can be had in any order."


def call_cost(outcome: Outcome) -> str:
    """Say what a call cost that joined its task: while that is not completed, it may still be charged, once."""
    ended = outcome.nothing_sent and outcome.task.status is Status.COMPLETED
    return "This call cost nothing" if ended else "This call adds no cost of its own"


def has_take_offer(outcome: Outcome, now: float) -> bool:
    """Tell whether another take is the way on: from a result, or where no repetition can bring one."""
    task = outcome.task
    settles_itself = task.status is Status.UNCONFIRMED and task.error is not None and task.error.retry_safe
    completed = outcome.joined and task.status is Status.COMPLETED
    return outcome.offers_take and (completed or (task.is_lost(now) and not settles_itself))


def take_offer(task: Task, take: int, now: float) -> str:
    if not take:
        return "All takes of this request were made: for another version, change its prompt."
    wish = "agrees to pay for another one" if task.is_lost(now) else "wants another version"
    return f"Only if the user {wish}: modify_video with the same arguments and take {take}, which {take_cost(task)}."


def take_cost(task: Task) -> str:
    """Say what another take of a task's request costs."""
    return SANDBOX_TAKE_COST if task.origin == SANDBOX_ORIGIN else TAKE_COST


def task_step(
    task: Task, now: float, *, remote: bool = False, wait: int = DEFAULT_WAIT_SECONDS, own_clip: bool = False
) -> str:
    match task.status:
        case Status.SUBMITTING:
            return submitting_step(task)
        case Status.PENDING | Status.PROCESSING:
            return running_step(task, now, wait)
        case Status.COMPLETED:
            return completed_step(task, remote=remote, wait=wait, own_clip=own_clip)
        case Status.FAILED | Status.UNCONFIRMED:
            return task.error.hint if task.error else "Nothing more can be done."


def submitting_step(task: Task) -> str:
    so_far = "The clip is still being uploaded" if task.is_uploading else "RunAPI has not confirmed the task yet"
    if task.error:
        so_far = f"{task.error.message.rstrip('.')}. This server keeps trying"
    return (
        f"{so_far}: repeat the same modify_video call in a few seconds; it joins this submission and is not charged"
        " twice."
    )


def running_step(task: Task, now: float, wait: int) -> str:
    """Say how to wait for the end, or what to do about what keeps RunAPI from being asked."""
    named = f'get_task with task_id "{task.task_id}"'
    if task.error and task.is_lost(now):
        return task.error.hint
    if task.error and task.error.code == TaskNotFound.code:
        unknown = "Tell the user that RunAPI does not know this task at the moment."
        return f"{unknown} This server keeps asking: call {named} in a few minutes."
    if task.error and task.error.hint != KEEPS_ASKING:
        return f"{task.error.hint} Then call {named}: the task goes on at RunAPI."
    return f"Call {named} and wait_seconds {wait} until done is true; do not call modify_video again for this."


def completed_step(task: Task, *, remote: bool, wait: int, own_clip: bool) -> str:
    sandbox = task.origin == SANDBOX_ORIGIN
    if task.video_path and remote:
        kept = f"{LINK_STEP} The server also keeps it, as {task.video_path} on its own machine."
        return f"{SANDBOX_REMOTE_STEP} {task.video_path}." if sandbox else kept
    if task.video_path:
        played = sandbox_note(own_clip=own_clip) if sandbox else ""
        return f"Tell the user that the finished video is at {task.video_path}; nothing more is to be done.{played}"
    if task.error:
        return task.error.hint
    if task.needs_saving:
        waiting = f'get_task with task_id "{task.task_id}" and wait_seconds {wait}'
        return f"The video is being saved: call {waiting} for its path."
    if sandbox:
        return SANDBOX_LINK_STEP.format(task_id=task.task_id)
    return LINK_STEP if remote else f'{LINK_STEP} Or call save_video with task_id "{task.task_id}" to keep it on disk.'


def linked_step(task: Task, *, own_clip: bool) -> str:
    """Say what to do with a link of this server's own."""
    step = OWN_LINK_STEP.format(task_id=task.task_id)
    return step + sandbox_note(own_clip=own_clip) if task.origin == SANDBOX_ORIGIN else step


def sandbox_note(*, own_clip: bool) -> str:
    return SANDBOX_CHARGE_NOTE.format(what=OWN_CLIP if own_clip else STAND_IN)


def account_step(account: Account, origin: str) -> str:
    if account.limits.daily == 0:
        return NEVER_PAYS_STEP
    if not account.has_key:
        return f"{account.failure.hint} {NO_KEY}" if account.failure else NO_KEY
    if account.failure is not None:
        return account.failure.hint
    if account.refusal is not None:
        return LIMIT_STEPS[type(account.refusal)]
    if account.balance and account.price and account.balance.usd < account.price.usd:
        return LOW_BALANCE_STEP
    return PLAY_MONEY if origin == SANDBOX_ORIGIN else READY_STEP


def if_known(fact: T | None, describe: Callable[[T], R]) -> R | None:
    return None if fact is None else describe(fact)


def without_unknown(answer: Mapping[str, object]) -> Json:
    return {name: value for name, value in answer.items() if value is not None}


def format_timestamp(seconds: float) -> str:
    """Write POSIX seconds as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error_code_in(answer: Json) -> str:
    """Give the code of the error in the answer of a failed tool call, as it goes out; of a bug, `UNEXPECTED`."""
    facts: object = answer.get("structuredContent")
    if facts is None:  # of a tool that gives pictures, whose text has the same facts
        with suppress(ValueError, LookupError):
            facts = json.loads(answer["content"][0]["text"])
    error: object = facts.get("error") if is_object(facts) else None
    return str(error.get("code", UNEXPECTED)) if is_object(error) else UNEXPECTED
