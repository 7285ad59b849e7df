"""Logging to stderr, without secrets."""

import logging
import re
import sys

from luma_mcp.settings import Settings

SILENT = {
    "mcp.server.sse": logging.CRITICAL,  # logs what clients send, and session ids, as errors
    "mcp.server.streamable_http_manager": logging.ERROR,  # logs session ids as warnings
}
LONGEST_LINE = 4000
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


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
        line = CONTROL.sub(lambda found: ascii(found.group())[1:-1], super().formatMessage(record))
        return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"

    def format(self, record: logging.LogRecord) -> str:
        """Format a record without secrets."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "[secret]")
        return line
