"""What a client of either era is notified of changed resources, and when."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from mcp import Client
from mcp.client.subscriptions import Subscription
from mcp_types import (
    EmptyResult,
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    SubscribeRequest,
    SubscribeRequestParams,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)

from tests.support.rig import ERAS

LIST = "the list"


@dataclass
class ChangeRecorder:
    """Changes as a client was notified of them: the URI of a resource or `LIST`, each with the time."""

    changes: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    another: anyio.Event = field(default_factory=anyio.Event)
    streamed: bool = False

    async def message(self, message: object) -> None:
        """Take a notification from outside any stream; the SDK's client passes those of streams here as well."""
        if self.streamed:
            return
        if isinstance(message, ResourceUpdatedNotification):
            self.note(message.params.uri)
        elif isinstance(message, ResourceListChangedNotification):
            self.note(LIST)

    def note(self, what: str) -> None:
        self.changes.append((what, anyio.current_time()))
        self.another.set()
        self.another = anyio.Event()

    def since(self, begun: float) -> dict[str, float]:
        """Give what was notified since a moment, with the seconds until it first was."""
        first: dict[str, float] = {}
        for what, when in self.changes:
            if when >= begun:
                first.setdefault(what, when - begun)
        return first

    async def wait(self, *expected: str, seconds: float = 5.0) -> dict[str, float]:
        """Wait until all of this was notified, and give the seconds until each was."""
        begun = anyio.current_time()
        await self.expect(*expected, since=begun, seconds=seconds)
        return self.since(begun)

    async def expect(self, *expected: str, since: float = 0.0, seconds: float = 5.0) -> None:
        with anyio.move_on_after(seconds):
            while set(expected) - self.since(since).keys():
                await self.another.wait()
        assert not set(expected) - self.since(since).keys(), (expected, self.changes)


@asynccontextmanager
async def listening_to_changes(
    client: Client, heard: ChangeRecorder, era: str, uris: Sequence[str], *, the_list: bool = True
) -> AsyncGenerator[None]:
    """Subscribe to resources as clients of the era do; the client was made with `heard.message` as message handler."""
    if era == ERAS[0]:
        if the_list:
            await client.list_resources()
        for uri in uris:
            await subscribe(client, uri)
        yield
        for uri in uris:
            await unsubscribe(client, uri)
        return
    heard.streamed = True
    async with (
        client.listen(resources_list_changed=the_list, resource_subscriptions=uris) as stream,
        anyio.create_task_group() as listening,
    ):
        listening.start_soon(listen, stream, heard)
        yield
        listening.cancel_scope.cancel()


async def listen(stream: Subscription, heard: ChangeRecorder) -> None:
    async for event in stream:
        heard.note(getattr(event, "uri", LIST))


async def subscribe(client: Client, uri: str) -> None:
    await client.session.send_request(SubscribeRequest(params=SubscribeRequestParams(uri=uri)), EmptyResult)


async def unsubscribe(client: Client, uri: str) -> None:
    await client.session.send_request(UnsubscribeRequest(params=UnsubscribeRequestParams(uri=uri)), EmptyResult)
