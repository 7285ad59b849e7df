"""Notifying clients of changed tasks in both ways that MCP knows, and only those who asked.

Clients of 2026-07-28 hold a `subscriptions/listen` request open. Earlier ones subscribe to single resources; those
that did, or that once listed or read resources, also hear when the list changes.
"""

from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
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

from luma_mcp.app.app import App
from luma_mcp.app.changes import ALL_TASKS, ChangeSet
from luma_mcp.core.concurrency import background_work, guarded
from luma_mcp.core.errors import InvalidRequest, LumaError, TaskNotFound, TaskUnreadable
from luma_mcp.core.uris import TASKS_URI, task_id_of, task_uri
from luma_mcp.server.apps import PAGE_URI, read_page
from luma_mcp.server.context import PageParams, RequestContext, caller_of, reject_cursor
from luma_mcp.server.resources import find_task, list_resources, read_resource
from luma_mcp.server.skills import SKILL_URI, read_skill
from luma_mcp.server.tasks import TaskChanged, TaskSource, TaskState, TaskWatch, task_notification, wanted_task_ids

MAX_SUBSCRIBED_URIS = 1000
MAX_LISTEN_STREAMS = 500
LOOK_SECONDS = 30.0
SUBSCRIBER_KEY = "luma_mcp.subscriber"


class Subscription:
    """What one client asked for, and which events are due: each once, however often it changes meanwhile."""

    def __init__(self, uris: Iterable[str] = (), *, the_list: bool, tasks: Iterable[TaskState] = ()) -> None:
        self.tasks = TaskWatch(tasks)
        self._ids = {resource_id(uri) for uri in uris}
        self._the_list = the_list
        self._due: dict[ServerEvent | TaskChanged, None] = {}
        self._changed = anyio.Event()
        self._over = False

    def add(self, uri: str) -> None:
        """Add a resource; raise `InvalidRequest` if they are too many."""
        check_number(self._ids | {resource_id(uri)})
        self._ids.add(resource_id(uri))

    def remove(self, uri: str) -> None:
        self._ids.discard(resource_id(uri))
        self._due.pop(ResourceUpdated(uri), None)

    def queue_events(self, news: ChangeSet) -> None:
        changed = self._ids if news.anything else self._ids & news.task_ids
        self._due |= {ResourceUpdated(resource_uri(task_id)): None for task_id in changed}
        if news.listed and self._the_list:
            self._due[ResourcesListChanged()] = None
        self._due |= dict.fromkeys(self.tasks.changed(news))
        if self._due:
            self._changed.set()

    async def close_after(self, ending: anyio.Event) -> None:
        """End the events with those that are due, once the server drains."""
        await ending.wait()
        self._over = True
        self._changed.set()

    async def look_at_tasks(self) -> None:
        """Have all tasks looked at, now and ever again: that one is over may be a matter of time alone."""
        while self.tasks.ids:
            self._due |= dict.fromkeys(map(TaskChanged, self.tasks.ids))
            self._changed.set()
            await anyio.sleep(LOOK_SECONDS)

    async def next_event(self) -> ServerEvent | TaskChanged | None:
        """Wait for the next event; None is the end."""
        while not self._due and not self._over:
            self._changed = anyio.Event()
            await self._changed.wait()
        if not self._due:
            return None
        event = next(iter(self._due))
        del self._due[event]
        return event


class Subscriber:
    """A client of the handshake era; it may stop reading at any time, so it is notified by a task of its own."""

    def __init__(self, session: ServerSession) -> None:
        self.subscription = Subscription(the_list=True)
        self._session = session
        self._stay = anyio.CancelScope()

    async def run(self) -> None:
        with self._stay:
            await guarded(self._send_events, otherwise=None, what="Telling a client of changed tasks")

    def stop(self) -> None:
        self._stay.cancel()

    async def _send_events(self) -> None:
        while event := await self.subscription.next_event():
            if isinstance(event, ResourceUpdated):
                await self._session.send_resource_updated(event.uri)
            else:
                await self._session.send_resource_list_changed()


class Subscriptions:
    """Answers what clients of both eras ask with respect to changes."""

    def __init__(self, app: App, tasks: TaskSource) -> None:
        self._app = app
        self._tasks = tasks
        self._streams: Counter[str] = Counter()

    async def listen(
        self, ctx: RequestContext, params: wire.SubscriptionsListenRequestParams
    ) -> wire.SubscriptionsListenResult:
        """Serve `subscriptions/listen`; the acknowledgement names only what exists and can change here."""
        with self._counted_stream(caller_of(ctx)):
            served = await supported_filter(ctx, params.notifications)
            tasks = await self._wanted_tasks(ctx, params.notifications)
            if tasks:
                served = wire.SubscriptionFilter.model_validate(
                    {**dict(served), "taskIds": [state.task_id for state in tasks]}
                )
            interest = Subscription(
                served.resource_subscriptions or (), the_list=served.resources_list_changed is True, tasks=tasks
            )
            stop = await self._app.add_change_listener(caller_of(ctx), interest.queue_events)
            try:
                return await self._serve_stream(ctx, served, interest)
            finally:
                stop()

    @contextmanager
    def _counted_stream(self, caller: str) -> Generator[None]:
        if self._streams[caller] >= MAX_LISTEN_STREAMS:
            raise MCPError(wire.INTERNAL_ERROR, f"At most {MAX_LISTEN_STREAMS} streams can be open.")
        self._streams[caller] += 1
        try:
            yield
        finally:
            self._streams[caller] -= 1
            if not self._streams[caller]:
                del self._streams[caller]  # callers come and go

    async def _wanted_tasks(self, ctx: RequestContext, asked: wire.SubscriptionFilter) -> list[TaskState]:
        """Give those tasks that a client wants to hear of and may; raise the protocol's error if it knows no tasks.

        Raises `LedgerUnusable`: a ledger that cannot be read does not show that there is no such task.
        """
        found: list[TaskState] = []
        for task_id in wanted_task_ids(ctx, asked):
            with suppress(TaskNotFound, TaskUnreadable):
                found.append(await self._tasks.read(ctx, task_id))
        return found

    async def _serve_stream(
        self, ctx: RequestContext, served: wire.SubscriptionFilter, interest: Subscription
    ) -> wire.SubscriptionsListenResult:
        """Acknowledge a listening client, and send it events until it leaves or the server drains."""
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        about = wire.SubscriptionsAcknowledgedNotificationParams(notifications=served, _meta=meta)
        acknowledgement = wire.SubscriptionsAcknowledgedNotification(params=about)
        async with background_work() as group:
            group.start_soon(interest.close_after, ctx.lifespan_context.draining)
            await ctx.session.send_notification(acknowledgement, related_request_id=ctx.request_id)
            group.start_soon(interest.look_at_tasks)
            while event := await interest.next_event():
                notification = await self._notification(ctx, event, interest.tasks, meta)
                if notification:
                    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)
        return wire.SubscriptionsListenResult(_meta=meta)

    async def _notification(
        self, ctx: RequestContext, event: ServerEvent | TaskChanged, tasks: TaskWatch, meta: dict[str, Any]
    ) -> wire.ServerNotification | None:
        """Give what to tell a listening client of an event; nothing if a task is as it was told before."""
        if not isinstance(event, TaskChanged):
            return event_to_notification(event, meta)
        with suppress(LumaError):  # a ledger that cannot be read now is looked at again
            state = await self._tasks.read(ctx, event.task_id)
            return task_notification(state, meta) if tasks.is_news(state) else None
        return None

    async def list_resources(self, ctx: RequestContext, params: PageParams) -> wire.ListResourcesResult:
        """Answer `resources/list`, and notify the client of changes of the list from now on."""
        reject_cursor(params)
        await self._subscribe_to_list(ctx)
        return await list_resources(ctx)

    async def read_resource(
        self, ctx: RequestContext, params: wire.ReadResourceRequestParams
    ) -> wire.ReadResourceResult:
        """Answer `resources/read`, and, if it is about tasks, notify the client of changes of the list from now on."""
        if params.uri == PAGE_URI:
            return read_page()
        if params.uri == SKILL_URI:
            return read_skill()
        read = await read_resource(ctx, params)
        await self._subscribe_to_list(ctx)
        return read

    async def subscribe(self, ctx: RequestContext, params: wire.SubscribeRequestParams) -> wire.EmptyResult:
        if params.uri != TASKS_URI:
            await find_task(ctx, params.uri)
        subscriber = await self._subscriber(ctx)
        subscriber.subscription.add(params.uri)
        return wire.EmptyResult()

    async def unsubscribe(self, ctx: RequestContext, params: wire.UnsubscribeRequestParams) -> wire.EmptyResult:
        known: Subscriber | None = connection_of(ctx).state.get(SUBSCRIBER_KEY)
        if known:
            known.subscription.remove(params.uri)
        return wire.EmptyResult()

    async def _subscribe_to_list(self, ctx: RequestContext) -> None:
        if ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            with suppress(LumaError):  # a ledger that cannot be watched can perhaps be read
                await self._subscriber(ctx)

    async def _subscriber(self, ctx: RequestContext) -> Subscriber:
        """Find or start the subscriber of a connection of the handshake era; raise `LedgerUnusable`."""
        connection = connection_of(ctx)
        known: Subscriber | None = connection.state.get(SUBSCRIBER_KEY)
        if known:
            await self._app.catch_up_changes()
            return known
        subscriber = Subscriber(ctx.session)
        stop = await self._app.add_change_listener(caller_of(ctx), subscriber.subscription.queue_events)
        connection.exit_stack.callback(stop)
        faster: Subscriber | None = connection.state.get(SUBSCRIBER_KEY)  # made for another request of the same client
        if faster:
            stop()
            return faster
        connection.state[SUBSCRIBER_KEY] = subscriber
        connection.exit_stack.callback(subscriber.stop)
        self._app.start_background(subscriber.run, "subscriber")
        return subscriber


async def supported_filter(ctx: RequestContext, asked: wire.SubscriptionFilter) -> wire.SubscriptionFilter:
    """Give the part of the filter that can change here; raise `InvalidRequest` if it asks for too much.

    Raises `LedgerUnusable`.
    """
    uris = list(dict.fromkeys(asked.resource_subscriptions or []))
    check_number(uris)
    known = [uri for uri in uris if await is_subscribable(ctx, uri)]
    return wire.SubscriptionFilter(
        resources_list_changed=asked.resources_list_changed or None, resource_subscriptions=known or None
    )


async def is_subscribable(ctx: RequestContext, uri: str) -> bool:
    try:
        return uri == TASKS_URI or bool(await find_task(ctx, uri))
    except (MCPError, TaskUnreadable):
        return False


def resource_id(uri: str) -> str:
    """Give the task id that a URI stands for, or `ALL_TASKS`; a URI that is none of ours stands for itself."""
    return ALL_TASKS if uri == TASKS_URI else task_id_of(uri) or uri


def resource_uri(task_id: str) -> str:
    return TASKS_URI if task_id == ALL_TASKS else task_uri(task_id)


def check_number(wanted: set[str] | list[str]) -> None:
    if len(wanted) > MAX_SUBSCRIBED_URIS:
        raise InvalidRequest(
            f"At most {MAX_SUBSCRIBED_URIS} resources can be subscribed to.", hint=f"Subscribe to {TASKS_URI}."
        )


def connection_of(ctx: ServerRequestContext[Any, Any]) -> Connection:
    return ctx.session._connection  # noqa: SLF001 - the SDK (2.3) has no public way there yet
