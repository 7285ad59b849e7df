"""`server.json`: how the MCP registry and its readers learn of this server (schema of 2025-12-11)."""

import json

from luma_mcp import __version__
from luma_mcp.core.text import Json
from luma_mcp.hosts.entries import DISTRIBUTION
from luma_mcp.release.inputs import environment_variables
from luma_mcp.server.server import TITLE, WEBSITE

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
NAME = "io.github.luma-mcp/luma-mcp"
PACKAGE = DISTRIBUTION
DESCRIPTION = "Modify existing videos with Luma at RunAPI: paid once, never lost, saved on your disk."
PORT_VARIABLE = "{LUMA_MCP_PORT}"
AUTHORIZATION: Json = {
    "name": "Authorization",
    "description": "Bearer and the token: what `luma-mcp token` prints on the server's machine, or one of those in"
    " LUMA_MCP_AUTH_TOKENS.",
    "isRequired": False,
    "isSecret": True,
    "placeholder": "Bearer <token>",
}
TRANSPORTS: tuple[Json, ...] = (
    {"type": "stdio"},
    {"type": "streamable-http", "url": f"http://127.0.0.1:{PORT_VARIABLE}/mcp", "headers": [AUTHORIZATION]},
    {"type": "sse", "url": f"http://127.0.0.1:{PORT_VARIABLE}/sse", "headers": [AUTHORIZATION]},
)


def server_json() -> Json:
    """Describe this server: one package, by each transport."""
    return {
        "$schema": SCHEMA,
        "name": NAME,
        "title": TITLE,
        "description": DESCRIPTION,
        "version": __version__,
        "websiteUrl": WEBSITE,
        "packages": [package(transport) for transport in TRANSPORTS],
    }


def package(transport: Json) -> Json:
    """Describe the package, started so that it speaks one transport."""
    variables = environment_variables()
    for variable in variables:
        if variable["name"] == "LUMA_MCP_TRANSPORT":
            variable["value"] = transport["type"]
    return {
        "registryType": "pypi",
        "identifier": PACKAGE,
        "version": __version__,
        "runtimeHint": "uvx",
        "transport": transport,
        "environmentVariables": variables,
    }


def as_text() -> str:
    """Write the file."""
    return json.dumps(server_json(), indent=2, ensure_ascii=False) + "\n"
