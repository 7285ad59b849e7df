"""The records that move through the server, money among them, and the rules of how a task may change. No I/O."""

import hashlib
import json
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import NamedTuple

from luma_mcp.core.errors import (
    ActiveLimitReached,
    BudgetSpent,
    BudgetTooSmall,
    Charged,
    DailyLimitReached,
    Failure,
    GenerationFailed,
    LimitReached,
    SpendingSwitchedOff,
)
from luma_mcp.core.uris import task_id_of, task_uri

Clock = Callable[[], float]
"""Gives POSIX seconds."""
LOCAL_CALLER = "local"  # the user of this machine: on stdio, and over HTTP where no tokens are set
SANDBOX_ORIGIN = "https://runapi.sandbox.invalid"
SANDBOX_SECONDS_HEADER = "X-Sandbox-Generation-Seconds"  # RunAPI has nothing like it
MODEL = "luma-modify-video"
DAY_SECONDS = 86_400
OUTPUT_LIFETIME_SECONDS = 7 * DAY_SECONDS  # contract 8.1
UPLOAD_LIFETIME_SECONDS = 3600.0  # contract 5.1
FOLLOW_SECONDS = DAY_SECONDS  # how long a task is followed
MIN_URL_LIFETIME_SECONDS = 300.0  # a URL with less left to live is not handed to RunAPI, which fetches when it likes
REPLAY_SECONDS = 15 * 60  # how long a request goes out again that nobody repeats
MAX_TAKES = 100
CLOCK_STEP_SECONDS = 60.0  # clocks are set back by as much; what is later than that was never now
PRICE_USD = 0.50  # contract 6: flat, for each task that succeeds
MICROS = 1_000_000  # of a USD: sums are whole numbers of these, so that they are exact


def to_micros(usd: float | Decimal) -> int:
    """Give an amount of USD, as it is written in decimals, in millionths."""
    return int((Decimal(str(usd)) * MICROS).to_integral_value(ROUND_HALF_EVEN))


def format_usd(micros: int) -> str:
    """Write millionths of a USD exactly, with at least two decimals: `0.50`."""
    whole, _, decimals = f"{Decimal(micros) / MICROS:.6f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def new_key() -> str:
    """Make a fresh idempotency key."""
    return str(uuid.uuid4())


class Status(StrEnum):
    """The state of a task."""

    SUBMITTING = "submitting"
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    UNCONFIRMED = "unconfirmed"

    @property
    def done(self) -> bool:
        """Tell whether the task has reached its end."""
        return self in DONE

    @property
    def rank(self) -> int:
        """Where the state stands on the way: a task never goes back to a lower rank."""
        return RANKS[self]


RUNNING = (Status.SUBMITTING, Status.PENDING, Status.PROCESSING)


DONE = (Status.COMPLETED, Status.FAILED)


RANKS = {
    Status.SUBMITTING: 0,
    Status.UNCONFIRMED: 0,
    Status.PENDING: 1,
    Status.PROCESSING: 2,
    Status.COMPLETED: 3,
    Status.FAILED: 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """What a caller asked for, in the caller's words."""

    prompt: str
    source: str
    model: str = MODEL
    watermark: bool = False
    callback_url: str = ""
    take: int = 1

    def name(self, caller: str, origin: str, source_digest: str = "") -> str:
        """Name what is asked for, whichever take of it, by whom and of which RunAPI: the same name is the same request.

        A file counts by its content (`source_digest`), the result of an earlier task by the task's id, any other source
        as it is written. What later versions add to requests enters the name only when it is not the default.
        """
        earlier = task_id_of(self.source)
        facts = {
            "caller": caller,
            "origin": origin,
            "prompt": " ".join(unicodedata.normalize("NFC", self.prompt).split()),
            "source": task_uri(earlier) if earlier else source_digest or self.source,
            "model": self.model,
            "watermark": self.watermark,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Usage:
    """What counts against a caller's limits."""

    active: int  # tasks that run
    submitted: int  # tasks in the last 24 hours
    committed: int = 0  # millionths of a USD: charged in the last 24 hours, and the price of what runs or is in doubt


@dataclass(frozen=True, slots=True)
class Limits:
    """How many tasks the user allows at once and in 24 hours, and for how much money; None is any number."""

    active: int | None = None
    daily: int | None = None
    budget: int | None = None  # millionths of a USD in 24 hours
    price: int = to_micros(PRICE_USD)  # millionths of a USD, which the next task counts with, and each that runs

    def refusal(self, used: Usage) -> LimitReached | None:
        """Say why another task is not allowed, by the limit that lasts longest; None if it is."""
        if self.daily == 0:
            return SpendingSwitchedOff()
        if self.daily is not None and used.submitted >= self.daily:
            return DailyLimitReached(used.submitted, self.daily)
        if self.budget is not None and used.committed + self.price > self.budget:
            money = (used.committed, self.budget, self.budget_left(used), self.price)
            kind = BudgetTooSmall if self.price > self.budget else BudgetSpent
            return kind(*(format_usd(amount) for amount in money))
        if self.active is not None and used.active >= self.active:
            return ActiveLimitReached(used.active, self.active)
        return None

    def budget_left(self, used: Usage) -> int:
        """Give what is left of the budget in millionths of a USD, 0 where there is none."""
        return max(0, (self.budget or 0) - used.committed)

    def tasks_left(self, used: Usage) -> int | None:
        """Count how many more tasks the limits allow now; None for any number."""
        if self.refusal(used):
            return 0
        bounds = ((self.active, used.active), (self.daily, used.submitted))
        left = [allowed - so_far for allowed, so_far in bounds if allowed is not None]
        if self.budget is not None and self.price:
            left.append(self.budget_left(used) // self.price)
        return min(left) if left else None


@dataclass(frozen=True, slots=True)
class LedgerPosition:
    """Up to where the changes of a ledger were read."""

    ledger: str  # another for every file, however alike
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """That something a caller sees changed."""

    caller: str | None  # None for any caller
    task_id: str | None  # empty for a task without one, None for any task
    listed: bool  # whether the list of tasks with an id changed too: one came or went, or is in another state
    key: str | None = None  # None for any task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSnapshot:
    """What RunAPI said about a task at one moment."""

    status: Status
    charged: Charged = "no"  # of a task that failed
    video_urls: tuple[str, ...] = ()
    error: str = ""
    cost_usd: float | None = None
    retry_after: float | None = None  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One paid generation, from intent to saved file. Times are POSIX seconds."""

    key: str  # the idempotency key, and the identity on this machine
    caller: str
    request: VideoRequest
    created_at: float
    updated_at: float
    wanted_at: float = 0.0  # when a caller last asked for it before RunAPI had named it
    origin: str = ""  # the address of the RunAPI that it is submitted to
    key_id: str = ""  # tells RunAPI keys apart: an idempotency key means nothing to another account
    callback: str = field(default="", repr=False)  # where RunAPI is to call this server, known to nobody else; or empty
    wants_file: bool = False
    source_url: str = ""  # what RunAPI is told; empty until a local file has been uploaded
    source_digest: str = ""  # of a local file, like the next two
    source_bytes: int | None = None
    source_seconds: float | None = None  # where the file's header gives it
    sent_at: float | None = None  # when the first submission went out that RunAPI may have taken, then the answered one
    file_name: str = ""  # what the saved video is to be called, if the caller chose
    task_id: str = ""  # the identity at RunAPI
    status: Status = Status.SUBMITTING
    attempts: int = 0  # submissions that may have reached RunAPI
    failures: int = 0  # tries in a row that failed in the present stage
    given_up: bool = False  # RunAPI said for too long that it is not done, or not known
    charged: Charged = "no"  # what is known of its cost
    video_urls: tuple[str, ...] = ()
    video_path: str = ""  # of the saved file
    cost_usd: float | None = None
    error: Failure | None = None
    finished_at: float | None = None

    @property
    def expires_at(self) -> float | None:
        """When RunAPI may delete the output (contract 8.1)."""
        if self.status is not Status.COMPLETED or self.finished_at is None:
            return None
        return self.finished_at + OUTPUT_LIFETIME_SECONDS

    def is_available(self, now: float) -> bool:
        """Tell whether RunAPI still keeps the output, and this server knows until when."""
        return self.expires_at is not None and now < self.expires_at

    @property
    def account(self) -> tuple[str, str]:
        """Give the RunAPI account that a task belongs to: address, and id of the key."""
        return self.origin, self.key_id

    @property
    def is_uploading(self) -> bool:
        """Tell whether a file on this machine still has to go to RunAPI before anything can be submitted."""
        return self.status is Status.SUBMITTING and self.source_bytes is not None and not self.source_url

    @property
    def asked_at(self) -> float:
        """When RunAPI was first asked, or will have been at the earliest."""
        return self.created_at if self.sent_at is None else self.sent_at

    @property
    def blocks_repeat(self) -> bool:
        """Tell whether the same request joins this task: it does unless the task failed and cost nothing."""
        return not (self.status is Status.FAILED and self.charged == "no")

    @property
    def settled_charge(self) -> Charged:
        """Tell what is known of its cost for good, as far as that will be known; "no" while it runs."""
        return settled_charge(self.status, self.charged, given_up=self.given_up)

    @property
    def counted_usd(self) -> float:
        """Give what it counts with in USD if it was charged: what RunAPI reported, else the documented price."""
        return PRICE_USD if self.charged != "yes" or self.cost_usd is None else self.cost_usd

    def has_fresh_key(self, now: float) -> bool:
        """Tell whether RunAPI certainly knows the key that a task was sent under."""
        return self.sent_at is None or now - self.sent_at <= REPLAY_SECONDS

    def is_young(self, now: float) -> bool:
        """Tell whether it may be submitted: asked for, or first sent, at most `REPLAY_SECONDS` ago."""
        moments = (self.wanted_at, self.sent_at or 0.0)  # what is in the future was never now
        return any(now - REPLAY_SECONDS <= moment <= now + CLOCK_STEP_SECONDS for moment in moments)

    @property
    def needs_saving(self) -> bool:
        """Tell whether the finished video still has to be saved."""
        return self.status is Status.COMPLETED and self.wants_file and not self.video_path and bool(self.video_urls)

    def is_lost(self, now: float) -> bool:
        """Tell whether there is nothing to be had for what was paid, or may have been: such a task is never made anew.

        It ended badly, nobody knows how it ended, its result is gone or was never named, or RunAPI was given up on.
        """
        if self.status is Status.COMPLETED:
            gone = not self.video_urls or (self.expires_at is not None and self.expires_at <= now)
            return gone and not self.video_path
        if self.status in (Status.FAILED, Status.UNCONFIRMED):
            return self.blocks_repeat
        return self.given_up

    @property
    def is_settled(self) -> bool:
        """Tell whether waiting longer can bring nothing new."""
        if self.needs_saving:
            return self.error is not None
        return self.status.done or self.status is Status.UNCONFIRMED

    def has_ended(self, now: float) -> bool:
        """Tell whether asking later brings nothing new: unlike `is_settled`, also once RunAPI was given up on.

        A submission in doubt goes out again by itself as long as it is young, so it has not ended until then.
        """
        if self.status is Status.UNCONFIRMED:
            return not self.is_young(now)
        return self.is_settled or self.is_lost(now)

    def elapsed_seconds(self, now: float) -> float:
        """Give the seconds from submission to the end, or to `now`."""
        return max(0.0, (now if self.finished_at is None else self.finished_at) - self.created_at)

    def generating_seconds(self, now: float) -> float:
        """Give the seconds from the first request to RunAPI to the end, or to `now`: those that tasks share."""
        return max(0.0, (now if self.finished_at is None else self.finished_at) - self.asked_at)

    def sending(self, callback: str, now: float) -> "Task":
        """Give the task as it is before another submission, which may be charged whatever was known of its cost."""
        begun = self if self.attempts else replace(self, callback=callback)
        sent_at = self.sent_at if self.charged == "unknown" else now
        doubt = replace(self.error, charged="unknown") if self.error else None
        return replace(begun, attempts=self.attempts + 1, sent_at=sent_at, charged="unknown", error=doubt)

    def accepted(self, task_id: str, status: Status, now: float) -> "Task":
        """Take RunAPI's answer to a submission that went out at `sent_at`."""
        known = Status.PENDING if status in DONE else status
        return replace(self, task_id=task_id, status=known, charged="unknown", error=None, failures=0, updated_at=now)

    def refused(self, failure: Failure, now: float) -> "Task":
        """End a task that has no result; the failure tells whether it was charged."""
        charged = failure.charged
        return replace(self, status=Status.FAILED, charged=charged, error=failure, updated_at=now, finished_at=now)

    def unconfirmed(self, failure: Failure, now: float) -> "Task":
        """Stop a submission whose outcome nobody knows."""
        return replace(self, status=Status.UNCONFIRMED, charged="unknown", error=failure, updated_at=now)

    def troubled(self, failure: Failure, now: float) -> "Task":
        """Note a failure that neither ends the task nor changes what is known of its cost."""
        told = replace(failure, charged=self.charged)
        goes_on = self.error is not None and self.error.code == told.code  # in other words, as of another request
        return replace(self, error=told, updated_at=self.updated_at if goes_on else now)

    def left(self, failure: Failure, now: float) -> "Task":
        """Note that RunAPI was given up on, until it says something else about the task."""
        return replace(self.troubled(failure, now), given_up=True)

    def read(self, reading: TaskSnapshot, now: float) -> "Task":
        """Take what RunAPI said; an end is final, and a state never goes back."""
        if reading.status.rank < self.status.rank or self.status.done:
            return replace(self, error=None, failures=0, given_up=False)
        if reading.status is Status.FAILED:
            failed = GenerationFailed(reading.error, charged=reading.charged)
            return replace(self, failures=0, cost_usd=reading.cost_usd).refused(failed.failure(), now)
        changed = replace(
            self,
            status=reading.status,
            charged="yes" if reading.status is Status.COMPLETED else self.charged,
            video_urls=reading.video_urls,
            cost_usd=reading.cost_usd,
            error=None,
            failures=0,
            given_up=False,
            finished_at=now if reading.status is Status.COMPLETED else None,
        )
        return changed if changed == self else replace(changed, updated_at=now)

    def without_video(self, failure: Failure, now: float) -> "Task":
        """End a task that RunAPI calls completed, and of which it names no video."""
        return replace(
            self,
            status=Status.COMPLETED,
            charged="yes",
            error=replace(failure, charged="yes"),
            updated_at=now,
            finished_at=now,
        )

    def saved(self, path: str, now: float) -> "Task":
        """Note where the finished video was saved."""
        return replace(self, video_path=path, error=None, failures=0, updated_at=now)


def settled_charge(status: str, charged: Charged, *, given_up: bool) -> Charged:
    """Tell what is known of a task's cost: that it was charged at once, that nobody knows only when nothing goes on."""
    rests = given_up or status in (*DONE, Status.UNCONFIRMED)
    return charged if rests or charged == "yes" else "no"


class UploadTicket(NamedTuple):
    """That a caller may send one clip; its fields are the columns of the ledger's table."""

    id: str
    caller: str
    state: str  # open | arriving | arrived
    expires_at: float  # POSIX seconds; what has begun by then may go on
    digest: str = ""  # of the clip that has arrived
    seconds: float | None = None  # how long that lasts, where it says so


@dataclass(frozen=True, slots=True)
class Price:
    """What one task costs."""

    usd: float
    as_of: str  # since when, in RunAPI's words


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left on the RunAPI account, and what was spent from it; None where RunAPI does not say."""

    usd: float
    spent_today_usd: float | None
    spent_total_usd: float | None


@dataclass(frozen=True, slots=True)
class Spending:
    """What a caller spent through this server."""

    today_usd: float  # since midnight, UTC
    total_usd: float
    used: Usage
