"""The command that lets a host know this server: shows what belongs into the host's file, or puts it there."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luma_mcp.console import EXIT_CODES, say, show
from luma_mcp.hosts import documents
from luma_mcp.hosts.entries import SANDBOX_VARIABLE, Wish, as_variable, fresh, merged, start_here
from luma_mcp.hosts.files import HostFileUnusable, read_file, replace_file
from luma_mcp.hosts.known import NAME, Host, known_hosts
from luma_mcp.setting_sources import runapi_file
from luma_mcp.settings import Settings, key_sources, load_settings, variable_of

SANDBOXED = "It plays RunAPI: nothing is charged. With a key, run this again without --sandbox."


def run_config(flags: Mapping[str, Any], for_host: str, file: Path | None, *, write: bool) -> int:
    """Show the entry for a host, or write it into the host's file; without a host, list the hosts."""
    settings = load_settings(**flags)
    try:
        if not for_host:
            show("\n".join(f"{host.name:<16}{host.file()}" for host in known_hosts().values()))
            return 0
        host = find_host(for_host)
        wish = wish_for(host, settings, flags)
        path = (file or host.file()).expanduser().absolute()
        if write:
            write_entry(host, path, wish)
        else:
            say(f"Put this into {path}, beside what is there (--write does it for you):")
            show(documents.changed(host.form, "", fresh(host, wish)).rstrip())
        for line in after(host, wish):
            say(line)
    except HostFileUnusable as error:
        say(error.message)
        say(error.hint or "Nothing was changed. Without --write, this command shows what belongs into the file.")
        return EXIT_CODES[error.code]
    return 0


def find_host(name: str) -> Host:
    """Find a host by its name, however it is written; raise `HostFileUnusable`, which lists the names."""
    hosts = known_hosts()
    plain = {simple(word): host for host in hosts.values() for word in (host.name, host.title)}
    if host := plain.get(simple(name)):
        return host
    near = difflib.get_close_matches(simple(name), plain, 1)
    guess = f" Did you mean {plain[near[0]].name}?" if near else ""
    raise HostFileUnusable(
        f"There is no host {name[:60]!r}.{guess}",
        hint=f"Hosts: {', '.join(hosts)}. Most others take the same as claude-desktop.",
    )


def simple(name: str) -> str:
    """Leave only what matters in a host's name."""
    return "".join(character for character in name.lower() if character.isalnum())


def wish_for(host: Host, settings: Settings, flags: Mapping[str, Any]) -> Wish:
    """Put together what the entry is to say: the settings given now, and a key unless there is one for all hosts."""
    fields = Settings.model_fields
    given = {variable_of(fields[name], name): as_variable(getattr(settings, name)) for name in flags}
    needs_key = not settings.sandbox and "file" not in key_sources()
    return Wish(start_here(), given, host.key if needs_key else "", needs_key)


def write_entry(host: Host, path: Path, wish: Wish) -> None:
    """Put the entry into a file; raise `HostFileUnusable`, and leave the file as it is then."""
    old = read_file(path)
    try:
        document = documents.read(host.form, old.text)
    except ValueError as error:
        raise HostFileUnusable(f"{path} is not valid {host.form.removesuffix('c').upper()}: {error}.") from error
    wanted = merged(host, document, wish)
    if not wanted:
        say(f"{path} is as it should be; nothing was changed.")
        return
    try:
        text = documents.changed(host.form, old.text, wanted)
    except ValueError as error:
        raise HostFileUnusable(f"{path} cannot be changed: {error}.") from error
    backup = replace_file(old, text)
    show(str(old.path))
    say(f"{host.title} knows the server {NAME!r} now." + (f" The file before: {backup}" if backup else ""))


def after(host: Host, wish: Wish) -> list[str]:
    """Say what is left for the person to do."""
    if SANDBOX_VARIABLE in wish.given:
        key = SANDBOXED
    else:
        key = host.key_note if wish.needs_key else f"The RunAPI key is read from {runapi_file()}."
    return [line.format(title=host.title) for line in (key, host.after)]
