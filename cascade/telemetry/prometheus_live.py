"""What engines are doing at this moment, as gauges: read when they are asked for, or published by each worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, Protocol
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Gauge, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..ladder import Ladder

__all__ = ["Live", "PublishedLive", "Watched", "adds_up_workers"]

_STATES = ("closed", "half_open", "open")


class Watched(Protocol):
    """What an engine says of its present state; a `Cascade` does."""

    ladder: Ladder

    @property
    def in_flight(self) -> int:
        """Asks that have begun and not ended."""

    @property
    def is_open(self) -> bool:
        """Whether it takes asks."""

    def breaker_states(self) -> Mapping[str, Mapping[str, str]]:
        """State of each breaker, by provider and model."""

    def cache_stats(self) -> Mapping[str, int]:
        """Counters of the cache, by name."""


class _Told(NamedTuple):
    """A gauge: what it is of, its labels, and how those of several workers are put together."""

    words: str
    labels: tuple[str, ...]
    together: Literal["livesum", "livemax"]


_GAUGES: Mapping[str, _Told] = {
    "cascade_asks_in_flight": _Told("Asks under way.", ("ladder",), "livesum"),
    "cascade_breaker_state": _Told(
        "1 for the state that a breaker is in; an open one stays so until it is asked again.",
        ("ladder", "provider", "model", "state"),
        "livemax",
    ),
    "cascade_cache_entries": _Told("Answers in the cache.", ("ladder",), "livemax"),
    "cascade_cache_bytes": _Told("Bytes of the cache.", ("ladder",), "livemax"),
}


def adds_up_workers() -> bool:
    """Return whether the metrics of several processes are added up in files.

    prometheus_client decides that when it is imported, by a variable of the environment.
    """
    return bool(getattr(values.ValueClass, "_multiprocess", False))


class Live(Collector):
    """The gauges as they are when they are read; equal ladders, as after a reload, add up.

    Attributes:
        engines: Whose they are, as long as they live.
    """

    def __init__(self) -> None:
        self.engines: WeakSet[Watched] = WeakSet()

    def describe(self) -> list[Metric]:
        """Return the metrics without their series, so that registering asks no engine."""
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        families = _families()
        for (name, *labels), value in self.read().items():
            families[name].add_metric(labels, value)
        yield from families.values()

    def read(self) -> dict[tuple[str, ...], float]:
        """Return each value by the name of its gauge and its labels."""
        found: dict[tuple[str, ...], float] = {}
        states: dict[tuple[str, str, str], str] = {}
        for engine in list(self.engines):
            ladder = engine.ladder.name
            asks = ("cascade_asks_in_flight", ladder)
            found[asks] = found.get(asks, 0) + engine.in_flight
            if not engine.is_open:
                continue
            for provider, models in engine.breaker_states().items():
                for model, state in models.items():
                    key = (ladder, provider, model)
                    states[key] = max(state, states.get(key, state), key=_STATES.index)
            stats = engine.cache_stats()
            if stats:
                found["cascade_cache_entries", ladder] = stats.get("entries", 0)
                found["cascade_cache_bytes", ladder] = stats.get("bytes", 0)
        for key, state in states.items():
            for known in _STATES:
                found["cascade_breaker_state", *key, known] = float(known == state)
        return found


class PublishedLive(Live):
    """The same where several workers are added up: each writes its gauges where all can read them.

    Args:
        registry: Where the gauges are known.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._gauges = {
            name: Gauge(
                name, told.words, told.labels, registry=registry, multiprocess_mode=told.together
            )
            for name, told in _GAUGES.items()
        }
        self._published: set[tuple[str, ...]] = set()

    def publish(self) -> None:
        """Write the present values; what is no longer there becomes 0."""
        found = self.read()
        for key in self._published - found.keys():
            self._gauges[key[0]].labels(*key[1:]).set(0)
        for (name, *labels), value in found.items():
            self._gauges[name].labels(*labels).set(value)
        self._published |= found.keys()


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        name: GaugeMetricFamily(name, told.words, labels=told.labels)
        for name, told in _GAUGES.items()
    }
