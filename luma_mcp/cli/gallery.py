"""`luma-mcp gallery`: all that was made, in the browser."""

import socket
import webbrowser
from functools import partial
from pathlib import Path

import anyio

from luma_mcp.cli.console import print_message
from luma_mcp.cli.login import OpenPage, open_browser
from luma_mcp.core.addresses import LOOPBACK
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.transports.local_gallery import serve_local_gallery

BEGIN = "The gallery{sandbox} opens in your browser, at an address that lets one browser in, once:"
RUNS = "It is there until you end it with Ctrl-C."
TEXT_BROWSERS = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})  # as Python knows them
ENDED = "The gallery has ended. Tasks go on, and files stay where they are."


def open_window(url: str) -> bool:
    """Open a page in a browser that has windows; one that takes over the terminal could not show it."""
    browser = webbrowser.get()
    return Path(browser.name).name not in TEXT_BROWSERS and browser.open(url)


def run_gallery(settings: Settings, *, listen: int, open_page: OpenPage = open_window) -> int:
    """Serve the gallery on loopback, and open it in the browser, until a signal comes."""
    try:
        listener = socket.create_server((LOOPBACK, listen))
    except OSError as error:
        raise BadSetting("--listen", f"port {listen} cannot be used: {error.strerror}") from error
    with listener:
        sandbox = " of the sandbox" if settings.sandbox else ""
        anyio.run(serve_local_gallery, settings, listener, partial(show_gallery, open_page, sandbox))
    print_message(ENDED)
    return 0


async def show_gallery(open_page: OpenPage, sandbox: str, url: str) -> None:
    print_message(BEGIN.format(sandbox=sandbox))
    print_message(url)
    print_message(RUNS)
    await open_browser(open_page, url)
