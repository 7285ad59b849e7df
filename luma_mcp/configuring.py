"""The command that lets a host know this server: shows what belongs into the host's file, or puts it there."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from luma_mcp.console import EXIT_CODES, say, show, show_json
from luma_mcp.errors import LumaError
from luma_mcp.hosts import documents
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
from luma_mcp.hosts.files import HostFileUnusable, read_file, replace_file
from luma_mcp.hosts.known import Host, known_hosts
from luma_mcp.setting_sources import KEY_VARIABLE, runapi_file
from luma_mcp.settings import Settings, key_sources, load_settings, variable_of
from luma_mcp.untrusted import child

SANDBOXED = "It plays RunAPI: nothing is charged. When you have a key, run: {command} config {host} --write"
FOUND = "The RunAPI key is read from {key_file}."
KEPT = "The RunAPI key that is there was kept."


class UnknownHost(LumaError):
    """No host of that name is known."""

    code = "invalid_request"

    def __init__(self, message: str, known: Iterable[str]) -> None:
        super().__init__(message, hint=f"Hosts: {', '.join(known)}. Most others take the same as claude-desktop.")


def run_config(flags: Mapping[str, Any], for_host: str, file: Path | None, *, write: bool) -> int:
    """Show the entry for a host, or write it into the host's file; without a host, list the hosts."""
    settings = load_settings(**flags)
    try:
        if not for_host and write:
            raise UnknownHost("--write needs the name of a host.", known_hosts())
        if not for_host:
            show("\n".join(f"{host.name:<16}{host.file()}" for host in known_hosts().values()))
            return 0
        host = find_host(for_host)
        wish = wish_for(host, settings, flags)
        path = file or host.file()
        has_key = write and write_entry(host, path, wish)
        if not write:
            say(f"Put this into {path}, beside what is there (--write does it for you):")
            show_json(documents.changed(host.form, "", fresh(host, wish)).rstrip())
        for line in after(host, wish, has_key=has_key):
            say(line.format(title=host.title, file=path, command=own_command(), host=host.name, key_file=runapi_file()))
    except (HostFileUnusable, UnknownHost) as error:
        say(error.message)
        say(error.hint or "Nothing was changed. Without --write, this command shows what belongs into the file.")
        return EXIT_CODES[error.code]
    return 0


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
    needs_key = "sandbox" not in flags and "file" not in key_sources()
    return Wish(start_here(), given, host.key if needs_key else "", needs_key)


def write_entry(host: Host, path: Path, wish: Wish) -> bool:
    """Put the entry into a file, and tell whether it held a key; raise `HostFileUnusable` and leave it as it is."""
    old = read_file(path)
    try:
        document = documents.read(host.form, old.text)
    except ValueError as error:
        kind = host.form.removesuffix("c").upper()
        raise HostFileUnusable(
            f"{path} is not {kind} that can be read here: {error}.",
            hint=host.own_way.format(command=wish.start.command),
        ) from error
    name = name_in(servers_in(host, document))
    env = child(child(servers_in(host, document), name), host.env_name)
    has_key = KEY_VARIABLE in env and has_own_key(host, env)
    wanted = merged(host, document, wish)
    if not wanted:
        say(f"{path} is as it should be; nothing was changed.")
        return has_key
    try:
        text = documents.changed(host.form, old.text, wanted)
    except ValueError as error:
        raise HostFileUnusable(f"{path} cannot be changed: {error}.") from error
    backup = replace_file(old, text)
    show(str(old.path))
    say(f"{host.title} knows this server now, as {name!r}." + (f" The file before: {backup}" if backup else ""))
    return has_key


def after(host: Host, wish: Wish, *, has_key: bool) -> list[str]:
    """Say what is left for the person to do, with names in braces for what the caller fills in."""
    if SANDBOX_VARIABLE in wish.given:
        return [SANDBOXED, host.after]
    if not wish.needs_key:
        return [FOUND, host.after]
    return [KEPT if has_key else host.key_note, host.after]
