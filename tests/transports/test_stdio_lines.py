"""Whatever line a host writes is answered where an id can be read, and takes no more memory than a line may."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import INVALID_REQUEST, PARSE_ERROR, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from luma_mcp.transports.stdio_lines import MAX_LINE_BYTES, InvalidLine, LineBuffer, OversizedLine, parse_line

HALF = r"\ud83d"
DEEP = "[" * 100_000 + "]" * 100_000
WRONG_IDS: list[Any] = [1.5, True, {}, [7], 1e400]
REQUEST: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": "ping"}


def line(**changes: Any) -> bytes:
    """Write a request with other members; None leaves one out."""
    return json.dumps({name: value for name, value in (REQUEST | changes).items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("written", "code", "request_id"),
    [
        (b"this is not JSON", PARSE_ERROR, None),
        (b'{"jsonrpc": "2.0", "id": 7, "method": ', PARSE_ERROR, 7),
        (line(params={"a": 1}).replace(b"1}", b"9" * 5000 + b"}"), PARSE_ERROR, 7),
        (b"\x00", PARSE_ERROR, None),
        (line().decode().encode("utf-16"), PARSE_ERROR, None),
        (line(method="tools/call \xe9").replace(rb"\u00e9", b"\xe9"), PARSE_ERROR, 7),
        (f'{{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {{"a": {DEEP}}}}}'.encode(), PARSE_ERROR, 7),
        (f'{{"method": "ping", "params": {{"a": {DEEP}}}, "jsonrpc": "2.0", "id": "b"}}'.encode(), PARSE_ERROR, "b"),
        (DEEP.encode(), PARSE_ERROR, None),
        (b'{"jsonrpc": "2.0", "id": ' + b"9" * 5000 + b', "method": "ping"}', PARSE_ERROR, None),
        (b"5", INVALID_REQUEST, None),
        (b'"ping"', INVALID_REQUEST, None),
        (b"null", INVALID_REQUEST, None),
        (b"true", INVALID_REQUEST, None),
        (b"NaN", INVALID_REQUEST, None),
        (b"{}", INVALID_REQUEST, None),
        (b'{"id": 7}', INVALID_REQUEST, 7),
        (b"[]", INVALID_REQUEST, None),
        (b'["ping"]', INVALID_REQUEST, None),
        (line(jsonrpc="1.0"), INVALID_REQUEST, 7),
        (b'{"id": "x", "method": "ping"}', INVALID_REQUEST, "x"),
        (line(method=5), INVALID_REQUEST, 7),
        (line(params=[1]), INVALID_REQUEST, 7),
        (line(params="x"), INVALID_REQUEST, 7),
        *((line(id=wrong), INVALID_REQUEST, None) for wrong in WRONG_IDS),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', INVALID_REQUEST, None),
        (b'{"jsonrpc": "2.0", "id": "%s", "method": "ping"}' % HALF.encode(), INVALID_REQUEST, None),
        (line(method=f"{HALF}x").replace(rb"\\", b"\\"), INVALID_REQUEST, 7),
        (line(params={"a": [{"b": HALF}]}).replace(rb"\\", b"\\"), INVALID_REQUEST, 7),
        (line(params={HALF: 1}).replace(rb"\\", b"\\"), INVALID_REQUEST, 7),
    ],
)
def test_a_line_that_is_no_message_is_answered(written: bytes, code: int, request_id: int | str | None) -> None:
    (found,) = parse_line(written)
    assert isinstance(found, InvalidLine)
    assert (found.needs_response, found.code, found.id) == (True, code, request_id)
    answer = json.loads(found.error_response.model_dump_json(exclude_unset=True))
    assert answer == {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": found.reason}}


@pytest.mark.parametrize(
    "written",
    [
        line(id=None, params=[1]),
        line(id=None, method=5),
        line(id=None, jsonrpc="1.0"),
        line(id=None, params={"a": HALF}).replace(rb"\\", b"\\"),
        b'{"jsonrpc": "2.0", "id": 1.5, "result": {}}',
        b'{"jsonrpc": "2.0", "id": 1, "error": "none"}',
        b'{"jsonrpc": "2.0", "id": 1, "result": {"a": "%s"}}' % HALF.encode(),
    ],
)
def test_a_malformed_notification_or_answer_is_not_answered(written: bytes) -> None:
    (found,) = parse_line(written)
    assert isinstance(found, InvalidLine)
    assert not found.needs_response


def test_each_request_in_a_batch_is_refused_under_its_own_id() -> None:
    batch = [REQUEST, REQUEST | {"id": "b"}, {"jsonrpc": "2.0", "method": "notifications/initialized"}, 5]
    found = list(parse_line(json.dumps(batch).encode()))
    assert [wrong.id for wrong in found if isinstance(wrong, InvalidLine)] == [7, "b"]


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (line(), JSONRPCRequest),
        (b"\xef\xbb\xbf" + line(), JSONRPCRequest),
        (b" \t" + line() + b"\r", JSONRPCRequest),
        (line(id=10**300), JSONRPCRequest),
        (line(id=-1), JSONRPCRequest),
        (line(id=""), JSONRPCRequest),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": null}', JSONRPCRequest),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"a": NaN, "b": 1e400}}', JSONRPCRequest),
        (line(params={"a": "\U0001f3ac"}), JSONRPCRequest),
        (line(id=None), JSONRPCNotification),
        (b'{"jsonrpc": "2.0", "id": 7, "result": {}}', JSONRPCResponse),
    ],
)
def test_a_message_is_understood_however_it_is_written(written: bytes, kind: type) -> None:
    (found,) = parse_line(written)
    assert isinstance(found, kind)


@pytest.mark.parametrize("written", [b"", b"\r", b" \t ", b"\xef\xbb\xbf"])
def test_an_empty_line_is_nothing(written: bytes) -> None:
    assert list(parse_line(written)) == []


@pytest.mark.parametrize(
    ("start", "end", "request_id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":"', b'"}}', 7),
        (b'{"id": "x", "jsonrpc": "2.0", "method": "', b'"}', "x"),
        (b'{"method":"tools/call","params":{"id":5,"a":"', b'"},"jsonrpc":"2.0","id":7}', 7),
        (b'{"method":"tools/call","params":{"id":5,"a":"', b'"},"id":"x","jsonrpc":"2.0"}', "x"),
        (b'{"method":"tools/call","params":{"a":"', b'","id":5}}', None),
        (b'{"params":{"id":5},"a":"', b'"}', None),
    ],
)
def test_a_line_that_is_too_long_is_answered_where_its_id_stands_at_an_end(
    start: bytes, end: bytes, request_id: int | str | None
) -> None:
    lines = LineBuffer()
    piece = b"x" * 65_536
    assert [*lines.feed(start)] == []
    for _ in range(3 * MAX_LINE_BYTES // len(piece)):
        assert [*lines.feed(piece)] == []
        assert len(lines._held) <= MAX_LINE_BYTES + len(piece)
    (long, after) = lines.feed(end + b"\n" + line() + b"\n")
    assert isinstance(long, OversizedLine)
    (found,) = parse_line(long)
    assert isinstance(found, InvalidLine)
    assert (found.code, found.id, found.needs_response) == (INVALID_REQUEST, request_id, True)
    assert after == line()


def test_a_line_of_just_the_greatest_length_is_taken() -> None:
    for more, kind in ((0, bytes), (1, OversizedLine)):
        (found,) = LineBuffer().feed(b"x" * (MAX_LINE_BYTES + more) + b"\n")
        assert isinstance(found, kind)


@given(st.lists(st.binary(max_size=50)))
def test_pieces_of_any_size_make_the_same_lines(pieces: list[bytes]) -> None:
    lines = LineBuffer()
    found = [part for piece in pieces for part in lines.feed(piece)]
    whole = b"".join(pieces).split(b"\n")
    assert [*found, *lines.finish()] == (whole if whole[-1] else whole[:-1])


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_line_is_too_odd(written: bytes) -> None:
    for found in parse_line(written.replace(b"\n", b" ")):
        assert not isinstance(found, InvalidLine) or found.error_response.model_dump_json()
