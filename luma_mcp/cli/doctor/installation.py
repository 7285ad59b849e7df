"""What the doctor finds about the installation and its settings."""

import difflib
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version

from luma_mcp import __version__
from luma_mcp.cli.console import BAD_SETTING
from luma_mcp.cli.doctor.report import Finding, note, ok, problem
from luma_mcp.cli.explanations import PREVIEW_TOOL
from luma_mcp.core.errors import PreviewToolMissing, SpendingSwitchedOff
from luma_mcp.core.settings import Settings, key_sources, variable_name
from luma_mcp.core.settings_sources import (
    KEY_VARIABLE,
    BadSetting,
    is_filled_in,
    list_our_variables,
    read_runapi_file,
    runapi_file_path,
)
from luma_mcp.hosts.entries import shell_command
from luma_mcp.media.sheet_process import find_frame_reader
from luma_mcp.transports.auth import TOKEN_FILE, with_local_token
from luma_mcp.transports.http import missing_key_warning
from luma_mcp.transports.sockets import check_exposure

OLDEST_SDK = (2, 3)  # as pyproject.toml asks for, which a test compares
NEXT_SDK = (3,)  # the first that may be too new
GET_KEY = "Run `luma-mcp login`: every host's server then finds the key. Or try everything without one, with --sandbox."
OVER_HTTP = "See luma_mcp/transports/HTTP.md in the project's pages."
PAY_AGAIN = "If videos are to be made here, leave --no-spend out, or raise LUMA_MCP_DAILY_LIMIT."
OWN_FILE = 'It holds {"api_key": "…"}, and only you may write it (chmod 600).'


def check_versions() -> list[Finding]:
    sdk = version("mcp")
    system = f"{platform.system()} {platform.release()} {platform.machine()}"  # `platform()` runs a program for more
    found = f"runapi-luma-mcp {__version__}, Python {platform.python_version()}, MCP SDK {sdk}, {system}"
    fits = OLDEST_SDK <= tuple(int(part) for part in re.findall(r"\d+", sdk)[:2]) < NEXT_SDK
    return [
        ok("versions", found)
        if fits
        else problem(
            "versions",
            found,
            "Install this server anew in an environment of its own: it needs the MCP SDK from"
            f" {dotted(OLDEST_SDK)} on, and before {dotted(NEXT_SDK)}.",
        ),
        ok("command", f"hosts start this server with {shell_command()}"),
    ]


def check_previews() -> Finding:
    """Find what looks into finished videos: without it, everything else works."""
    found = find_frame_reader()
    if found:
        return ok("previews", f"frames of videos are read with {found}")
    return note("previews", PreviewToolMissing().message, PREVIEW_TOOL)


def dotted(numbers: Sequence[int]) -> str:
    return ".".join(map(str, numbers))


def check_variables() -> list[Finding]:
    """Find variables that have no effect: misspelt ones, and those that a host has left unexpanded."""
    known = {variable_name(field, name) for name, field in Settings.model_fields.items()}
    found: list[Finding] = []
    for name, value in sorted(list_our_variables(known).items()):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"Did you mean {near[0]}?" if near else "See the settings in README."
            found.append(note("settings", f"{name} is set, but there is no such setting.", meant))
        elif value.strip() and not is_filled_in(value):
            what = "to a placeholder that nobody filled in, so it counts as unset."
            found.append(note("settings", f"{name} is set {what}", "Give it a value, or remove it."))
    return found


def check_key(settings: Settings, brought_by: Sequence[str]) -> list[Finding]:
    """Tell where the key comes from, never what it is; `brought_by` are hosts whose entries bring one."""
    if settings.sandbox:
        return [ok("key", "none is needed: the sandbox simulates RunAPI, and nothing is charged")]
    sources, fault = key_sources(settings.env_file), read_runapi_file().fault
    if fault and not sources:
        return [problem("key", f"{fault}, so no key in it counts.", OWN_FILE, "missing_api_key")]
    if not sources and brought_by:
        hosts = " and ".join(brought_by)
        return [note("key", f"none found here; {hosts} have one of their own, or use the sandbox", GET_KEY)]
    if not sources:
        return [problem("key", "No RunAPI key is configured.", GET_KEY, "missing_api_key")]
    names = {
        "environment": f"the environment variable {KEY_VARIABLE}",
        "env_file": f"the file {settings.env_file}",
        "file": str(runapi_file_path()),
    }
    more = f" (not used: the one in {' and '.join(names[source] for source in sources[1:])})" if sources[1:] else ""
    found = ok("key", f"comes from {names[sources[0]]}{more}")
    return [found, note("RunAPI's own file", f"{fault}, so nothing in it counts.", OWN_FILE)] if fault else [found]


def check_settings(settings: Settings) -> list[Finding]:
    given = sorted(variable_name(Settings.model_fields[name], name) for name in settings.model_fields_set)
    found = [ok("settings", f"set: {', '.join(given)}" if given else "all as they are by default"), *check_variables()]
    if settings.never_pays:
        found.append(note("settings", SpendingSwitchedOff().message, PAY_AGAIN))
    if settings.serves_http and (risk := missing_key_warning(settings)):
        found.append(note("settings", risk, OVER_HTTP))
    return [*found, *check_tokens(settings)]


def check_tokens(settings: Settings) -> list[Finding]:
    try:
        if settings.serves_http:
            check_exposure(settings)
        if settings.serves_http and os.path.lexists(settings.data_dir / TOKEN_FILE):
            with_local_token(settings)
    except BadSetting as error:
        return [problem("token", error.message, OVER_HTTP, BAD_SETTING)]
    return []
