"""Where settings come from, beside flags: the environment, a developer's `.env`, RunAPI's own file."""

import errno
import json
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from luma_mcp.setting_values import is_meant, leads_to_loopback
from luma_mcp.untrusted import is_object

PREFIX = "LUMA_MCP_"
PROJECT_FILE = ".env"
KEY_VARIABLE = "RUNAPI_API_KEY"
BASE_URL_VARIABLE = "RUNAPI_BASE_URL"
TOKENS_FIELD = "auth_tokens"

logger = logging.getLogger(__name__)


class Meant(PydanticBaseSettingsSource):
    """A source without empty values and unexpanded placeholders, so that the next source counts for them."""

    def __init__(self, settings_cls: type[BaseSettings], inner: PydanticBaseSettingsSource | None = None) -> None:
        super().__init__(settings_cls)
        self._inner = inner

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Values come all at once, from `__call__`."""
        raise NotImplementedError

    def values(self) -> Mapping[str, Any]:
        """Read the source."""
        return self._inner() if self._inner else {}

    def __call__(self) -> dict[str, Any]:
        """Give what was meant."""
        return {name: value for name, value in self.values().items() if is_meant(value) or is_lock(name, value)}


def is_lock(name: str, value: object) -> bool:
    """Tell whether leaving a value out would open a door: then it is better refused than ignored."""
    return name.lower().endswith(TOKENS_FIELD) and isinstance(value, str) and bool(value.strip())


class ProjectFile(Meant):
    """The `.env` of the working directory: it may bring key and address, but not send another key elsewhere."""

    def __init__(self, settings_cls: type[BaseSettings], inner: PydanticBaseSettingsSource, environment: Meant) -> None:
        super().__init__(settings_cls, inner)
        self._environment = environment

    def values(self) -> Mapping[str, Any]:
        """Drop a `RUNAPI_BASE_URL` that would redirect a key from the environment or from RunAPI's own file."""
        found = {name: self._as_written(name, value) for name, value in super().values().items()}
        own_key = is_meant(found.get(KEY_VARIABLE, "")) and KEY_VARIABLE not in self._environment()
        address = found.get(BASE_URL_VARIABLE, "")
        if is_meant(address) and not own_key and not leads_to_loopback(address):
            logger.warning("%s in .env is ignored, because the key comes from elsewhere", BASE_URL_VARIABLE)
            del found[BASE_URL_VARIABLE]
        return found

    def _as_written(self, name: str, value: Any) -> Any:
        """Give key and address as the file has them: filled in, they could carry other secrets to another host."""
        if name not in (KEY_VARIABLE, BASE_URL_VARIABLE):
            return value
        written = dotenv_values(PROJECT_FILE, interpolate=False, encoding="utf-8-sig")
        return next((text for known, text in written.items() if known.upper() == name), "")


class RunAPIFile(Meant):
    """RunAPI's own configuration file, for key and address only (contract 7.2)."""

    def values(self) -> Mapping[str, Any]:
        """Read the file if it is there and is JSON."""
        try:
            content: object = json.loads(runapi_text())
        except (OSError, ValueError, RecursionError):
            return {}
        known = content if is_object(content) else {}
        found = {
            KEY_VARIABLE: known.get("api_key") or known.get("apiKey"),
            BASE_URL_VARIABLE: known.get("base_url") or known.get("baseUrl"),
        }
        return {name: value for name, value in found.items() if isinstance(value, str)}


def runapi_file() -> Path:
    """Find RunAPI's configuration file where its own tools keep it."""
    if own := os.environ.get("RUNAPI_CONFIG_DIR"):
        return Path(own) / "config.json"
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "runapi" / "config.json"


def runapi_text() -> str:
    """Read RunAPI's configuration file; raise `OSError` if there is none, or something that one could wait for."""
    path = runapi_file()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    return path.read_text(encoding="utf-8-sig")


def named_folder(variable: str, default: Path) -> Path:
    """Give the folder that a variable of the environment names, else the default."""
    value = os.environ.get(variable, "").strip() if variable else ""
    return Path(os.path.expanduser(value)) if value else default


def set_variables(known: Collection[str]) -> dict[str, str]:
    """Give the variables of the environment that are ours, or look as if they were meant to be."""
    return {name: value for name, value in os.environ.items() if name in known or name.upper().startswith(PREFIX)}


def fault_of_runapi_file() -> str:
    """Say why RunAPI's own file is there and cannot be read; empty if it can, or is not there."""
    try:
        json.loads(runapi_text())
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{runapi_file()} cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return f"{runapi_file()} is not JSON"
    return ""
