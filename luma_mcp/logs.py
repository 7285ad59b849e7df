"""Logging to stderr, without secrets."""

import logging
import sys

from luma_mcp.settings import Settings

QUIET = ("httpx", "httpcore", "httpx2", "httpcore2", "mcp", "uvicorn")  # they log addresses, headers and messages


def configure_logging(settings: Settings) -> None:
    """Log to stderr, without secrets; libraries that log addresses and headers stay quiet."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting(settings))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR if settings.log_level == "ERROR" else logging.WARNING)


class Redacting(logging.Formatter):
    """Writes log lines with every secret that the settings hold replaced, wherever it came from."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        secrets = (settings.api_key, *(token for _, token in settings.callers))
        self._secrets = [secret.get_secret_value() for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        """Format a record without secrets."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "[secret]")
        return line
