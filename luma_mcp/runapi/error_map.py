"""From answers that are no success to our errors, with what RunAPI complains of, in JSON of any shape.

Contract 4.1, FastAPI, RFC 9457, JSON:API, GraphQL and more.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import islice

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
from luma_mcp.core.text import (
    Json,
    child,
    is_list,
    is_object,
    json_object,
    json_value,
    quote_text,
    redact_secret,
    sanitise_text,
    stripped_string,
)

MAX_MESSAGES = 5
MAX_MEMBERS = 100
DEPTH = 6
SENTENCES = (
    "error", "title", "message", "errormessage", "errormsg", "failmsg", "errordescription", "msg", "detail",
    "description", "reason", "failurereason", "fault", "faultstring", "errors", "details", "fieldviolations",
    "invalidparams", "violations",
)  # fmt: skip
NESTED = ("data", "result", "response")
PLACES = ("loc", "field", "param", "parameter", "pointer", "path", "name", "property", "source")
CODES = ("code", "status", "statusCode", "status_code")
MAX_HTML_BYTES = 1 << 16
MAX_RETRY_AFTER_SECONDS = 3600.0
HTML = re.compile(r"<!doctype|<html", re.IGNORECASE)
MAX_SEARCHED_CHARACTERS = 4096
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
ERRORS: dict[int, type[LumaError]] = {
    HTTPStatus.BAD_REQUEST: InvalidRequest,
    HTTPStatus.UNAUTHORIZED: InvalidApiKey,
    HTTPStatus.PAYMENT_REQUIRED: InsufficientCredits,
    HTTPStatus.NOT_FOUND: TaskNotFound,
    HTTPStatus.REQUEST_TIMEOUT: ServiceUnavailable,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: TaskNotFound,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: InvalidRequest,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: InvalidRequest,
    HTTPStatus.UNPROCESSABLE_ENTITY: InvalidRequest,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimited,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: InvalidRequest,
}


def message_in(value: object, depth: int = DEPTH) -> str:
    """Put the complaint in JSON of any shape into words, which are not sanitised; empty if there is none."""
    if is_object(value) and depth:
        return message_in_object(value, depth - 1) or message_by_field(value, depth - 1)
    if is_list(value) and depth:
        return "; ".join(drop_repeated(message_in(one, depth - 1) for one in value[:MAX_MESSAGES]))
    return stripped_string(value)


def message_in_object(found: Json, depth: int = DEPTH) -> str:
    """Give an object's sentences, led by the field that they are about; its code if it has no sentence."""
    named = {re.sub("[_-]", "", name).lower(): value for name, value in islice(found.items(), MAX_MEMBERS)}
    sentences = list(drop_repeated(message_in(named.get(name), depth) for name in SENTENCES))
    if sentences:
        return " ".join(drop_repeated([field_name_in(named), ": ".join(sentences)]))
    nested = next(filter(None, (message_in_object(child(named, name), depth - 1) for name in NESTED if depth)), "")
    return nested or stripped_string(named.get("code"))


def message_by_field(found: Json, depth: int) -> str:
    """Give complaints that are listed by field, as in `{"prompt": ["is required", "is short"]}`."""
    return "; ".join(
        f"{name} {said}"
        for name, value in islice(found.items(), MAX_MESSAGES)
        if (said := field_messages(value, depth))
    )


def field_messages(value: object, depth: int) -> str:
    many = value[:MAX_MESSAGES] if is_list(value) else [value]
    return ", ".join(drop_repeated(message_in(one, depth) for one in many))


def field_name_in(named: Json) -> str:
    """Name the field that a complaint is about, by the last part of its path or pointer."""
    for name in PLACES:
        value: object = named.get(name)
        value = next(iter(value.values()), "") if is_object(value) else value
        value = value[-1] if is_list(value) and value else value
        if place := stripped_string(value).rstrip("/").rpartition("/")[2]:
            return place
    return ""


def drop_repeated(parts: Iterable[str]) -> Iterator[str]:
    """Leave out empty parts, and those that an earlier part contains."""
    said = ""
    for part in parts:
        if part and part.lower() not in said:
            said += f"{part.lower()}\n"
            yield part


def is_error_body(body: Json) -> bool:
    """Tell whether an answer says by itself that it is an error, whatever its HTTP status is."""
    flags = (body.get("success"), body.get("ok"))
    complaint = body.get("error") is True or any(message_in(body.get(name)) for name in ("error", "errors"))
    return complaint or any(flag is False for flag in flags) or code_in(body) is not None


def code_in(body: Json) -> int | None:
    for holder in (body, child(body, "error")):
        for name in CODES:
            value: object = holder.get(name)
            written = str(value) if isinstance(value, int | str) else ""
            if re.fullmatch("[45][0-9][0-9]", written):
                return int(written)
    return None


def error_from_response(response: httpx.Response, *, hidden: SecretStr | None = None) -> LumaError:
    """Turn an answer that does not give what was asked for into the error that fits it; `hidden` is not in its text.

    A success may hold an error, with its status or without.
    """
    body = json_object(response)
    status = (code_in(body) or response.status_code) if response.is_success else response.status_code
    quoted = quoted_error_text(response, hidden)
    said = f"RunAPI answered {describe_status(response, status)}: {quoted}{request_id(response)}"
    said = redact_secret(said, hidden)
    if response.is_redirect:
        return WrongAddress(response.request.url.host)
    kind = error_for_403(response) if status == HTTPStatus.FORBIDDEN else error_for_status_code(status)
    if kind is RateLimited:
        return RateLimited(said, retry_after_seconds(response.headers))
    error = kind(said)
    if kind is ServiceUnavailable:
        error.retry_after = retry_after_seconds(response.headers)
    return error


def error_for_status_code(status: int) -> type[LumaError]:
    return ERRORS.get(status, ServiceUnavailable if status >= HTTPStatus.INTERNAL_SERVER_ERROR else BadAnswer)


def describe_status(response: httpx.Response, status: int) -> str:
    if not response.is_success:
        return str(status)
    code = f"the error {status}" if status != response.status_code else "not what was asked for"
    return f"{response.status_code}, but {code}"


def error_for_403(response: httpx.Response) -> type[LumaError]:
    """Tell what a 403 is about: the key, if it says so or says nothing; else the request, as for moderation."""
    said = error_text(response)
    whole = said if is_page(response) else raw_text(response)  # with the codes beside the sentence
    words = " ".join(re.findall("[a-z]+", whole[:MAX_SEARCHED_CHARACTERS].lower()))
    about_key = KEY_WORDS.search(words) or (PERMISSION_WORDS.search(words) and not CONTENT_WORDS.search(words))
    return InvalidApiKey if (about_key and not MODERATION.search(words)) or not said else InvalidRequest


def quoted_error_text(response: httpx.Response, hidden: SecretStr | None = None) -> str:
    words = sanitise_text(redact_secret(error_text(response), hidden))
    if is_page(response):
        return f"an HTML page, {quote_text(words)}" if words else "an HTML page without a title"
    return quote_text(words) if words else "no explanation given"


def error_text(response: httpx.Response) -> str:
    body = json_value(response)
    if body is None:
        return html_title(raw_text(response)) if is_page(response) else sanitise_text(raw_text(response))
    return message_in_object(body) if is_object(body) else message_in(body)


def is_page(response: httpx.Response) -> bool:
    return json_value(response) is None and HTML.search(raw_text(response)) is not None


def raw_text(response: httpx.Response) -> str:
    return response.content[:MAX_HTML_BYTES].decode("utf-8", "replace")


def html_title(page: str) -> str:
    for name in ("title", "h1"):
        _, opened, rest = page.partition(f"<{name}")
        inside, closed, _ = rest.partition(f"</{name}")
        if opened and closed:
            return inside.partition(">")[2]
    return ""


def request_id(response: httpx.Response) -> str:
    name = sanitise_text(response.headers.get("x-request-id", ""))
    return f" (request {name})" if name else ""


def retry_after_seconds(
    headers: httpx.Headers, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Read `Retry-After` in seconds or as an HTTP date; None if it is not positive or cannot be read.

    A date is compared with the answer's `Date`, else with our clock (`now`). The longest of several values counts.
    """
    values = [part.strip() for part in headers.get("retry-after", "").split(",")]
    if all(SECONDS.fullmatch(value) for value in values):
        seconds = max(map(float, values))
    elif until := http_date(headers.get("retry-after", "")):
        seconds = (until - (http_date(headers.get("date", "")) or now())).total_seconds()
    else:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds > 0 else None


def http_date(value: str) -> datetime | None:
    """Read an HTTP date in any of its forms, all of which are UTC; None for anything else."""
    try:
        found = parsedate_to_datetime(value.strip())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
