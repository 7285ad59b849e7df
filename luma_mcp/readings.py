"""Understanding RunAPI's answers about a task, tolerant where the contract is uncertain (contract 1.3, 2.2 to 2.4)."""

import re
from datetime import datetime
from typing import TypeGuard

import httpx

from luma_mcp.errors import BadAnswer
from luma_mcp.models import MODEL, OUTPUT_LIFETIME_SECONDS, Reading, Status
from luma_mcp.money import Balance, Price
from luma_mcp.untrusted import Json, child, is_list, is_object, safe_text, text

TASK_ID_HEADER = "x-runapi-task-id"
TASK_ID = re.compile(r"[\x21-\x2e\x30-\x5b\x5d-\x7e]{1,200}")  # visible ASCII without slashes
COMPLETED_WORDS = frozenset({"completed", "complete", "succeeded", "success", "finished"})
FAILED_WORDS = frozenset(
    {"failed", "error", "canceled", "cancelled", "timeout", "generate_failed", "create_task_failed"}
)
LARGEST_AMOUNT = 1e9
UPLOAD_SECONDS = 3600.0  # contract 5.1: how long the URL of an uploaded file lives
WAITING_WORDS = frozenset({"pending", "queued"})


def task_id_in(body: Json, headers: httpx.Headers) -> str:
    """Find the task id: `id`, `task_id`, the same in `data`, then the header, which errors carry too (contract 1.3)."""
    data = child(body, "data")
    found = (body.get("id"), body.get("task_id"), data.get("id"), data.get("task_id"), headers.get(TASK_ID_HEADER))
    return next((value for value in map(text, found) if TASK_ID.fullmatch(value)), "")


def status_in(body: Json) -> Status:
    """Translate RunAPI's word; a word nobody knows means that the task still runs (contract 2.4)."""
    data = child(body, "data")
    found = (body.get("status"), body.get("state"), data.get("status"), data.get("state"))
    word = next((value.lower() for value in map(text, found) if value), "")
    if word in COMPLETED_WORDS:
        return Status.COMPLETED
    if word in FAILED_WORDS:
        return Status.FAILED
    return Status.PENDING if word in WAITING_WORDS else Status.PROCESSING


def reading(body: Json, retry_after: float | None) -> Reading:
    """Understand a task envelope (contract 2.2)."""
    if not body:
        raise BadAnswer("RunAPI's answer about the task is not JSON.")
    status = status_in(body)
    urls = video_urls_in(body)
    if status is Status.COMPLETED and not urls:
        raise BadAnswer("RunAPI says that the task is completed but names no video.")
    return Reading(
        status=status,
        video_urls=urls if status is Status.COMPLETED else (),
        error=safe_text(error_in(body)),
        cost_usd=cost_in(body),
        retry_after=retry_after,
    )


def video_urls_in(body: Json) -> tuple[str, ...]:
    """Find the output: `videos[].url`; `output`, `output.url` and `video_url` are guesses of last resort."""
    body = child(body, "data") or body
    videos: object = body.get("videos")
    listed = videos if is_list(videos) else []
    urls = tuple(url for url in (url_in(video) for video in listed) if url)
    guesses = (url_in(body.get("output")), url_in(body.get("video_url")))
    return urls or tuple(url for url in guesses if url)[:1]


def url_in(value: object) -> str:
    """Give the http(s) URL in a string or in an object's `url`."""
    found = text(value.get("url")) if is_object(value) else text(value)
    usable = found.isprintable() and found.lower().startswith(("http://", "https://"))
    return found if usable else ""


def error_in(body: Json) -> str:
    """Find why a task failed: a plain string in a task (contract 2.2), tolerating the structured form."""
    error: object = body.get("error") or child(body, "data").get("error")
    return text(error.get("message")) if is_object(error) else text(error)


def cost_in(body: Json) -> float | None:
    """Find the charge in USD: `usage.cost`, or the settlement that older servers sent (contract 2.2, 2.3)."""
    cost: object = child(body, "usage").get("cost")
    if is_amount(cost):
        return float(cost)
    cents: object = child(child(body, "billing"), "settlement").get("charged_amount_cents")
    return float(cents) / 100 if is_amount(cents) else None


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
