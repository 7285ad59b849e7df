"""Telling clients of changed tasks in both ways that MCP knows, and only those who asked.

Clients of 2026-07-28 hold a `subscriptions/listen` request open. Earlier ones subscribe to single resources; those
that did, or that once listed or read resources, hear when the list changes. Others are left in peace.
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import anyio
import mcp.types as wire
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent, event_to_notification
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from luma_mcp.app.changes import ALL_TASKS, Changes, News
from luma_mcp.core.concurrency import background_work, guarded
from luma_mcp.core.errors import InvalidRequest, LumaError
from luma_mcp.core.uris import TASKS_URI, task_id_of, task_uri
from luma_mcp.server.context import Page, Request, caller_of, only_page
from luma_mcp.server.resources import find, list_resources, read_resource

MOST_URIS = 1000
MOST_STREAMS = 500
STATE = "luma_mcp.subscriber"


class Interest:
    """What one client asked for, and what of it is to be told: each thing once, however often it changes meanwhile."""

    def __init__(self, uris: Iterable[str] = (), *, the_list: bool) -> None:
        self._ids = {id_of(uri) for uri in uris}
        self._the_list = the_list
        self._due: dict[ServerEvent, None] = {}
        self._wake = anyio.Event()
        self._over = False

    def add(self, uri: str) -> None:
        """Want to hear of one more resource; raise `InvalidRequest` if they are too many."""
        check_number(self._ids | {id_of(uri)})
        self._ids.add(id_of(uri))

    def remove(self, uri: str) -> None:
        """Hear of a resource no more."""
        self._ids.discard(id_of(uri))
        self._due.pop(ResourceUpdated(uri), None)

    def hear(self, news: News) -> None:
        """Note what of the news is to be told."""
        changed = self._ids if news.anything else self._ids & news.task_ids
        self._due |= {ResourceUpdated(uri_of(task_id)): None for task_id in changed}
        if news.listed and self._the_list:
            self._due[ResourcesListChanged()] = None
        if self._due:
            self._wake.set()

    async def end_after(self, ending: anyio.Event) -> None:
        """Have nothing more to tell than what is due, once this server ends."""
        await ending.wait()
        self._over = True
        self._wake.set()

    async def next(self) -> ServerEvent | None:
        """Wait for the next thing to tell; None is the end."""
        while not self._due and not self._over:
            self._wake = anyio.Event()
            await self._wake.wait()
        if not self._due:
            return None
        event = next(iter(self._due))
        del self._due[event]
        return event


class Subscriber:
    """A client of the handshake era, which may stop reading at any time: it is told by a task of its own."""

    def __init__(self, session: ServerSession) -> None:
        self.interest = Interest(the_list=True)
        self._session = session
        self._stay = anyio.CancelScope()

    async def attend(self) -> None:
        """Tell the client, until it leaves."""
        with self._stay:
            await guarded(self._tell, otherwise=None, what="Telling a client of changed tasks")

    def leave(self) -> None:
        """Stop telling."""
        self._stay.cancel()

    async def _tell(self) -> None:
        while event := await self.interest.next():
            if isinstance(event, ResourceUpdated):
                await self._session.send_resource_updated(event.uri)
            else:
                await self._session.send_resource_list_changed()


class Subscriptions:
    """Answers what both eras ask with respect to changes."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._streams: Counter[str] = Counter()

    async def listen(
        self, ctx: Request, params: wire.SubscriptionsListenRequestParams
    ) -> wire.SubscriptionsListenResult:
        """Serve `subscriptions/listen`, for what this server has: the acknowledgement names just that."""
        caller = caller_of(ctx)
        if self._streams[caller] >= MOST_STREAMS:
            raise MCPError(wire.INTERNAL_ERROR, f"At most {MOST_STREAMS} streams can be open.")
        served = await available(ctx, params.notifications)
        interest = Interest(served.resource_subscriptions or (), the_list=served.resources_list_changed is True)
        stop = await self._changes.listen(caller, interest.hear)
        self._streams[caller] += 1
        try:
            return await stream(ctx, served, interest)
        finally:
            self._streams[caller] -= 1
            stop()

    async def list_resources(self, ctx: Request, params: Page) -> wire.ListResourcesResult:
        """Answer `resources/list`, and tell from now on when the list changes."""
        only_page(params)
        await self._take_interest(ctx)
        return await list_resources(ctx)

    async def read_resource(self, ctx: Request, params: wire.ReadResourceRequestParams) -> wire.ReadResourceResult:
        """Answer `resources/read`, and tell from now on when the list changes."""
        read = await read_resource(ctx, params)
        await self._take_interest(ctx)
        return read

    async def subscribe(self, ctx: Request, params: wire.SubscribeRequestParams) -> wire.EmptyResult:
        """Answer `resources/subscribe`."""
        if params.uri != TASKS_URI:
            await find(ctx, params.uri)
        subscriber = await self._subscriber(ctx)
        subscriber.interest.add(params.uri)
        return wire.EmptyResult()

    async def unsubscribe(self, ctx: Request, params: wire.UnsubscribeRequestParams) -> wire.EmptyResult:
        """Answer `resources/unsubscribe`."""
        known: Subscriber | None = connection_of(ctx).state.get(STATE)
        if known:
            known.interest.remove(params.uri)
        return wire.EmptyResult()

    async def _take_interest(self, ctx: Request) -> None:
        if ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            with suppress(LumaError):  # a ledger that cannot be watched can perhaps be read
                await self._subscriber(ctx)

    async def _subscriber(self, ctx: Request) -> Subscriber:
        """Find or make what tells the client of a connection of the handshake era, of what changes from now on.

        Raises `LedgerUnusable`.
        """
        connection = connection_of(ctx)
        known: Subscriber | None = connection.state.get(STATE)
        if known:
            await self._changes.catch_up()
            return known
        subscriber = Subscriber(ctx.session)
        stop = await self._changes.listen(caller_of(ctx), subscriber.interest.hear)
        connection.exit_stack.callback(stop)
        faster: Subscriber | None = connection.state.get(STATE)  # made for another request of the same client
        if faster:
            stop()
            return faster
        connection.state[STATE] = subscriber
        connection.exit_stack.callback(subscriber.leave)
        ctx.lifespan_context.background.start_soon(subscriber.attend, name="subscriber")
        return subscriber


async def stream(ctx: Request, served: wire.SubscriptionFilter, interest: Interest) -> wire.SubscriptionsListenResult:
    """Acknowledge a listening client, and tell it what is due until it leaves or this server ends."""
    meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
    about = wire.SubscriptionsAcknowledgedNotificationParams(notifications=served, _meta=meta)
    acknowledgement = wire.SubscriptionsAcknowledgedNotification(params=about)
    async with background_work() as group:
        group.start_soon(interest.end_after, ctx.lifespan_context.answering.ending)
        await ctx.session.send_notification(acknowledgement, related_request_id=ctx.request_id)
        while event := await interest.next():
            notification = event_to_notification(event, meta)
            await ctx.session.send_notification(notification, related_request_id=ctx.request_id)
    return wire.SubscriptionsListenResult(_meta=meta)


async def available(ctx: Request, asked: wire.SubscriptionFilter) -> wire.SubscriptionFilter:
    """Give the part of what was asked for that can change here; raise `InvalidRequest` if it is too much."""
    uris = list(dict.fromkeys(asked.resource_subscriptions or []))
    check_number(uris)
    known = [uri for uri in uris if await is_known(ctx, uri)]
    return wire.SubscriptionFilter(
        resources_list_changed=asked.resources_list_changed or None, resource_subscriptions=known or None
    )


async def is_known(ctx: Request, uri: str) -> bool:
    """Tell whether a URI names something that can change here."""
    try:
        return uri == TASKS_URI or bool(await find(ctx, uri))
    except (MCPError, LumaError):
        return False


def id_of(uri: str) -> str:
    """Give the task id that a resource stands for, or `ALL_TASKS`; what is no resource here stands for itself."""
    return ALL_TASKS if uri == TASKS_URI else task_id_of(uri) or uri


def uri_of(task_id: str) -> str:
    """Name the resource that stands for a task, or for all of them."""
    return TASKS_URI if task_id == ALL_TASKS else task_uri(task_id)


def check_number(wanted: set[str] | list[str]) -> None:
    """Raise `InvalidRequest` for more subscriptions than one client should need."""
    if len(wanted) > MOST_URIS:
        raise InvalidRequest(f"At most {MOST_URIS} resources can be subscribed to.", hint=f"Subscribe to {TASKS_URI}.")


def connection_of(ctx: ServerRequestContext[Any, Any]) -> Connection:
    """Find what lives as long as the client's connection."""
    return ctx.session._connection  # noqa: SLF001 - the SDK (2.3) has no public way there yet
