"""The lines that a host writes, as messages of the protocol; and what to say to a line that is none. No I/O.

The SDK drops such lines in silence, so that a host waits for ever. Here every request whose id can be read is answered,
whatever else is wrong with it.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from mcp.types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from luma_mcp.core.text import SURROGATE_MESSAGE, has_valid_unicode, is_list, is_object, is_valid_unicode

MAX_LINE_BYTES = 4 << 20
KEPT_END_BYTES = 200
BOM = b"\xef\xbb\xbf"
NUMBER_OR_WORD = rb'(-?\d{1,30}|"[^"\\\x00-\x1f]{0,80}")'
ID_AT_START = re.compile(rb'\s*\{\s*("jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*' + NUMBER_OR_WORD + rb"\s*,")
ID_AT_END = re.compile(rb',\s*"id"\s*:\s*' + NUMBER_OR_WORD + rb'\s*(,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')


class OversizedLine(NamedTuple):
    """A line that was not kept: its beginning and its end, where its id may be."""

    start: bytes
    end: bytes


class InvalidLine(NamedTuple):
    """What is wrong with a line, without its content; `id` is that of the request, if it can be read."""

    code: int
    reason: str
    id: RequestId | None = None
    needs_response: bool = True

    @property
    def error_response(self) -> JSONRPCError:
        return JSONRPCError(jsonrpc="2.0", id=self.id, error=ErrorData(code=self.code, message=self.reason))


class LineBuffer:
    """Joins pieces of bytes to lines, of which none takes more memory than `MAX_LINE_BYTES`."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._start = b""

    def feed(self, piece: bytes) -> Iterator[bytes | OversizedLine]:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            self._hold(part)
            yield self._line()
        self._hold(rest)

    def finish(self) -> Iterator[bytes | OversizedLine]:
        if self._held:
            yield self._line()

    def _hold(self, part: bytes) -> None:
        self._held += part
        if self._start or len(self._held) > MAX_LINE_BYTES:
            self._start = self._start or bytes(self._held[:KEPT_END_BYTES])
            del self._held[:-KEPT_END_BYTES]

    def _line(self) -> bytes | OversizedLine:
        line = OversizedLine(self._start, bytes(self._held)) if self._start else bytes(self._held)
        self._held.clear()
        self._start = b""
        return line


def parse_line(line: bytes | OversizedLine) -> Iterator[JSONRPCMessage | InvalidLine]:
    """Yield the message on a line, or what is wrong with it; nothing for an empty line, several for a batch."""
    if isinstance(line, OversizedLine):
        yield InvalidLine(INVALID_REQUEST, f"A line can have {MAX_LINE_BYTES} bytes.", find_id(line.start, line.end))
        return
    line = line.removeprefix(BOM).strip()
    if not line:
        return
    try:
        found: object = json.loads(line.decode())
    except UnicodeDecodeError:
        yield InvalidLine(PARSE_ERROR, "The line is not UTF-8.", read_id(line.decode(errors="replace")))
    except RecursionError:
        yield InvalidLine(PARSE_ERROR, "The line is nested too deeply.", find_id(line, line))
    except ValueError:
        yield InvalidLine(PARSE_ERROR, "The line is not JSON, or has a number that is too long.", find_id(line, line))
    else:
        yield from refuse_batch(found) if is_list(found) else [parse_message(found)]


def refuse_batch(parts: list[object]) -> Iterator[InvalidLine]:
    """Refuse a batch, each of its requests under its own id."""
    ids = [part["id"] for part in parts if is_object(part) and "method" in part and is_id(part.get("id"))]
    yield from (
        InvalidLine(INVALID_REQUEST, "Batches are not served: send each message alone.", id) for id in ids or [None]
    )


def parse_message(found: object) -> JSONRPCMessage | InvalidLine:
    """Decode JSON as a message of the protocol, or say what is wrong with it."""
    if not is_object(found):
        return InvalidLine(INVALID_REQUEST, "A message must be a JSON object.")
    known = found["id"] if is_id(found.get("id")) else None
    owed = "id" in found or "method" not in found  # a notification is never answered, however wrong it is
    owed &= not ("method" not in found and found.keys() & {"result", "error"})  # nor is an answer
    if "id" in found and known is None and "method" in found:
        return InvalidLine(INVALID_REQUEST, "id must be a whole number or a text.")
    if not has_valid_unicode(found):
        return InvalidLine(INVALID_REQUEST, SURROGATE_MESSAGE, known, owed)
    try:
        return jsonrpc_message_adapter.validate_python(found, by_name=False)
    except ValidationError:
        return InvalidLine(INVALID_REQUEST, "The line is no message of JSON-RPC 2.0.", known, owed)


def is_id(value: object) -> bool:
    return is_valid_unicode(value) if isinstance(value, str) else isinstance(value, int) and not isinstance(value, bool)


def read_id(words: str) -> RequestId | None:
    try:
        found: object = json.loads(words)
    except (ValueError, RecursionError):
        return None
    return found["id"] if is_object(found) and is_id(found.get("id")) else None


def find_id(start: bytes, end: bytes) -> RequestId | None:
    """Find the id of a request that cannot be parsed at its beginning or end, where all known hosts write it."""
    if match := ID_AT_START.match(start):
        return read_id(f'{{"id": {match[2].decode(errors="replace")}}}')
    if match := ID_AT_END.search(end[-KEPT_END_BYTES:]):
        return read_id(f'{{"id": {match[1].decode(errors="replace")}}}')
    return None
