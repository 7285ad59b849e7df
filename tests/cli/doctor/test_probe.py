"""The probe of RunAPI: asks what is free, and prints nothing that is anybody's."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.console import EXIT_CODES
from luma_mcp.core.text import Json
from tests.support.rig import KEY
from tests.support.sandbox_process import sandbox_process

MINE = ["me@example.com", "4711", "12.34", "99999", "Ada Lovelace"]


def report(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, Json]:
    """Probe, and give exit code and report."""
    code = main(["doctor", "--probe", "--json", *flags])
    told = capsys.readouterr()
    assert KEY not in told.out + told.err
    found: Json = json.loads(told.out)
    return code, found


def verdicts(found: Json) -> dict[str, bool | None]:
    """Give each assumption's verdict."""
    return {one["assumption"]: one["holds"] for one in found["assumptions"]}


def test_every_assumption_holds_in_the_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, "--sandbox")
    assert code == 0
    assert not found["made_a_task"]
    assert [one["status"] for one in found["answers"]] == [401, 404, 400, 400, 400, 200, 200]
    assert set(verdicts(found).values()) == {True}
    assert found["answers"][3]["body"]["errors"] == {"prompt": ["is required"], "source_video_url": ["is required"]}
    assert found["answers"][6]["body"]["balance_cents"] == "whole number"


def test_the_report_is_for_people_too_and_the_way_over_a_port_is_the_same(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    with sandbox_process(home, seconds=0) as url:
        assert main(["doctor", "--probe", "--base-url", url]) == 0
        assert main(["tasks", "--base-url", url]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert sum(line.startswith("holds") for line in lines) == 11
    assert any(line.endswith("with a made-up key") for line in lines)
    assert "There are no tasks yet" in told.err


def test_a_server_that_never_pays_submits_nothing_not_even_what_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, "--sandbox", "--no-spend")
    assert code == 0
    assert [one["method"] for one in found["answers"]] == ["GET"] * 5
    assert verdicts(found)["no task is made of what is refused"] is None
    assert verdicts(found)["the balance is understood"] is True


def test_without_a_key_the_rest_is_asked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sandbox_process(home, seconds=0) as url:
        code, found = report(capsys, "--base-url", url)
    assert code == 0
    assert [bool(one.get("status")) for one in found["answers"]] == [True, False, False, False, False, True, False]
    assert verdicts(found)["the price is public and understood"] is True
    assert verdicts(found)["the balance is understood"] is None


def test_what_cannot_be_reached_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, "--base-url", "http://127.0.0.1:9")
    assert code == EXIT_CODES["network"]
    assert set(verdicts(found).values()) == {None}


@contextmanager
def answering(status: int, body: Any, headers: dict[str, str]) -> Generator[tuple[str, list[tuple[str, bytes]]]]:
    """Answer everything alike, and give the address and the list of what was asked."""
    asked: list[tuple[str, bytes]] = []

    class Alike(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(body).encode()
            asked.append((self.command, self.rfile.read(int(self.headers.get("Content-Length", "0")))))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Alike) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@pytest.mark.parametrize("status", [200, 400, 401, 402, 500])
def test_nothing_of_anybodys_is_in_the_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    words = f"Account 4711 of me@example.com has 12.34 USD, key {KEY}"
    body = {
        "error": {"message": words, "user": "Ada Lovelace", "account": 99999},
        "name": "Ada Lovelace",
        KEY: [words, 4711],
        "me@example.com": 12.34,
        "balance_cents": 4711,
    }
    headers = {"Set-Cookie": "a=4711", "X-RateLimit-Limit": "60", "RateLimit-Policy": KEY, "X-Account": "4711"}
    with answering(status, body, headers) as (url, _):
        code, found = report(capsys, "--base-url", url)
        assert main(["doctor", "--probe", "--base-url", url]) == code
    told = json.dumps(found) + capsys.readouterr().out
    assert not [mine for mine in MINE if mine in told.replace(url, "")]
    assert found["answers"][0]["headers"]["x-ratelimit-limit"] == "60"
    assert found["answers"][0]["headers"]["ratelimit-policy"] == "present"
    assert "x-account" in found["answers"][0]["other_headers"]


@pytest.mark.parametrize("body", [{"id": "550e8400"}, {"data": {"task_id": 17}}])
def test_a_task_that_was_made_all_the_same_is_told_loudly_and_no_other_is_tried(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, body: Json
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    with answering(201, body, {}) as (url, asked):
        code = main(["doctor", "--probe", "--base-url", url])
    told = capsys.readouterr()
    assert code == EXIT_CODES["submission_unconfirmed"]
    assert told.out.startswith("WARNING: RunAPI made a task")
    assert "WARNING" in told.err
    assert f"Its id is {body.get('id', 17)}." in told.err
    posts = [json.loads(content) for method, content in asked if method == "POST"]
    assert posts == [{"model": "luma-modify-video"}]


def test_no_question_holds_what_a_task_could_be_made_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    with answering(400, {"error": "no"}, {}) as (url, asked):
        report(capsys, "--base-url", url)
    posts = [json.loads(content) for method, content in asked if method == "POST"]
    assert posts == [{"model": "luma-modify-video"}, {"model": "luma-modify-video", "watermark": True}]


def test_a_task_named_by_an_error_counts_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    with answering(422, {"error": "no"}, {"X-RunAPI-Task-Id": "550e8400"}) as (url, _):
        assert report(capsys, "--base-url", url)[1]["made_a_task"]
