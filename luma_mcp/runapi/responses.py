"""Understanding RunAPI's answers about a task, tolerant where the contract is uncertain (contract 1.3, 2.2 to 2.4)."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeGuard
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from luma_mcp.core.addresses import LONGEST_URL, is_port
from luma_mcp.core.errors import BadAnswer, Charged, NoVideoNamed
from luma_mcp.core.models import MODEL, OUTPUT_LIFETIME_SECONDS, Reading, Status
from luma_mcp.core.money import Balance, Price
from luma_mcp.core.text import Json, child, is_list, is_object, safe_text, text, without_secret
from luma_mcp.runapi.explanations import denies, said_in, said_in_object

TASK_ID_HEADER = "x-runapi-task-id"
TASK_ID = re.compile(
    r"[!#-.0-;=?-\[\]^_a-~]{1,200}"
)  # visible ASCII without slashes, quotes and what markup is made of
ID_NAMES = ("id", "task_id", "taskId")
STATUS_NAMES = ("status", "state", "task_status", "taskStatus")
NESTS = ("data", "result", "task", "response")
NEST_DEPTH = 3
COMPLETED_WORDS = frozenset(
    {
        "completed",
        "complete",
        "succeeded",
        "succeed",
        "success",
        "successful",
        "finished",
        "done",
        "ok",
        "ready",
        "fulfilled",
    }
)
FAILED_WORDS = frozenset(
    {
        "failed", "failure", "fail", "error", "canceled", "cancelled", "timeout", "timed_out", "aborted",
        "generate_failed", "generation_failed", "create_task_failed", "task_failed",
    }
)  # fmt: skip
ENDED_WORDS = frozenset(  # ends that RunAPI does not promise to be free
    {"rejected", "refused", "declined", "denied", "blocked", "moderated", "nsfw", "expired", "terminated", "invalid"}
)
WAITING_WORDS = frozenset({"pending", "queued", "in_queue", "waiting", "scheduled", "submitted", "created", "accepted"})
RUNNING_WORDS = frozenset(
    {
        "processing", "running", "in_progress", "inprogress", "progress", "started", "starting", "active", "working",
        "dreaming", "generating", "rendering", "preparing", "uploading", "downloading", "finalizing", "retrying",
        "throttled", "paused",
    }
)  # fmt: skip
DOUBTFUL_WORDS = frozenset({"error", "fail"})  # of a task if that is named, else of the question about it
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
MOST_URLS = 10
MOST_ENTRIES = 1000
UNSAFE = re.compile(r"""[ "<>\\^`{|}]""")
LARGEST_AMOUNT = 1e9
AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18})?")
UPLOAD_SECONDS = 3600.0  # contract 5.1: how long the URL of an uploaded file lives


def layers(body: Json, depth: int = NEST_DEPTH) -> Iterator[Json]:
    """Yield an answer and what is nested in it under the usual names, the outermost first."""
    yield body
    for name in NESTS if depth else ():
        inner: object = body.get(name)
        inner = inner[0] if is_list(inner) and inner else inner
        if is_object(inner):
            yield from layers(inner, depth - 1)


def task_id_in(body: Json, headers: httpx.Headers) -> str:
    """Find the task id: `id`, `task_id`, the same in `data`, then the header, which errors carry too (contract 1.3).

    A whole number is an id where nothing else is.
    """
    found: list[object] = [layer.get(name) for layer in layers(body) for name in ID_NAMES]
    numbers = [str(value) for value in found if isinstance(value, int) and not isinstance(value, bool) and value > 0]
    texts = [*map(text, found), text(headers.get(TASK_ID_HEADER)), *numbers]
    return next((value for value in texts if TASK_ID.fullmatch(value)), "")


def held_task_id_in(body: Json, headers: httpx.Headers) -> str:
    """Find the task that a conflict is about: other ids in it, as of the error, are not the task's."""
    error = child(body, "error")
    named = [layer.get(name) for layer in (*layers(body), error) for name in ("task_id", "taskId")]
    ids = [
        layer.get("id") for layer in layers(body) if word_in(layer) in WAITING_WORDS | RUNNING_WORDS | COMPLETED_WORDS
    ]
    texts = [text(headers.get(TASK_ID_HEADER)), *map(text, (*named, *ids))]
    return next((value for value in texts if TASK_ID.fullmatch(value)), "")


def envelope(body: Json) -> Json:
    """Give the layer that is the task: the innermost with an id and a status, else the innermost with a status."""
    with_status = [layer for layer in layers(body) if word_in(layer)]
    with_id = [layer for layer in with_status if names_task(layer)]
    return (with_id or with_status or [body])[-1]


def names_task(layer: Json) -> bool:
    """Tell whether a layer has an id of its own."""
    return any(text(layer.get(name)) or isinstance(layer.get(name), int) for name in ID_NAMES)


def word_in(layer: Json) -> str:
    """Give RunAPI's word for the state in plain letters: `" In Progress"` is `in_progress`."""
    word = next(filter(None, (text(layer.get(name)) for name in STATUS_NAMES)), "")
    return "_".join(re.findall("[a-z0-9]+", word[:100].lower()))


def status_in(body: Json) -> Status:
    """Translate RunAPI's word (contract 2.4).

    A word that nobody knows means that the task still runs, unless its result is there.
    """
    word = word_in(envelope(body))
    if word in COMPLETED_WORDS:
        return Status.COMPLETED
    if word in FAILED_WORDS | ENDED_WORDS:
        return Status.FAILED
    if word in WAITING_WORDS:
        return Status.PENDING
    return Status.PROCESSING if word in RUNNING_WORDS or not urls_in(body, RESULTS) else Status.COMPLETED


def refuses(body: Json) -> bool:
    """Tell whether an answer is an error, whatever its HTTP status says, and not about a task that may have failed."""
    task = envelope(body)
    word = word_in(task)
    known = word in COMPLETED_WORDS | FAILED_WORDS | ENDED_WORDS | WAITING_WORDS | RUNNING_WORDS
    about_task = known and (names_task(task) or word not in DOUBTFUL_WORDS)
    return not about_task and (denies(body) or word in DOUBTFUL_WORDS)


def is_about_task(body: Json) -> bool:
    """Tell whether an answer says anything about a task."""
    return not refuses(body) and bool(
        word_in(envelope(body)) or any(map(names_task, layers(body))) or video_urls_in(body)
    )


def reading(body: Json, retry_after: float | None, hidden: SecretStr | None = None) -> Reading:
    """Understand a task envelope (contract 2.2); `hidden` is not in its error."""
    if not body:
        raise BadAnswer("RunAPI's answer about the task is not JSON.")
    status = status_in(body)
    urls = video_urls_in(body)
    if status is Status.COMPLETED and not urls:
        raise NoVideoNamed
    return Reading(
        status=status,
        charged=charged_in(body) if status is Status.FAILED else "no",
        video_urls=urls if status is Status.COMPLETED else (),
        error=error_in(body, hidden) if status is Status.FAILED else "",
        cost_usd=cost_in(body),
        retry_after=retry_after,
    )


def video_urls_in(body: Json) -> tuple[str, ...]:
    """Find the output: `videos[].url` (contract 2.2), else what may be meant by it."""
    return urls_in(body, RESULTS) or urls_in(body, GUESSES)[:1]


def urls_in(body: Json, names: Sequence[str]) -> tuple[str, ...]:
    """Find URLs under the first of the names that has any, in the innermost layer that has them."""
    for layer in reversed(list(layers(body))):
        for name in names:
            value: object = layer.get(name)
            listed = value[:MOST_ENTRIES] if is_list(value) else [value]
            if urls := tuple(islice(filter(None, map(url_in, listed)), MOST_URLS)):
                return urls
    return ()


def url_in(value: object) -> str:
    """Give the http(s) URL in a string, or in an object, without characters that could end it where it is shown."""
    names = ("url", "video_url", "download_url")
    value = child(value, "video") or value if is_object(value) else value
    found = next(filter(None, (text(value.get(name)) for name in names)), "") if is_object(value) else text(value)
    return UNSAFE.sub(lambda unsafe: quote(unsafe[0]), found) if is_link(found) else ""


def is_link(found: str) -> bool:
    """Tell whether a text is an http(s) URL that can be fetched and shown: bounded, printable, without user info."""
    if len(found) > LONGEST_URL or not found.isprintable() or not found.lower().startswith(("http://", "https://")):
        return False
    try:
        url = httpx.URL(found)
        return bool(url.host) and not url.userinfo and is_port(url.port)
    except (httpx.InvalidURL, ValueError):  # the latter for a host in a form that no host can have
        return False


def error_in(body: Json, hidden: SecretStr | None = None) -> str:
    """Find why a task failed: a plain string in a task (contract 2.2), tolerating every other form."""
    words = next(filter(None, (said_in(layer.get("error")) for layer in layers(body))), "")
    return safe_text(without_secret(words or said_in_object(envelope(body)), hidden))  # before the key could be cut


def charged_in(body: Json) -> Charged:
    """Tell whether a task that ended badly was charged: failed ones are free (contract 6), unless a cost is named."""
    cost = cost_in(body)
    if cost is not None:
        return "yes" if cost else "no"
    return "unknown" if word_in(envelope(body)) in ENDED_WORDS else "no"


def cost_in(body: Json) -> float | None:
    """Find the charge in USD: `usage.cost`, or the settlement that older servers sent (contract 2.2, 2.3)."""
    for layer in layers(body):
        dollars = amount_in(child(layer, "usage").get("cost"))
        cents = amount_in(child(child(layer, "billing"), "settlement").get("charged_amount_cents"))
        if dollars is not None or cents is not None:
            return dollars if dollars is not None else (cents or 0) / 100
    return None


def amount_in(value: object) -> float | None:
    """Read a sum of money that was charged, which may be written as a text."""
    written = text(value)
    number: object = float(written) if AMOUNT.fullmatch(written) else value
    return float(number) if is_amount(number) else None


def price_in(body: Json) -> Price:
    """Find what one task costs in the list of prices (contract 6)."""
    listed: object = body.get("price_schedules")
    for offer in listed if is_list(listed) else []:
        if is_object(offer) and offer.get("model", MODEL) == MODEL and text(offer.get("currency")) in ("", "USD"):
            cents: object = offer.get("unit_price_cents")
            if is_amount(cents):
                return Price(float(cents) / 100, safe_text(text(body.get("as_of"))))
    raise BadAnswer(f"RunAPI names no price for {MODEL}.")


def balance_in(body: Json) -> Balance:
    """Understand what is left and what was spent, all in cents (contract 6); a debt is a balance too."""
    left, today, total = (
        float(cents) / 100 if is_sum(cents) else None
        for cents in (body.get("balance_cents"), body.get("spent_cents_today"), body.get("spent_cents_total"))
    )
    if left is None:
        raise BadAnswer("RunAPI does not say what is left on the account.")
    return Balance(left, today, total)


def lifetime_in(body: Json) -> float:
    """Give for how many seconds a file is kept, by RunAPI's own clock: an hour if it does not say (contract 5.1)."""
    try:
        made, ends = (datetime.fromisoformat(text(body.get(name))) for name in ("created_at", "expires_at"))
        seconds = (ends - made).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return UPLOAD_SECONDS
    return min(max(0.0, seconds), OUTPUT_LIFETIME_SECONDS)


def is_amount(value: object) -> TypeGuard[float]:
    """Tell whether a value out of JSON is a sum of money that can be charged."""
    return is_sum(value) and value >= 0


def is_sum(value: object) -> TypeGuard[float]:
    """Tell whether a value out of JSON is a sum of money, which may be a debt."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST_AMOUNT
