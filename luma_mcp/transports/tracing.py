"""Spans: what OpenTelemetry sees of the work, as children of the spans that the SDK makes of each message."""

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from opentelemetry.trace import (
    NonRecordingSpan,
    ProxyTracerProvider,
    SpanContext,
    SpanKind,
    StatusCode,
    get_current_span,
    get_tracer,
    get_tracer_provider,
    set_tracer_provider,
    use_span,
)

from luma_mcp import __version__
from luma_mcp.core.observer import Fail, Observer, Operation
from luma_mcp.core.settings_sources import exports_spans

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

SERVICE_NAME = "luma-mcp"  # unless OpenTelemetry's own variables say another one
FLUSH_SECONDS = 0.3  # for the last spans, of the 2 s that hosts give a server to end
MISSING = "Spans are not exported, though OpenTelemetry's variables say where to: install the extra `otel`"

logger = logging.getLogger(__name__)


class Spans(Observer):
    """Makes a span of each operation: with its caller, its task's key, and the code of what went wrong.

    Nothing else goes into them, no message of an error either: addresses, which may be secrets, are in some of those.
    """

    def __init__(self) -> None:
        self._tracer = get_tracer("luma_mcp", __version__)

    @contextmanager
    def operation(self, name: Operation, caller: str, key: str = "") -> Generator[Fail]:
        """Make a span of what happens inside."""
        with self._tracer.start_as_current_span(
            f"luma.{name}",
            kind=SpanKind.INTERNAL if name == "call" else SpanKind.CLIENT,
            attributes={"luma.caller": caller} | ({"luma.task": key} if key else {}),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def fail(code: str) -> None:
                span.set_attribute("error.type", code)
                span.set_status(StatusCode.ERROR)

            yield fail

    def trace(self) -> SpanContext | None:
        """Give what names the present span, if there is one."""
        context = get_current_span().get_span_context()
        return context if context.is_valid else None

    @contextmanager
    def within(self, trace: object) -> Generator[None]:
        """Let spans inside be children of an earlier one, which may have ended."""
        if not isinstance(trace, SpanContext):
            yield
            return
        with use_span(NonRecordingSpan(trace), record_exception=False, set_status_on_exception=False):
            yield


@asynccontextmanager
async def open_tracing() -> AsyncGenerator[tuple[Observer, ...]]:
    """Give what makes spans where OpenTelemetry is on, nothing where it is off; send the last ones when left.

    It is on where its variables say where spans go (OTLP over HTTP, by the extra `otel`), or where whoever started this
    process has set it up. How it works is said by its own variables, which its own SDK reads.
    """
    provider = None
    if isinstance(get_tracer_provider(), ProxyTracerProvider):  # nobody has set it up
        provider = make_provider() if exports_spans() else None
        if provider is None:
            yield ()
            return
        set_tracer_provider(provider)
    try:
        yield (Spans(),)
    finally:
        if provider:
            with anyio.move_on_after(FLUSH_SECONDS, shield=True):
                await anyio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)


def make_provider() -> "TracerProvider | None":
    """Make OpenTelemetry's SDK as its variables say; None where it is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - half a second
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above
    except ImportError:
        logger.warning("%s", MISSING)
        return None
    provider = TracerProvider(resource=named_resource(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def named_resource() -> "Resource":
    """Say who makes the spans: as OpenTelemetry's variables do, else by this server's name."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above

    said = Resource.create()
    unnamed = str(said.attributes["service.name"]).startswith("unknown_service")
    return said.merge(Resource({"service.name": SERVICE_NAME})) if unnamed else said
