"""The lines that a host writes, as messages of the protocol; and what to say to a line that is none. No I/O.

The SDK drops such lines in silence, so that a host waits for ever. Here every request whose id can be read is answered,
whatever else is wrong with it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

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

from luma_mcp.core.text import HALVES, all_text, is_list, is_object, is_text

LONGEST_LINE = 4 << 20  # bytes, as over HTTP
LONGEST_END = 200
BOM = b"\xef\xbb\xbf"
NUMBER_OR_WORD = rb'(-?\d{1,30}|"[^"\\\x00-\x1f]{0,80}")'
ID_AT_START = re.compile(rb'\s*\{\s*("jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*' + NUMBER_OR_WORD + rb"\s*,")
ID_AT_END = re.compile(rb',\s*"id"\s*:\s*' + NUMBER_OR_WORD + rb'\s*(,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line that was not kept: how it began and ended, where its id may be."""

    start: bytes
    end: bytes


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a line, without what stands in it; `id` is that of the request, if it can be read."""

    code: int
    reason: str
    id: RequestId | None = None
    answered: bool = True

    @property
    def answer(self) -> JSONRPCError:
        """Say so in the protocol's way."""
        return JSONRPCError(jsonrpc="2.0", id=self.id, error=ErrorData(code=self.code, message=self.reason))


class Lines:
    """Puts pieces of bytes together to lines, of which none takes more memory than `LONGEST_LINE`."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._start = b""

    def of(self, piece: bytes) -> Iterator[bytes | TooLong]:
        """Give the lines that end in a piece."""
        *ended, rest = piece.split(b"\n")
        for part in ended:
            self._hold(part)
            yield self._line()
        self._hold(rest)

    def last(self) -> Iterator[bytes | TooLong]:
        """Give what stands after the last line's end."""
        if self._held:
            yield self._line()

    def _hold(self, part: bytes) -> None:
        self._held += part
        if self._start or len(self._held) > LONGEST_LINE:
            self._start = self._start or bytes(self._held[:LONGEST_END])
            del self._held[:-LONGEST_END]

    def _line(self) -> bytes | TooLong:
        line = TooLong(self._start, bytes(self._held)) if self._start else bytes(self._held)
        self._held.clear()
        self._start = b""
        return line


def understood(line: bytes | TooLong) -> Iterator[JSONRPCMessage | Wrong]:
    """Give the message on a line, or what is wrong with it; nothing for an empty one, several for a batch."""
    if isinstance(line, TooLong):
        yield Wrong(INVALID_REQUEST, f"A line can have {LONGEST_LINE} bytes.", id_at_an_end(line.start, line.end))
        return
    line = line.removeprefix(BOM).strip()
    if not line:
        return
    try:
        found: object = json.loads(line.decode())
    except UnicodeDecodeError:
        yield Wrong(PARSE_ERROR, "The line is not UTF-8.", id_in(line.decode(errors="replace")))
    except RecursionError:
        yield Wrong(PARSE_ERROR, "The line is nested too deeply.", id_at_an_end(line, line))
    except ValueError:
        yield Wrong(PARSE_ERROR, "The line is not JSON, or has a number that is too long.", id_at_an_end(line, line))
    else:
        yield from in_batch(found) if is_list(found) else [message(found)]


def in_batch(parts: list[object]) -> Iterator[Wrong]:
    """Refuse a batch, each of its requests under its own id."""
    ids = [part["id"] for part in parts if is_object(part) and "method" in part and is_id(part.get("id"))]
    yield from (Wrong(INVALID_REQUEST, "Batches are not served: send each message alone.", id) for id in ids or [None])


def message(found: object) -> JSONRPCMessage | Wrong:
    """Give JSON as a message of the protocol, or what is wrong with it."""
    if not is_object(found):
        return Wrong(INVALID_REQUEST, "A message must be a JSON object.")
    known = found["id"] if is_id(found.get("id")) else None
    owed = "id" in found or "method" not in found  # a notification is never answered, however wrong it is
    owed &= not ("method" not in found and found.keys() & {"result", "error"})  # nor is an answer
    if "id" in found and known is None and "method" in found:
        return Wrong(INVALID_REQUEST, "id must be a whole number or a text.")
    if not all_text(found):
        return Wrong(INVALID_REQUEST, HALVES, known, owed)
    try:
        return jsonrpc_message_adapter.validate_python(found, by_name=False)
    except ValidationError:
        return Wrong(INVALID_REQUEST, "The line is no message of JSON-RPC 2.0.", known, owed)


def is_id(value: object) -> bool:
    """Tell whether a value can name a request and be written back."""
    return is_text(value) if isinstance(value, str) else isinstance(value, int) and not isinstance(value, bool)


def id_in(words: str) -> RequestId | None:
    """Read the id of a request of which something else cannot be read."""
    try:
        found: object = json.loads(words)
    except (ValueError, RecursionError):
        return None
    return found["id"] if is_object(found) and is_id(found.get("id")) else None


def id_at_an_end(start: bytes, end: bytes) -> RequestId | None:
    """Read the id of a request that begins or ends with it, as all known hosts write it."""
    if match := ID_AT_START.match(start):
        return id_in(f'{{"id": {match[2].decode(errors="replace")}}}')
    if match := ID_AT_END.search(end[-LONGEST_END:]):
        return id_in(f'{{"id": {match[1].decode(errors="replace")}}}')
    return None
