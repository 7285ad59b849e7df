"""The command that lets a host know this server: shows what belongs into the host's file, or puts it there."""

import difflib
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from luma_mcp.cli.console import EXIT_CODES, say, show, show_json
from luma_mcp.core.errors import LumaError
from luma_mcp.core.settings import Settings, key_sources, load_settings, variable_of
from luma_mcp.core.settings_sources import FILE_FIELD, KEY_VARIABLE, runapi_file
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.core.text import child
from luma_mcp.hosts import documents
from luma_mcp.hosts.addresses import TOKEN_PLACEHOLDER, connected, connecting, target_of
from luma_mcp.hosts.documents import Place
from luma_mcp.hosts.entries import (
    SANDBOX_VARIABLE,
    Wish,
    as_variable,
    fresh,
    has_own_key,
    merged,
    name_in,
    own_command,
    servers_in,
    start_here,
)
from luma_mcp.hosts.files import HostFile, HostFileUnusable, read_file, replace_file
from luma_mcp.hosts.known import NAME, Host, known_hosts
from luma_mcp.transports.local_token import local_token

SANDBOXED = "It plays RunAPI: nothing is charged. When you have a key, run: {command} config {host} --write"
FOUND = "The RunAPI key is read from {key_file}."
KEPT = "The RunAPI key that is there was kept."
SERVED = "It connects to {url}: start the server there yourself, with {command} --transport http."
PUT_TOKEN = (
    f'Put a token of LUMA_MCP_AUTH_TOKENS, without the name before it, in place of "{TOKEN_PLACEHOLDER}" in {{file}}.'
)
OPEN_FILE = "Other users of this machine may read {file}, and now the token in it: close it to them (chmod 600)."
ADDRESS_FLAGS = frozenset({"host", "port", "public_url"})
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
            raise UnknownHost("--write needs the name of a host.", known_hosts())
        if not for_host:
            show("\n".join(f"{host.name:<16}{host.file()}" for host in known_hosts().values()))
            return 0
        host = find_host(for_host)
        path = file or host.file()
        if settings.serves_http and "transport" in flags:
            connect(host, path, settings, write=write)
        else:
            start(host, path, settings, flags, write=write)
    except (HostFileUnusable, UnknownHost) as error:
        say(error.message)
        say(error.hint or "Nothing was changed. Without --write, this command shows what belongs into the file.")
        return EXIT_CODES[error.code]
    return 0


def check_address_flags(flags: Mapping[str, Any]) -> None:
    """Raise `BadSetting` for flags of which an entry would take no notice."""
    over_http = flags.get("transport", "stdio") != "stdio"
    unused = flags.keys() - ADDRESS_FLAGS - SHARED_FLAGS if over_http else flags.keys() & ADDRESS_FLAGS
    for name in sorted(unused):
        raise BadSetting(f"--{name.replace('_', '-')}", OF_SERVER if over_http else NEEDS_TRANSPORT)


def start(host: Host, path: Path, settings: Settings, flags: Mapping[str, Any], *, write: bool) -> None:
    """Show or write the entry with which a host starts this server."""
    wish = wish_for(host, settings, flags)
    has_key = write and write_entry(host, path, wish)
    if not write:
        preview(host, path, fresh(host, wish))
    found = key_file(settings, flags)
    for line in after(host, wish, has_key=has_key):
        say(line.format(title=host.title, file=path, command=own_command(), host=host.name, key_file=found))


def connect(host: Host, path: Path, settings: Settings, *, write: bool) -> None:
    """Show or write the entry with which a host connects to a server that a person starts."""
    target = target_of(settings, token_of(settings))
    if write:
        document, old = document_in(host, path)
        put(host, path, old, connected(host, document, target))
    else:
        preview(host, path, {(*host.servers, NAME): connecting(host, target)})
    is_shown = write and target.token and is_open_to_others(path)
    for line in (SERVED, PUT_TOKEN * (target.token == TOKEN_PLACEHOLDER), OPEN_FILE * bool(is_shown), host.after):
        if line:
            say(line.format(title=host.title, file=path, command=own_command(), url=target.url))


def is_open_to_others(path: Path) -> bool:
    """Tell whether other users may read a file; Windows closes a user's folders to them."""
    return sys.platform != "win32" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def token_of(settings: Settings) -> str:
    """Give the token that a host is to show, empty where none is needed."""
    if settings.auth_tokens is None:
        return local_token(settings.data_dir).get_secret_value()
    return TOKEN_PLACEHOLDER if settings.callers else ""


def preview(host: Host, path: Path, changes: Mapping[Place, object]) -> None:
    """Show what belongs into a file."""
    say(f"Put this into {path}, beside what is there (--write does it for you):")
    show_json(documents.changed(host.form, "", changes).rstrip())


def find_host(name: str) -> Host:
    """Find a host by its name, however it is written; raise `UnknownHost`."""
    hosts = known_hosts()
    plain = {simple(word): host for host in hosts.values() for word in (host.name, host.title)}
    if host := plain.get(simple(name)):
        return host
    near = difflib.get_close_matches(simple(name), plain, 1)
    guess = f" Did you mean {plain[near[0]].name}?" if near else ""
    raise UnknownHost(f"There is no host {name[:60]!r}.{guess}", hosts)


def simple(name: str) -> str:
    """Leave only what matters in a host's name."""
    return "".join(character for character in name.lower() if character.isalnum())


def wish_for(host: Host, settings: Settings, flags: Mapping[str, Any]) -> Wish:
    """Put together what the entry is to say: the settings given now, and a key unless there is one for all hosts."""
    fields = Settings.model_fields
    given = {variable_of(fields[name], name): as_variable(getattr(settings, name)) for name in flags}
    needs_key = "sandbox" not in flags and key_file(settings, flags) is None
    return Wish(start_here(), given, host.key if needs_key else "", needs_key)


def key_file(settings: Settings, flags: Mapping[str, Any]) -> Path | None:
    """Find the file that gives every server of this user's a key, or the one of this entry; None if none does."""
    sources = key_sources(settings.env_file)
    if FILE_FIELD in flags and "env_file" in sources:
        return settings.env_file
    return runapi_file() if "file" in sources else None


def write_entry(host: Host, path: Path, wish: Wish) -> bool:
    """Put the entry into a file, and tell whether it held a key; raise `HostFileUnusable` and leave it as it is."""
    document, old = document_in(host, path, wish.start.command)
    name = name_in(servers_in(host, document))
    env = child(child(servers_in(host, document), name), host.env_name)
    put(host, path, old, merged(host, document, wish), name)
    return KEY_VARIABLE in env and has_own_key(host, env)


def document_in(host: Host, path: Path, command: str = "") -> tuple[dict[str, Any], HostFile]:
    """Read a host's file; raise `HostFileUnusable`."""
    old = read_file(path)
    try:
        return documents.read(host.form, old.text), old
    except ValueError as error:
        kind = host.form.removesuffix("c").upper()
        raise HostFileUnusable(
            f"{path} is not {kind} that can be read here: {error}.",
            hint=host.own_way.format(command=command) if command else "",
        ) from error


def put(host: Host, path: Path, old: HostFile, wanted: dict[Place, object], name: str = NAME) -> None:
    """Put changes into a file, and say so; raise `HostFileUnusable` and leave it as it is."""
    if not wanted:
        say(f"{path} is as it should be; nothing was changed.")
        return
    try:
        text = documents.changed(host.form, old.text, wanted)
    except ValueError as error:
        raise HostFileUnusable(f"{path} cannot be changed: {error}.") from error
    backup = replace_file(old, text)
    show(str(old.path))
    say(f"{host.title} knows this server now, as {name!r}." + (f" The file before: {backup}" if backup else ""))


def after(host: Host, wish: Wish, *, has_key: bool) -> list[str]:
    """Say what is left for the person to do, with names in braces for what the caller fills in."""
    if SANDBOX_VARIABLE in wish.given:
        return [SANDBOXED, host.after]
    if not wish.needs_key:
        return [FOUND, host.after]
    return [KEPT if has_key else host.key_note, host.after]
