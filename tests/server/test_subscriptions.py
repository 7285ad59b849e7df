"""Clients of both eras hear of changed tasks, in time, and of nothing that they did not ask for."""

import gc
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp.server import Server
from mcp.server.session import ServerSession
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_PARAMS, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from luma_mcp.app.app import App, open_app
from luma_mcp.app.changes import ALL_TASKS, Changes, ChangeSet
from luma_mcp.core.errors import GenerationFailed, InvalidRequest, LedgerUnusable, TaskUnreadable
from luma_mcp.core.uris import TASKS_URI, task_uri
from luma_mcp.ledger.schema import create_database
from luma_mcp.server import subscriptions
from luma_mcp.server.server import build_server
from luma_mcp.server.subscriptions import MAX_SUBSCRIBED_URIS, Subscription
from luma_mcp.server.tasks import TaskChanged
from tests.support.change_listener import LIST, ChangeRecorder, listening_to_changes, subscribe, unsubscribe
from tests.support.rig import ERAS, SOURCE, Rig, VirtualClock, open_rig, sandbox_for, settings_for, structured
from tests.support.task_client import ask

pytestmark = pytest.mark.anyio
ASK = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 0}
SOON = 1.0
QUIET_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
LEGACY, MODERN = ERAS
VISITS = 10_000
VISITOR = {"name": "visitor", "version": "1"}
HELLO: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": VISITOR}
LISTEN: dict[str, Any] = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": VISITOR,
    },
    "notifications": {"resourcesListChanged": True, "resourceSubscriptions": [TASKS_URI]},
}
TALK: dict[str, list[JSONRPCMessage]] = {
    LEGACY: [
        JSONRPCRequest(jsonrpc="2.0", id=1, method="initialize", params=HELLO),
        JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized"),
        JSONRPCRequest(jsonrpc="2.0", id=2, method="resources/subscribe", params={"uri": TASKS_URI}),
    ],
    MODERN: [JSONRPCRequest(jsonrpc="2.0", id=1, method="subscriptions/listen", params=LISTEN)],
}


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_hears_within_a_second_of_a_new_task_and_of_each_of_its_states(rig: Rig, era: str) -> None:
    heard = ChangeRecorder()
    async with (
        rig.client(era, message_handler=heard.message) as client,
        listening_to_changes(client, heard, era, [TASKS_URI]),
    ):
        task_id = structured(await client.call_tool("modify_video", ASK))["task_id"]
        told = await heard.wait(TASKS_URI, LIST)
        assert max(told.values()) < SOON
        async with listening_to_changes(client, heard, era, [task_uri(task_id)], the_list=False):
            for state in ("processing", "completed"):
                while structured(await client.call_tool("get_task", {"task_id": task_id}))["status"] != state:
                    await heard.wait(task_uri(task_id), TASKS_URI, LIST, seconds=PATIENCE_SECONDS)
            asked = {"task_id": task_id, "wait_seconds": 40}
            path = structured(await client.call_tool("get_task", asked))["video_path"]
            assert max((await heard.wait(task_uri(task_id), TASKS_URI)).values()) < SOON
            assert path


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_hears_of_what_another_process_changes(home: Path, inline_threads: None, era: str) -> None:
    clock, heard = VirtualClock(), ChangeRecorder()
    async with (
        open_rig(home, clock=clock) as rig,
        open_app(settings_for(home), now=clock) as watching,
        rig.client() as theirs,
        Rig(watching, rig.sandbox, clock).client(era, message_handler=heard.message) as ours,
        listening_to_changes(ours, heard, era, [TASKS_URI]),
    ):
        begun = anyio.current_time()
        task_id = structured(await theirs.call_tool("modify_video", ASK))["task_id"]
        await heard.wait(TASKS_URI, LIST, seconds=SOON)
        async with listening_to_changes(ours, heard, era, [task_uri(task_id)], the_list=False):
            await theirs.call_tool("get_task", {"task_id": task_id, "wait_seconds": 40})
            await heard.wait(TASKS_URI, LIST, task_uri(task_id), seconds=SOON)
    assert begun < anyio.current_time()


@pytest.mark.parametrize("era", ERAS)
async def test_nobody_hears_what_they_did_not_ask_for(rig: Rig, era: str) -> None:
    silent, one, other = ChangeRecorder(), ChangeRecorder(), ChangeRecorder()
    async with (
        rig.client(era, message_handler=silent.message) as client,
        rig.client(era, message_handler=one.message) as first,
        rig.client(era, message_handler=other.message) as second,
    ):
        ids = [
            structured(await client.call_tool("modify_video", ASK | {"prompt": prompt}))["task_id"]
            for prompt in ("a", "b")
        ]
        async with (
            listening_to_changes(first, one, era, [task_uri(ids[0])], the_list=False),
            listening_to_changes(second, other, era, [task_uri(ids[1])], the_list=False),
        ):
            await client.call_tool("get_task", {"task_id": ids[0], "wait_seconds": 40})
            await client.call_tool("get_task", {"task_id": ids[1], "wait_seconds": 40})
            await anyio.sleep(QUIET_SECONDS)
        assert {what for what, _ in silent.changes} == set()
        # In the handshake era to subscribe is to take an interest in the list too: it knows no request for that alone.
        unasked = [LIST] if era == LEGACY else []
        assert {what for what, _ in one.changes} == {task_uri(ids[0]), *unasked}
        assert {what for what, _ in other.changes} == {task_uri(ids[1]), *unasked}


@pytest.mark.parametrize("era", ERAS)
async def test_what_changed_before_a_subscription_is_not_told(rig: Rig, era: str) -> None:
    early, late = ChangeRecorder(), ChangeRecorder()
    async with (
        rig.client(era, message_handler=early.message) as first,
        rig.client(era, message_handler=late.message) as second,
        listening_to_changes(first, early, era, [TASKS_URI]),
    ):
        await first.call_tool("modify_video", ASK | {"wait_seconds": 40})
        async with listening_to_changes(second, late, era, [TASKS_URI]):
            await early.expect(TASKS_URI, LIST)
            await anyio.sleep(QUIET_SECONDS)
    assert late.changes == []


async def test_what_changed_while_nobody_listened_is_told_to_nobody(rig: Rig) -> None:
    early, late = ChangeRecorder(), ChangeRecorder()
    async with rig.client(MODERN) as client:
        async with listening_to_changes(client, early, MODERN, [TASKS_URI]):
            await anyio.sleep(QUIET_SECONDS)
        await client.call_tool("modify_video", ASK | {"wait_seconds": 40})
        await anyio.sleep(QUIET_SECONDS)
        async with listening_to_changes(client, late, MODERN, [TASKS_URI]):
            await anyio.sleep(QUIET_SECONDS)
    assert (early.changes, late.changes) == ([], [])


async def test_a_client_that_asked_for_nothing_in_the_right_way_is_told_nothing(rig: Rig) -> None:
    heard = ChangeRecorder()
    async with rig.client(message_handler=heard.message) as client:
        await unsubscribe(client, TASKS_URI)
        with pytest.raises(MCPError):
            await subscribe(client, "https://example.com")
        with pytest.raises(MCPError):
            await client.list_resources(cursor="made up")
        with pytest.raises(MCPError):
            await client.read_resource("luma://tasks/unknown")
        await client.call_tool("modify_video", ASK | {"wait_seconds": 40})
        await anyio.sleep(QUIET_SECONDS)
    assert heard.changes == []


@pytest.mark.parametrize("method", ["list_resources", "read_resource"])
async def test_who_once_listed_or_read_resources_hears_when_the_list_changes(rig: Rig, method: str) -> None:
    heard = ChangeRecorder()
    async with rig.client(message_handler=heard.message) as client:
        await getattr(client, method)(*([TASKS_URI] if method == "read_resource" else []))
        await client.call_tool("modify_video", ASK | {"wait_seconds": 40})
        await anyio.sleep(QUIET_SECONDS)
    assert {what for what, _ in heard.changes} == {LIST}


async def test_a_subscription_tells_nothing_from_before_it(rig: Rig) -> None:
    heard = ChangeRecorder()
    async with rig.client(message_handler=heard.message) as client:
        task_id = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 40}))["task_id"]
        await client.list_resources()
        (task,), _ = await rig.parts.ledger.page("local", "", 1, "")
        assert await rig.parts.ledger.claim([task.key], rig.clock(), rig.clock() + 15)
        await rig.parts.ledger.record(task.troubled(GenerationFailed("late").failure(), rig.clock()))
        await subscribe(client, task_uri(task_id))
        await anyio.sleep(QUIET_SECONDS)
    assert heard.changes == []


async def test_requests_of_one_client_at_once_make_one_subscriber(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, look = ChangeRecorder(), rig.parts.ledger.changes

    async def slow(since: Any) -> Any:
        await anyio.sleep(0.1)
        return await look(since)

    monkeypatch.setattr(rig.parts.ledger, "changes", slow)
    async with rig.client(message_handler=heard.message) as client:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(client.list_resources)
                group.start_soon(subscribe, client, TASKS_URI)
        assert listeners(rig.parts.changes) == 1
        await client.call_tool("modify_video", ASK)
        await heard.expect(TASKS_URI, LIST)
        assert len(heard.changes) == len({(what, when) for what, when in heard.changes})


async def test_a_bug_in_telling_ends_nothing_else(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def buggy(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ServerSession, "send_resource_updated", buggy)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with rig.client() as client, listening_to_changes(client, ChangeRecorder(), LEGACY, [TASKS_URI]):
            done = await client.call_tool("modify_video", ASK | {"wait_seconds": 40})
            assert structured(done)["status"] == "completed"


async def test_a_ledger_that_cannot_be_watched_can_still_be_listed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object) -> None:
        raise LedgerUnusable("no such table: revisions")

    monkeypatch.setattr(rig.parts.ledger, "changes", fail)
    async with rig.client() as client:
        assert (await client.list_resources()).resources
        assert (await client.read_resource(TASKS_URI)).contents


async def test_to_unsubscribe_from_something_unknown_ends_nothing_else(rig: Rig) -> None:
    heard = ChangeRecorder()
    async with (
        rig.client(message_handler=heard.message) as client,
        listening_to_changes(client, heard, LEGACY, [TASKS_URI]),
    ):
        await unsubscribe(client, "https://example.com")
        await client.call_tool("modify_video", ASK)
        await heard.expect(TASKS_URI)


@pytest.mark.parametrize("era", ERAS)
async def test_nothing_is_heard_after_the_subscription_ended(rig: Rig, era: str) -> None:
    heard = ChangeRecorder()
    async with rig.client(era, message_handler=heard.message) as client:
        async with listening_to_changes(client, heard, era, [TASKS_URI], the_list=False):
            pass
        await client.call_tool("modify_video", ASK | {"wait_seconds": 40})
        await anyio.sleep(QUIET_SECONDS)
    assert TASKS_URI not in {what for what, _ in heard.changes}


@pytest.mark.parametrize(
    "uri", ["https://example.com/tasks", "luma://tasks/unknown", "luma://tasks/a/b", "luma://", ""]
)
async def test_what_cannot_change_here_cannot_be_subscribed_to(rig: Rig, uri: str) -> None:
    async with rig.client() as client:
        with pytest.raises(MCPError) as refused:
            await subscribe(client, uri)
    assert refused.value.error.code == INVALID_PARAMS
    assert refused.value.error.data == {"uri": uri}


async def test_the_acknowledgement_names_just_what_will_be_told(rig: Rig) -> None:
    asked: dict[str, Any] = {"resource_subscriptions": [TASKS_URI, "luma://tasks/unknown", "https://example.com"]}
    async with (
        rig.client(MODERN) as client,
        client.listen(tools_list_changed=True, prompts_list_changed=True, **asked) as stream,
    ):
        honored = stream.honored.model_dump(exclude_none=True)
    assert honored == {"resource_subscriptions": [TASKS_URI]}


async def test_a_task_that_cannot_be_read_keeps_nobody_from_hearing_of_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise TaskUnreadable("The task cannot be read.")

    monkeypatch.setattr(rig.parts.ledger, "find", fail)
    async with (
        rig.client(MODERN) as client,
        client.listen(resource_subscriptions=[TASKS_URI, "luma://tasks/broken"]) as stream,
    ):
        assert stream.honored.resource_subscriptions == [TASKS_URI]


@pytest.mark.parametrize(
    ("method", "wanted"),
    [("find", {"resourceSubscriptions": ["luma://tasks/a", "luma://tasks/b"]}), ("get", {"taskIds": ["a", "b"]})],
)
async def test_tasks_are_not_unknown_while_the_ledger_cannot_be_read(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, method: str, wanted: dict[str, Any]
) -> None:
    asked = []

    async def fail(*given: object) -> None:
        asked.append(given)
        raise LedgerUnusable("disk I/O error")

    monkeypatch.setattr(rig.parts.ledger, method, fail)
    async with rig.client(MODERN) as client:
        with anyio.fail_after(SOON), pytest.raises(MCPError, match="disk I/O error"):
            await ask(client, "subscriptions/listen", notifications=wanted)
    assert len(asked) == 1, "a database that is away is not waited for once for each task"


async def test_a_client_can_subscribe_to_a_thousand_resources_and_no_more(rig: Rig) -> None:
    async with rig.client(MODERN) as client:
        with pytest.raises(MCPError, match=str(MAX_SUBSCRIBED_URIS)):
            async with client.listen(
                resource_subscriptions=[f"luma://tasks/{n}" for n in range(MAX_SUBSCRIBED_URIS + 1)]
            ):
                pass


async def test_the_same_resource_counts_once(rig: Rig) -> None:
    interest = Subscription([TASKS_URI, *(f"luma://tasks/{n}" for n in range(MAX_SUBSCRIBED_URIS - 1))], the_list=False)
    interest.add("luma://tasks/7")
    with pytest.raises(InvalidRequest, match=str(MAX_SUBSCRIBED_URIS)):
        interest.add("luma://tasks/one-more")
    async with (
        rig.client(MODERN) as client,
        client.listen(resource_subscriptions=[TASKS_URI] * (MAX_SUBSCRIBED_URIS + 1)) as stream,
    ):
        assert stream.honored.resource_subscriptions == [TASKS_URI]


async def test_a_server_holds_so_many_streams_and_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_LISTEN_STREAMS", 2)
    async with rig.client(MODERN) as client, client.listen(resources_list_changed=True):
        async with client.listen(resources_list_changed=True):
            with pytest.raises(MCPError, match="At most 2 streams"):
                async with client.listen(resources_list_changed=True):
                    pass
        await anyio.sleep(1)
        async with client.listen(resources_list_changed=True):
            pass


async def test_streams_that_are_asked_for_at_once_are_counted_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_LISTEN_STREAMS", 2)
    refused: list[str] = []

    async def listen() -> None:
        with pytest.raises(MCPError) as error:
            await ask(client, "subscriptions/listen", notifications={"resourceSubscriptions": ["luma://tasks/a"]})
        refused.append(error.value.message)

    async with rig.client(MODERN) as client, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(listen)
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    assert refused == ["At most 2 streams can be open."] * 3


async def test_what_changes_again_before_it_was_told_is_told_once() -> None:
    interest = Subscription([TASKS_URI, task_uri("1"), task_uri("2")], the_list=True)
    for _ in range(5000):
        interest.queue_events(ChangeSet(frozenset({ALL_TASKS, "2", "3"}), anything=False, listed=True))
    assert await due(interest) == {ResourceUpdated(TASKS_URI), ResourceUpdated(task_uri("2")), ResourcesListChanged()}
    interest.queue_events(ChangeSet(frozenset({ALL_TASKS}), anything=True, listed=False))
    assert await due(interest) == {ResourceUpdated(uri) for uri in (TASKS_URI, task_uri("1"), task_uri("2"))}
    interest.queue_events(ChangeSet(frozenset({ALL_TASKS, "2"}), anything=False, listed=False))
    interest.remove(task_uri("2"))
    assert await due(interest) == {ResourceUpdated(TASKS_URI)}


async def due(interest: Subscription) -> set[ServerEvent | TaskChanged]:
    """Take all that is to be told now."""
    told: set[ServerEvent | TaskChanged] = set()
    with anyio.move_on_after(1):
        while event := await interest.next_event():
            told.add(event)
    return told


async def test_a_client_may_end_a_subscription_that_it_never_had(rig: Rig) -> None:
    async with rig.client() as client:
        await unsubscribe(client, TASKS_URI)


async def test_a_client_that_stops_reading_holds_up_nobody(rig: Rig) -> None:
    heard = ChangeRecorder()

    async def stop(message: object) -> None:
        await anyio.sleep_forever()

    async with (
        rig.client(message_handler=stop) as stuck,
        rig.client(message_handler=heard.message) as client,
        listening_to_changes(stuck, ChangeRecorder(), LEGACY, [TASKS_URI]),
        listening_to_changes(client, heard, LEGACY, [TASKS_URI]),
    ):
        for prompt in "abcdef":
            await client.call_tool("modify_video", ASK | {"prompt": prompt})
            await heard.wait(TASKS_URI, LIST, seconds=SOON)


async def test_the_ledger_is_left_alone_while_nobody_listens_or_waits(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    look = rig.parts.ledger.changes

    async def counted(since: Any) -> Any:
        looks.append(since)
        return await look(since)

    monkeypatch.setattr(rig.parts.ledger, "changes", counted)
    async with rig.client() as client:
        await client.call_tool("modify_video", ASK | {"wait_seconds": 40})  # which waits for changes
        await anyio.sleep(1)
        looks.clear()
        await anyio.sleep(60)
        assert looks == []
        async with listening_to_changes(client, ChangeRecorder(), LEGACY, [TASKS_URI]):
            await anyio.sleep(10)
        assert len(looks) >= 10
    await anyio.sleep(1)
    looks.clear()
    await anyio.sleep(60)
    assert looks == []


async def test_what_changes_while_the_ledger_cannot_be_read_is_told_afterwards(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise LedgerUnusable("disk I/O error")

    heard = ChangeRecorder()
    async with (
        rig.client(message_handler=heard.message) as client,
        listening_to_changes(client, heard, LEGACY, [TASKS_URI]),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(rig.parts.ledger, "changes", fail)
            await client.call_tool("modify_video", ASK)
            await anyio.sleep(QUIET_SECONDS)
            assert heard.changes == []
        await heard.wait(TASKS_URI, LIST, seconds=SOON)


@pytest.mark.parametrize("era", ERAS)
async def test_nothing_is_promised_while_the_ledger_cannot_be_read(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, era: str
) -> None:
    async def fail(_: object) -> None:
        raise LedgerUnusable("disk I/O error")

    monkeypatch.setattr(rig.parts.ledger, "changes", fail)
    async with rig.client(era) as client:
        with pytest.raises(MCPError, match="disk I/O error"):
            async with listening_to_changes(client, ChangeRecorder(), era, [TASKS_URI], the_list=False):
                pass


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_that_is_forgotten_is_told(home: Path, inline_threads: None, era: str) -> None:
    heard = ChangeRecorder()
    async with open_rig(home) as rig, rig.client(era, message_handler=heard.message) as client:
        task_id = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 40}))["task_id"]
        async with listening_to_changes(client, heard, era, [TASKS_URI, task_uri(task_id)]):
            await rig.parts.ledger.forget(rig.clock() + 30 * 86_400, 1)
            await heard.wait(TASKS_URI, task_uri(task_id), LIST, seconds=SOON)


@pytest.mark.parametrize("era", ERAS)
async def test_a_ledger_that_was_replaced_counts_as_changed(home: Path, inline_threads: None, era: str) -> None:
    heard = ChangeRecorder()
    async with (
        open_rig(home, sandbox=sandbox_for(home)) as rig,
        rig.client(era, message_handler=heard.message) as client,
        listening_to_changes(client, heard, era, [TASKS_URI]),
    ):
        task_id = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 40}))["task_id"]
        async with listening_to_changes(client, heard, era, [task_uri(task_id)], the_list=False):
            create_database(home / "another.sqlite3")
            (home / "another.sqlite3").replace(home / "data" / "tasks.sqlite3")
            await heard.wait(TASKS_URI, task_uri(task_id), LIST, seconds=SOON)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_version_of_the_handshake_era_is_told_in_its_own_words(rig: Rig, version: str) -> None:
    hello = JSONRPCRequest(jsonrpc="2.0", id=1, method="initialize", params=HELLO | {"protocolVersion": version})
    look = JSONRPCRequest(jsonrpc="2.0", id=2, method="resources/list")
    call = {"name": "modify_video", "arguments": ASK | {"wait_seconds": 40}}
    modify = JSONRPCRequest(jsonrpc="2.0", id=3, method="tools/call", params=call)
    wait = {"name": "get_task", "arguments": {"task_id": "unknown"}}
    hang_on = JSONRPCRequest(jsonrpc="2.0", id=4, method="tools/call", params=wait)
    heard = await converse(build_server(rig.app), [hello, TALK[LEGACY][1], look, modify, hang_on])
    answers = {message.id: message.result for message in heard if isinstance(message, JSONRPCResponse)}
    assert answers[1]["protocolVersion"] == version
    assert [block["type"] for block in answers[3]["content"]] == ["text"]
    told = {message.method for message in heard if isinstance(message, JSONRPCNotification)}
    assert told == {"notifications/resources/list_changed"}
    again = {"name": "modify_video", "arguments": ASK | {"wait_seconds": 40, "take": 2}}
    another = JSONRPCRequest(jsonrpc="2.0", id=3, method="tools/call", params=again)
    heard = await converse(build_server(rig.app), [hello, *TALK[LEGACY][1:], another, hang_on])
    told = {message.method for message in heard if isinstance(message, JSONRPCNotification)}
    assert told == {"notifications/resources/updated", "notifications/resources/list_changed"}


class TestManyClients:
    """Ten thousand connections come and go."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_they_leave_nothing_behind(self, home: Path) -> None:
        async with open_app(settings_for(home)) as app:
            server = build_server(app)
            for number in range(VISITS // 50):
                await visit(server, ERAS[number % 2])
            gc.collect()
            before = len(gc.get_objects())
            for number in range(VISITS):
                await visit(server, ERAS[number % 2])
            gc.collect()
            assert len(gc.get_objects()) - before < VISITS / 10
            assert listeners(app._parts.changes) == 0


async def visit(server: Server[App], era: str) -> None:
    """Connect, subscribe, and leave without a word."""
    await converse(server, TALK[era])


async def converse(server: Server[App], talk: list[JSONRPCMessage]) -> list[JSONRPCMessage]:
    """Say some things, each request after the answer to the one before, and leave; give all that was heard."""
    said: list[JSONRPCMessage] = []
    ours, theirs = anyio.create_memory_object_stream[SessionMessage | Exception](10)
    answers, heard = anyio.create_memory_object_stream[SessionMessage](10)
    with ours, theirs, answers, heard:
        async with anyio.create_task_group() as serving:
            serving.start_soon(server.run, theirs, answers, server.create_initialization_options())
            for message in talk:
                await ours.send(SessionMessage(message))
                while isinstance(message, JSONRPCRequest):
                    said.append((await heard.receive()).message)
                    if not isinstance(said[-1], JSONRPCNotification) or message.method == "subscriptions/listen":
                        break
            ours.close()
    return said


def listeners(changes: Changes) -> int:
    """Count who listens."""
    return len(vars(changes)["_listeners"])
