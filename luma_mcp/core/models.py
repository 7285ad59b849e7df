"""The records that move through the server, and the rules of how a task may change. No I/O."""

import hashlib
import json
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from luma_mcp.core.errors import Charged, Failure, GenerationFailed
from luma_mcp.core.uris import task_id_of, task_uri

Clock = Callable[[], float]
"""Gives POSIX seconds."""

LOCAL_CALLER = "local"  # the user of this machine: on stdio, and over HTTP where no tokens are set
SANDBOX_ORIGIN = "https://runapi.sandbox.invalid"
MODEL = "luma-modify-video"
DAY_SECONDS = 86_400
OUTPUT_LIFETIME_SECONDS = 7 * DAY_SECONDS  # contract 8.1
FOLLOW_SECONDS = DAY_SECONDS  # how long a task is followed
LEAST_LIFE_SECONDS = 300.0  # a URL with less left to live is not handed to RunAPI, which fetches when it likes
REPLAY_SECONDS = 15 * 60  # how long a request goes out again that nobody repeats
MOST_TAKES = 100
CLOCK_STEP_SECONDS = 60.0  # clocks are set back by as much; what is later than that was never now


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
        """Order the states: a task never goes back to a lower one."""
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
class Limits:
    """How many tasks the user allows at once and in 24 hours; None is any number."""

    active: int | None = None
    daily: int | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Up to where the changes of a ledger were read. Another file, however alike, is another `ledger`."""

    ledger: str
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """That something a caller sees changed: a task, which may have no id yet; None stands for any task or any caller.

    `listed` tells whether the list of tasks with an id changed too: one came or went, or is in another state.
    """

    caller: str | None
    task_id: str | None
    listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What RunAPI said about a task at one moment; `charged` is about one that failed."""

    status: Status
    charged: Charged = "no"
    video_urls: tuple[str, ...] = ()
    error: str = ""
    cost_usd: float | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One paid generation, from intent to saved file. Times are POSIX seconds.

    `key` is the idempotency key and the identity on this machine, `task_id` the identity at RunAPI. `source_url` is
    what RunAPI is told, known once a local file has been uploaded; of such a file `source_digest`, `source_bytes` and
    `source_seconds` (where its header says so) tell what was asked for. `wanted_at` is when a caller last asked for it
    before RunAPI had named it. `attempts` counts the submissions that may have reached RunAPI, `sent_at` is when the
    first went out that it may have taken, and then the one that it answered. `failures` counts the tries in a row that
    failed in the present stage; `given_up` tells that RunAPI said for too long that it is not done, or not known.
    `charged` tells what is known of its cost. `file_name` is what the saved video is to be called, if the caller chose.
    `origin` is the address that it is submitted to; `key_id` tells RunAPI keys apart, because an idempotency key means
    nothing to another account. `callback` is where RunAPI is to call this server, if anywhere; it is known to nobody
    else.
    """

    key: str
    caller: str
    request: VideoRequest
    created_at: float
    updated_at: float
    wanted_at: float = 0.0
    origin: str = ""
    key_id: str = ""
    callback: str = field(default="", repr=False)
    wants_file: bool = False
    source_url: str = ""
    source_digest: str = ""
    source_bytes: int | None = None
    source_seconds: float | None = None
    sent_at: float | None = None
    file_name: str = ""
    task_id: str = ""
    status: Status = Status.SUBMITTING
    attempts: int = 0
    failures: int = 0
    given_up: bool = False
    charged: Charged = "no"
    video_urls: tuple[str, ...] = ()
    video_path: str = ""
    cost_usd: float | None = None
    error: Failure | None = None
    finished_at: float | None = None

    @property
    def expires_at(self) -> float | None:
        """When RunAPI may delete the output (contract 8.1)."""
        if self.status is not Status.COMPLETED or self.finished_at is None:
            return None
        return self.finished_at + OUTPUT_LIFETIME_SECONDS

    @property
    def is_uploading(self) -> bool:
        """Tell whether a file on this machine still has to go to RunAPI before anything can be submitted."""
        return self.status is Status.SUBMITTING and self.source_bytes is not None and not self.source_url

    @property
    def asked_at(self) -> float:
        """When RunAPI was first asked, or will have been at the earliest."""
        return self.created_at if self.sent_at is None else self.sent_at

    @property
    def counts(self) -> bool:
        """Tell whether this is the task of its request: all are but those that failed and cost nothing."""
        return not (self.status is Status.FAILED and self.charged == "no")

    def has_fresh_key(self, now: float) -> bool:
        """Tell whether RunAPI certainly knows the key that a task was sent under."""
        return self.sent_at is None or now - self.sent_at <= REPLAY_SECONDS

    def is_young(self, now: float) -> bool:
        """Tell whether a submission may go out: somebody asked for it, or it first went out, not long ago."""
        moments = (self.wanted_at, self.sent_at or 0.0)  # what is in the future was never now
        return any(now - REPLAY_SECONDS <= moment <= now + CLOCK_STEP_SECONDS for moment in moments)

    @property
    def awaits_file(self) -> bool:
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
            return self.counts
        return self.given_up

    @property
    def settled(self) -> bool:
        """Tell whether waiting longer can bring nothing new."""
        if self.awaits_file:
            return self.error is not None
        return self.status.done or self.status is Status.UNCONFIRMED

    def elapsed(self, now: float) -> float:
        """Give the seconds from submission to the end, or to `now`."""
        return max(0.0, (now if self.finished_at is None else self.finished_at) - self.created_at)

    def generating(self, now: float) -> float:
        """Give the seconds from the first request to RunAPI to the end, or to `now`: those that tasks share."""
        return max(0.0, (now if self.finished_at is None else self.finished_at) - self.asked_at)

    def sending(self, callback: str, now: float) -> "Task":
        """Be about to go out, once more: whatever was known of the cost before, this may be charged."""
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
        """Tell of a trouble that does not end the task, nor changes what is known of its cost."""
        told = replace(failure, charged=self.charged)
        goes_on = self.error is not None and self.error.code == told.code  # in other words, as of another request
        return replace(self, error=told, updated_at=self.updated_at if goes_on else now)

    def left(self, failure: Failure, now: float) -> "Task":
        """Give up on RunAPI, until it says something else about the task."""
        return replace(self.troubled(failure, now), given_up=True)

    def read(self, reading: Reading, now: float) -> "Task":
        """Take what RunAPI said; a task never goes back to an earlier state."""
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
        """Tell where the finished video lies."""
        return replace(self, video_path=path, error=None, failures=0, updated_at=now)
