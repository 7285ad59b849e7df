"""Logging to stderr, without secrets."""

import logging
import sys
from typing import Any

from luma_mcp.cli.printable import printable
from luma_mcp.core.settings import Settings

SILENT = {
    "mcp.server.sse": logging.CRITICAL,  # logs what clients send, and session ids, as errors
    "mcp.server.streamable_http_manager": logging.ERROR,  # logs session ids as warnings
}
AUDIT = "luma_mcp.audit"
MAX_LINE_LENGTH = 4000


def configure_logging(settings: Settings) -> None:
    """Log to stderr without secrets; of other libraries, which log addresses and messages, only warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(settings))
    others = logging.ERROR if settings.log_level == "ERROR" else logging.WARNING
    logging.basicConfig(level=others, handlers=[handler], force=True)
    logging.getLogger("luma_mcp").setLevel(settings.log_level)
    for name, level in SILENT.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger(AUDIT).setLevel(logging.WARNING)  # a person who types a command sees what it cost anyway


def log_charges() -> None:
    """Log a line for each charge from now on, whatever else is logged: what a server does."""
    logging.getLogger(AUDIT).setLevel(logging.INFO)


class RedactingFormatter(logging.Formatter):
    """Writes each message as one line that nothing in it can break, with all secrets of the settings replaced.

    A key that came later is one of them.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._settings = settings

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escape_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"  {escape_line(line)}" for line in super().formatException(ei).split("\n"))

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for secret in self._settings.secrets:
            line = line.replace(secret.get_secret_value(), "[secret]")
        return line


def escape_line(line: str) -> str:
    shown = printable(line[: MAX_LINE_LENGTH + 1])
    return shown if len(shown) <= MAX_LINE_LENGTH else f"{shown[:MAX_LINE_LENGTH]}…"
