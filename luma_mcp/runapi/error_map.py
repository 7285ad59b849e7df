"""RunAPI's error answers as our errors: every body shape, one place (contract section 4)."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from pydantic import SecretStr

from luma_mcp.core.errors import (
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
from luma_mcp.core.text import is_object, json_object, json_value, quoted, safe_text, without_secret
from luma_mcp.runapi.explanations import code_in, said_in, said_in_object

LONGEST_PAGE_BYTES = 1 << 16
LONGEST_RETRY_AFTER_SECONDS = 3600.0
HTML = re.compile(r"<!doctype|<html", re.IGNORECASE)
LONGEST_WORDS = 4096
KEY_WORDS = re.compile(
    r"\b(api|secret|access|auth|authentication|your|this|the|invalid|bearer|runapi) (key|token)s?\b"
    r"|\bapikey\b|\b(key|token) (is|was|has|does|lacks|cannot|not)\b|\bbearer\b|\bcredentials?\b|\bunauthenticated\b"
)
MODERATION = re.compile(r"moderat|content policy|policy violation|nsfw|safety|copyright|sexual|violen")
CONTENT_WORDS = re.compile(
    r"moderat|policy|policies|violat|nsfw|safety|unsafe|prompt|content|video|image|copyright|explicit|sexual|violen"
)
PERMISSION_WORDS = re.compile(r"permission|forbidden|access denied|authori[sz]|authenticat|\bscopes?\b|not allowed")
SECONDS = re.compile(r"[0-9]{1,100}(\.[0-9]+)?")
REFUSALS = {
    400: InvalidRequest,
    401: InvalidApiKey,
    402: InsufficientCredits,
    404: TaskNotFound,
    409: Conflict,
    410: TaskNotFound,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    451: InvalidRequest,
}


def refusal(response: httpx.Response, *, hidden: SecretStr | None = None) -> LumaError:
    """Turn an answer that does not give what was asked for into the error that fits it; `hidden` is not in its text.

    A success may hold an error, with its status or without.
    """
    body = json_object(response)
    status = (code_in(body) or response.status_code) if response.is_success else response.status_code
    said = f"RunAPI answered {heading_of(response, status)}: {explanation(response, hidden)}{request_id(response)}"
    said = without_secret(said, hidden)
    if response.is_redirect:
        return WrongAddress(response.request.url.host)
    if status == 429:
        return RateLimited(said, retry_after_seconds(response.headers))
    if kind := REFUSALS.get(status) or (forbidden(response) if status == 403 else None):
        return kind(said)
    if status >= 500 or status == 408:
        unavailable = ServiceUnavailable(said)
        unavailable.retry_after = retry_after_seconds(response.headers)
        return unavailable
    return BadAnswer(said)


def heading_of(response: httpx.Response, status: int) -> str:
    """Say with what RunAPI answered."""
    if not response.is_success:
        return str(status)
    code = f"the error {status}" if status != response.status_code else "not what was asked for"
    return f"{response.status_code}, but {code}"


def forbidden(response: httpx.Response) -> type[LumaError]:
    """Tell what a 403 is about: the key, if it says so or says nothing; else what was asked for, as by moderation."""
    said = words_in(response)
    whole = said if is_page(response) else raw_text(response)  # with the codes beside the sentence
    words = " ".join(re.findall("[a-z]+", whole[:LONGEST_WORDS].lower()))
    about_key = KEY_WORDS.search(words) or (PERMISSION_WORDS.search(words) and not CONTENT_WORDS.search(words))
    return InvalidApiKey if (about_key and not MODERATION.search(words)) or not said else InvalidRequest


def explanation(response: httpx.Response, hidden: SecretStr | None = None) -> str:
    """Quote the sentence for humans in any of the body shapes, or say that there is none."""
    words = safe_text(without_secret(words_in(response), hidden))
    if is_page(response):
        return f"an HTML page, {quoted(words)}" if words else "an HTML page without a title"
    return quoted(words) if words else "no explanation given"


def words_in(response: httpx.Response) -> str:
    """Find what an answer says: in JSON, in the title of an HTML page, or as plain text."""
    body = json_value(response)
    if body is None:
        return heading(raw_text(response)) if is_page(response) else safe_text(raw_text(response))
    return said_in_object(body) if is_object(body) else said_in(body)


def is_page(response: httpx.Response) -> bool:
    """Tell whether an answer is an HTML page, as of a proxy in front of the API."""
    return json_value(response) is None and HTML.search(raw_text(response)) is not None


def raw_text(response: httpx.Response) -> str:
    """Give what an answer holds as text."""
    return response.content[:LONGEST_PAGE_BYTES].decode("utf-8", "replace")


def heading(page: str) -> str:
    """Find the title of an HTML page, or its first heading."""
    for name in ("title", "h1"):
        _, opened, rest = page.partition(f"<{name}")
        inside, closed, _ = rest.partition(f"</{name}")
        if opened and closed:
            return inside.partition(">")[2]
    return ""


def request_id(response: httpx.Response) -> str:
    """Name the request for RunAPI's support, if RunAPI named it."""
    name = safe_text(response.headers.get("x-request-id", ""))
    return f" (request {name})" if name else ""


def retry_after_seconds(
    headers: httpx.Headers, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Read `Retry-After` as seconds or HTTP date; what is negative, absurd or unreadable does not count.

    A date is by the clock that the answer's `Date` shows, by ours (`now`) without one. The longest of several counts.
    """
    values = [part.strip() for part in headers.get("retry-after", "").split(",")]
    if all(SECONDS.fullmatch(value) for value in values):
        seconds = max(map(float, values))
    elif until := http_date(headers.get("retry-after", "")):
        seconds = (until - (http_date(headers.get("date", "")) or now())).total_seconds()
    else:
        return None
    return min(seconds, LONGEST_RETRY_AFTER_SECONDS) if seconds > 0 else None


def http_date(value: str) -> datetime | None:
    """Read an HTTP date in any of its forms, all of which are UTC; None for anything else."""
    try:
        found = parsedate_to_datetime(value.strip())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
