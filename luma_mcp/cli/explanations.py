"""What a person at a terminal is told when something goes wrong: what happened, whether it was charged, what to type.

The hints of errors are for models, but for those of errors that only the command line raises.
"""

import re
from collections.abc import Mapping

from luma_mcp.cli.console import print_json, print_message
from luma_mcp.core import errors
from luma_mcp.core.errors import Failure, InvalidRequest, LumaError, SourceNotFound
from luma_mcp.core.models import PRICE_USD
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.hosts.entries import quote_command
from luma_mcp.media.clips import ClipUnusable
from luma_mcp.media.mp4 import Flaw
from luma_mcp.server.results import failure_object, json_text


class WrongArguments(InvalidRequest):
    """What was typed cannot be meant; the hint says what to type."""

    hint = ""


class FileMissing(SourceNotFound):
    """There is no file of the name that was typed; the hint names one that may be meant."""

    hint = ""


RESEND = "Run the same command again, with the same RunAPI key: it goes out as the same request, and is not paid twice."
OLD_RESEND = (
    "Look at your RunAPI account first. The same command goes out as the same request; how long RunAPI remembers one"
    " is not known."
)
LATER = "Wait a few minutes, then run the same command again."
CREDITS = "Add credits to your RunAPI account (https://runapi.ai), then run the same command again."
PREVIEW_TOOL = 'In the folder of luma-mcp\'s code type: uv tool install --force ".[preview]". Or install ffmpeg.'
SUPPORT = "RunAPI's support can help with the task id."
HINT_AS_IT_IS = "{hint}"

ADVICE: Mapping[type[LumaError], str] = {
    LumaError: HINT_AS_IT_IS,
    errors.MissingApiKey: "Get one with luma-mcp login (https://runapi.ai), or add --sandbox to try without one.",
    errors.InvalidApiKey: "Get a new key with luma-mcp login, or correct RUNAPI_API_KEY where that is set.",
    errors.KeyReplaced: "Run the same command again: there is another RunAPI key now.",
    errors.InsufficientCredits: CREDITS,
    errors.InvalidRequest: "",
    errors.SourceNotAllowed: "RunAPI fetches a URL itself, so anybody must be able to open it. Or give the file.",
    errors.SourceNotFound: "",
    errors.LimitReached: "luma-mcp account shows your limits; --max-active and --daily-limit change them.",
    errors.BudgetSpent: "luma-mcp account shows what is left; --daily-budget changes the budget.",
    errors.SpendingSwitchedOff: "Leave --no-spend out, or raise LUMA_MCP_DAILY_LIMIT (--daily-limit).",
    errors.ConfirmationDeclined: HINT_AS_IT_IS,
    errors.ConfirmationUnavailable: HINT_AS_IT_IS,
    errors.RateLimited: LATER,
    errors.ServiceUnavailable: LATER,
    errors.TaskUnfinished: f"luma-mcp wait {{task_id}} asks once more. {SUPPORT}",
    errors.UploadRefused: "Try again in a few minutes, or give a URL that RunAPI can fetch.",
    errors.PreviewFailed: "Look at the video itself.",
    errors.PreviewToolMissing: PREVIEW_TOOL,
    errors.NetworkFailure: "Check the connection (luma-mcp doctor looks closer), then run the same command again.",
    errors.ProxyUnusable: "Set {variable} to an http:// address (no SOCKS; in its password, / is %2F and # is %23).",
    errors.Conflict: LATER,
    errors.TaskNotFound: "luma-mcp tasks lists your tasks; those of the sandbox need --sandbox.",
    errors.TaskNeverKnown: f"luma-mcp wait {{task_id}} asks once more. {SUPPORT}",
    errors.GenerationFailed: "Change the prompt, or try another clip.",
    errors.SubmissionUnconfirmed: RESEND,
    errors.OutputNotWritable: "Make it writable and free some room there, or name another folder with --output.",
    errors.DataNotWritable: HINT_AS_IT_IS,
    errors.LedgerUnusable: HINT_AS_IT_IS,
    errors.TaskUnreadable: HINT_AS_IT_IS,
    errors.LedgerDamaged: "luma-mcp tasks shows what could be read. Look at your RunAPI account before paying again.",
    errors.VideoNotWritten: "Free some room, then: luma-mcp save {task_id}",
    errors.DownloadFailed: "Try again with luma-mcp save {task_id}",
    errors.VideoGone: "",
    errors.BadAnswer: LATER,
    errors.VideoUrlMissing: f"luma-mcp save {{task_id}} asks RunAPI once more. {SUPPORT}",
    errors.WrongAddress: "Correct RUNAPI_BASE_URL, or unset it: without it, https://runapi.ai is used.",
    WrongArguments: HINT_AS_IT_IS,
    FileMissing: HINT_AS_IT_IS,
}
ADVICE_BY_FLAW = {
    Flaw.NOT_MP4: "Luma takes MP4 and MOV. Convert it: {convert}",
    Flaw.TRUNCATED: "Copy, download or export it again.",
    Flaw.NO_HEADER: "Wait until the recording or download has ended, or repair the clip.",
    Flaw.NO_VIDEO: "Give a clip with pictures: this one has at most sound.",
}
TITLES = {
    errors.GenerationFailed.code: "the generation failed",
}
NAMES = {  # of a tool's arguments, as the command line calls them
    "source_video_url": "SOURCE",
    "wait_seconds": "--wait-seconds",
    "filename": "--output",
    "status": "--status",
    "limit": "--limit",
    "take": "--take",
    "prompt": "PROMPT",
}
ARGUMENT = re.compile(rf"^(?:{'|'.join(NAMES)})\b")
CHARGED = {
    "yes": f"It was charged: {PRICE_USD:.2f} USD.",
    "no": "Nothing was charged.",
    "unknown": "Whether it was charged is not known.",
}


def print_error(error: LumaError, *, as_json: bool = False) -> None:
    """Tell what went wrong before there was a task, and what to type; of a bad setting in one line, as logs want it.

    With `as_json` stdout gets it too, for a script.
    """
    if as_json:
        print_json(json_text(failure_object(error)))
    if isinstance(error, BadSetting):
        print_message(error.message)
    else:
        print_explanation(error.failure(), advice_for_error(error), charge=error.charged != "no")


def print_failure(failure: Failure) -> None:
    """Tell of a failure that concerns no task."""
    print_explanation(failure, advice_for_code(failure, "TASK_ID"), charge=False)


def print_task_failure(
    failure: Failure, task_id: str, *, lost: bool, charge: bool = True, never_sent: bool = False
) -> None:
    """Tell how a task failed; of one that is lost, or never sent from here, trying again brings nothing."""
    advice = "" if lost and failure.code != errors.SubmissionUnconfirmed.code else advice_for_code(failure, task_id)
    print_explanation(failure, ADVICE[errors.SpendingSwitchedOff] if never_sent else advice, charge=charge)


def print_explanation(failure: Failure, advice: str, *, charge: bool) -> None:
    title = TITLES.get(failure.code, "error")
    print_message(f"{title}: {ARGUMENT.sub(lambda found: NAMES[found[0]], failure.message)}")
    if charge:
        print_message(f"  {CHARGED[failure.charged]}")
    if advice:
        print_message(f"  {advice}")


def advice_for_error(error: LumaError) -> str:
    """Say what to type, by the nearest kind of an error that has advice of its own."""
    if isinstance(error, ClipUnusable):
        return advice_for_clip(error)
    found = next(ADVICE[kind] for kind in type(error).__mro__ if kind in ADVICE)
    variable = (error.variable if isinstance(error, errors.ProxyUnusable) else "") or "HTTPS_PROXY"
    return found.format(hint=error.hint, task_id="TASK_ID", variable=variable)


def advice_for_clip(error: ClipUnusable) -> str:
    """Say what to do about a clip; what is known as a film of another kind can be converted."""
    if error.flaw is Flaw.NOT_MP4 and not error.kind:
        return "Luma takes MP4 and MOV."
    target = error.path.with_name(f"{error.path.stem}-converted.mp4")
    convert = quote_command(["ffmpeg", "-i", str(error.path), str(target)])
    return ADVICE_BY_FLAW[error.flaw].format(convert=convert)


def advice_for_code(failure: Failure, task_id: str) -> str:
    """Say what to type about a failure that a task has."""
    if failure.code == errors.SubmissionUnconfirmed.code and not failure.retry_safe:
        return OLD_RESEND
    if failure.code == errors.GenerationFailed.code and failure.charged != "no":
        return "Look at your RunAPI account before you pay for another one."
    kind = next((kind for kind in ADVICE if kind is not LumaError and kind.code == failure.code), LumaError)
    return ADVICE[kind].format(hint=failure.hint, task_id=task_id, variable="HTTPS_PROXY")
