"""Tasks as rows, and the checks of rows, which are input, whoever wrote them.

Nothing passes that this server could not have written: types, known values, bounds, plain file names.
"""

import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from typing import Any, get_args

from luma_mcp.core.errors import Charged, DownloadFailed, Failure, LumaError, OutputNotWritable
from luma_mcp.core.filenames import VIDEO_SUFFIXES, filename_fault
from luma_mcp.core.models import Status, Task, UploadTicket, VideoRequest
from luma_mcp.core.text import is_list, is_object
from luma_mcp.core.uris import CLIP_DIGEST
from luma_mcp.ledger.store import Record

REQUEST_WORDS = ("prompt", "source", "model", "callback_url")
PLAIN_WORDS = ("caller", "model", "origin", "key_id", "source_digest", "task_id")
WORDS = (
    *("key", "caller", *REQUEST_WORDS),
    *("origin", "key_id", "callback", "source_url", "source_digest", "task_id", "video_path", "file_name"),
)
FLAGS = ("watermark", "wants_file", "given_up")
MOMENTS = ("created_at", "updated_at", "wanted_at", "finished_at", "sent_at")
AMOUNTS = ("cost_usd", "source_seconds")
COUNT_COLUMNS = ("attempts", "take", "failures", "source_bytes")
NULLABLE_COLUMNS = frozenset({"finished_at", "sent_at", "cost_usd", "source_seconds", "source_bytes"})
COLUMNS = (*WORDS, *FLAGS, *MOMENTS, *AMOUNTS, *COUNT_COLUMNS, "status", "charged", "video_urls", "error")
REQUEST_FIELDS = (*REQUEST_WORDS, "watermark", "take")
IMMUTABLE_COLUMNS = frozenset(
    {"key", "caller", "created_at", "wanted_at", "origin", "wants_file", "file_name", *REQUEST_FIELDS}
)
MAX_COLUMN_LENGTH = 40_000
MAX_MESSAGE_LENGTH = 5_000
MAX_STORED_URL_LENGTH = 8_192
MAX_STORED_URLS = 100
TASK_ID = re.compile(r"[^\s/\\]{0,200}")
END_OF_TIME = 253_402_300_800.0  # the year 10000, which no calendar here can write
MAX_STORED_AMOUNT = 1e9  # USD, seconds; RunAPI's answers give none that is not smaller
MAX_COUNT = 1 << 50
FAILURE_FIELDS = frozenset(field.name for field in fields(Failure)) - {"charged"}  # which has a column of its own
ERRORS = (LumaError, OutputNotWritable, DownloadFailed)
UNREADABLE = (ValueError, TypeError, LookupError, RecursionError)

Row = dict[str, Any]


def row_of(task: Task) -> Row:
    request = asdict(task.request)
    plain = (*WORDS, *FLAGS, *MOMENTS, *AMOUNTS, *COUNT_COLUMNS)
    return {name: request[name] if name in request else getattr(task, name) for name in plain} | {
        "status": task.status.value,
        "charged": task.charged,
        "video_urls": json.dumps(task.video_urls),
        "error": failure_to_json(task.error),
    }


def failure_to_json(failure: Failure | None) -> str | None:
    """Write a failure as JSON, without `charged`, which has a column of its own."""
    return json.dumps({name: getattr(failure, name) for name in sorted(FAILURE_FIELDS)}) if failure else None


def task_of(row: Record) -> Task:
    """Read a task back from its columns; raise `ValueError` for a row that this server cannot have written."""
    values: Row = {name: row[name] for name in COLUMNS}
    check_columns(WORDS, values, is_words)
    check_columns(PLAIN_WORDS, values, str.isprintable)
    check_columns(("key",), values, is_key)
    check_columns(("task_id",), values, TASK_ID.fullmatch)
    check_columns(FLAGS, values, lambda value: value in (0, 1))
    check_columns(MOMENTS, values, is_below(END_OF_TIME))
    check_columns(AMOUNTS, values, is_below(MAX_STORED_AMOUNT))
    check_columns(COUNT_COLUMNS, values, is_below(MAX_COUNT))
    values |= {name: bool(values[name]) for name in FLAGS}
    values["file_name"] = values["file_name"] if is_file_name(values["file_name"]) else ""
    request = VideoRequest(**{name: values.pop(name) for name in REQUEST_FIELDS})
    values["status"] = Status(values["status"])
    values["video_urls"] = parse_video_urls(values["video_urls"])
    check_columns(("charged",), values, lambda value: value in get_args(Charged))
    values["error"] = failure_in(values["error"], values["charged"])
    return Task(request=request, **values)


def ticket_of(row: Record) -> UploadTicket | None:
    """Read an upload ticket back from its columns; None for a row that this server cannot have written."""
    ticket_id, caller, state, expires_at, digest, seconds = (row[name] for name in UploadTicket._fields)
    makes_sense = (
        isinstance(ticket_id, str)
        and is_words(caller)
        and is_below(END_OF_TIME)(expires_at)
        and isinstance(digest, str)
        and bool(CLIP_DIGEST.fullmatch(digest)) == (state == "arrived")
        and (seconds is None or is_below(MAX_STORED_AMOUNT)(seconds))
    )
    return UploadTicket(ticket_id, caller, state, expires_at, digest, seconds) if makes_sense else None


def is_valid_row(row: Record) -> bool:
    try:
        task_of(row)
    except UNREADABLE:
        return False
    return True


def check_columns(names: Iterable[str], values: Row, makes_sense: Callable[[Any], object]) -> None:
    """Raise `ValueError` unless all values of some columns make sense; `NULLABLE_COLUMNS` may be None."""
    for name in names:
        if not (makes_sense(values[name]) if values[name] is not None else name in NULLABLE_COLUMNS):
            raise ValueError(f"{name} makes no sense")


def is_words(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_COLUMN_LENGTH


def is_key(value: object) -> bool:
    """Tell whether something is a UUID as this server writes it: keys become parts of file names."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def is_below(bound: float) -> Callable[[object], bool]:
    def is_sensible(value: object) -> bool:
        return isinstance(value, int | float) and math.isfinite(value) and 0 <= value < bound

    return is_sensible


def is_file_name(value: str) -> bool:
    """Tell whether a caller could have chosen a file name."""
    return bool(value) and not filename_fault(value) and value.lower().endswith(VIDEO_SUFFIXES)


def parse_video_urls(stored: object) -> tuple[str, ...]:
    """Give the web addresses in a JSON list, at most `MAX_STORED_URLS`; raise `ValueError` if it is no list."""
    found = json_in(stored)
    if not is_list(found):
        raise ValueError("video_urls is no list")
    return tuple(url for url in found if is_url(url))[:MAX_STORED_URLS]


def is_url(value: object) -> bool:
    words = value if isinstance(value, str) and len(value) <= MAX_STORED_URL_LENGTH and value.isprintable() else ""
    return words.lower().startswith(("http://", "https://"))


def failure_in(stored: object, charged: Charged) -> Failure | None:
    """Read a failure; raise `ValueError` for anything that is no `Failure` of ours."""
    if stored is None:
        return None
    found = json_in(stored)
    if not is_object(found) or found.keys() != FAILURE_FIELDS:
        raise ValueError("error has other fields")
    if found["code"] not in {code for kind in ERRORS for code in codes(kind)}:
        raise ValueError("error has other words")
    check_columns(("message", "hint"), found, is_words)
    check_columns(("retry_safe",), found, lambda value: isinstance(value, bool))
    words = {name: sanitise_message(found[name]) for name in ("message", "hint")}
    return Failure(**found | words, charged=charged)


def json_in(stored: object) -> object:
    if not isinstance(stored, str):
        raise ValueError("not stored as text")
    found: object = json.loads(stored)
    return found


def sanitise_message(words: str) -> str:
    return "".join(c if c.isprintable() else " " for c in words[:MAX_MESSAGE_LENGTH])


def codes(kind: type[LumaError]) -> Iterator[str]:
    for below in kind.__subclasses__():
        yield below.code
        yield from codes(below)
