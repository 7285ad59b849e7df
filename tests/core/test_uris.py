"""Addresses of this server's own: each task has one, and an id is taken in either form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.uris import (
    MAX_TASK_ID_LENGTH,
    TASK_PREFIX,
    clip_digest_of,
    clip_uri,
    parse_task_id,
    preview_uri,
    task_id_of,
    task_uri,
    upload_id_of,
    upload_uri,
)


@given(st.text(st.characters(codec="utf-8")))
def test_every_id_is_read_back_from_its_uri(task_id: str) -> None:
    assert task_id_of(task_uri(task_id)) == task_id


@pytest.mark.parametrize(
    ("uri", "task_id"),
    [
        ("LUMA://Tasks/a-1", "a-1"),
        ("luma://tasks/a%2D1", "a-1"),
        ("luma://tasks/", ""),
        ("luma://tasks", ""),
        ("luma://tasks/a/b", ""),
        ("luma://tasks/a?b", ""),
        ("luma://tasks/a#b", ""),
        ("https://tasks/a", ""),
    ],
)
def test_a_uri_names_one_task_or_none(uri: str, task_id: str) -> None:
    assert task_id_of(uri) == task_id


@pytest.mark.parametrize("given_", ["a-1", " a-1 ", "luma://tasks/a-1", " luma://tasks/a%2D1"])
def test_an_id_is_taken_bare_or_as_a_uri(given_: str) -> None:
    assert parse_task_id(given_) == "a-1"


@pytest.mark.parametrize(
    "given_",
    [
        "",
        "  ",
        TASK_PREFIX,
        "a b",
        "a/b",
        "a\\b",
        "a\nb",
        "\u202ea",
        f"{TASK_PREFIX}a%20b",
        "x" * (MAX_TASK_ID_LENGTH + 1),
    ],
)
def test_what_cannot_be_an_id_is_refused(given_: str) -> None:
    with pytest.raises(InvalidRequest, match="task_id must be the id"):
        parse_task_id(given_)


def test_a_preview_lies_below_its_task() -> None:
    assert preview_uri("a/1") == "luma://tasks/a%2F1/preview"
    assert task_id_of(preview_uri("a")) == ""


def test_an_upload_is_named_by_its_id_and_by_nothing_else() -> None:
    assert upload_id_of(upload_uri("AbC-_123456789xy")) == "AbC-_123456789xy"
    others = ("luma://uploads/", "luma://uploads/x", f"luma://uploads/{'A' * 17}", f"luma://tasks/{'A' * 16}", "A" * 16)
    for other in others:
        assert upload_id_of(other) == ""


def test_a_clip_is_named_by_its_content() -> None:
    digest = "md5:1B2M2Y8AsgTpgAmY7PhCfg==:12345"
    assert clip_digest_of(clip_uri(digest)) == digest
    for other in (
        "luma://clips/",
        "luma://clips/md5:x==:1",
        f"luma://tasks/{digest}",
        clip_uri(f"{digest}/.."),
        digest,
    ):
        assert clip_digest_of(other) == ""
