"""What a ladder file may say of metrics and traces."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from .table import Table
from .values import Headers, Name, Probability, Seconds, WebAddress

__all__ = ["OtelConfig", "PrometheusConfig", "TelemetryConfig"]


class PrometheusConfig(Table):
    """Metrics for Prometheus. `cascade serve` shows them at `/metrics`. See docs/observability.md."""

    tenants: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=0,
        description="Most tenants with metrics of their own, the first to come; the others together "
        "are `other`. 0: no metrics by tenant.",
    )


class OtelConfig(Table):
    """Spans for OpenTelemetry. See docs/observability.md."""

    endpoint: WebAddress | None = Field(
        default=None,
        description="Where they are sent (OTLP over HTTP, protobuf), such as "
        "`http://127.0.0.1:4318/v1/traces`. Absent: to what the program itself has set up as its "
        "tracer provider.",
    )
    headers: Headers = Field(default_factory=dict, description="Further HTTP headers.")
    service: Name = Field(default="cascade", description="`service.name` of the spans.")
    content: bool = Field(
        default=False, description="Whether prompts and answers are written into them."
    )
    propagate: bool = Field(
        default=True,
        description="Whether requests to providers carry `traceparent` (and `tracestate`), so that "
        "their spans join the trace.",
    )
    share: Probability = Field(
        default=1.0,
        description="Share of the asks that are traced; those whose caller is traced follow it.",
    )
    timeout_s: Seconds = Field(default=10.0, description="Seconds that sending may take.")


def _read_switch(value: Any) -> Any:
    """`false` is none, `true` is all by default."""
    if value is False:
        return None
    return {} if value is True else value


class TelemetryConfig(Table):
    """What is told of asks while they run; off unless switched on here."""

    prometheus: Annotated[PrometheusConfig | None, BeforeValidator(_read_switch)] = Field(
        default=None,
        description="Metrics (the extra `prometheus`): `true`, or a mapping. Absent: none.",
    )
    otel: Annotated[OtelConfig | None, BeforeValidator(_read_switch)] = Field(
        default=None, description="Spans (the extra `otel`): `true`, or a mapping. Absent: none."
    )
