"""Telling clients of changed tasks in both ways that MCP knows, and only those who asked (design 2.2).

Clients of 2026-07-28 hold a `subscriptions/listen` request open. Earlier ones subscribe to single resources; those
that did, or that once listed or read resources, hear when the list changes. Others are left in peace.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anyio
import mcp.types as wire
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
)
from mcp.shared.exceptions import MCPError
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS

from luma_mcp.app import LOCAL_CALLER
from luma_mcp.background import guarded
from luma_mcp.changes import Changes
from luma_mcp.errors import InvalidRequest
from luma_mcp.models import Change
from luma_mcp.protocol import Page, Request
from luma_mcp.resources import find, list_resources, read_resource
from luma_mcp.task_uris import TASKS_URI, task_uri

MOST_URIS = 1000
EVERY_CALLER = ""
STATE = "luma_mcp.subscriber"


class CallerBus(InMemorySubscriptionBus):
    """Carries what changes for one caller to the open `subscriptions/listen` requests."""

    def __init__(self, changes: Changes, caller: str) -> None:
        super().__init__()
        self._changes = changes
        self._caller = caller

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Call a listener with each event; give the function that ends this."""

        def hear(changes: Sequence[Change]) -> None:
            for event in events(changes, self._caller):
                listener(event)

        return self._changes.listen(hear)


class Subscriber:
    """A client of the handshake era, which may stop reading at any time: it is told by a task of its own.

    What it has not been told yet is kept once, however often it changes meanwhile.
    """

    def __init__(self, session: ServerSession) -> None:
        self.uris: set[str] = set()
        self._session = session
        self._due: dict[ServerEvent, None] = {}
        self._wake = anyio.Event()
        self._stay = anyio.CancelScope()

    def hear(self, changes: Sequence[Change]) -> None:
        """Note what is to be told."""
        self._due |= dict.fromkeys(event for event in events(changes, LOCAL_CALLER) if self._wants(event))
        if self._due:
            self._wake.set()

    async def attend(self) -> None:
        """Tell the client, until it leaves."""
        with self._stay:
            await guarded(self._tell, otherwise=None, what="Telling a client of changed tasks")

    def leave(self) -> None:
        """Stop telling."""
        self._stay.cancel()

    async def _tell(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._due:
                event = next(iter(self._due))
                del self._due[event]
                if self._wants(event):
                    await self._send(event)

    def _wants(self, event: ServerEvent) -> bool:
        return event.uri in self.uris if isinstance(event, ResourceUpdated) else True

    async def _send(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated):
            await self._session.send_resource_updated(event.uri)
        else:
            await self._session.send_resource_list_changed()


class Subscriptions:
    """Answers what both eras ask with respect to changes."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._streams = ListenHandler(CallerBus(changes, LOCAL_CALLER))

    async def listen(
        self, ctx: Request, params: wire.SubscriptionsListenRequestParams
    ) -> wire.SubscriptionsListenResult:
        """Serve `subscriptions/listen`, for what this server has: the acknowledgement names just that."""
        asked = params.notifications
        uris = [uri for uri in bounded(asked.resource_subscriptions or []) if await is_known(ctx, uri)]
        served = wire.SubscriptionFilter(
            resources_list_changed=asked.resources_list_changed, resource_subscriptions=uris or None
        )
        await self._changes.begin()
        return await self._streams(ctx, params.model_copy(update={"notifications": served}))

    async def list_resources(self, ctx: Request, params: Page) -> wire.ListResourcesResult:
        """Answer `resources/list`, and tell from now on when the list changes."""
        await self._take_interest(ctx)
        return await list_resources(ctx, params)

    async def read_resource(self, ctx: Request, params: wire.ReadResourceRequestParams) -> wire.ReadResourceResult:
        """Answer `resources/read`, and tell from now on when the list changes."""
        await self._take_interest(ctx)
        return await read_resource(ctx, params)

    async def subscribe(self, ctx: Request, params: wire.SubscribeRequestParams) -> wire.EmptyResult:
        """Answer `resources/subscribe`."""
        subscriber = self._subscriber(ctx)
        if params.uri != TASKS_URI:
            await find(ctx, params.uri)
        bounded([*subscriber.uris, params.uri])
        await self._changes.begin()
        subscriber.uris.add(params.uri)
        return wire.EmptyResult()

    async def unsubscribe(self, ctx: Request, params: wire.UnsubscribeRequestParams) -> wire.EmptyResult:
        """Answer `resources/unsubscribe`."""
        self._subscriber(ctx).uris.discard(params.uri)
        return wire.EmptyResult()

    async def _take_interest(self, ctx: Request) -> None:
        if ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            await self._changes.begin()
            self._subscriber(ctx)

    def _subscriber(self, ctx: Request) -> Subscriber:
        connection = connection_of(ctx)
        known: Subscriber | None = connection.state.get(STATE)
        if known:
            return known
        subscriber = connection.state[STATE] = Subscriber(ctx.session)
        connection.exit_stack.callback(subscriber.leave)
        connection.exit_stack.callback(self._changes.listen(subscriber.hear))
        ctx.lifespan_context.background.start_soon(subscriber.attend, name="subscriber")
        return subscriber


def events(changes: Iterable[Change], caller: str) -> list[ServerEvent]:
    """Say in MCP's words what changes mean to a caller, each thing once."""
    own = [change for change in changes if change.caller in (caller, EVERY_CALLER)]
    uris = [task_uri(change.task_id) for change in own if change.task_id]
    told: list[ServerEvent] = [ResourceUpdated(uri) for uri in dict.fromkeys([TASKS_URI, *uris])] if own else []
    if any(change.listed for change in own):
        told.append(ResourcesListChanged())
    return told


async def is_known(ctx: Request, uri: str) -> bool:
    """Tell whether a URI names something that can change here."""
    try:
        return uri == TASKS_URI or bool(await find(ctx, uri))
    except MCPError:
        return False


def bounded(uris: list[str]) -> list[str]:
    """Give the same URIs; raise `InvalidRequest` if they are more than one client should need."""
    if len(uris) > MOST_URIS:
        raise InvalidRequest(f"At most {MOST_URIS} resources can be subscribed to.", hint=f"Subscribe to {TASKS_URI}.")
    return uris


def connection_of(ctx: ServerRequestContext[Any, Any]) -> Connection:
    """Find what lives as long as the client's connection."""
    return ctx.session._connection  # noqa: SLF001 - the SDK (2.3) has no public way there yet
