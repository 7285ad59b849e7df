"""Reading what others sent: JSON of any shape, and text that may carry anything."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from luma_mcp.core.text import (
    MAX_TEXT_LENGTH,
    Json,
    child,
    has_valid_unicode,
    json_object,
    json_value,
    quote_text,
    redact_secret,
    replace_surrogates,
    sanitise_text,
    stripped_string,
)


def test_foreign_text_becomes_one_visible_line() -> None:
    assert sanitise_text("a\r\n\tb <b>c</b> \u200b&nbsp;d") == "a b c d"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("see [here](https://evil.example)", "see [here] (https://evil.example)"),
        ("a\x1b[2Jb\u202ec\ud83d", "a [2Jb c"),
        ("1 &lt; 2 &#60; `x`", "1 2 x"),
        ("x" * 400, "x" * 299 + "…"),
        ("", ""),
    ],
)
def test_a_line_holds_no_markup_no_link_no_control_and_is_bounded(words: str, line: str) -> None:
    assert sanitise_text(words) == line


@given(st.text())
def test_whatever_was_sent_is_one_printable_bounded_line(words: str) -> None:
    line = sanitise_text(words)
    assert line.isprintable()
    assert len(line) <= MAX_TEXT_LENGTH
    assert quote_text(words).count('"') == 2


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        ('{"a": "霧"}'.encode("utf-16"), {"a": "霧"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'"\xff"', "\ufffd"),
        (b"[NaN, Infinity, -Infinity, 1e999, 1.5]", [None, None, None, None, 1.5]),
        (b"[" + b"9" * 5000 + b", 7]", [None, 7]),
        (b"[" * 100_000, None),
        (b"", None),
        (b"<html>", None),
    ],
)
def test_json_is_read_in_any_encoding_and_numbers_that_are_none_are_nothing(content: bytes, value: object) -> None:
    response = httpx.Response(200, content=content)
    assert json_value(response) == value
    assert json_object(response) == (value if isinstance(value, dict) else {})


def test_a_child_is_an_object_and_a_string_is_stripped_or_nothing() -> None:
    body: Json = {"object": {"a": 1}, "list": [1], "words": " x "}
    assert [child(body, name) for name in ("object", "list", "none")] == [{"a": 1}, {}, {}]
    assert [stripped_string(value) for value in (body["words"], 5, None)] == ["x", "", ""]


def test_half_of_a_surrogate_pair_is_found_and_replaced_however_deep_it_lies() -> None:
    deep = {"a": [{"\ud83d": "x\udca9", "fine": "🦊"}], "b": 5}
    assert not has_valid_unicode(deep)
    assert replace_surrogates(deep) == {"a": [{"\ufffd": "x\ufffd", "fine": "🦊"}], "b": 5}
    good = {"a": ["🦊", None]}
    assert has_valid_unicode(good)
    assert replace_surrogates(good) is good


def test_a_secret_is_taken_out_in_any_case_and_so_are_addresses_that_only_runapi_may_know() -> None:
    secret = SecretStr("rk-Abcdefgh")
    words = "key RK-ABCDEFGH at https://me.example/callbacks/abcdefghijklmnopqrstuvwxyz"
    assert redact_secret(words, secret) == "key [key] at https://me.example/callbacks/[secret]"
    assert redact_secret("a key", SecretStr("key")) == "a key", "what is too short is part of ordinary words"
    assert redact_secret("a key", None) == "a key"
