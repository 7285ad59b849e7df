"""luma-mcp as a process on Windows, as far as that can be played on POSIX.

Only what luma_mcp itself asks for is as on Windows: modules that it imports, and what it does through the standard
library and anyio. Everything else of the process, dependencies above all, finds the machine that it is on: they have
their own ways on Windows, which cannot be gone here.

Gone are modules, functions and constants that Windows lacks, event loops that take signals, folders that can be opened,
`/proc`, renames over another file, and whatever replaces or removes a file that this process has open. Time goes on 64
times a second. Ctrl-Break is SIGQUIT.
"""

import asyncio
import builtins
import errno
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any
from unittest.mock import patch

CTRL_BREAK = signal.Signals(3)  # SIGQUIT, by a number because Windows has no such name
LEAVING_SECONDS = 60.0
PASSED_THROUGH = sys.stdlib_module_names | {"anyio"}
MODULES = frozenset(
    {"curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
)
LACKING = {
    os: r"O_(?!APPEND|BINARY|CREAT|EXCL|RDONLY|RDWR|TRUNC|WRONLY).+|(POSIX|PRIO|RTLD|SCHED|SPLICE|ST|XATTR)_.+|W[A-Z]+"
    r"|environb|f?chown|lchown|f(chdir|chmod|datasync|wal?k|pathconf)|fork(pty)?|f?statvfs|getenvb|getloadavg|getrandom"
    r"|[gs]et(e|re|res)?[ug]id|[gs]et(groups|pgid|pgrp|priority|sid|xattr)|initgroups|killpg|listxattr|lockf|major|minor"
    r"|makedev|memfd_create|mkfifo|mknod|nice|openpty|p(readv?|writev?)|pathconf|pidfd_open|pipe2|posix_.+|readv|writev"
    r"|register_at_fork|removexattr|sched_.+|sendfile|splice|sync|sysconf.*|tc[gs]etpgrp|ttyname|uname|wait(3|4|id)?",
    select: r"e?poll|E?POLL.+|kqueue|kevent|PIPE_BUF",
    signal: r"SIG(?!ABRT|BREAK|FPE|ILL|INT|SEGV|TERM|_DFL|_IGN).+|ITIMER_.+|alarm|[gs]etitimer|pause|pidfd_send_signal"
    r"|pthread_.+|siginterrupt|sigpending|sig(timed)?wait(info)?",
    socket: r"AF_(UNIX|NETLINK|PACKET)|MSG_(DONTWAIT|NOSIGNAL)|SCM_.+|SOCK_(CLOEXEC|NONBLOCK)|SO_(PEERCRED|REUSEPORT)"
    r"|TCP_(CORK|INFO|QUICKACK|USER_TIMEOUT)|(recv|send)_fds",
    sys: r"abiflags|[gs]etdlopenflags",
    time: r"(clock|CLOCK|pthread)_.+|tzset",
}


class OnWindows(ModuleType):
    """A module of the standard library with what it has on Windows."""

    def __init__(self, here: ModuleType, lacking: str, differing: Mapping[str, object]) -> None:
        super().__init__(here.__name__)
        self.__dict__.update(differing, _here=here, _lacking=re.compile(lacking))

    def __getattr__(self, name: str) -> Any:
        if self.__dict__["_lacking"].fullmatch(name):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self.__dict__["_here"], name)


def become_windows() -> None:
    """Let luma_mcp, which is loaded after this, find Windows."""
    assert "luma_mcp" not in sys.modules
    patch.object(builtins, "__import__", importing(builtins.__import__)).start()
    loop = asyncio.SelectorEventLoop
    patch.object(loop, "add_signal_handler", for_ours(not_implemented, loop.add_signal_handler)).start()
    for name, played in {
        "open": opening_no_folders(os.open),
        "readlink": finding_no_proc(os.readlink),
        "rename": replacing_nothing(refusing_open_files(os.rename)),
        "replace": refusing_open_files(os.replace),
        "unlink": refusing_open_files(os.unlink),
        "remove": refusing_open_files(os.remove),
    }.items():
        patch.object(os, name, for_ours(played, getattr(os, name))).start()


def importing(load: Callable[..., ModuleType]) -> Callable[..., ModuleType]:
    """Import for luma_mcp what there is on Windows, and for others what there is."""
    clock = time.time
    differing: dict[ModuleType, dict[str, object]] = {
        os: {"name": "nt"},
        signal: {"SIGBREAK": CTRL_BREAK},
        sys: {"platform": "win32"},
        time: {"time": lambda: int(clock() * 64) / 64},
    }
    played = {each.__name__: OnWindows(each, gone, differing.get(each, {})) for each, gone in LACKING.items()}

    def imported(name: str, importer: Mapping[str, object] | None = None, *more: Any, **named: Any) -> ModuleType:
        if not is_ours(importer or {}):
            return load(name, importer, *more, **named)
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
        module = load(name, importer, *more, **named)
        return played.get(module.__name__, module)

    return imported


def for_ours(played: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    """Do what is played for luma_mcp, and what is real for everybody else."""

    def chosen(*arguments: Any, **named: Any) -> Any:
        return (played if is_asked_by_ours(sys._getframe(1)) else real)(*arguments, **named)

    return chosen


def is_asked_by_ours(frame: FrameType | None) -> bool:
    """Tell whether luma_mcp asks, by itself or through the standard library or anyio."""
    while frame and top(frame.f_globals) in PASSED_THROUGH:
        frame = frame.f_back
    return frame is not None and is_ours(frame.f_globals)


def is_ours(module: Mapping[str, object]) -> bool:
    """Tell whether the variables of a module are luma_mcp's."""
    return top(module) == "luma_mcp"


def top(module: Mapping[str, object]) -> str:
    """Name the package that a module with these variables is in."""
    return str(module.get("__name__", "")).partition(".")[0]


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


def finding_no_proc(function: Callable[..., str]) -> Callable[..., str]:
    """Let there be nothing where Linux tells of processes."""

    def found(path: Any, **named: Any) -> str:
        if str(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "The system cannot find the path specified", path)
        return function(path, **named)

    return found


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
    from luma_mcp.transports import http, stdio

    for way in (http, stdio):
        patch.object(way, "FORCED_EXIT_SECONDS", LEAVING_SECONDS).start()  # a slow machine shows how it ends, too
    sys.exit(main())
