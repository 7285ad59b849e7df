"""Spans: one whole job is one tree under its client's trace, and no secret is in any of them."""

import json
import logging
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import ProxyTracerProvider, StatusCode, get_tracer

from luma_mcp.core.observer import Observer, Observers
from luma_mcp.sandbox.faults import Fault
from luma_mcp.transports import tracing
from luma_mcp.transports.tracing import Spans, open_tracing
from tests.support.http_server import ASK, METRICS_TOKEN, PAIRS, TOKENS, hosted
from tests.support.mp4_files import film
from tests.support.rig import ERAS, KEY, open_rig, structured
from tests.support.sandbox_process import SERVER
from tests.support.spans import id_of, recorded_spans, trace_of

pytestmark = pytest.mark.anyio
PUBLIC = "https://luma.example.com"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def ours(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    return [span for span in spans if span.name.startswith("luma.")]


def parents(spans: Sequence[ReadableSpan]) -> dict[str, str]:
    """Say below which other each of our spans is, by their names."""
    names = {id_of(span): span.name for span in spans}
    return {span.name: names.get(span.parent.span_id if span.parent else 0, "") for span in ours(spans)}


@pytest.mark.sockets
async def test_a_whole_job_over_http_is_one_tree_without_a_secret(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "luma_mcp")
    clip = home / "clip.mp4"
    clip.write_bytes(film())
    more: dict[str, Any] = {
        "save": "auto",
        "media_roots": str(home),
        "public_url": PUBLIC,
    }
    with recorded_spans() as kept:
        async with hosted(home, runs=True, auth_tokens=PAIRS, metrics_token=METRICS_TOKEN, **more) as server:
            with get_tracer("a client").start_as_current_span("the client's work") as root:
                async with server.client("/mcp", ERAS[1], "ann") as client:
                    ask = ASK | {"source_video_url": str(clip)}
                    task = structured(await client.call_tool("modify_video", ask))
            async with server.plain("ann") as http:
                page = (await http.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})).text
            generation = server.sandbox.state.generations()[0]
        spans = kept.get_finished_spans()
    assert task["video_path"]
    assert {trace_of(span) for span in ours(spans)} == {root.get_span_context().trace_id}
    below_call = dict.fromkeys(("luma.upload", "luma.submission", "luma.poll", "luma.download"), "luma.call")
    assert parents(spans) == {"luma.call": "tools/call modify_video", **below_call}
    assert {(span.attributes or {})["luma.caller"] for span in ours(spans)} == {"ann"}
    assert len({(span.attributes or {}).get("luma.task") for span in ours(spans)} - {None}) == 1
    secrets = [KEY, METRICS_TOKEN, *TOKENS.values(), *task["video_urls"]]
    secrets += [str(generation.body["callback_url"]).rpartition("/")[2], str(generation.body["source_video_url"])]
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("luma_mcp"))
    told = "".join(span.to_json() for span in spans) + page + logged
    assert '{"event": "charge"' in logged
    assert [secret for secret in secrets if secret in told] == []
    assert ASK["prompt"] not in told


async def test_what_goes_wrong_is_told_by_its_code_alone(home: Path, inline_threads: None) -> None:
    with recorded_spans() as kept:
        async with open_rig(home, observer=Observers((Spans(),))) as rig, rig.client(ERAS[1]) as client:
            rig.sandbox.faults.inject(Fault("503", text="see https://x.example/?token=secret"), Fault("429", "read"))
            await rig.settle(await rig.submit())
            await client.call_tool("get_task", {"task_id": "550e8400-e29b-41d4-a716-446655440000"})
        spans = ours(kept.get_finished_spans())
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    codes = [(span.name, (span.attributes or {})["error.type"]) for span in failed]
    assert codes == [
        ("luma.submission", "service_unavailable"),
        ("luma.poll", "rate_limited"),
        ("luma.call", "task_not_found"),
    ]
    assert all(span.status.description is None and not span.events for span in spans)
    assert "secret" not in "".join(span.to_json() for span in spans)


async def test_a_task_that_another_server_began_is_followed_in_traces_of_its_own(
    home: Path, inline_threads: None
) -> None:
    with recorded_spans() as kept:
        async with open_rig(home) as rig:
            task = await rig.submit(wait=0)
        async with open_rig(home, observer=Observers((Spans(),)), clock=rig.clock) as rig:
            rig.app.start_tracker()
            await rig.settle(task)
        spans = ours(kept.get_finished_spans())
    assert {span.name for span in spans} == {"luma.poll", "luma.download"}
    assert all(span.parent is None for span in spans)
    assert {(span.attributes or {})["luma.task"] for span in spans} == {task.key}


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be as if nobody had set OpenTelemetry up in this process."""
    monkeypatch.setattr(tracing, "get_tracer_provider", ProxyTracerProvider)


@pytest.mark.parametrize(
    "variables", [{}, {ENDPOINT: ""}, {ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}]
)
async def test_unless_told_where_spans_go_none_are_made(
    off: None, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with open_tracing() as observers:
        assert observers == ()


async def test_without_the_extra_the_server_says_what_lacks_and_goes_on(
    off: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    async with open_tracing() as observers:
        assert observers == ()
    assert "install the extra `otel`" in caplog.text


async def test_whoever_has_set_opentelemetry_up_is_left_to_it(off: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "get_tracer_provider", object)
    monkeypatch.setattr(tracing, "make_provider", None)
    async with open_tracing() as observers:
        assert [type(observer) for observer in observers] == [Spans]


def test_nothing_belongs_to_a_span_where_there_is_none() -> None:
    assert Spans().trace() is None
    with Spans().within(None):
        assert Spans().trace() is None
    assert isinstance(Spans(), Observer)


@contextmanager
def collector() -> Generator[tuple[str, "Queue[bytes]"]]:
    """Take spans on a port as a collector does, and keep what came."""
    came: Queue[bytes] = Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as served:
        Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", came
        served.shutdown()


def test_a_server_for_one_host_sends_its_spans_before_it_ends_and_prints_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    asked = (
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_tasks", "arguments": {}}},
    )
    said = "".join(json.dumps(message) + "\n" for message in asked)
    with collector() as (address, came):
        monkeypatch.setenv(ENDPOINT, address)
        ended = subprocess.run(
            [*SERVER, "--sandbox"], input=said, capture_output=True, text=True, timeout=60, check=True
        )
        sent = ExportTraceServiceRequest.FromString(came.get(timeout=10))
    assert [json.loads(line)["id"] for line in ended.stdout.splitlines()] == [1, 2]
    (resource,) = sent.resource_spans
    assert "luma-mcp" in [
        each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
    ]
    names = {span.name for scope in resource.scope_spans for span in scope.spans}
    assert {"tools/call list_tasks", "luma.call"} <= names
