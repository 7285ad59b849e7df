"""The sockets of the HTTP transports, and connections that may not idle, stall or say too much."""

import asyncio  # noqa: TID251 - uvicorn's connections are asyncio's
import ipaddress
import socket
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

if sys.platform != "win32":
    import resource

from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.transports.framing import Unambiguous
from luma_mcp.transports.middleware import LARGEST_HEAD_BYTES

REQUEST_SECONDS = 15.0
UNFINISHED = (h11.IDLE, h11.SEND_BODY)  # what a client is at that has not said all of its request
STALL_SECONDS = 60.0
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 1
MOST_CONNECTIONS = 800  # many systems allow a process 1024 open files
OTHER_FILES = 200
MOST_WAITING = 128  # asyncio takes as many in one go, before it counts them; fewer than the other files
TOKENS_OR_NAMES = (
    "must not be none where LUMA_MCP_ALLOWED_HOSTS or LUMA_MCP_PUBLIC_URL says that others reach this server: whoever"
    " comes through the proxy could spend your money"
)
TOKENS_NEEDED = (
    "must name who may connect (name:token pairs separated by commas), because LUMA_MCP_HOST={host} can be reached from"
    " other machines; or set LUMA_MCP_HOST=127.0.0.1"
)


class Bounded(H11Protocol):
    """A connection that is ended when its client does not say what it wants in time, or does not read the answer.

    When there are too many, those that ask for nothing make room for new ones.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.conn = Unambiguous(h11.SERVER, LARGEST_HEAD_BYTES)
        self.heard_at = 0.0
        self._request_due: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        super().connection_made(cast("asyncio.Transport", transport))
        self.transport.set_write_buffer_limits(high=0)  # at most one message of an answer waits in memory
        send_at_once(self.transport)
        self.heard_at = self.loop.time()
        self._expect_request()
        all_of_them = cast("set[Bounded]", self.connections)
        alive = [each for each in all_of_them if not each.transport.is_closing()]
        if len(alive) > most_connections():
            idle = [each for each in alive if not each.is_busy]
            min(idle, key=lambda each: each.heard_at, default=self).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self.heard_at = self.loop.time()
        super().data_received(data)
        self._expect_request()

    def pause_writing(self) -> None:
        """Have unsent bytes."""
        super().pause_writing()
        self._read_due = self.loop.call_later(STALL_SECONDS, self._end)

    def resume_writing(self) -> None:
        """Have sent all."""
        super().resume_writing()
        stop(self._read_due)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        stop(self._request_due)
        stop(self._read_due)

    @property
    def is_busy(self) -> bool:
        """Tell whether a request is under way."""
        begun = cast("RequestResponseCycle | None", self.cycle)  # uvicorn sets it with the first request
        return begun is not None and not begun.response_complete

    def _expect_request(self) -> None:
        """Give the client its time between the first byte of a request, or the connection's start, and its last one.

        Between requests the time that a connection is kept alive counts instead.
        """
        if self.conn.their_state not in UNFINISHED:
            stop(self._request_due)
            self._request_due = None
        elif self._request_due is None:
            self._request_due = self.loop.call_later(REQUEST_SECONDS, self._end)

    def _end(self) -> None:
        self.transport.abort()


def send_at_once(transport: asyncio.BaseTransport) -> None:
    """Have the system send each piece of an answer when it is written, instead of waiting until the last was taken.

    asyncio does so only for sockets that name their protocol, which those of `socket.create_server` do not.
    """
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def allow_files() -> None:
    """Allow this process as many open files as its connections need; some systems begin with far fewer."""
    if sys.platform != "win32":
        files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_CONNECTIONS + OTHER_FILES
        if files != resource.RLIM_INFINITY and files < wanted:
            with suppress(ValueError, OSError):
                resource.setrlimit(
                    resource.RLIMIT_NOFILE, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most)
                )


def most_connections() -> int:
    """Give how many connections this process can have and still open other files."""
    if sys.platform != "win32":
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:
            return max(1, min(MOST_CONNECTIONS, files - OTHER_FILES))
    return MOST_CONNECTIONS


def stop(timer: asyncio.TimerHandle | None) -> None:
    """Stop a timer, if there is one."""
    if timer:
        timer.cancel()


def uvicorn_config(app: Any) -> uvicorn.Config:
    """Configure uvicorn: bounded, silent, believing no forwarding header."""
    return uvicorn.Config(
        app,
        http=Bounded,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=MOST_WAITING,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def check_open(settings: Settings) -> None:
    """Raise `BadSetting` for a server that needs no token and has names under which others reach it."""
    if settings.needs_no_token and (settings.allowed_hosts or settings.public_url):
        raise BadSetting("LUMA_MCP_AUTH_TOKENS", TOKENS_OR_NAMES)


@contextmanager
def listening(settings: Settings) -> Generator[list[socket.socket]]:
    """Open the sockets, each on the same port; raise `BadSetting` if that cannot or must not be.

    Without named tokens only loopback addresses are opened.
    """
    check_open(settings)
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, address in addresses(settings.host, settings.port):
            if not settings.callers and not ipaddress.ip_address(address).is_loopback:
                raise BadSetting("LUMA_MCP_AUTH_TOKENS", TOKENS_NEEDED.format(host=settings.host))
            port = sockets[0].getsockname()[1] if sockets else settings.port
            try:
                sockets.append(stack.enter_context(socket.create_server((address, port), family=family)))
            except OSError as error:
                raise BadSetting("LUMA_MCP_PORT", f"{address} port {port} cannot be used: {error.strerror}") from error
        yield sockets


def addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    """List the addresses that a host name stands for here; raise `BadSetting` if there are none."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise BadSetting("LUMA_MCP_HOST", f"{host!r} is no address of this machine: {error}") from error
    return list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found))
