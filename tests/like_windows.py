"""luma-mcp as a process that has of its system only what Windows has, as far as that can be played on POSIX.

Gone are modules and functions that Windows lacks, event loops that take signals, renames over another file, and
whatever replaces or removes a file that this process has open. Time goes on 64 times a second. Ctrl-Break is SIGQUIT.
"""

import asyncio
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio._backends._asyncio
import httpcore
import mcp.server.stdio
import uvicorn.lifespan.off
import uvicorn.loops.asyncio

import luma_mcp.__main__
import luma_mcp.sandbox.serve

LATE = (
    luma_mcp.__main__,
    anyio._backends._asyncio,
    httpcore,
    uvicorn.lifespan.off,
    uvicorn.loops.asyncio,
    luma_mcp.sandbox.serve,
)
GONE = (
    *((os, name) for name in ("O_NOFOLLOW", "O_NONBLOCK", "fork", "geteuid", "getuid", "mkfifo", "openpty")),
    *((select, name) for name in ("poll", "epoll")),
    *((signal, name) for name in ("SIGQUIT", "SIGHUP", "SIGKILL", "SIGUSR1")),
)
CTRL_BREAK = signal.Signals(3)  # SIGQUIT, by a number because Windows has no such name
MODULES = ("fcntl", "termios", "resource", "pwd", "grp", "pty")


def become_windows() -> None:
    """Take away what Windows has not, once all that others import is there."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "luma_mcp"]:
        del sys.modules[name]
    patch.object(sys, "platform", "win32").start()
    patch.object(signal, "SIGBREAK", CTRL_BREAK, create=True).start()
    patch.dict(sys.modules, dict.fromkeys(MODULES)).start()
    for owner, name in GONE:
        delattr(owner, name)
    clock = time.time
    patch.object(time, "time", lambda: int(clock() * 64) / 64).start()
    patch.object(asyncio.SelectorEventLoop, "add_signal_handler", not_implemented).start()
    patch.object(mcp.server.stdio, "rebind_std_handle_to_fd", str).start()
    patch.object(os, "open", opening_no_folders(os.open)).start()
    patch.object(os, "rename", replacing_nothing(os.rename)).start()
    for name in ("rename", "replace", "unlink", "remove"):
        patch.object(os, name, refusing_open_files(getattr(os, name))).start()


def not_implemented(*_: object) -> None:
    """Be what event loops are to signals on Windows."""
    raise NotImplementedError


def opening_no_folders(function: Callable[..., int]) -> Callable[..., int]:
    """Let folders not be opened."""

    def opened(path: Any, *more: Any, **named: Any) -> int:
        if os.path.isdir(path) or str(path).startswith("/proc"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return function(path, *more, **named)

    return opened


def replacing_nothing(function: Callable[..., None]) -> Callable[..., None]:
    """Let a rename not replace another file."""

    def renamed(source: Any, target: Any) -> None:
        if os.path.exists(target):
            raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", target)
        function(source, target)

    return renamed


def refusing_open_files(function: Callable[..., None]) -> Callable[..., None]:
    """Let files that this process has open stay as they are."""

    def changed(*paths: Any, **named: Any) -> None:
        if opened := open_files().intersection(os.path.realpath(path) for path in paths):
            raise PermissionError(errno.EACCES, "The process cannot access the file", opened.pop())
        function(*paths, **named)

    return changed


def open_files() -> set[str]:
    """List what this process has open."""
    found: set[str] = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(descriptor))
    return found


if __name__ == "__main__":
    become_windows()
    from luma_mcp.__main__ import main

    sys.exit(main())
