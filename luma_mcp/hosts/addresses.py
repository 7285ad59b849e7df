"""The entry with which a host connects to a server that runs already, and what it changes in the host's file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.core.text import child, is_object
from luma_mcp.hosts.documents import Place
from luma_mcp.hosts.entries import REMOTE, servers_in
from luma_mcp.hosts.files import HostFileUnusable
from luma_mcp.hosts.known import NAME, Entry, Host

AUTHORIZATION = "Authorization"
TOKEN_PLACEHOLDER = "your token"  # noqa: S105 - stands where people put theirs
EVERYWHERE = frozenset({"0.0.0.0", "::", "[::]", ""})  # noqa: S104 - named to be told apart from real addresses
LOOPBACK = "127.0.0.1"
ONLY_PROGRAMS = (
    "{title} connects to no address with a header of its own from its file; without --transport http the entry starts"
    " a server."
)
NO_SSE = "{title} does not speak SSE: use --transport http."


@dataclass(frozen=True, slots=True)
class Names:
    """What a host calls the parts of such an entry, and what else stands in it; `sse` is None where that is no way."""

    url: str = "url"
    headers: str = "headers"
    more: Entry = field(default_factory=dict[str, Any])
    sse: Entry | None = field(default_factory=dict[str, Any])
    sse_url: str = "url"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a host is to connect to, and the token that it shows there, empty for none."""

    url: str
    token: str
    is_sse: bool


def names_of(host: Host) -> Names | None:
    """Tell what a host calls the parts of an entry with an address; None if it knows no such entries."""
    typed = Names(more={"type": "http"}, sse={"type": "sse"})
    goose = {
        "enabled": True,
        "type": "streamable_http",
        "name": NAME,
        "description": "Modify videos with Luma at RunAPI",
    }
    known = {
        "cursor": Names(),
        "lm-studio": Names(),
        "zed": Names(),
        "vscode": typed,
        "claude-code": typed,
        "windsurf": Names(url="serverUrl", sse_url="serverUrl"),
        "gemini-cli": Names(url="httpUrl"),
        "codex": Names(headers="http_headers", more={"startup_timeout_sec": 60, "tool_timeout_sec": 300}, sse=None),
        "openclaw": Names(more={"transport": "streamable-http", "requestTimeoutMs": 300_000}, sse={"transport": "sse"}),
        "hermes": Names(more={"timeout": 300, "connect_timeout": 60}, sse={"transport": "sse", "timeout": 300}),
        "goose": Names(url="uri", more={**goose, "timeout": 300}, sse=None),
    }
    return known.get(host.name)


def target_of(settings: Settings, token: str) -> Target:
    """Give the address of the server that these settings describe; raise `BadSetting` where its port is not known."""
    if not (settings.port or settings.public_url):
        raise BadSetting("LUMA_MCP_PORT", "must be the port that the server listens on, not any free one")
    host = LOOPBACK if settings.host in EVERYWHERE else settings.host
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    base = settings.public_url or f"http://{shown}:{settings.port}"
    is_sse = settings.transport == "sse"
    return Target(f"{base}/{'sse' if is_sse else 'mcp'}", token, is_sse)


def connecting(host: Host, target: Target) -> Entry:
    """Give the entry that connects a host; raise `BadSetting` for a host that cannot."""
    names = names_of(host)
    if names is None:
        raise BadSetting("--transport", ONLY_PROGRAMS.format(title=host.title))
    if target.is_sse and names.sse is None:
        raise BadSetting("--transport", NO_SSE.format(title=host.title))
    more = (names.sse if target.is_sse else names.more) or {}
    url = names.sse_url if target.is_sse else names.url
    header = {names.headers: {AUTHORIZATION: f"Bearer {target.token}"}} if target.token else {}
    return {**more, url: target.url, **header}


def connected(host: Host, document: Mapping[str, Any], target: Target) -> dict[Place, object]:
    """Give what has to be changed in a file; raise `HostFileUnusable` where the name stands for something else."""
    place, entry = (*host.servers, NAME), connecting(host, target)
    there = servers_in(host, document).get(NAME)
    if there is None:
        return {place: entry}
    if not is_object(there) or origin_of(there) != origin_of(entry):
        raise HostFileUnusable(
            f"There is an entry {NAME!r} already, which does not connect to {target.url}.",
            hint="Remove or rename it first.",
        )
    values = {key: value for key, value in entry.items() if not is_object(value) and there.get(key) != value}
    headers = {name: (key, value) for name, part in entry.items() if is_object(part) for key, value in part.items()}
    return {
        **{(*place, key): value for key, value in values.items()},
        **{
            (*place, name, key): value for name, (key, value) in headers.items() if child(there, name).get(key) != value
        },
    }


def origin_of(entry: Entry) -> tuple[str, str]:
    """Tell which server an entry connects to, empty for none."""
    url = next((entry[key] for key in REMOTE if isinstance(entry.get(key), str)), "")
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc.lower()
