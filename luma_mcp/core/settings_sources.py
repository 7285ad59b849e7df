"""Where settings come from, beside flags: the environment, a file that was named, RunAPI's own file. Nothing else."""

import io
import json
import logging
import os
import sys
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from luma_mcp.core.settings_values import (
    BadSetting,
    absolute,
    api_origin,
    bare,
    bare_key,
    expanded,
    is_meant,
    usable_key,
)
from luma_mcp.core.small_files import OTHERS_WRITE, read_small
from luma_mcp.core.text import is_object

if sys.platform != "win32":
    import pwd

PREFIX = "LUMA_MCP_"
KEY_VARIABLE = "RUNAPI_API_KEY"
BASE_URL_VARIABLE = "RUNAPI_BASE_URL"
FILE_VARIABLE = "LUMA_MCP_ENV_FILE"
FILE_FIELD = "env_file"
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

    @cached_property
    def given(self) -> dict[str, Any]:
        """Give what was meant, by alias or field."""
        plain = {name: bare(value) for name, value in self.values().items()}
        return {name: value for name, value in plain.items() if is_meant(value) or is_lock(name, value)}

    def __call__(self) -> dict[str, Any]:
        """Give what was meant, as pydantic-settings asks for it."""
        return self.given


def is_lock(name: str, value: object) -> bool:
    """Tell whether leaving a value out would let in others than was meant: then it is better refused than ignored."""
    return name.lower().endswith(TOKENS_FIELD) and bool(value)


class Variables(Meant):
    """Settings by the names of their variables, in whatever case; `keys` tells what a variable sets."""

    def __init__(
        self, settings_cls: type[BaseSettings], keys: Mapping[str, str], variables: Mapping[str, str | None]
    ) -> None:
        super().__init__(settings_cls)
        self._keys = keys
        self._variables = variables

    def values(self) -> Mapping[str, Any]:
        """Pick the variables that set something."""
        found = {self._keys.get(name.upper(), ""): value for name, value in self._variables.items()}
        return {key: value for key, value in found.items() if key and value is not None}


def environment() -> Mapping[str, str]:
    """Give the variables of this process."""
    return os.environ


def file_named_by(sources: Sequence[Meant]) -> Path | None:
    """Find which file of variables the flags or the environment name; raise `BadSetting` for a relative path."""
    value = next((source.given[FILE_FIELD] for source in sources if FILE_FIELD in source.given), None)
    try:
        return None if value is None else absolute(Path(str(expanded(value))))
    except ValueError as error:
        raise BadSetting(FILE_VARIABLE, "accepts an absolute path") from error


def variables_in(path: Path | None) -> dict[str, str | None]:
    """Read a file of variables as it is written, nothing in it filled in, but for the name of another such file.

    Raises `BadSetting`.
    """
    if path is None:
        return {}
    try:
        text = read_small(path).decode("utf-8-sig")  # as Notepad saves it, too
    except UnicodeDecodeError as error:
        raise BadSetting(FILE_VARIABLE, f"{path} must be text in UTF-8; save it anew in that encoding") from error
    except (OSError, ValueError) as error:
        raise BadSetting(FILE_VARIABLE, f"{path} cannot be read: {reason(error)}") from error
    found = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if name.upper() != FILE_VARIABLE}


def reason(error: OSError | ValueError) -> str:
    """Say what the system has against a file."""
    return (isinstance(error, OSError) and error.strerror) or "it has no such name"


@dataclass(frozen=True, slots=True)
class Own:
    """What RunAPI's own file says: a key, and an address that counts for this key only; or why it does not count."""

    key: str = ""
    base_url: str = ""
    fault: str = ""


class RunAPIFile(Meant):
    """RunAPI's own configuration file, for key and address only (contract 7.2), where no other source has a key."""

    def __init__(self, settings_cls: type[BaseSettings], before: Sequence[Meant]) -> None:
        super().__init__(settings_cls)
        self._before = before

    def values(self) -> Mapping[str, Any]:
        """Give the key and its address, unless a key comes from elsewhere: it must not be sent where this file says."""
        own = read_runapi_file()
        counts = bool(own.key) and not self._is_given(KEY_VARIABLE, "api_key")
        if own.fault and not self._is_given(KEY_VARIABLE, "api_key"):
            logger.warning("%s, so nothing in it counts", own.fault)
        if own.base_url and not counts and not self._is_given(BASE_URL_VARIABLE, "base_url"):
            logger.warning("base_url in %s is ignored, because the key comes from elsewhere", runapi_file())
        return {KEY_VARIABLE: own.key, BASE_URL_VARIABLE: own.base_url} if counts else {}

    def _is_given(self, *names: str) -> bool:
        return any(name in source.given for source in self._before for name in names)


def read_runapi_file() -> Own:
    """Read RunAPI's own file; one that is not there says nothing, and one that is wrong anywhere does not count."""
    path = runapi_file()
    if path is None:
        return Own()
    try:
        return own_settings(json.loads(read_small(path, refused_bits=OTHERS_WRITE).decode("utf-8-sig")))
    except FileNotFoundError:
        return Own()
    except OSError as error:
        return Own(fault=f"{path} cannot be used: {error.strerror}")
    except (ValueError, RecursionError) as error:
        told = error.args[0] if isinstance(error, NotOurs) else "is not JSON"
        return Own(fault=f"{path} {told}")


class NotOurs(ValueError):
    """The file is JSON, but does not hold what it should."""


def own_settings(content: object) -> Own:
    """Take key and address out of the file's content; raise `NotOurs` for what cannot be used."""
    if not is_object(content):
        raise NotOurs("is JSON of another kind")
    key = content.get("api_key") or content.get("apiKey") or ""
    address = content.get("base_url") or content.get("baseUrl") or ""
    if not (isinstance(key, str) and isinstance(address, str)):
        raise NotOurs("holds something else than texts")
    key, address = (value if is_meant(value) else "" for value in (str(bare_key(key)), str(bare(address))))
    try:
        if key:
            usable_key(SecretStr(key))
    except ValueError as error:
        raise NotOurs("holds a key that cannot be one") from error
    try:
        return Own(key, api_origin(address) if address else "")
    except ValueError as error:
        raise NotOurs("holds an address that cannot be RunAPI's") from error


def runapi_file() -> Path | None:
    """Find RunAPI's configuration file where its own tools keep it; None for a user without a home folder."""
    if own := named_folder("RUNAPI_CONFIG_DIR"):
        return own / "config.json"
    home = home_folder()
    folder = named_folder("XDG_CONFIG_HOME") or (home / ".config" if home else None)
    return folder / "runapi" / "config.json" if folder else None


def home_folder() -> Path | None:
    """Find this user's home folder, None if there is none: a relative one would lead into the working directory."""
    return next((Path(place) for place in homes() if os.path.isabs(place)), None)


def homes() -> Generator[str]:
    """Name the places that may be the home folder, the one that counts first."""
    if sys.platform == "win32":
        yield os.path.expanduser("~")
    else:
        yield os.environ.get("HOME", "")
        with suppress(KeyError):  # a container's user may be only a number
            yield pwd.getpwuid(os.getuid()).pw_dir


def named_folder(variable: str) -> Path | None:
    """Give the folder that a variable of the environment names; relative ones lead somewhere else each time."""
    folder = os.path.expanduser(os.environ.get(variable, "").strip())
    return Path(folder) if os.path.isabs(folder) else None


def find_program(name: str) -> Path | None:
    """Find a program by its name, and never in the working directory: not every system leaves that out by itself."""
    endings = ["", *(os.environ.get("PATHEXT", ".EXE").split(os.pathsep) if sys.platform == "win32" else ())]
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder)]
    places = [Path(folder) / f"{name}{ending}" for folder in folders for ending in endings]
    return next((place for place in places if place.is_file() and os.access(place, os.X_OK)), None)


def set_variables(known: Collection[str]) -> dict[str, str]:
    """Give the variables of the environment that are ours, or look as if they were meant to be."""
    return {name: value for name, value in os.environ.items() if name in known or name.upper().startswith(PREFIX)}
