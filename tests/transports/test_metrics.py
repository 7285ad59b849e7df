"""What a Prometheus reads: figures that are exact after a known job, name nobody, and are there for its token alone."""

import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from luma_mcp.app.app import App
from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.core.models import Status
from luma_mcp.core.observer import Observers, Settled
from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.sandbox.faults import Fault
from luma_mcp.transports.http import make_metrics
from luma_mcp.transports.metrics import CACHE_SECONDS, Metrics
from tests.support.http_server import ASK, METRICS_TOKEN, PAIRS, TOKENS, bearer, hosted
from tests.support.mp4_files import film
from tests.support.rig import ERAS, Rig, open_rig
from tests.support.tasks import COMPLETED

pytestmark = pytest.mark.anyio
Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]
OPERATIONS = ("submission", "poll", "upload", "download")
SHOWN = {"Authorization": f"Bearer {METRICS_TOKEN}"}


def figures(text: str) -> Figures:
    """Read a page as Prometheus does; without the times of its counters' beginnings."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for sample in samples
        if not sample.name.endswith("_created")
    }


def figure(found: Figures, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


async def scraped(rig: Rig, metrics: Metrics, headers: Mapping[str, str] = SHOWN) -> httpx.Response:
    """Ask for the page, without a port."""
    served = httpx.ASGITransport(Starlette(routes=metrics.routes(rig.app)))
    async with httpx.AsyncClient(transport=served, base_url="http://here") as client:
        return await client.get("/metrics", headers=dict(headers))


async def measured(rig: Rig, metrics: Metrics) -> Figures:
    """Read the figures, none of them from the cache."""
    await anyio.sleep(CACHE_SECONDS)
    return figures((await scraped(rig, metrics)).text)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(METRICS_TOKEN)


async def test_after_a_known_job_every_figure_is_exact(home: Path, inline_threads: None, metrics: Metrics) -> None:
    clip = home / "clip.mp4"
    clip.write_bytes(film())
    async with open_rig(home, observer=Observers((metrics,)), media_roots=(home,)) as rig:
        task = await rig.settle(await rig.submit(source=str(clip)))
        found = await measured(rig, metrics)
        assert task.video_path
        done = [figure(found, "luma_operation_seconds_count", operation=operation) for operation in OPERATIONS]
        assert done == [1, rig.polls(), 1, 1]
        assert figure(found, "luma_tasks_ended_total", status="completed") == 1
        assert figure(found, "luma_charges_total", charged="yes") == 1
        assert figure(found, "luma_charged_usd_total", charged="yes") == task.cost_usd == 0.5
        assert figure(found, "luma_detection_lag_seconds_count") == 1
        assert {name for name, _ in found if name.startswith("luma_errors")} == set()
        assert (figure(found, "luma_queue", state="due"), figure(found, "luma_leases")) == (0, 0)
        assert [figure(found, "luma_tasks", status=status) for status in Status if not status.done] == [0] * 4


async def test_what_runs_is_counted_in_its_state_in_the_queue_and_in_the_leases(
    home: Path, inline_threads: None, metrics: Metrics
) -> None:
    async with open_rig(home, observer=Observers((metrics,))) as rig:
        for number in range(3):
            await rig.submit(f"fog {number}", wait=0)
        found = await measured(rig, metrics)
        running = [figure(found, "luma_tasks", status=status) or 0 for status in ("pending", "processing")]
        assert sum(running) == 3
        queue = [figure(found, "luma_queue", state=state) or 0 for state in ("due", "waiting")]
        assert sum(queue) == 3
        assert figure(found, "luma_leases") == 3


async def test_the_end_is_seen_at_most_one_interval_late(home: Path, inline_threads: None, metrics: Metrics) -> None:
    asked: list[float] = []
    async with open_rig(home, observer=Observers((metrics,))) as rig:
        task = await rig.submit(wait=0)
        while not (await rig.parts.ledger.get(task.key)).status.done:
            if not asked or rig.polls() > len(asked) - 1:
                asked.append(anyio.current_time())
            await anyio.sleep(0.05)
        found = await measured(rig, metrics)
        lag = figure(found, "luma_detection_lag_seconds_sum") or 0.0
        generation = next(iter(rig.sandbox.state.generations()))
        ended_at = generation.created_at + generation.seconds
        seen_at = (await rig.parts.ledger.get(task.key)).finished_at or 0.0
        assert 0 < seen_at - ended_at <= lag + 0.01
        assert lag < 8.0


async def test_of_a_task_that_another_server_began_the_lag_is_all_the_time_since(
    home: Path, inline_threads: None, metrics: Metrics
) -> None:
    async with open_rig(home) as rig:
        task = await rig.submit(wait=0)
    async with open_rig(home, observer=Observers((metrics,)), clock=rig.clock) as later:
        await anyio.sleep(600)
        later.app.start_tracker()
        await later.settle(task)
        found = await measured(later, metrics)
    assert 600 <= (figure(found, "luma_detection_lag_seconds_sum") or 0.0) < 610


@pytest.mark.parametrize(
    ("fault", "operation", "code"),
    [
        (Fault("503"), "submission", "service_unavailable"),
        (Fault("drop_after"), "submission", "network"),
        (Fault("429", "read"), "poll", "rate_limited"),
        (Fault("503", "files"), "upload", "service_unavailable"),
        (Fault("404", "output", times=3), "download", "download_failed"),
    ],
)
async def test_faults_are_counted_where_they_happened_by_their_code(
    home: Path, inline_threads: None, metrics: Metrics, fault: Fault, operation: str, code: str
) -> None:
    clip = home / "clip.mp4"
    clip.write_bytes(film())
    async with open_rig(home, observer=Observers((metrics,)), media_roots=(home,)) as rig:
        rig.sandbox.faults.inject(fault)
        await rig.settle(await rig.submit(source=str(clip)))
        found = await measured(rig, metrics)
    errors = {labels: value for (name, labels), value in found.items() if name == "luma_errors_total"}
    assert set(errors) == {(("code", code), ("operation", operation))}
    assert 1 <= sum(errors.values()) <= fault.times


async def test_calls_that_fail_are_counted_by_the_code_that_they_are_answered_with(
    home: Path, inline_threads: None, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_rig(home, observer=Observers((metrics,))) as rig, rig.client(ERAS[1]) as client:
        await client.call_tool("modify_video", ASK | {"source_video_url": "/etc/passwd"})
        await client.call_tool("modify_video", ASK | {"promt": "fog"})
        await client.call_tool("preview_video", {"task_id": "550e8400-e29b-41d4-a716-446655440000"})
        await client.call_tool("list_tasks", {})
        monkeypatch.setattr(App, "list_tasks", None)  # a bug
        await client.call_tool("list_tasks", {})
        found = await measured(rig, metrics)
    assert figure(found, "luma_operation_seconds_count", operation="call") == 5
    errors = {dict(labels)["code"]: value for (name, labels), value in found.items() if name == "luma_errors_total"}
    assert errors == {"source_not_allowed": 1, "invalid_request": 1, "task_not_found": 1, "unexpected": 1}


async def test_whatever_code_comes_there_are_few_labels(metrics: Metrics) -> None:
    for number in range(100):
        with metrics.operation("call", f"caller {number}", f"key {number}") as fail:
            fail(f"made up {number}")
    metrics.settled(COMPLETED, Settled(ended=True))
    text = generate_latest(metrics._registry).decode()
    found = figures(text)
    assert figure(found, "luma_errors_total", operation="call", code="unexpected") == 100
    assert len([name for name, _ in found if name == "luma_errors_total"]) == 1
    assert "caller 1" not in text
    assert "key 1" not in text


async def test_figures_of_a_ledger_that_cannot_be_read_are_left_out(
    home: Path, inline_threads: None, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Ledger) -> dict[Status, int]:
        raise LedgerUnusable("The disk is gone.")

    async with open_rig(home, observer=Observers((metrics,))) as rig:
        assert figure(await measured(rig, metrics), "luma_tasks", status="pending") == 0
        monkeypatch.setattr(Ledger, "count_unended", broken)
        found = await measured(rig, metrics)
    assert figure(found, "luma_tasks", status="pending") is None
    assert figure(found, "luma_leases") == 0


async def test_the_ledger_is_asked_once_in_five_seconds_however_often_the_page_is(
    home: Path, inline_threads: None, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    count = Ledger.count_unended

    async def counted(ledger: Ledger) -> dict[Status, int]:
        asked.append(anyio.current_time())
        return await count(ledger)

    monkeypatch.setattr(Ledger, "count_unended", counted)
    async with open_rig(home, observer=Observers((metrics,))) as rig:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(scraped, rig, metrics)
        assert len(asked) == 1
        await measured(rig, metrics)
        assert len(asked) == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (SHOWN, 200),
        ({"Authorization": f"bearer  {METRICS_TOKEN}"}, 200),
        ({}, 401),
        ({"Authorization": METRICS_TOKEN}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": f"Bearer {METRICS_TOKEN}x"}, 401),
        ({"Authorization": f"Basic {METRICS_TOKEN}"}, 401),
    ],
)
async def test_only_its_own_token_opens_the_page(
    rig: Rig, metrics: Metrics, headers: dict[str, str], status: int
) -> None:
    answer = await scraped(rig, metrics, headers)
    assert answer.status_code == status
    assert ("luma_leases" in answer.text) == (status == 200)


@pytest.mark.sockets
async def test_callers_cannot_read_it_and_whoever_can_is_no_caller(home: Path) -> None:
    async with hosted(home, runs=True, auth_tokens=PAIRS, metrics_token=METRICS_TOKEN) as server:
        async with server.client("/mcp", ERAS[1], "ann") as client:
            await client.call_tool("modify_video", ASK | {"wait_seconds": 0})
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            for headers in ({}, bearer("ann")):
                assert (await http.get("/metrics", headers=headers)).status_code == 401
            page = await http.get("/metrics", headers={**SHOWN, "Host": "10.2.3.4:8000"})
            assert page.status_code == 200
            assert page.headers["content-type"].startswith("text/plain")
            assert (await http.post("/mcp", headers=SHOWN)).status_code == 401
        assert figure(figures(page.text), "luma_operation_seconds_count", operation="call") == 1
        for secret in ("ann", ASK["prompt"], *TOKENS.values(), METRICS_TOKEN, "example.com"):
            assert secret not in page.text


@pytest.mark.sockets
async def test_without_the_setting_there_is_no_such_page(home: Path) -> None:
    async with hosted(home) as server, server.plain() as http:
        assert (await http.get("/metrics", headers=SHOWN)).status_code == 404


def test_a_token_without_the_extra_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "luma_mcp.transports.metrics")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert make_metrics(load_settings()) == ()
    with pytest.raises(BadSetting, match="extra"):
        make_metrics(load_settings(metrics_token=METRICS_TOKEN))


@pytest.mark.parametrize("token", ["short", "your-token-goes-here", "with blanks in it"])
def test_a_token_that_keeps_nobody_out_is_refused(token: str) -> None:
    with pytest.raises(BadSetting, match="16 characters"):
        load_settings(metrics_token=token)
