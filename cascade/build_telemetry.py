"""Makes what tells of asks while they run, as a ladder file describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ConfigError
from .ports import Tracer

if TYPE_CHECKING:
    from .config import LadderConfig
    from .telemetry.prometheus import PrometheusMetrics

__all__ = ["metrics", "tracer"]


def metrics(config: LadderConfig) -> PrometheusMetrics | None:
    """Return the metrics for Prometheus that a ladder file asks for, or None.

    Raises:
        ConfigError: prometheus_client is not installed.
    """
    wanted = None if config.telemetry is None else config.telemetry.prometheus
    if wanted is None:
        return None
    try:
        from .telemetry.prometheus import PrometheusMetrics
    except ModuleNotFoundError as exc:
        raise _missing(exc, "prometheus") from exc
    return PrometheusMetrics(tenants=wanted.tenants)


def tracer(config: LadderConfig) -> Tracer | None:
    """Return the tracer that a ladder file asks for, or None.

    Raises:
        ConfigError: OpenTelemetry's SDK or its exporter is not installed.
    """
    wanted = None if config.telemetry is None else config.telemetry.otel
    if wanted is None:
        return None
    try:
        from .telemetry.otel import Destination, OtelTracer, RungPlace, export_to
    except ModuleNotFoundError as exc:
        raise _missing(exc, "otel") from exc
    provider = None
    if wanted.endpoint is not None:
        provider = export_to(
            Destination(
                endpoint=wanted.endpoint,
                headers=wanted.headers,
                service=wanted.service,
                share=wanted.share,
                timeout_s=wanted.timeout_s,
            )
        )
    places = []
    for rung in config.ladder:
        kind, url = config.spoken_by(rung.provider), config.served_at(rung.provider)
        places.append(RungPlace(provider=kind, url=url if "://" in url else None))
    return OtelTracer(provider, rungs=places, content=wanted.content, propagate=wanted.propagate)


def _missing(exc: ModuleNotFoundError, extra: str) -> ConfigError:
    return ConfigError(
        f"telemetry.{extra}: {exc.name} is not installed; `pip install 'cascade-ask[{extra}]'` brings it"
    )
