"""Files of hosts that know other servers already, and what came into them."""

from pathlib import Path
from typing import Any

from luma_mcp.core.text import Json
from luma_mcp.hosts import formats
from luma_mcp.hosts.registry import ENTRY_NAME, Host

STRICT = """{
    "theme": "dark",
    "mcpServers": {
        "files": {"command": "npx", "args": ["-y", "files"]}
    },
    "窗口": [1, 2]
}
"""
COMMENTED = """// kept by hand
{
  "theme": "dark", // the best
  "SERVERS": {
    /* first */
    "files": { "command": "npx", "args": ["-y", "files"], },
  },
  "last": [1, 2,],
}
"""
TOML = """# kept by hand
model = "x" # the best

[mcp_servers.files]
command = "npx"

[mcp_servers.files.env]
A = "1"

# about tools
[tools]
on = true
"""
YAML = """# kept by hand
model:
    name: 'x'   # the best
list:
-   a
- b

SERVERS:
    # first
    files:
        command: npx
        args: [ -y, "files" ]

# about tools
tools:
  on: yes
  text: |
    two
      lines
"""
OTHERS = {"json": STRICT, "jsonc": COMMENTED, "toml": TOML, "yaml": YAML}


def others(host: Host) -> str:
    """Give a file of a host that knows other servers."""
    text = OTHERS[host.file_format]
    if host.file_format in {"json", "toml"}:
        return text
    if len(host.servers) == 1:
        return text.replace("SERVERS", host.servers[0])
    return text.replace('"SERVERS": {', '"mcp": {"servers": {').replace('  },\n  "last', '  }},\n  "last')


def entry_in(host: Host, path: Path) -> Json:
    """Read the entry of this server out of a host's file."""
    return entry_in_text(host, path.read_text(encoding="utf-8"))


def entry_in_text(host: Host, text: str) -> Json:
    """Read the entry of this server out of a text."""
    found: Any = formats.parse_document(host.file_format, text)
    for name in (*host.servers, ENTRY_NAME):
        found = found[name]
    return dict(found)


def placed(host: Host, text: str | bytes) -> Path:
    """Put a file where a host keeps it."""
    path = host.config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.before-luma-*"))
