"""What is left of RunAPI's answers holds nothing that is anybody's."""

from typing import Any

import httpx
from pydantic import SecretStr

from luma_mcp.cli.doctor.redaction import harmless_headers, redact_text, shape
from luma_mcp.core.text import Json
from tests.support.rig import KEY

HIDDEN = SecretStr(KEY)


def test_shapes_are_types_under_their_names() -> None:
    body: Json = {"a": 1, "b": 1.5, "c": True, "d": None, "e": "x", "f": [{"g": "y"}, 2], "h": {}}
    assert shape(body, None, sentences=False) == {
        "a": "whole number",
        "b": "number",
        "c": "boolean",
        "d": "null",
        "e": "string",
        "f": [{"g": "string"}],
        "h": {},
    }
    deep: Any = {}
    for _ in range(500):
        deep = {"a": deep}
    assert len(str(shape(deep, None, sentences=False))) < 100
    assert len(shape({str(n) + "x" * 99: n for n in range(999)}, None, sentences=False)) <= 30
    assert shape({"detail": [{"msg": "too long", "input": "x"}], "trace": "secret"}, None, sentences=True) == {
        "detail": [{"msg": "too long", "input": "string"}],
        "trace": "string",
    }


def test_sentences_and_headers_are_cleaned() -> None:
    assert redact_text(f"key {KEY} of a.b@c.de: 1,234.50 of 12\n<b>", HIDDEN) == "key [key] of [e-mail] # of #"
    assert redact_text("token sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaa", None) == "token [...]"
    headers = httpx.Headers({"Content-Type": "text/html", "Retry-After": "7", "X-Rate-Limit-Left": "9", "Via": "x"})
    assert harmless_headers(headers, None) == {
        "content-type": "text/html",
        "retry-after": "7",
        "x-rate-limit-left": "9",
    }
    assert harmless_headers(httpx.Headers({"Retry-After": f"<{KEY}>"}), HIDDEN) == {"retry-after": "present"}
