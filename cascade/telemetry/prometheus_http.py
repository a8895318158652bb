"""Metrics of the server's requests, beside those of asks. Needs the extra `prometheus`."""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

__all__ = ["HttpMeters", "http_meters"]


class HttpMeters:
    """Requests by path and kind of answer, in one registry.

    Args:
        registry: Where the metrics are.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "cascade_http_requests",
            "HTTP requests that have been answered, by path and kind of answer.",
            ("path", "status"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "cascade_http_requests_in_flight",
            "HTTP requests under way.",
            ("path",),
            registry=registry,
            multiprocess_mode="livesum",
        )

    def publish(self, ended: Mapping[tuple[str, str], int], in_flight: Mapping[str, int]) -> None:
        """Add requests to what was counted before, and show those under way.

        Args:
            ended: New ones, by path and kind of answer.
            in_flight: All of them, by path; a path without any is 0.
        """
        for labels, count in ended.items():
            self.requests.labels(*labels).inc(count)
        for path, count in in_flight.items():
            self.in_flight.labels(path).set(count)


_BY_REGISTRY: WeakKeyDictionary[CollectorRegistry, HttpMeters] = WeakKeyDictionary()
"""A registry takes each name once, whoever asks: the only state of this module, as long as its registry's."""


def http_meters(registry: CollectorRegistry | None = None) -> HttpMeters:
    """Return the metrics of a registry; None: prometheus_client's own."""
    wanted = REGISTRY if registry is None else registry
    found = _BY_REGISTRY.get(wanted)
    if found is None:
        found = _BY_REGISTRY[wanted] = HttpMeters(wanted)
    return found
