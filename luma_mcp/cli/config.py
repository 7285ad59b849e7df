"""The command that lets a host know this server: shows what belongs into the host's file, or puts it there."""

import difflib
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from luma_mcp.cli.console import EXIT_CODES, print_json, print_message, print_result
from luma_mcp.core.errors import LumaError
from luma_mcp.core.settings import Settings, key_sources, load_settings, variable_name
from luma_mcp.core.settings_sources import FILE_FIELD, KEY_VARIABLE, BadSetting, runapi_file_path
from luma_mcp.core.text import child
from luma_mcp.hosts import formats
from luma_mcp.hosts.config_file import HostFile, HostFileUnusable, read_file, replace_file
from luma_mcp.hosts.entries import (
    SANDBOX_VARIABLE,
    EntryOptions,
    find_entry_name,
    find_launch_command,
    format_setting,
    has_own_key,
    merged_entry_changes,
    new_entry_changes,
    read_servers,
    shell_command,
)
from luma_mcp.hosts.formats import FileFormat, KeyPath
from luma_mcp.hosts.http_entries import TOKEN_PLACEHOLDER, http_entry_changes, new_http_entry, server_endpoint
from luma_mcp.hosts.registry import ENTRY_NAME, Host, all_hosts
from luma_mcp.transports.auth import ensure_local_token

SANDBOXED = "It plays RunAPI: nothing is charged. When you have a key, run: {command} config {host} --write"
FOUND = "The RunAPI key is read from {key_file}."
KEPT = "The RunAPI key that is there was kept."
SERVED = "It connects to {url}: start the server there yourself, with {command} --transport http."
PUT_TOKEN = (
    f'Put a token of LUMA_MCP_AUTH_TOKENS, without the name before it, in place of "{TOKEN_PLACEHOLDER}" in {{file}}.'
)
OPEN_FILE = "Other users of this machine may read {file}, and now the token in it: close it to them (chmod 600)."
ADDRESS_FLAGS = frozenset({"host", "port", "public_url"})
FORM_NAMES: Mapping[FileFormat, str] = {"json": "JSON", "jsonc": "JSON", "toml": "TOML", "yaml": "YAML"}
SHARED_FLAGS = frozenset({"transport", "data_dir", "env_file"})
NEEDS_TRANSPORT = "needs --transport http beside it"
OF_SERVER = "is for the server, which --transport http has you start yourself: give it there"


class UnknownHost(LumaError):
    """No host of that name is known."""

    code = "invalid_request"

    def __init__(self, message: str, known: Iterable[str]) -> None:
        super().__init__(message, hint=f"Hosts: {', '.join(known)}. Most others take the same as claude-desktop.")


def run_config(flags: Mapping[str, Any], for_host: str, file: Path | None, *, write: bool) -> int:
    """Show the entry for a host, or write it into the host's file; without a host, list the hosts."""
    settings = load_settings(**flags)
    check_address_flags(flags)
    try:
        if not for_host and write:
            raise UnknownHost("--write needs the name of a host.", all_hosts())
        if not for_host:
            print_result("\n".join(f"{host.name:<16}{host.config_path()}" for host in all_hosts().values()))
            return 0
        host = find_host(for_host)
        path = file or host.config_path()
        if settings.serves_http and "transport" in flags:
            configure_http(host, path, settings, write=write)
        else:
            configure_start(host, path, settings, flags, write=write)
    except (HostFileUnusable, UnknownHost) as error:
        print_message(error.message)
        print_message(
            error.hint or "Nothing was changed. Without --write, this command shows what belongs into the file."
        )
        return EXIT_CODES[error.code]
    return 0


def check_address_flags(flags: Mapping[str, Any]) -> None:
    """Raise `BadSetting` for flags that would not get into the entry."""
    over_http = flags.get("transport", "stdio") != "stdio"
    unused = flags.keys() - ADDRESS_FLAGS - SHARED_FLAGS if over_http else flags.keys() & ADDRESS_FLAGS
    for name in sorted(unused):
        raise BadSetting(f"--{name.replace('_', '-')}", OF_SERVER if over_http else NEEDS_TRANSPORT)


def configure_start(host: Host, path: Path, settings: Settings, flags: Mapping[str, Any], *, write: bool) -> None:
    wish = entry_options(host, settings, flags)
    has_key = write and write_entry(host, path, wish)
    if not write:
        preview(host, path, new_entry_changes(host, wish))
    found = key_file(settings, flags)
    for line in remaining_steps(host, wish, has_key=has_key):
        print_message(line.format(title=host.title, file=path, command=shell_command(), host=host.name, key_file=found))


def configure_http(host: Host, path: Path, settings: Settings, *, write: bool) -> None:
    target = server_endpoint(settings, token_of(settings))
    if write:
        document, old = read_document(host, path)
        write_changes(host, path, old, http_entry_changes(host, document, target))
    else:
        preview(host, path, {(*host.servers, ENTRY_NAME): new_http_entry(host, target)})
    lines = [SERVED]
    if target.token == TOKEN_PLACEHOLDER:
        lines.append(PUT_TOKEN)
    if write and target.token and is_open_to_others(path):
        lines.append(OPEN_FILE)
    if host.next_step_note:
        lines.append(host.next_step_note)
    for line in lines:
        print_message(line.format(title=host.title, file=path, command=shell_command(), url=target.url))


def is_open_to_others(path: Path) -> bool:
    """Tell whether other users may read a file; Windows closes a user's folders to them."""
    return sys.platform != "win32" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def token_of(settings: Settings) -> str:
    """Give the token that a host is to show, empty where none is needed."""
    if settings.auth_tokens is None:
        return ensure_local_token(settings.data_dir).get_secret_value()
    return TOKEN_PLACEHOLDER if settings.callers else ""


def preview(host: Host, path: Path, changes: Mapping[KeyPath, object]) -> None:
    print_message(f"Put this into {path}, beside what is there (--write does it for you):")
    print_json(formats.changed(host.file_format, "", changes).rstrip())


def find_host(name: str) -> Host:
    """Find a host by name or title, whatever its case, blanks and hyphens; raise `UnknownHost`."""
    hosts = all_hosts()
    plain = {simplified(word): host for host in hosts.values() for word in (host.name, host.title)}
    if host := plain.get(simplified(name)):
        return host
    near = difflib.get_close_matches(simplified(name), plain, 1)
    guess = f" Did you mean {plain[near[0]].name}?" if near else ""
    raise UnknownHost(f"There is no host {name[:60]!r}.{guess}", hosts)


def simplified(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def entry_options(host: Host, settings: Settings, flags: Mapping[str, Any]) -> EntryOptions:
    """Collect what the entry sets: the settings given now, and a key unless there is one for all hosts."""
    fields = Settings.model_fields
    given = {variable_name(fields[name], name): format_setting(getattr(settings, name)) for name in flags}
    needs_key = "sandbox" not in flags and key_file(settings, flags) is None
    return EntryOptions(find_launch_command(), given, host.key if needs_key else "", needs_key)


def key_file(settings: Settings, flags: Mapping[str, Any]) -> Path | None:
    """Find the file that gives every server of this user, or the one of this entry, a key; None if there is none."""
    sources = key_sources(settings.env_file)
    if FILE_FIELD in flags and "env_file" in sources:
        return settings.env_file
    return runapi_file_path() if "file" in sources else None


def write_entry(host: Host, path: Path, wish: EntryOptions) -> bool:
    """Write the entry, and tell whether it held a key; raise `HostFileUnusable`, with the file unchanged."""
    document, old = read_document(host, path, wish.launch.command)
    name = find_entry_name(read_servers(host, document))
    env = child(child(read_servers(host, document), name), host.env_name)
    write_changes(host, path, old, merged_entry_changes(host, document, wish), name)
    return KEY_VARIABLE in env and has_own_key(host, env)


def read_document(host: Host, path: Path, command: str = "") -> tuple[dict[str, Any], HostFile]:
    old = read_file(path)
    try:
        return formats.parse_document(host.file_format, old.text), old
    except ValueError as error:
        raise HostFileUnusable(
            f"{path} is not {FORM_NAMES[host.file_format]} that can be read here: {error}.",
            hint=host.parse_failure_hint.format(command=command) if command else "",
        ) from error


def write_changes(host: Host, path: Path, old: HostFile, wanted: dict[KeyPath, object], name: str = ENTRY_NAME) -> None:
    """Write changes and say so; raise `HostFileUnusable`, with the file unchanged."""
    if not wanted:
        print_message(f"{path} is as it should be; nothing was changed.")
        return
    try:
        text = formats.changed(host.file_format, old.text, wanted)
    except ValueError as error:
        raise HostFileUnusable(f"{path} cannot be changed: {error}.") from error
    backup = replace_file(old, text)
    print_result(str(old.path))
    print_message(
        f"{host.title} knows this server now, as {name!r}." + (f" The file before: {backup}" if backup else "")
    )


def remaining_steps(host: Host, wish: EntryOptions, *, has_key: bool) -> list[str]:
    """List what is left for the person to do; the caller fills in the names in braces."""
    if SANDBOX_VARIABLE in wish.settings:
        return [SANDBOXED, host.next_step_note]
    if not wish.needs_key:
        return [FOUND, host.next_step_note]
    return [KEPT if has_key else host.key_note, host.next_step_note]
