"""The sockets of the HTTP transports, and connections that may not idle, stall or say too much."""

import asyncio  # noqa: TID251 - uvicorn's connections are asyncio's
import ipaddress
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from luma_mcp.exchanges import CONNECTION
from luma_mcp.setting_values import BadSetting
from luma_mcp.settings import Settings

HEAD_SECONDS = 15.0
STALL_SECONDS = 60.0
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 3
LARGEST_HEAD_BYTES = 32_768
MOST_CONNECTIONS = 800  # many systems allow a process 1024 open files
TOKENS_NEEDED = (
    "must name who may connect (name:token pairs separated by commas), because LUMA_MCP_HOST={host} can be reached from"
    " other machines; or set LUMA_MCP_HOST=127.0.0.1"
)


class Bounded(H11Protocol):
    """A connection that is ended when its client does not say what it wants in time, or does not read the answer."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.app_state = {**self.app_state, CONNECTION: self}
        self._head_due: asyncio.TimerHandle | None = self.loop.call_later(HEAD_SECONDS, self._end)
        self._read_due: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Take what came; keep at most one message of an answer in memory."""
        self.transport.set_write_buffer_limits(high=0)
        super().data_received(data)
        self._expect_head()

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
        stop(self._head_due)
        stop(self._read_due)

    @property
    def is_stuck(self) -> bool:
        """Tell whether the client leaves bytes unread."""
        return self.flow.write_paused

    def _expect_head(self) -> None:
        """Give the client its time between the first byte of a request, or the connection's start, and the head's end.

        Between requests the time that a connection is kept alive counts instead.
        """
        under_way = cast("RequestResponseCycle | None", self.cycle)  # uvicorn sets it with the first request
        if under_way and not under_way.response_complete:
            stop(self._head_due)
            self._head_due = None
        elif self._head_due is None:
            self._head_due = self.loop.call_later(HEAD_SECONDS, self._end)

    def _end(self) -> None:
        self.transport.abort()


def stop(timer: asyncio.TimerHandle | None) -> None:
    """Stop a timer, if there is one."""
    if timer:
        timer.cancel()


def uvicorn_config(app: Any, root_path: str) -> uvicorn.Config:
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
        root_path=root_path,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=LARGEST_HEAD_BYTES,
    )


@contextmanager
def listening(settings: Settings) -> Generator[list[socket.socket]]:
    """Open the sockets, each on the same port; raise `BadSetting` if that cannot or must not be.

    Without tokens only loopback addresses are opened.
    """
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, address in addresses(settings.host, settings.port):
            if not settings.auth_tokens and not ipaddress.ip_address(address).is_loopback:
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
