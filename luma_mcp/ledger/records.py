"""How a task is laid out as a row, and what a row must be like to be a task: whoever wrote it, it is input.

Nothing gets past here that could not have been written by this server: types, known words, bounds, plain names.
"""

import json
import math
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from typing import Any, get_args

from luma_mcp.core.errors import Charged, Failure, LumaError
from luma_mcp.core.filenames import fault_in
from luma_mcp.core.models import Status, Task, VideoRequest
from luma_mcp.core.storage_errors import DownloadFailed, OutputNotWritable
from luma_mcp.core.text import is_list, is_object

REQUEST_WORDS = ("prompt", "source", "model", "callback_url")
PLAIN_WORDS = ("caller", "model", "origin", "key_id", "source_digest", "task_id")
WORDS = (
    *("key", "caller", *REQUEST_WORDS),
    *("origin", "key_id", "callback", "source_url", "source_digest", "task_id", "video_path", "file_name"),
)
FLAGS = ("watermark", "wants_file", "given_up")
MOMENTS = ("created_at", "updated_at", "wanted_at", "finished_at", "sent_at")
AMOUNTS = ("cost_usd", "source_seconds")
COUNTS = ("attempts", "take", "failures", "source_bytes")
MAY_LACK = frozenset({"finished_at", "sent_at", "cost_usd", "source_seconds", "source_bytes"})
COLUMNS = (*WORDS, *FLAGS, *MOMENTS, *AMOUNTS, *COUNTS, "status", "charged", "video_urls", "error")
REQUEST_FIELDS = (*REQUEST_WORDS, "watermark", "take")
FIXED = frozenset({"key", "caller", "created_at", "wanted_at", "origin", "wants_file", "file_name", *REQUEST_FIELDS})
LONGEST_WORDS = 40_000
LONGEST_MESSAGE = 5_000
LONGEST_URL = 8_192
MOST_URLS = 100
TASK_ID = re.compile(r"[^\s/\\]{0,200}")
END_OF_TIME = 253_402_300_800.0  # the year 10000, which no calendar here can write
LARGEST_AMOUNT = 1e9
LARGEST_COUNT = 1 << 50
FAILURE_FIELDS = frozenset(field.name for field in fields(Failure)) - {"charged"}  # which has a column of its own
ERRORS = (LumaError, OutputNotWritable, DownloadFailed)

Row = dict[str, Any]


def row_of(task: Task) -> Row:
    """Lay a task out as columns."""
    request = asdict(task.request)
    plain = (*WORDS, *FLAGS, *MOMENTS, *AMOUNTS, *COUNTS)
    return {name: request[name] if name in request else getattr(task, name) for name in plain} | {
        "status": task.status.value,
        "charged": task.charged,
        "video_urls": json.dumps(task.video_urls),
        "error": stored(task.error),
    }


def stored(failure: Failure | None) -> str | None:
    """Lay out what went wrong; whether it was charged is the task's own column."""
    return json.dumps({name: getattr(failure, name) for name in sorted(FAILURE_FIELDS)}) if failure else None


def task_of(row: sqlite3.Row) -> Task:
    """Read a task back from its columns; raise `ValueError` for a row that this server cannot have written."""
    values: Row = {name: row[name] for name in COLUMNS}
    check(WORDS, values, is_words)
    check(PLAIN_WORDS, values, str.isprintable)
    check(("key",), values, is_key)
    check(("task_id",), values, TASK_ID.fullmatch)
    check(FLAGS, values, lambda value: value in (0, 1))
    check(MOMENTS, values, is_below(END_OF_TIME))
    check(AMOUNTS, values, is_below(LARGEST_AMOUNT))
    check(COUNTS, values, is_below(LARGEST_COUNT))
    values |= {name: bool(values[name]) for name in FLAGS}
    values["file_name"] = values["file_name"] if is_file_name(values["file_name"]) else ""
    request = VideoRequest(**{name: values.pop(name) for name in REQUEST_FIELDS})
    values["status"] = Status(values["status"])
    values["video_urls"] = urls_in(values["video_urls"])
    check(("charged",), values, lambda value: value in get_args(Charged))
    values["error"] = failure_in(values["error"], values["charged"])
    return Task(request=request, **values)


def is_task(row: sqlite3.Row) -> bool:
    """Tell whether a row makes sense."""
    try:
        task_of(row)
    except (ValueError, TypeError, LookupError, RecursionError):
        return False
    return True


def check(names: Iterable[str], values: Row, makes_sense: Callable[[Any], object]) -> None:
    """Raise `ValueError` unless these values make sense; some may be absent."""
    for name in names:
        if not (makes_sense(values[name]) if values[name] is not None else name in MAY_LACK):
            raise ValueError(f"{name} makes no sense")


def is_words(value: object) -> bool:
    """Tell whether something is text of a length that can be meant."""
    return isinstance(value, str) and len(value) <= LONGEST_WORDS


def is_key(value: object) -> bool:
    """Tell whether something is a key of ours: keys become parts of file names."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def is_below(bound: float) -> Callable[[object], bool]:
    """Make the test for a number from 0 up to a bound."""

    def is_sensible(value: object) -> bool:
        return isinstance(value, int | float) and math.isfinite(value) and 0 <= value < bound

    return is_sensible


def is_file_name(value: str) -> bool:
    """Tell whether a stored file name is one that a caller could have chosen: plain, and of a video."""
    return bool(value) and not fault_in(value) and value.lower().endswith((".mp4", ".mov"))


def urls_in(stored: object) -> tuple[str, ...]:
    """Give the addresses in a JSON list that can be meant; raise `ValueError` if it is none."""
    found = json_in(stored)
    if not is_list(found):
        raise ValueError("video_urls is no list")
    return tuple(url for url in found if is_url(url))[:MOST_URLS]


def is_url(value: object) -> bool:
    """Tell whether something could be the address of a video."""
    words = value if isinstance(value, str) and len(value) <= LONGEST_URL and value.isprintable() else ""
    return words.lower().startswith(("http://", "https://"))


def failure_in(stored: object, charged: Charged) -> Failure | None:
    """Read what went wrong; raise `ValueError` for anything that is no `Failure` of ours."""
    if stored is None:
        return None
    found = json_in(stored)
    if not is_object(found) or found.keys() != FAILURE_FIELDS:
        raise ValueError("error has other fields")
    if found["code"] not in {code for kind in ERRORS for code in codes(kind)}:
        raise ValueError("error has other words")
    check(("message", "hint"), found, is_words)
    check(("retry_safe",), found, lambda value: isinstance(value, bool))
    words = {name: visible(found[name]) for name in ("message", "hint")}
    return Failure(**found | words, charged=charged)


def json_in(stored: object) -> object:
    """Read JSON that is stored as text; raise `ValueError` for anything else."""
    if not isinstance(stored, str):
        raise ValueError("not stored as text")
    found: object = json.loads(stored)
    return found


def visible(words: str) -> str:
    """Take out of stored words what directs a terminal or cannot be written, and what is too long."""
    return "".join(c if c.isprintable() else " " for c in words[:LONGEST_MESSAGE])


def codes(kind: type[LumaError]) -> Iterator[str]:
    """List the codes of all errors below one."""
    for below in kind.__subclasses__():
        yield below.code
        yield from codes(below)
