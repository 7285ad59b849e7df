"""The spans that OpenTelemetry's own SDK makes in this process, kept in memory while a test asks for them."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, set_tracer_provider


@cache
def provider() -> TracerProvider:
    """Set up OpenTelemetry, which a process can do once; nothing is kept of its spans without `recorded_spans`."""
    made = TracerProvider(shutdown_on_exit=False)
    set_tracer_provider(made)
    return made


@contextmanager
def recorded_spans() -> Generator[InMemorySpanExporter]:
    """Keep all spans that end meanwhile."""
    exporter = InMemorySpanExporter()
    provider().add_span_processor(SimpleSpanProcessor(exporter))
    try:
        yield exporter
    finally:
        exporter.shutdown()


def id_of(span: ReadableSpan) -> int:
    return context_of(span).span_id


def trace_of(span: ReadableSpan) -> int:
    return context_of(span).trace_id


def context_of(span: ReadableSpan) -> SpanContext:
    found: SpanContext | None = span.context
    assert found
    return found
