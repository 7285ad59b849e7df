"""Logs are lines of this program, without secrets."""

import logging
import sys
from pathlib import Path

import pytest

from luma_mcp.cli.logs import MAX_LINE_LENGTH, RedactingFormatter, configure_logging, log_charges
from luma_mcp.core.settings import load_settings
from tests.support.http_server import METRICS_TOKEN, PAIRS, TOKENS
from tests.support.rig import KEY
from tests.support.runapi_keys import NEW_KEY, OLD_KEY, write_key
from tests.support.terminals import ODD, steers


def test_tokens_do_not_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    formatter = RedactingFormatter(load_settings(auth_tokens=PAIRS))
    record = logging.makeLogRecord({"msg": "heard %s", "args": (TOKENS["bob"],)})
    assert formatter.format(record).endswith("heard [secret]")


def test_a_message_cannot_pass_for_another_line(home: Path) -> None:
    formatter = RedactingFormatter(load_settings())
    record = logging.makeLogRecord({"msg": "asked for %s", "args": ("x\n2026 INFO luma_mcp: forged\x1b[31m\u2028",)})
    assert formatter.format(record).endswith(r"asked for x\n2026 INFO luma_mcp: forged\x1b[31m\u2028")
    assert len(formatter.format(logging.makeLogRecord({"msg": "x" * 100_000}))) < 5000


def test_only_this_server_logs_more_than_what_is_bad() -> None:
    configure_logging(load_settings(log_level="DEBUG"))
    assert logging.getLogger("luma_mcp.access").isEnabledFor(logging.DEBUG)
    for name in ("sse_starlette.sse", "mcp.server.sse", "httpx", "uvicorn.error", "asyncio"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_a_server_logs_charges_whatever_else_it_logs_and_a_command_does_not() -> None:
    for level in ("ERROR", "DEBUG"):
        configure_logging(load_settings(log_level=level))
        assert not logging.getLogger("luma_mcp.audit").isEnabledFor(logging.INFO)
        log_charges()
        assert logging.getLogger("luma_mcp.audit").isEnabledFor(logging.INFO)


def test_logs_show_no_secret_wherever_it_came_from() -> None:
    settings = load_settings(api_key=KEY, auth_tokens="ann:t0ken-0123456789", metrics_token=METRICS_TOKEN)
    record = logging.LogRecord(
        "x", logging.ERROR, "f", 1, "%s t0ken-0123456789 ann:t0ken-0123456789 %s", (KEY, METRICS_TOKEN), None
    )
    line = RedactingFormatter(settings).format(record)
    assert KEY not in line
    assert "0123456789" not in line
    assert line.endswith("[secret] [secret] ann:[secret] [secret]")


def test_log_lines_are_lines_of_this_program_tracebacks_too() -> None:
    formatter = RedactingFormatter(load_settings())
    try:
        raise ValueError(f"{ODD}\n2026-11-29 INFO luma_mcp: forged" + "x" * 100_000)
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "went wrong %s", (ODD,), sys.exc_info())
    first, *others = formatter.format(record).split("\n")
    assert not steers(first + "".join(others))
    assert others[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") and len(line) <= MAX_LINE_LENGTH + 3 for line in others)


def test_a_key_that_came_while_the_server_ran_is_as_secret_as_the_first(home: Path) -> None:
    write_key(home, OLD_KEY)
    settings = load_settings()
    formatter = RedactingFormatter(settings)
    write_key(home, NEW_KEY)
    settings.reload_key()
    line = formatter.format(logging.makeLogRecord({"msg": "old %s, new %s", "args": (OLD_KEY, NEW_KEY)}))
    assert line.endswith("old [secret], new [secret]")
