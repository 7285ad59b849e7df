"""RunAPI's error answers as our errors: every body shape, one place (contract section 4)."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from pydantic import SecretStr

from luma_mcp.errors import (
    BadAnswer,
    Conflict,
    InsufficientCredits,
    InvalidApiKey,
    InvalidRequest,
    LumaError,
    RateLimited,
    ServiceUnavailable,
    TaskNotFound,
    WrongAddress,
)
from luma_mcp.untrusted import Json, is_list, is_object, json_object, safe_text, text, without_secret

LONGEST_PAGE_BYTES = 1 << 16
LONGEST_RETRY_AFTER_SECONDS = 3600.0
HTML = re.compile(r"<!doctype|<html", re.IGNORECASE)
MESSAGE_KEYS = ("message", "detail", "errorMessage", "msg")
REFUSALS = {
    400: InvalidRequest,
    401: InvalidApiKey,
    402: InsufficientCredits,
    403: InvalidApiKey,
    404: TaskNotFound,
    409: Conflict,
    410: TaskNotFound,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
}


def refusal(response: httpx.Response, *, hidden: SecretStr | None = None) -> LumaError:
    """Turn an answer that is no success into the error that fits it; `hidden` never appears in its text."""
    status = response.status_code
    said = without_secret(f"RunAPI answered {status}: {explanation(response)}{request_id(response)}", hidden)
    if status == 429:
        return RateLimited(said, retry_after_seconds(response.headers))
    if response.is_redirect:
        return WrongAddress(response.request.url.host)
    if kind := REFUSALS.get(status):
        return kind(said)
    if status >= 500 or status == 408:
        unavailable = ServiceUnavailable(said)
        unavailable.retry_after = retry_after_seconds(response.headers)
        return unavailable
    return BadAnswer(said)


def explanation(response: httpx.Response) -> str:
    """Find the sentence for humans in any of the body shapes, or say that there is none."""
    found = next((words for words in candidates(response) if words), "")
    return safe_text(found) or "no explanation given"


def candidates(response: httpx.Response) -> Iterator[str]:
    """Yield what may be the explanation, most telling first."""
    raw = response.content[:LONGEST_PAGE_BYTES].decode("utf-8", "replace")
    if HTML.search(raw):
        yield f"an HTML page, {heading(raw) or 'without a title'}"
        return
    body = json_object(response)
    yield from explanations(body) if body else [raw]


def heading(page: str) -> str:
    """Find the title of an HTML page, or its first heading."""
    for name in ("title", "h1"):
        _, opened, rest = page.partition(f"<{name}")
        inside, closed, _ = rest.partition(f"</{name}")
        if opened and closed:
            return inside.partition(">")[2]
    return ""


def explanations(body: Json) -> Iterator[str]:
    """Yield the messages of a JSON error body, the field errors with the summary they belong to."""
    summary = as_text(body.get("error"))
    fields = "; ".join(field_errors(body.get("errors")))
    yield ": ".join(part for part in (summary, fields) if part)
    yield from (as_text(body.get(key)) for key in MESSAGE_KEYS)


def field_errors(errors: object) -> Iterator[str]:
    """Yield each field's complaint, from the mapping or the list form."""
    if is_object(errors):
        for field, complaints in errors.items():
            many = complaints if is_list(complaints) else [complaints]
            yield f"{field} {', '.join(as_text(complaint) for complaint in many)}"
    elif is_list(errors):
        yield from (as_text(complaint) for complaint in errors)


def as_text(value: object) -> str:
    """Give a string as it is, an object's message, and nothing for anything else."""
    return text(value.get("message")) if is_object(value) else text(value)


def request_id(response: httpx.Response) -> str:
    """Name the request for RunAPI's support, if RunAPI named it."""
    name = safe_text(response.headers.get("x-request-id", ""))
    return f" (request {name})" if name else ""


def retry_after_seconds(
    headers: httpx.Headers, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Read `Retry-After` as seconds or HTTP date; what is negative, absurd or unreadable does not count."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,100}(\.\d+)?", value):
        seconds = float(value)
    else:
        try:
            seconds = (parsedate_to_datetime(value) - now()).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(seconds, LONGEST_RETRY_AFTER_SECONDS) if seconds > 0 else None
