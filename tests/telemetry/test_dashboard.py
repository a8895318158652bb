"""The Grafana dashboard in docs/ asks for what is there, and leaves nothing out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from cascade.telemetry.prometheus import PrometheusMetrics
from cascade.telemetry.prometheus_http import http_meters

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "cascade.json"
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}


def exported() -> dict[str, set[str]]:
    """Return the name of every series with its labels."""
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    requests = http_meters(registry)
    found: dict[str, set[str]] = {}
    for value in (*vars(metrics._meters).values(), *vars(requests).values()):
        names = getattr(value, "_labelnames", None)
        if names is not None:
            for suffix in SUFFIXES[value._type]:
                found[value._name + suffix] = {*names, *(("le",) if suffix == "_bucket" else ())}
    for family in metrics._meters.live.describe():
        found[family.name] = set(family._labelnames)  # type: ignore[attr-defined]
    return found


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [p for p in json.loads(DASHBOARD.read_text())["panels"] if p["type"] != "row"]


def queries() -> list[str]:
    """Return every query."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_every_metric_of_the_dashboard_is_exported() -> None:
    """With the labels that are asked for; the list of ladders too."""
    known = exported()
    for query in queries():
        names = re.findall(r"\bcascade_\w+", query)
        assert names, query
        allowed = set.union(*(known[name] for name in names))
        groups = [g for group in re.findall(r"by \(([^)]*)\)", query) for g in group.split(", ")]
        matched = re.findall(r"[{,] ?(\w+)(?:=~|!=|=)", query)
        assert {*groups, *matched} <= allowed, query
    variable = json.loads(DASHBOARD.read_text())["templating"]["list"][1]["query"]
    assert variable == "label_values(cascade_asks_total, ladder)"


def test_every_metric_is_on_the_dashboard() -> None:
    """At least one series of each."""
    shown = " ".join(queries())
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()}
    assert [name for name in sorted(bases) if name not in shown] == []


def test_what_a_legend_names_is_grouped_by() -> None:
    """Else it would be empty."""
    for panel in panels():
        for target in panel["targets"]:
            wanted = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
            groups = re.findall(r"by \(([^)]*)\)", target["expr"])
            assert wanted <= {g for group in groups for g in group.split(", ")}, panel["title"]


def test_panels_have_their_own_place() -> None:
    """And their own number."""
    everything = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
