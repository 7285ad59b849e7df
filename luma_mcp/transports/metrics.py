"""What a Prometheus reads of this server: figures that name nobody, for whoever has the token for them."""

import hmac
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import anyio
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from luma_mcp.app.app import App
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Status, Task
from luma_mcp.core.observer import UNEXPECTED, Fail, Observer, Operation, Settled
from luma_mcp.transports.health import METRICS_PATH
from luma_mcp.transports.static_tokens import digest

CACHE_SECONDS = 5.0
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)  # seconds
UNENDED_STATES = tuple(status for status in Status if not status.done)
BEARER = "bearer "
HINT = "This page wants the header Authorization: Bearer <token>, with the token in LUMA_MCP_METRICS_TOKEN."


class Metrics(Observer):
    """Counts what happens in this process; labels are words of this server's, so that there are few of them."""

    def __init__(self, token: str) -> None:
        self._token = digest(token)
        self._looking = anyio.Lock()
        self._measured_at = -CACHE_SECONDS
        self._registry = own = CollectorRegistry()
        self._codes = frozenset(error_codes(LumaError))
        self._seconds = Histogram(
            "luma_operation_seconds",
            "How long operations took: tool calls, requests to RunAPI that submit or poll, uploads, downloads",
            ["operation"],
            registry=own,
            buckets=BUCKETS,
        )
        self._errors = Counter(
            "luma_errors", "Operations that failed, by error code", ["operation", "code"], registry=own
        )
        self._lag = Histogram(
            "luma_detection_lag_seconds",
            "How long before its end was seen a task was last known to run: the most by which that was late",
            registry=own,
            buckets=BUCKETS,
        )
        self._ended = Counter("luma_tasks_ended", "Tasks whose end this server recorded", ["status"], registry=own)
        self._charges = Counter("luma_charges", "Tasks recorded as charged, or perhaps", ["charged"], registry=own)
        self._charged = Counter("luma_charged_usd", "What these cost in USD, or may", ["charged"], registry=own)
        self._tasks = Gauge("luma_tasks", "Tasks in the ledger that have not ended", ["status"], registry=own)
        self._queue = Gauge("luma_queue", "Tasks this server looks after, due or waiting", ["state"], registry=own)
        self._leases = Gauge("luma_leases", "Tasks leased to this server", registry=own)

    @contextmanager
    def operation(self, name: Operation, caller: str, key: str = "") -> Generator[Fail]:
        """Count an operation and its failure, and take the time."""
        begun = anyio.current_time()

        def fail(code: str) -> None:
            self._errors.labels(name, code if code in self._codes else UNEXPECTED).inc()

        try:
            yield fail
        finally:
            self._seconds.labels(name).observe(anyio.current_time() - begun)

    def settled(self, task: Task, settled: Settled) -> None:
        """Count an end and a charge."""
        if settled.ended:
            self._ended.labels(task.status).inc()
        if settled.charged:
            self._charges.labels(task.settled_charge).inc()
            self._charged.labels(task.settled_charge).inc(task.counted_usd)

    def end_seen(self, seconds: float) -> None:
        """Note how late an end was seen at most."""
        self._lag.observe(max(0.0, seconds))

    def routes(self, app: App) -> list[BaseRoute]:
        """Show the figures to whoever has the token; the ledger is asked at most every `CACHE_SECONDS`."""

        async def show(request: Request) -> Response:
            if not self._is_known(request.headers.get("authorization", "")):
                return PlainTextResponse(HINT, 401, headers={"WWW-Authenticate": "Bearer"})
            async with self._looking:
                if anyio.current_time() >= self._measured_at + CACHE_SECONDS:
                    await self._measure(app)
                    self._measured_at = anyio.current_time()
            return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

        return [Route(METRICS_PATH, show, methods=["GET"])]

    def _is_known(self, header: str) -> bool:
        is_bearer = header[: len(BEARER)].lower() == BEARER
        return is_bearer and hmac.compare_digest(digest(header[len(BEARER) :].strip()), self._token)

    async def _measure(self, app: App) -> None:
        """Set the gauges; those of a ledger that cannot be read are left out until it can."""
        load = app.tracker_load
        self._queue.labels("due").set(load.due)
        self._queue.labels("waiting").set(load.waiting)
        self._leases.set(load.leases)
        try:
            counts = await app.count_unended()
        except LumaError:
            self._tasks.clear()
            return
        for status in UNENDED_STATES:
            self._tasks.labels(status).set(counts.get(status, 0))


def error_codes(kind: type[LumaError]) -> Iterator[str]:
    """Give the codes of all kinds of failures."""
    if code := vars(kind).get("code"):
        yield code
    for narrower in kind.__subclasses__():
        yield from error_codes(narrower)
