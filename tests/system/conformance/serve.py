"""Serves the conformance suite: the server over HTTP with a sandbox behind it, as it is or with the suite's fixtures.

Usage: python -m tests.system.conformance.serve [--plain] [--token FOLDER | --access-token FILE] PORT
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from mcp.server import Server

from luma_mcp.app.app import App
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.server.server import build_server
from luma_mcp.transports.auth import with_local_token
from luma_mcp.transports.http import serve_http
from tests.support.identity_provider import SUBJECT, Provider, serving
from tests.system.conformance.fixtures import with_fixtures

DAY_SECONDS = 86_400
HOST = "localhost"  # the suite's name for the server: it tries whether other names are refused


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true", help="without the suite's fixtures")
    parser.add_argument("--token", type=Path, metavar="FOLDER", help="ask for a token, and keep it in a folder")
    parser.add_argument(
        "--access-token", type=Path, metavar="FILE", help="take tokens of an issuer, and write one there"
    )
    parser.add_argument("port", type=int, help="the port to listen on")
    arguments = parser.parse_args()
    build: Callable[[App], Server[App]] = build_server if arguments.plain else with_fixtures
    with tempfile.TemporaryDirectory() as home:
        if arguments.access_token:
            anyio.run(serve_with_issuer, Path(home), arguments.port, arguments.access_token, build)
        else:
            settings = settings_for(Path(home), arguments.port, arguments.token)
            anyio.run(partial(serve_http, settings, print, build=build))


async def serve_with_issuer(home: Path, port: int, file: Path, build: Callable[[App], Server[App]]) -> None:
    """Serve whoever has an access token of an identity provider in this process, and write one into a file."""
    async with serving(Provider()) as provider:
        resource = f"http://{HOST}:{port}/mcp"
        oauth = {"oauth_issuer": provider.url, "oauth_audience": resource, "oauth_callers": f"sub:{SUBJECT}"}
        file.write_text(provider.token(aud=resource, exp=int(time.time()) + DAY_SECONDS))
        await serve_http(settings_for(home, port, None, auth_tokens=None, **oauth), print, build=build)


def settings_for(home: Path, port: int, token: Path | None, **more: Any) -> Settings:
    """Make settings that touch nothing but folders and a port."""
    given: dict[str, Any] = {"auth_tokens": None if token else "none", **more}
    settings = load_settings(
        sandbox=True,
        transport="http",
        host=HOST,
        port=port,
        data_dir=token or home / "data",
        output_dir=home / "out",
        **given,
    )
    return with_local_token(settings)


if __name__ == "__main__":
    main()
