"""Every way a request can end badly, as classes that carry the facts.

LumaError
├── MissingApiKey            missing_api_key
├── InvalidApiKey            invalid_api_key
│   └── KeyReplaced
├── InsufficientCredits      insufficient_credits
├── InvalidRequest           invalid_request
├── SourceNotAllowed         source_not_allowed
├── SourceNotFound           source_not_found
│   └── SourceTooLarge
├── LimitReached             limit_reached
│   ├── ActiveLimitReached
│   ├── DailyLimitReached
│   ├── BudgetSpent
│   │   └── BudgetTooSmall
│   └── SpendingSwitchedOff
├── ConfirmationDeclined     confirmation_declined
├── ConfirmationUnavailable  confirmation_unavailable
├── RateLimited              rate_limited
├── ServiceUnavailable       service_unavailable
│   ├── TaskUnfinished
│   ├── UploadRefused
│   └── PreviewFailed
│       └── PreviewToolMissing
├── NetworkFailure           network
│   └── ProxyUnusable
├── Conflict                 conflict
├── TaskNotFound             task_not_found
│   └── TaskNeverKnown
├── GenerationFailed         generation_failed
├── SubmissionUnconfirmed    submission_unconfirmed
├── OutputNotWritable        output_not_writable
│   ├── DataNotWritable
│   ├── LedgerUnusable
│   │   ├── LedgerDamaged
│   │   └── TaskUnreadable
│   └── VideoNotWritten
├── DownloadFailed           download_failed
│   ├── VideoGone
│   ├── LinkRefused
│   ├── VideoUnusable
│   └── DownloadRefused
│       └── VideoTooLarge
└── BadAnswer                bad_answer
    ├── VideoUrlMissing
    ├── UploadAddressRefused
    └── WrongAddress
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

Charged = Literal["no", "yes", "unknown"]


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, as it is stored and shown."""

    code: str
    message: str
    charged: Charged
    retry_safe: bool  # whether the same call may be repeated
    hint: str  # what to do about it


class LumaError(Exception):
    """A failure with a code, a statement about money, and advice."""

    code: ClassVar[str]  # stable, for programs
    charged: Charged = "no"
    retry_safe: bool = True  # whether the same call may be repeated
    hint: str = ""
    transient: ClassVar[bool] = False  # whether it may pass by itself, so that this server tries again
    retry_after: float | None = None  # seconds that RunAPI asks to wait

    def __init__(self, message: str, *, hint: str = "", charged: Charged | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or type(self).hint
        self.charged = charged or type(self).charged

    def failure(self) -> Failure:
        """Give the facts in the form that is stored and shown."""
        return Failure(self.code, self.message, self.charged, self.retry_safe, self.hint)


KEEPS_ASKING = "This server keeps asking; call get_task to see how the task is doing."
ASKS_ON = (
    "Tell the user, and stop asking for it: this server asks RunAPI until the task is a week old, so that one get_task"
    " in a few hours is enough."
)


CHARGED_HINT = "RunAPI charged for it. Have the RunAPI account looked at before asking for another result."


UNCLEAR_HINT = (
    "RunAPI did not say whether it was charged. Have the RunAPI account looked at before asking for another result."
)


class MissingApiKey(LumaError):
    """No RunAPI key is configured."""

    code = "missing_api_key"
    hint = (
        "Have the user type `luma-mcp login` in a terminal (over HTTP, whoever runs this server), which needs no"
        " restart; or have RUNAPI_API_KEY set in this server's environment (the env block in the host's configuration),"
        " then restart this server."
    )

    def __init__(self) -> None:
        super().__init__("No RunAPI key is configured, so nothing was submitted.")


class InvalidApiKey(LumaError):
    """RunAPI refused the key (HTTP 401 or 403)."""

    code = "invalid_api_key"
    hint = (
        "Have the user type `luma-mcp login` in a terminal (over HTTP, whoever runs this server) to get another key,"
        " which needs no restart; or, if RUNAPI_API_KEY is set in this server's environment, have it corrected there,"
        " then restart this server."
    )


class KeyReplaced(InvalidApiKey):
    """RunAPI refused the key, and this server has another one since."""

    transient = True
    hint = "Repeat the call: this server has another RunAPI key now."


class InsufficientCredits(LumaError):
    """The RunAPI account cannot pay for the task (HTTP 402)."""

    code = "insufficient_credits"
    hint = "Have credits added to the RunAPI account, then repeat the call."


class InvalidRequest(LumaError):
    """An argument cannot be used, by our rules or by RunAPI's (HTTP 400, 422)."""

    code = "invalid_request"
    hint = "Correct the argument and call again."


class SourceNotAllowed(LumaError):
    """The source lies where this server may not read, or where RunAPI cannot reach."""

    code = "source_not_allowed"
    hint = "Give an http(s) URL that anyone on the internet can open, or a file in an allowed folder."


class SourceNotFound(LumaError):
    """The source is allowed but is not there, or is no video."""

    code = "source_not_found"
    hint = "Check the path or the task id and call again."


class SourceTooLarge(SourceNotFound):
    """A video that came from elsewhere is larger than is taken."""


class LimitReached(LumaError):
    """A limit that the user set has been reached; `variable` names its setting."""

    code = "limit_reached"
    variable: str = ""
    hint = (
        "Wait with get_task for a running task to end, then repeat the call; or have the limit raised in this server's"
        " settings."
    )


class ActiveLimitReached(LimitReached):
    """As many tasks run as the user allows at once."""

    variable = "LUMA_MCP_MAX_ACTIVE"

    def __init__(self, active: int, allowed: int) -> None:
        running = "1 task is" if active == 1 else f"{active} tasks are"
        super().__init__(f"{running} running, and {self.variable} allows {allowed}.")


class DailyLimitReached(LimitReached):
    """As many tasks were submitted as the user allows in 24 hours."""

    variable = "LUMA_MCP_DAILY_LIMIT"
    hint = (
        "Wait until older ones are more than 24 hours ago, then repeat the call; or have the limit raised in this"
        " server's settings."
    )

    def __init__(self, submitted: int, allowed: int) -> None:
        super().__init__(f"{submitted} tasks were submitted in 24 hours, and {self.variable} allows {allowed}.")


class BudgetSpent(LimitReached):
    """Another task might cost more than is left of what the user allows in 24 hours; amounts are written in USD."""

    variable = "LUMA_MCP_DAILY_BUDGET"
    hint = (
        "Wait until older charges are more than 24 hours ago, then repeat the call; or have the budget raised in this"
        " server's settings."
    )

    def __init__(self, committed: str, allowed: str, left: str, price: str) -> None:
        super().__init__(
            f"{committed} USD were charged in 24 hours or may be for what runs, and {self.variable} allows {allowed}:"
            f" {left} USD are left, and another task costs {price}."
        )


class BudgetTooSmall(BudgetSpent):
    """A task costs more than the user allows in 24 hours, so there is never room for one."""

    hint = (
        "Waiting does not help: a task costs more than the whole budget. Have it raised in this server's settings, or"
        " have LUMA_MCP_DAILY_LIMIT=0 set in its place if nothing is to be spent."
    )


class SpendingSwitchedOff(LimitReached):
    """The user allows this server no task at all."""

    variable = "LUMA_MCP_DAILY_LIMIT"
    hint = (
        "Tell the user that this server was set up to spend nothing (LUMA_MCP_DAILY_LIMIT=0 or --no-spend). Earlier"
        " tasks can be seen, saved and looked at, and their requests repeated."
    )

    def __init__(self) -> None:
        super().__init__(f"This server never pays: {self.variable} is 0, so it makes no new task and sends none.")


class ConfirmationDeclined(LumaError):
    """No person said yes to a charge: the question was declined, cancelled, not answered, or answered with junk."""

    code = "confirmation_declined"
    hint = (
        "Ask the user before you call again: the question may never have been shown, as some hosts decline by"
        " themselves."
        " If so, the user can type `luma-mcp modify` in a terminal, or have LUMA_MCP_CONFIRM set to never."
    )


class ConfirmationUnavailable(LumaError):
    """A person must say yes to each charge, and this host cannot ask one."""

    code = "confirmation_unavailable"
    hint = (
        "Have the user type `luma-mcp modify` in a terminal, which is a yes by itself, or use a host that can ask (MCP"
        " elicitation); or have LUMA_MCP_CONFIRM set to never."
    )

    def __init__(self) -> None:
        super().__init__(
            "A person has to agree to each charge (LUMA_MCP_CONFIRM), and this host cannot ask: nothing was sent."
        )


class RateLimited(LumaError):
    """RunAPI asks for a slower pace (HTTP 429); `retry_after` is in seconds."""

    code = "rate_limited"
    transient = True
    hint = "Wait a minute, then repeat the call."

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, hint=f"Wait {retry_after:.0f} seconds, then repeat the call." if retry_after else "")
        self.retry_after = retry_after


class ServiceUnavailable(LumaError):
    """RunAPI could not serve the request (HTTP 5xx and 408), or this server cannot."""

    code = "service_unavailable"
    transient = True
    hint = "RunAPI is having trouble; repeat the call in a few minutes."


class TaskUnfinished(ServiceUnavailable):
    """RunAPI does not finish a task."""

    charged: Charged = "unknown"
    hint = "Tell the user, and stop asking for it: one get_task in a few hours is enough, which asks RunAPI once more."

    def __init__(self) -> None:
        super().__init__("RunAPI has not finished this task in 24 hours; it is asked again only when somebody asks.")


class NetworkFailure(LumaError):
    """RunAPI could not be reached, or the connection broke."""

    code = "network"
    transient = True
    sent: bool = True  # whether a request may have got there
    hint = "Check the connection, the proxy settings and RUNAPI_BASE_URL, then repeat the call."


class ProxyUnusable(NetworkFailure):
    """The proxy that a request needs cannot be used; `variable` names it, the system's settings if empty."""

    transient = False
    sent = False

    def __init__(self, variable: str) -> None:  # without what it holds: it may be a password
        named = variable or "the system's proxy settings"
        super().__init__(
            f"The proxy settings cannot be used: what {named} holds is no address of a proxy.",
            hint=f"Set {variable or 'HTTPS_PROXY'} to an http:// address (no SOCKS; in its password write / as %2F and"
            f" # as %23), or unset {named}, then restart this server.",
        )
        self.variable = variable


class Conflict(LumaError):
    """RunAPI holds a request under this idempotency key (HTTP 409), which is still worked on or whose answer was lost.

    It is the same request: keys are fresh, and what is sent under one never changes.
    """

    code = "conflict"
    transient = True
    charged: Charged = "unknown"
    hint = "Repeat the same call: it goes out under the same key, and cannot be charged twice."


class TaskNotFound(LumaError):
    """No task with this id belongs to the caller."""

    code = "task_not_found"
    hint = "Call list_tasks to see the tasks that this server knows."


class TaskNeverKnown(TaskNotFound):
    """RunAPI does not know a task, long after it took it."""

    charged: Charged = "unknown"
    hint = "Tell the user. This server keeps asking from time to time; RunAPI's support can help with the task_id."

    def __init__(self) -> None:
        super().__init__("RunAPI does not know this task, more than an hour after it was asked for it.")


class GenerationFailed(LumaError):
    """RunAPI accepted the task and could not finish it, for a `reason` in its words, empty if it gave none."""

    code = "generation_failed"
    hint = "Nothing was charged. Change the prompt or the source clip, then call modify_video again."

    def __init__(self, reason: str, *, charged: Charged = "no") -> None:
        hints = {"yes": CHARGED_HINT, "unknown": UNCLEAR_HINT}
        plain = reason.replace('"', "'")
        said = f'RunAPI says: "{plain}"' if reason else "RunAPI gave no reason."
        super().__init__(said, charged=charged, hint=hints.get(charged, ""))


class SubmissionUnconfirmed(LumaError):
    """Nobody knows whether RunAPI accepted the task."""

    code = "submission_unconfirmed"
    charged: Charged = "unknown"
    hint = (
        "Repeat the same modify_video call: it goes out under the same idempotency key, so it cannot be charged twice."
    )


class BadAnswer(LumaError):
    """RunAPI answered with something that cannot be understood."""

    code = "bad_answer"
    transient = True
    hint = "Check RUNAPI_BASE_URL; if it is right, RunAPI is having trouble: repeat the call in a few minutes."


class VideoUrlMissing(BadAnswer):
    """RunAPI calls a task completed, and names no video that can be used."""

    charged: Charged = "yes"
    hint = (
        "It was paid for. Call save_video later, which asks RunAPI once more for the video; RunAPI's support can help"
        " with the task_id."
    )

    def __init__(self) -> None:
        super().__init__("RunAPI says that the task is completed but names no video that can be used.")


class WrongAddress(BadAnswer):
    """What answers at the configured address is not RunAPI; redirects are not followed, for the key would travel."""

    transient = False
    hint = "Set RUNAPI_BASE_URL to the address of RunAPI itself, such as https://runapi.ai, then restart this server."

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} does not serve RunAPI's Luma endpoint, or redirects elsewhere.")


class OutputNotWritable(LumaError):
    """A folder that this server writes to cannot be written."""

    code = "output_not_writable"
    hint = "Make the folder writable, or name another one with LUMA_MCP_OUTPUT_DIR."


class DataNotWritable(OutputNotWritable):
    """A folder of this server's own, below the data folder, cannot be written."""

    hint = (
        "Make the data folder writable and free some room on its disk; or move it, with the ledger in it, and name its"
        " new place with LUMA_MCP_DATA_DIR."
    )


class LedgerUnusable(OutputNotWritable):
    """The ledger of tasks cannot be opened, read or written."""

    hint = (
        "Make the data folder readable and writable for this user; or move it, with the ledger in it, and name its new"
        " place with LUMA_MCP_DATA_DIR."
    )


class TaskUnreadable(LedgerUnusable):
    """What the ledger holds of one task makes no sense: somebody else wrote it, or the disk is failing."""

    retry_safe = False
    hint = (
        "Nothing is done with it. Look at the RunAPI account for the task before it is asked for again; if the file was"
        " not changed by anybody, have its disk looked at."
    )


class LedgerDamaged(LedgerUnusable):
    """The ledger's file was damaged; it is kept aside, and a new one is in its place."""

    retry_safe = False
    hint = (
        "Call list_tasks. A task that is missing may have been charged: look at the RunAPI account before repeating it."
    )


class VideoNotWritten(OutputNotWritable):
    """The finished video was paid for, and there is no place to save it."""

    charged: Charged = "yes"
    hint = (
        "Make the output folder writable and room on its disk: the video is then saved by itself, or at once by"
        " save_video. Or download it from video_urls before expires_at."
    )


class DownloadFailed(LumaError):
    """The finished video could not be saved; it exists and was paid for."""

    code = "download_failed"
    transient = True
    charged: Charged = "yes"
    hint = (
        "This server keeps trying to save it. Call save_video later to try at once, or give the user the link in"
        " video_urls, which works until expires_at."
    )


class VideoGone(DownloadFailed):
    """The finished video was not saved while RunAPI kept it."""

    transient = False
    hint = (
        "Tell the user that it was paid for and is gone: its link has expired, and there is no saved file where this"
        " server looks."
    )


class LinkRefused(DownloadFailed):
    """RunAPI's storage refuses the link to the finished video."""

    hint = (
        "The link in video_urls is refused at the moment, so do not give it to the user: call save_video later, and"
        " this server asks RunAPI for a new one. It was paid for; RunAPI's support can help with the task_id."
    )


class VideoUnusable(DownloadFailed):
    """What lies where the finished video should is no whole video."""

    hint = (
        "What the link in video_urls leads to is no whole video at the moment: call save_video later, or let the user"
        " look at it there. It was paid for; RunAPI's support can help with the task_id."
    )


class DownloadRefused(DownloadFailed):
    """The finished video is not fetched from where it lies."""

    transient = False
    hint = "Give the user the link in video_urls; it works until expires_at."


class VideoTooLarge(DownloadRefused):
    """What should be the finished video is too large for one; it is not fetched by itself again."""


class UploadRefused(ServiceUnavailable):
    """RunAPI's storage does not take a clip, and would not if it were sent again."""

    transient = False
    hint = "Nothing was submitted. Repeat the call in a few minutes, or give an http(s) URL that RunAPI can fetch."


class PreviewFailed(ServiceUnavailable):
    """A finished video cannot be looked into where this server runs; the video itself is not touched by that."""

    transient = False
    hint = (
        "The video itself is where video_path or video_urls say: let the user look at it, and do not say that it is as"
        " they wished."
    )


class PreviewToolMissing(PreviewFailed):
    """Nothing is installed where this server runs that reads frames of videos."""

    hint = (
        'Have `uv tool install --force ".[preview]"` typed in the folder of this server\'s code, or have ffmpeg'
        " installed, then call again. Until then let the user look at the video."
    )

    def __init__(self) -> None:
        super().__init__("This server cannot look into videos: neither PyAV nor ffmpeg is installed.")


class UploadAddressRefused(BadAnswer):
    """RunAPI named an address that clips are not sent to."""

    transient = False
