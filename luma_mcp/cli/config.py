"""The command that adds this server to a host: shows what goes into its file, puts it there, or removes it."""

import difflib
import stat
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luma_mcp.cli.console import EXIT_CODES, print_json, print_message, print_result
from luma_mcp.cli.host_table import format_hosts
from luma_mcp.cli.setting_flags import flag_name
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import PRICE_USD
from luma_mcp.core.settings import Settings, key_sources, load_settings, variable_name
from luma_mcp.core.settings_sources import FILE_FIELD, KEY_VARIABLE, BadSetting, runapi_file_path
from luma_mcp.core.text import child
from luma_mcp.hosts import formats
from luma_mcp.hosts.config_file import HostFile, HostFileUnusable, read_file, replace_file
from luma_mcp.hosts.entries import (
    EntryOptions,
    config_command,
    find_launch_command,
    format_setting,
    merged_entry_changes,
    new_entry_changes,
    quote_command,
    save_command,
    typed_command,
)
from luma_mcp.hosts.existing import ExistingEntry, address_of, find_entry_name, find_existing, read_servers
from luma_mcp.hosts.formats import FileFormat, KeyPath
from luma_mcp.hosts.http_entries import TOKEN_PLACEHOLDER, http_entry_changes, new_http_entry, server_endpoint
from luma_mcp.hosts.registry import ENTRY_NAME, Host, all_hosts, pasted_hosts
from luma_mcp.transports.auth import ensure_local_token

IN_SANDBOX = (
    "This entry of {title} uses the sandbox: nothing is charged, and results are stand-ins. When you have a key"
    " ({login}), make it real: {real}"
)
WAS_IN_SANDBOX = f"{{title}} used the sandbox until now. From now on each finished video costs {PRICE_USD:.2f} USD."
FOUND = "No key is needed in the entry: the server reads the RunAPI key in {key_file}."
KEPT = "The RunAPI key in the entry was kept, and is the one that counts."
NO_KEY = "There is no RunAPI key yet. Get one, for all hosts at once: {login}"
NOT_REACHED = (
    f"The key in {KEY_VARIABLE} of this shell does not reach {{title}}. Keep it where every host's server reads it:"
    " {login} --with-key"
)
READS_MORE = "{title} reads more forms than this program, so the file may be fine. Let {title} do it: {command}"
SHOWN = "Nothing was changed. This shows what belongs there: {command}"
BY_HAND = "Nothing was changed. Mend the file first, or take the entry out by hand."
SERVED = "It connects to {url}. Start the server there yourself: {command}"
PUT_TOKEN = (
    f'Put a token of LUMA_MCP_AUTH_TOKENS, without the name before it, in place of "{TOKEN_PLACEHOLDER}" in {{file}}.'
)
OPEN_FILE = "Other users of this machine may read {file}, and now the token in it: close it to them (chmod 600)."
NOT_OURS = (
    "Its entry {name!r} connects to {url}, which may be another server. If it is yours, say so: --transport http"
    " --public-url ADDRESS, without the /mcp at its end."
)
ADDRESS_FLAGS = frozenset({"host", "port", "public_url"})
FORM_NAMES: Mapping[FileFormat, str] = {"json": "JSON", "jsonc": "JSON", "toml": "TOML", "yaml": "YAML"}
SHARED_FLAGS = frozenset({"transport", "data_dir", "env_file"})
NEEDS_TRANSPORT = "needs --transport http beside it"
OF_SERVER = "is for the server, which --transport http has you start yourself: give it there"
OF_ENTRY = "goes with --write: --remove takes the whole entry out"


class UnknownHost(LumaError):
    """No host of that name is known."""

    code = "invalid_request"

    def __init__(self, message: str, known: Iterable[str]) -> None:
        super().__init__(message, hint=f"Hosts: {', '.join(known)}. Most others take the same as claude-desktop.")


@dataclass(frozen=True, slots=True)
class ConfigRequest:
    """Which host's file is meant, and what its entry is to say."""

    host: Host
    named_file: Path | None  # as it was typed
    settings: Settings
    flags: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """Give the file that is meant."""
        return self.named_file or self.host.config_path()

    @property
    def place(self) -> str:
        """Name where the entry belongs: a file, or a page of the host's settings."""
        return self.host.page or str(self.path)

    @property
    def wish(self) -> EntryOptions:
        """Give what the entry is to say: the settings given now, and how the host passes on a key of its environment.

        A key that every server of this user finds in a file needs no way.
        """
        needs_way = "sandbox" not in self.flags and self.key_file is None
        has_key = "environment" in key_sources(self.settings.env_file)
        key = self.host.key if needs_way and has_key else ""
        return EntryOptions(find_launch_command(), self.given_settings, key)

    @property
    def given_settings(self) -> dict[str, str]:
        """Give the settings given as flags, by variable."""
        fields = Settings.model_fields
        return {variable_name(fields[name], name): format_setting(getattr(self.settings, name)) for name in self.flags}

    @property
    def key_file(self) -> Path | None:
        """Find the file that gives every server of this user, or the one of this entry, a key; None for none."""
        sources = key_sources(self.settings.env_file)
        if FILE_FIELD in self.flags and "env_file" in sources:
            return self.settings.env_file
        return runapi_file_path() if "file" in sources else None

    def command(self, wish: EntryOptions, *words: str) -> str:
        """Give our command for this host and file, with the settings of an entry."""
        file = ["--file", str(self.named_file)] if self.named_file else []
        return config_command(self.host, wish, *file, *words)


def run_config(flags: Mapping[str, Any], for_host: str, file: Path | None, *, write: bool, remove: bool = False) -> int:
    """Show the entry for a host, write it into the host's file or take it out; without a host, list the hosts."""
    settings = load_settings(**flags)
    check_flags(flags, remove=remove)
    way_on = ""
    try:
        if not for_host and (write or remove):
            raise UnknownHost(f"{'--write' if write else '--remove'} needs the name of a host.", known_hosts())
        if not for_host:
            list_hosts()
            return 0
        request = ConfigRequest(find_host(for_host), file, settings, flags)
        way_on = BY_HAND if remove else SHOWN.format(command=request.command(request.wish))
        configure(request, write=write, remove=remove)
    except (HostFileUnusable, UnknownHost) as error:
        print_message(error.message)
        for line in (error.hint or way_on).splitlines():
            print_message(line)
        return EXIT_CODES[error.code]
    return 0


def check_flags(flags: Mapping[str, Any], *, remove: bool) -> None:
    """Raise `BadSetting` for flags that would not get into the entry."""
    over_http = flags.get("transport", "stdio") != "stdio"
    for_program = flags.keys() - ADDRESS_FLAGS - SHARED_FLAGS
    if remove and for_program:
        raise BadSetting(flag_name(min(for_program)), OF_ENTRY)
    for name in sorted(for_program if over_http else flags.keys() & ADDRESS_FLAGS):
        raise BadSetting(flag_name(name), OF_SERVER if over_http else NEEDS_TRANSPORT)


def list_hosts() -> None:
    print_result(format_hosts([*all_hosts().values()]))
    print_message(f"To set one up: {typed_command('config', 'HOST', '--write')}")
    print_message("Without --write it shows the host's file and what goes there; --remove removes it.")


def configure(request: ConfigRequest, *, write: bool, remove: bool) -> None:
    if request.host.page and (write or remove) and not request.named_file:
        raise HostFileUnusable(
            f"{request.host.title} has no file that other programs may write: its servers are at {request.host.page}.",
            hint=f"This shows what to paste there: {request.command(request.wish)}",
        )
    if remove:
        remove_entry(request)
    elif request.settings.serves_http and "transport" in request.flags:
        configure_http(request, write=write)
    else:
        configure_start(request, write=write)


def configure_start(request: ConfigRequest, *, write: bool) -> None:
    name, there = write_entry(request) if write else (ENTRY_NAME, None)
    if not write:
        preview(request, new_entry_changes(request.host, request.wish))
    if there and there.uses_sandbox and not request.wish.uses_sandbox:
        print_message(WAS_IN_SANDBOX.format(title=request.host.title))
    print_message(key_note(request, there))
    tell_next_step(request.host, name)


def tell_next_step(host: Host, name: str = ENTRY_NAME) -> None:
    """Say how the host takes up an entry of a name."""
    if host.next_step_note:
        print_message(host.next_step_note.format(title=host.title, name=name))


def key_note(request: ConfigRequest, there: ExistingEntry | None) -> str:
    """Say that an entry uses the sandbox, or where its server will find a key; `there` is the entry of before."""
    host, login = request.host, typed_command("login")
    if request.wish.uses_sandbox:
        real = request.command(request.wish.for_real(), *([] if host.page else ["--write"]))
        return IN_SANDBOX.format(title=host.title, login=login, real=real)
    if there and KEY_VARIABLE in there.env and there.has_own_key:
        return KEPT
    if request.key_file:
        return FOUND.format(key_file=request.key_file)
    if "environment" not in key_sources(request.settings.env_file):
        return NO_KEY.format(login=login)
    note = host.key_note if host.key or host.key_from_shell else NOT_REACHED
    return note.format(title=host.title, file=request.place, login=login)


def configure_http(request: ConfigRequest, *, write: bool) -> None:
    host = request.host
    target = server_endpoint(request.settings, token_of(request.settings))
    if write:
        document, old = read_document(request)
        with naming_file(request.path):
            wanted = http_entry_changes(host, document, target)
        write_changes(request, old, wanted)
    else:
        preview(request, {(*host.servers, ENTRY_NAME): new_http_entry(host, target)})
    wish = EntryOptions(find_launch_command(), request.given_settings)
    print_message(SERVED.format(url=target.url, command=typed_command(*wish.flags)))
    if target.token == TOKEN_PLACEHOLDER:
        print_message(PUT_TOKEN.format(file=request.place))
    if write and target.token and is_open_to_others(request.path):
        print_message(OPEN_FILE.format(file=request.path))
    tell_next_step(host)


def is_open_to_others(path: Path) -> bool:
    """Tell whether other users may read a file; Windows closes a user's folders to them."""
    return sys.platform != "win32" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def token_of(settings: Settings) -> str:
    """Give the token that a host is to show, empty where none is needed, or it gets one by itself."""
    if settings.auth_tokens is None and not settings.names_callers:
        return ensure_local_token(settings.data_dir).get_secret_value()
    return TOKEN_PLACEHOLDER if settings.callers or settings.auth_tokens_file else ""


def preview(request: ConfigRequest, changes: Mapping[KeyPath, object]) -> None:
    if request.host.page:
        print_message(f"Paste this at {request.host.page}:")
    else:
        wish = EntryOptions(find_launch_command(), request.given_settings)
        print_message(f"Put this into {request.path}, beside what is there; or run: {request.command(wish, '--write')}")
    print_json(formats.changed(request.host.file_format, "", changes).rstrip())


def known_hosts() -> dict[str, Host]:
    return {**all_hosts(), **pasted_hosts()}


def find_host(name: str) -> Host:
    """Find a host by one of its names or its title, whatever its case, blanks and hyphens; raise `UnknownHost`."""
    hosts = known_hosts()
    plain = {simplified(word): host for host in hosts.values() for word in (host.name, host.title, *host.aliases)}
    if host := plain.get(simplified(name)):
        return host
    near = difflib.get_close_matches(simplified(name), plain, 1)
    guess = f" Did you mean {plain[near[0]].name}?" if near else ""
    raise UnknownHost(f"There is no host {name[:60]!r}.{guess}", hosts)


def simplified(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def write_entry(request: ConfigRequest) -> tuple[str, ExistingEntry | None]:
    """Write the entry; give its name, and the one that was there. Raises `HostFileUnusable`, the file unchanged."""
    host = request.host
    document, old = read_document(request, save_command(host, request.wish), key_note(request, None))
    name = find_entry_name(read_servers(host, document))
    with naming_file(request.path):
        wanted = merged_entry_changes(host, document, request.wish)
    write_changes(request, old, wanted, name)
    return name, next((one for one in find_existing(host, document) if one.name == name), None)


def remove_entry(request: ConfigRequest) -> None:
    """Take the entries of this server out of a file, and nothing else; raise `HostFileUnusable` for one unchanged."""
    host = request.host
    own = quote_command([*host.remove_command, ENTRY_NAME]) if host.remove_command else ""
    document, old = read_document(request, own)
    known = server_endpoint(request.settings, "").url if request.settings.serves_http else ""
    names = [one.name for one in find_existing(host, document, known)]
    if not names:
        print_message(f"{request.path} holds no entry of this server; nothing was changed.")
        if url := address_of(child(read_servers(host, document), ENTRY_NAME)):
            print_message(NOT_OURS.format(name=ENTRY_NAME, url=url))
        return
    try:
        text = formats.without(host.file_format, old.text, [(*host.servers, name) for name in names])
    except ValueError as error:
        raise HostFileUnusable(f"{request.path} cannot be changed: {error}.") from error
    backup = replace_file(old, text)
    print_result(str(old.path))
    listed = " and ".join(map(repr, names))
    print_message(f"Removed {listed} from {host.title}. Backup: {backup}")


def read_document(request: ConfigRequest, own_command: str = "", note: str = "") -> tuple[dict[str, Any], HostFile]:
    """Read the file; where it cannot be read, name the host's own command that would do what was asked for."""
    host, old = request.host, read_file(request.path)
    try:
        return formats.parse_document(host.file_format, old.text), old
    except ValueError as error:
        hint = f"{READS_MORE.format(title=host.title, command=own_command)}\n{note}" if own_command else ""
        raise HostFileUnusable(
            f"{request.path} is not {FORM_NAMES[host.file_format]} that can be read here: {error}.", hint=hint
        ) from error


@contextmanager
def naming_file(path: Path) -> Generator[None]:
    """Name the file in what is said of an entry in it."""
    try:
        yield
    except HostFileUnusable as error:
        raise HostFileUnusable(f"{path}: {error.message}", hint=error.hint) from error


def write_changes(request: ConfigRequest, old: HostFile, wanted: dict[KeyPath, object], name: str = ENTRY_NAME) -> None:
    """Write changes and say so; raise `HostFileUnusable`, with the file unchanged."""
    if not wanted:
        print_message(f"{request.path} is as it should be; nothing was changed.")
        return
    try:
        text = formats.changed(request.host.file_format, old.text, wanted)
    except ValueError as error:
        raise HostFileUnusable(f"{request.path} cannot be changed: {error}.") from error
    backup = replace_file(old, text)
    print_result(str(old.path))
    print_message(f"Added to {request.host.title} as {name!r}." + (f" Backup: {backup}" if backup else ""))
