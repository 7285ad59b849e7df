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
LONGEST_LINE = 4000


def configure_logging(settings: Settings) -> None:
    """Log to stderr, without secrets; other libraries log addresses, headers and messages, and say only what is bad."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting(settings))
    others = logging.ERROR if settings.log_level == "ERROR" else logging.WARNING
    logging.basicConfig(level=others, handlers=[handler], force=True)
    logging.getLogger("luma_mcp").setLevel(settings.log_level)
    for name, level in SILENT.items():
        logging.getLogger(name).setLevel(level)


class Redacting(logging.Formatter):
    """Writes each message as one line, with every secret that the settings hold replaced, wherever it came from."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        secrets = (settings.api_key, *(token for _, token in settings.tokens))
        self._secrets = [secret.get_secret_value() for secret in secrets if secret]

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format a message so that nothing in it passes for another line."""
        return bounded(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """Format a traceback so that nothing in it passes for a message."""
        return "\n".join(f"  {bounded(line)}" for line in super().formatException(ei).split("\n"))

    def format(self, record: logging.LogRecord) -> str:
        """Format a record without secrets."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "[secret]")
        return line


def bounded(line: str) -> str:
    """Make a line fit for a log."""
    shown = printable(line[: LONGEST_LINE + 1])
    return shown if len(shown) <= LONGEST_LINE else f"{shown[:LONGEST_LINE]}…"
