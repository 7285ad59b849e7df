"""`luma-mcp login` and `logout`: RunAPI's own file gets a key without anybody editing it."""

import getpass
import sys
import webbrowser
from collections.abc import Callable, Mapping
from functools import partial

import anyio
import anyio.to_thread
from pydantic import SecretStr

from luma_mcp.app.parts import open_network
from luma_mcp.cli.console import print_message
from luma_mcp.cli.explanations import WrongArguments
from luma_mcp.core.concurrency import background_work
from luma_mcp.core.errors import InvalidApiKey, LumaError
from luma_mcp.core.runapi_file import check_runapi_file, remove_key, store_key
from luma_mcp.core.settings import USUAL_BASE_URL, Settings, key_sources
from luma_mcp.core.settings_sources import BadSetting, clean_key, is_filled_in, read_runapi_file, validate_key
from luma_mcp.runapi.client import RunAPI
from luma_mcp.runapi.login import PAGE_SECONDS, LoginFailed, NewKey
from luma_mcp.runapi.login_page import open_login
from luma_mcp.transports.shutdown import interrupt_on_signal

READ_BY = "which every host's server reads; one that runs without a key needs no restart"
KEPT = "A server that runs keeps the key until RunAPI refuses it or the server ends."
ENVIRONMENT = "RUNAPI_API_KEY is set in the environment and counts before the file: unset it to use the new key."
WAITING = "Waiting for your approval (Ctrl-C stops). To type a key instead: luma-mcp login --with-key"
NO_BROWSER = "No browser could be opened here, so open the page by hand."
NOT_STORED = "This key was not stored."
KEPT_KEY = " The one of before is still in place."
OpenPage = Callable[[str], bool]


def run_login(settings: Settings, *, with_key: bool, open_page: OpenPage = webbrowser.open) -> int:
    """Get a key by RunAPI's page, or take one, check it, and write RunAPI's own file."""
    if settings.sandbox:
        raise WrongArguments("The sandbox needs no key.", hint="Leave --sandbox out to log in to RunAPI.")
    check_runapi_file()
    anyio.run(partial(log_in_with_key, settings, read_key()) if with_key else partial(log_in, settings, open_page))
    if "environment" in key_sources():
        print_message(ENVIRONMENT)
    return 0


def run_logout(flags: Mapping[str, object]) -> int:
    """Take the key out of RunAPI's own file."""
    del flags
    path = remove_key()
    print_message(f"The key was removed from {path}. {KEPT}" if path else "There is no key in RunAPI's file.")
    if others := [source for source in key_sources() if source != "file"]:
        print_message(f"A key still comes from: {', '.join(others)}.")
    return 0


def read_key() -> SecretStr:
    """Read a key that is typed without being shown, or comes on stdin; raise `BadSetting` for what is none."""
    words = getpass.getpass("RunAPI key (it is not shown): ") if sys.stdin.isatty() else sys.stdin.readline()
    key = str(clean_key(words.strip()))
    try:
        if not is_filled_in(key):
            raise ValueError(key)
        return validate_key(SecretStr(key))
    except ValueError:
        raise BadSetting("--with-key", "needs a RunAPI key, typed or on stdin") from None


async def log_in_with_key(settings: Settings, key: SecretStr) -> None:
    """Store a key that RunAPI takes; one that it refuses, or that cannot be checked, is not stored."""
    try:
        async with interrupt_on_signal(tell_interrupted):
            balance = await check_key(settings, key)
    except LumaError:
        print_message(NOT_STORED + (KEPT_KEY if read_runapi_file().key else ""))
        raise
    tell_stored(settings, key, balance)


async def log_in(settings: Settings, open_page: OpenPage) -> None:
    """Store the key that RunAPI's page makes, then check it: it exists from the moment that it was asked for."""
    async with interrupt_on_signal(tell_interrupted):
        new = await ask_page(settings, open_page)
        who = f" of {new.email}" if new.email else ""
        path = store_key(new.key, settings.base_url, USUAL_BASE_URL)
        print_message(f"The key{who} is in {path}, {READ_BY}.")
        try:
            print_message(await check_key(settings, new.key))
        except InvalidApiKey:
            raise
        except LumaError as error:
            print_message(f"It could not be checked just now: {error.message}")


async def ask_page(settings: Settings, open_page: OpenPage) -> NewKey:
    """Have a person agree on RunAPI's page, and give the key; raise `LoginFailed` or another `LumaError`."""
    async with open_login(settings.base_url) as login, background_work() as group:
        print_message(f"Approve this login on RunAPI's page. It should show the code {login.display_code}:")
        print_message(login.url)
        print_message(WAITING)
        group.start_soon(open_browser, open_page, login.url)
        code = ""
        with anyio.move_on_after(PAGE_SECONDS):
            code = await login.code()
    if not code:
        raise LoginFailed(f"Nobody agreed on RunAPI's page in {PAGE_SECONDS / 60:.0f} minutes.")
    async with open_network(settings, no_clock, None) as network:
        return await login.key(network.clients, code)


async def open_browser(open_page: OpenPage, url: str) -> None:
    """Open a page, where there is a browser: a person can open it elsewhere too."""
    try:
        opened = await anyio.to_thread.run_sync(open_page, url, abandon_on_cancel=True)
    except (OSError, webbrowser.Error):
        opened = False
    if not opened:
        print_message(NO_BROWSER)


async def check_key(settings: Settings, key: SecretStr) -> str:
    """Ask for the balance with a key; give what to say of it, or raise a `LumaError`."""
    async with open_network(settings, no_clock, None) as network:
        balance = await RunAPI(network.clients, network.base_url, key).balance()
    return f"The key works. Balance: {balance.usd:.2f} USD."


def tell_stored(settings: Settings, key: SecretStr, balance: str) -> None:
    path = store_key(key, settings.base_url, USUAL_BASE_URL)
    print_message(f"The key is in {path}, {READ_BY}.")
    print_message(balance)


def tell_interrupted() -> None:
    print_message("Interrupted: no key was stored unless that was said above.")


def no_clock() -> float:
    return 0.0
