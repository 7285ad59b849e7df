"""Understanding RunAPI's answers about a task, tolerant where the contract is uncertain (contract 1.3, 2.2 to 2.4)."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeGuard
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from luma_mcp.core.addresses import MAX_URL_LENGTH, is_port
from luma_mcp.core.errors import BadAnswer, Charged, VideoUrlMissing
from luma_mcp.core.models import (
    MODEL,
    OUTPUT_LIFETIME_SECONDS,
    SANDBOX_SECONDS_HEADER,
    UPLOAD_LIFETIME_SECONDS,
    Balance,
    Price,
    Status,
    TaskSnapshot,
)
from luma_mcp.core.text import Json, child, is_list, is_object, redact_secret, sanitise_text, stripped_string
from luma_mcp.runapi.error_map import is_error_body, message_in, message_in_object

TASK_ID_HEADER = "x-runapi-task-id"
TASK_ID = re.compile(
    r"[!#-.0-;=?-\[\]^_a-~]{1,200}"
)  # visible ASCII without slashes, quotes and what markup is made of
ID_NAMES = ("id", "task_id", "taskId")
STATUS_NAMES = ("status", "state", "task_status", "taskStatus")
NESTS = ("data", "result", "task", "response")
NEST_DEPTH = 3
MAYBE_CHARGED_WORDS = frozenset(  # ends that RunAPI does not promise to be free
    {"rejected", "refused", "declined", "denied", "blocked", "moderated", "nsfw", "expired", "terminated", "invalid"}
)
STATUSES = {
    **dict.fromkeys(
        (
            "completed", "complete", "succeeded", "succeed", "success", "successful", "finished", "done", "ok", "ready",
            "fulfilled",
        ),
        Status.COMPLETED,
    ),
    **dict.fromkeys(
        (
            "failed", "failure", "fail", "error", "canceled", "cancelled", "timeout", "timed_out", "aborted",
            "generate_failed", "generation_failed", "create_task_failed", "task_failed", *MAYBE_CHARGED_WORDS,
        ),
        Status.FAILED,
    ),
    **dict.fromkeys(
        ("pending", "queued", "in_queue", "waiting", "scheduled", "submitted", "created", "accepted"), Status.PENDING
    ),
    **dict.fromkeys(
        (
            "processing", "running", "in_progress", "inprogress", "progress", "started", "starting", "active",
            "working", "dreaming", "generating", "rendering", "preparing", "uploading", "downloading", "finalizing",
            "retrying", "throttled", "paused",
        ),
        Status.PROCESSING,
    ),
}  # fmt: skip
AMBIGUOUS_WORDS = frozenset({"error", "fail"})  # of a task if that is named, else of the question about it
RESULTS = ("videos", "output", "outputs", "video", "video_urls", "videoUrls", "result_urls", "resultUrls")
GUESSES = (
    "result",
    "results",
    "video_url",
    "videoUrl",
    "result_url",
    "resultUrl",
    "output_url",
    "download_url",
    "urls",
    "url",
)
MAX_VIDEO_URLS = 10
MAX_ENTRIES = 1000
UNSAFE_CHARACTERS = re.compile(r"""[ "<>\\^`{|}]""")
MAX_AMOUNT = 1e9  # USD or cents; more is a mistake, and no text with more digits is a sum (AMOUNT)
AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18})?")
TOLD_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,9})?")


def layers(body: Json, depth: int = NEST_DEPTH) -> Iterator[Json]:
    """Yield an answer and the objects nested in it under the usual names, the outermost first."""
    yield body
    for name in NESTS if depth else ():
        inner: object = body.get(name)
        inner = inner[0] if is_list(inner) and inner else inner
        if is_object(inner):
            yield from layers(inner, depth - 1)


def task_id_in(body: Json, headers: httpx.Headers) -> str:
    """Find the task id: `id`, `task_id`, the same in `data`, then the header, which errors carry too (contract 1.3).

    A whole number is taken only if there is no text. Empty if there is none.
    """
    found: list[object] = [layer.get(name) for layer in layers(body) for name in ID_NAMES]
    numbers = [str(value) for value in found if isinstance(value, int) and not isinstance(value, bool) and value > 0]
    texts = [*map(stripped_string, found), stripped_string(headers.get(TASK_ID_HEADER)), *numbers]
    return next((value for value in texts if TASK_ID.fullmatch(value)), "")


def conflict_task_id_in(body: Json, headers: httpx.Headers) -> str:
    """Find the task that a conflict is about; a plain `id` counts only beside a state, as errors have ids too."""
    error = child(body, "error")
    named = [layer.get(name) for layer in (*layers(body), error) for name in ("task_id", "taskId")]
    states = ((layer.get("id"), STATUSES.get(word_in(layer), Status.FAILED)) for layer in layers(body))
    ids = [id_ for id_, status in states if status is not Status.FAILED]
    texts = [stripped_string(headers.get(TASK_ID_HEADER)), *map(stripped_string, (*named, *ids))]
    return next((value for value in texts if TASK_ID.fullmatch(value)), "")


def envelope(body: Json) -> Json:
    """Give the layer that is the task: the innermost with an id and a status, else the innermost with a status."""
    with_status = [layer for layer in layers(body) if word_in(layer)]
    with_id = [layer for layer in with_status if names_task(layer)]
    return (with_id or with_status or [body])[-1]


def names_task(layer: Json) -> bool:
    return any(stripped_string(layer.get(name)) or isinstance(layer.get(name), int) for name in ID_NAMES)


def word_in(layer: Json) -> str:
    """Give RunAPI's word for the state, normalized: `" In Progress"` is `in_progress`."""
    word = next(filter(None, (stripped_string(layer.get(name)) for name in STATUS_NAMES)), "")
    return "_".join(re.findall("[a-z0-9]+", word[:100].lower()))


def status_in(body: Json) -> Status:
    """Translate RunAPI's word (contract 2.4); with an unknown one the task still runs, unless its result is there."""
    return STATUSES.get(word_in(envelope(body))) or (Status.COMPLETED if urls_in(body, RESULTS) else Status.PROCESSING)


def is_refusal(body: Json) -> bool:
    """Tell whether an answer is an error, whatever its HTTP status is, and not a task that may have failed."""
    task = envelope(body)
    word = word_in(task)
    about_task = word in STATUSES and (names_task(task) or word not in AMBIGUOUS_WORDS)
    return not about_task and (is_error_body(body) or word in AMBIGUOUS_WORDS)


def is_about_task(body: Json) -> bool:
    return not is_refusal(body) and bool(
        word_in(envelope(body)) or any(map(names_task, layers(body))) or video_urls_in(body)
    )


def parse_task(body: Json, retry_after: float | None, hidden: SecretStr | None = None) -> TaskSnapshot:
    """Read a task envelope (contract 2.2); `hidden` is not in its error. Raises `BadAnswer` or `VideoUrlMissing`."""
    if not body:
        raise BadAnswer("RunAPI's answer about the task is not JSON.")
    status = status_in(body)
    urls = video_urls_in(body) if status is Status.COMPLETED else ()
    if status is Status.COMPLETED and not urls:
        raise VideoUrlMissing
    return TaskSnapshot(
        status=status,
        charged=charged_in(body) if status is Status.FAILED else "no",
        video_urls=urls,
        error=error_in(body, hidden) if status is Status.FAILED else "",
        cost_usd=cost_in(body),
        retry_after=retry_after,
    )


def told_seconds_in(headers: httpx.Headers, known: float | None) -> float | None:
    """Give how many seconds the sandbox says that a generation takes; what was `known` if this answer does not say."""
    told = headers.get(SANDBOX_SECONDS_HEADER, "")
    return float(told) if TOLD_SECONDS.fullmatch(told) else known


def video_urls_in(body: Json) -> tuple[str, ...]:
    """Find the output: `videos[].url` (contract 2.2), else what may be meant by it."""
    return urls_in(body, RESULTS) or urls_in(body, GUESSES)[:1]


def urls_in(body: Json, names: Sequence[str]) -> tuple[str, ...]:
    for layer in reversed(list(layers(body))):
        for name in names:
            value: object = layer.get(name)
            listed = value[:MAX_ENTRIES] if is_list(value) else [value]
            if urls := tuple(islice(filter(None, map(url_in, listed)), MAX_VIDEO_URLS)):
                return urls
    return ()


def url_in(value: object) -> str:
    """Give the http(s) URL in a string or object; characters that could end it where it is shown are escaped."""
    names = ("url", "video_url", "download_url")
    value = child(value, "video") or value if is_object(value) else value
    found = (
        next(filter(None, (stripped_string(value.get(name)) for name in names)), "")
        if is_object(value)
        else stripped_string(value)
    )
    return UNSAFE_CHARACTERS.sub(lambda unsafe: quote(unsafe[0]), found) if is_web_url(found) else ""


def is_web_url(found: str) -> bool:
    """Tell whether a text is an http(s) URL that can be fetched and shown: bounded, printable, without user info."""
    if len(found) > MAX_URL_LENGTH or not found.isprintable() or not found.lower().startswith(("http://", "https://")):
        return False
    try:
        url = httpx.URL(found)
        return bool(url.host) and not url.userinfo and is_port(url.port)
    except (httpx.InvalidURL, ValueError):  # the latter for a host in a form that no host can have
        return False


def error_in(body: Json, hidden: SecretStr | None = None) -> str:
    """Find why a task failed: a plain string in a task (contract 2.2), or any other form."""
    words = next(filter(None, (message_in(layer.get("error")) for layer in layers(body))), "")
    redacted = redact_secret(words or message_in_object(envelope(body)), hidden)
    return sanitise_text(redacted)  # afterwards, as it may cut the key


def charged_in(body: Json) -> Charged:
    """Tell whether a failed task was charged: failed ones are free (contract 6), unless a cost is named."""
    cost = cost_in(body)
    if cost is not None:
        return "yes" if cost else "no"
    return "unknown" if word_in(envelope(body)) in MAYBE_CHARGED_WORDS else "no"


def cost_in(body: Json) -> float | None:
    """Find the charge in USD: `usage.cost`, or the settlement that older servers sent (contract 2.2, 2.3)."""
    for layer in layers(body):
        dollars = amount_in(child(layer, "usage").get("cost"))
        cents = amount_in(child(child(layer, "billing"), "settlement").get("charged_amount_cents"))
        if dollars is not None or cents is not None:
            return dollars if dollars is not None else (cents or 0) / 100
    return None


def amount_in(value: object) -> float | None:
    written = stripped_string(value)
    number: object = float(written) if AMOUNT.fullmatch(written) else value
    return float(number) if is_amount(number) else None


def price_in(body: Json) -> Price:
    """Find the price of one task in the list of prices (contract 6); raise `BadAnswer` if it is not there."""
    listed: object = body.get("price_schedules")
    for offer in listed if is_list(listed) else []:
        if (
            is_object(offer)
            and offer.get("model", MODEL) == MODEL
            and stripped_string(offer.get("currency")) in ("", "USD")
        ):
            cents: object = offer.get("unit_price_cents")
            if is_amount(cents):
                return Price(float(cents) / 100, sanitise_text(stripped_string(body.get("as_of"))))
    raise BadAnswer(f"RunAPI names no price for {MODEL}.")


def balance_in(body: Json) -> Balance:
    """Read what is left and what was spent, in cents (contract 6), as USD; a debt is a negative balance.

    Raises `BadAnswer` if the balance is missing.
    """
    left, today, total = (
        float(cents) / 100 if is_amount_or_debt(cents) else None
        for cents in (body.get("balance_cents"), body.get("spent_cents_today"), body.get("spent_cents_total"))
    )
    if left is None:
        raise BadAnswer("RunAPI does not say what is left on the account.")
    return Balance(left, today, total)


def lifetime_in(body: Json) -> float:
    """Give the seconds for which a file is kept, by RunAPI's own clock; an hour if it does not say (contract 5.1)."""
    try:
        made, ends = (datetime.fromisoformat(stripped_string(body.get(name))) for name in ("created_at", "expires_at"))
        seconds = (ends - made).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return UPLOAD_LIFETIME_SECONDS
    return min(max(0.0, seconds), OUTPUT_LIFETIME_SECONDS)


def is_amount(value: object) -> TypeGuard[float]:
    return is_amount_or_debt(value) and value >= 0


def is_amount_or_debt(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_AMOUNT
