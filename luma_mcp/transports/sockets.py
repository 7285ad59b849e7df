"""The sockets of the HTTP transports, and connections that may not idle, stall or say too much."""

import asyncio  # noqa: TID251 - uvicorn's connections are asyncio's
import ipaddress
import socket
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.transports.middleware import MAX_HEAD_BYTES

if sys.platform != "win32":
    import resource

HTTP_VERSIONS = frozenset({b"1.0", b"1.1"})
REQUEST_SECONDS = 15.0
LONG_BODY_KEY = "luma_mcp.long_body"  # in a request's scope: the function that lets its body take longer
UNFINISHED = (h11.IDLE, h11.SEND_BODY)  # states of a client that has not sent all of its request
STALL_SECONDS = 60.0
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 1
MAX_CONNECTIONS = 800  # many systems allow a process 1024 open files
OTHER_FILES = 200
LISTEN_BACKLOG = 128  # asyncio takes as many in one go, before it counts them; fewer than the other files
TOKENS_OR_NAMES = (
    "must not be none where LUMA_MCP_ALLOWED_HOSTS or LUMA_MCP_PUBLIC_URL says that others reach this server: whoever"
    " comes through the proxy could spend your money"
)
TOKENS_OR_CALLERS = (
    "must not be none beside LUMA_MCP_AUTH_TOKENS_FILE or LUMA_MCP_OAUTH_ISSUER: it lets everybody in whom these"
    " keep out"
)
LISTED_CALLERS_NEEDED = (
    "must say who may come in (sub:ID, email:ADDRESS or group:NAME, separated by commas), because without it everybody"
    " with an account at the provider could spend your money"
)
OAUTH_NEEDED = (
    ("LUMA_MCP_OAUTH_ISSUER", "must name the identity provider whose tokens let in LUMA_MCP_OAUTH_CALLERS"),
    ("LUMA_MCP_OAUTH_AUDIENCE", "must name the address at which clients reach this server, as https://HOST/mcp"),
    ("LUMA_MCP_OAUTH_CALLERS", LISTED_CALLERS_NEEDED),
)
TOKENS_NEEDED = (
    "must name who may connect (name:token pairs separated by commas), because LUMA_MCP_HOST={host} can be reached from"
    " other machines; or set LUMA_MCP_HOST=127.0.0.1"
)


class StrictConnection(h11.Connection):
    """Refuses requests whose end another program before this one may see elsewhere (RFC 9112, 6.3 and 11.2)."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Give the next event; raise `h11.RemoteProtocolError` for a request that can be read in two ways."""
        head = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        event = super().next_event()
        if isinstance(event, h11.Request):
            if event.http_version not in HTTP_VERSIONS:
                raise h11.RemoteProtocolError("another version of HTTP is spoken")
            if is_ambiguous(head, event.http_version):
                raise h11.RemoteProtocolError("the length of the request is said in more than one way")
        return event


def is_ambiguous(request: bytes, version: bytes) -> bool:
    """Tell whether the head of a request gives its length twice, or in a way that not every parser reads alike."""
    lines = [line.rstrip(b"\r") for line in request.lstrip(b"\r\n").split(b"\n")]
    fields = list(takewhile(bool, lines[1:]))
    named = [(name.lower(), value) for name, _, value in (field.partition(b":") for field in fields)]
    lengths = [value for name, value in named if name == b"content-length"]
    codings = [value for name, value in named if name == b"transfer-encoding"]
    folded = any(field[:1].isspace() for field in fields)
    unknown = bool(codings) and version != b"1.1"
    return folded or unknown or len(lengths) + len(codings) > 1 or any(b"," in value for value in lengths)


class BoundedConnection(H11Protocol):
    """A connection that is ended when its client does not finish a request in time, or does not read the answer.

    When there are too many, one without a request under way makes room for the new one.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.conn = StrictConnection(h11.SERVER, MAX_HEAD_BYTES)
        self.received_at = 0.0
        self._request_due: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None
        self._long_request: RequestResponseCycle | None = None

    def handle_events(self) -> None:
        super().handle_events()
        if self.scope is not None:
            cast("dict[str, Any]", self.scope)[LONG_BODY_KEY] = self.allow_long_body

    def allow_long_body(self) -> None:
        """Let the present request's body take any time, as long as some of it comes within `STALL_SECONDS`."""
        self._long_request = self._present_request
        self._expect_request()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self.transport.set_write_buffer_limits(high=0)  # at most one message of an answer waits in memory
        disable_nagle(self.transport)
        self.received_at = self.loop.time()
        self._expect_request()
        all_of_them = cast("set[BoundedConnection]", self.connections)
        alive = [each for each in all_of_them if not each.transport.is_closing()]
        if len(alive) > connection_limit():
            idle = [each for each in alive if not each.is_busy]
            min(idle, key=lambda each: each.received_at, default=self).transport.abort()

    def data_received(self, data: bytes) -> None:
        self.received_at = self.loop.time()
        super().data_received(data)
        self._expect_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_due = self.loop.call_later(STALL_SECONDS, self._end)

    def resume_writing(self) -> None:
        super().resume_writing()
        cancel_timer(self._read_due)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cancel_timer(self._request_due)
        cancel_timer(self._read_due)

    @property
    def is_busy(self) -> bool:
        return self._present_request is not None

    @property
    def _present_request(self) -> RequestResponseCycle | None:
        begun = cast("RequestResponseCycle | None", self.cycle)  # uvicorn sets it with the first request
        return None if begun is None or begun.response_complete else begun

    def _expect_request(self) -> None:
        """Bound the time from the connection's start, or a request's first byte, to the request's last byte.

        Between requests the time that a connection is kept alive counts instead; of a long body each piece is awaited.
        """
        if self.conn.their_state not in UNFINISHED:
            cancel_timer(self._request_due)
            self._request_due = None
        elif self._long_request is not None and self._long_request is self._present_request:
            cancel_timer(self._request_due)
            self._request_due = self.loop.call_later(STALL_SECONDS, self._end)
        elif self._request_due is None:
            self._request_due = self.loop.call_later(REQUEST_SECONDS, self._end)

    def _end(self) -> None:
        self.transport.abort()


def disable_nagle(transport: asyncio.BaseTransport) -> None:
    """Have the system send each piece of an answer at once, instead of after the last one is acknowledged.

    asyncio does so only for sockets that name their protocol, which those of `socket.create_server` do not.
    """
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def raise_file_limit() -> None:
    """Allow this process as many open files as its connections need; some systems begin with far fewer."""
    if sys.platform != "win32":
        files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MAX_CONNECTIONS + OTHER_FILES
        if files != resource.RLIM_INFINITY and files < wanted:
            with suppress(ValueError, OSError):
                resource.setrlimit(
                    resource.RLIMIT_NOFILE, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most)
                )


def connection_limit() -> int:
    if sys.platform != "win32":
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:
            return max(1, min(MAX_CONNECTIONS, files - OTHER_FILES))
    return MAX_CONNECTIONS


def cancel_timer(timer: asyncio.TimerHandle | None) -> None:
    if timer:
        timer.cancel()


def uvicorn_config(app: Any) -> uvicorn.Config:
    """Configure uvicorn: bounded, silent, believing no forwarding header."""
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=LISTEN_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def check_exposure(settings: Settings) -> None:
    """Raise `BadSetting` for a server that lets in others than was meant.

    That is one that needs no token and has names under which others reach it, or callers with names; and one of an
    identity provider's that does not say who of its users may come in, and for what their tokens must be made.
    """
    if settings.needs_no_token and (settings.allowed_hosts or settings.public_url):
        raise BadSetting("LUMA_MCP_AUTH_TOKENS", TOKENS_OR_NAMES)
    if settings.needs_no_token and settings.names_callers:
        raise BadSetting("LUMA_MCP_AUTH_TOKENS", TOKENS_OR_CALLERS)
    oauth = (settings.oauth_issuer, settings.oauth_audience, settings.oauth_callers)
    for value, (variable, accepts) in zip(oauth, OAUTH_NEEDED, strict=True):
        if any(oauth) and not value:
            raise BadSetting(variable, accepts)
    _, faults = settings.reload_tokens()
    if faults:
        raise BadSetting("LUMA_MCP_AUTH_TOKENS_FILE", f"{settings.auth_tokens_file}: {faults[0]}")


@contextmanager
def open_sockets(settings: Settings) -> Generator[list[socket.socket]]:
    """Open the sockets, each on the same port; raise `BadSetting` if that cannot or must not be.

    Without named tokens only loopback addresses are opened.
    """
    check_exposure(settings)
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, address in resolve_addresses(settings.host, settings.port):
            if not settings.names_callers and not ipaddress.ip_address(address).is_loopback:
                raise BadSetting("LUMA_MCP_AUTH_TOKENS", TOKENS_NEEDED.format(host=settings.host))
            port = sockets[0].getsockname()[1] if sockets else settings.port
            try:
                sockets.append(stack.enter_context(socket.create_server((address, port), family=family)))
            except OSError as error:
                raise BadSetting("LUMA_MCP_PORT", f"{address} port {port} cannot be used: {error.strerror}") from error
        yield sockets


def resolve_addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    """List the addresses that a host name stands for here; raise `BadSetting` if there are none."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise BadSetting("LUMA_MCP_HOST", f"{host!r} is no address of this machine: {error}") from error
    return list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found))
