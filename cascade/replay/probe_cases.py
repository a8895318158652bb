"""Probes as cases: for every model, variant and kind of task the rows that were asked both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..compress.clusters import TaskClusters
from ..errors import ConfigError, LogError
from ..exchange.probe_about import ProbeAbout, about_path, read_about
from ..exchange.probe_plan import variant_model
from ..records import Response, TrafficRow
from ..traffic_log import TrafficLog
from .compression import Case

__all__ = ["Probed", "read_probes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What several probes hold together.

    Attributes:
        cases: Those with at least one row, by model, kind of task and variant.
        clusters: The kinds of task.
        stages: (model, variant) → (name, version) of its lossy stages.
        scored: How the answers were scored, in words, each way once.
        rows: Prompts.
        unscored: Pairs of answers of which one has no score.
    """

    cases: tuple[Case, ...]
    clusters: TaskClusters
    stages: dict[tuple[str, str], tuple[tuple[str, str], ...]]
    scored: tuple[str, ...]
    rows: int
    unscored: int


@dataclass(slots=True)
class _Pairs:
    plain: list[float] = field(default_factory=list)
    compressed: list[float] = field(default_factory=list)
    tokens: list[tuple[int, int]] = field(default_factory=list)


def read_probes(paths: Sequence[Path]) -> Probed:
    """Return what the logs of `cascade probe` hold; a prompt in several of them counts once.

    Labels beside a log (`cascade log label`) win over the scores in it.

    Raises:
        LogError: A log cannot be read, or is none of a probe.
        ConfigError: The probes do not go together: other kinds of task, or other stages.
    """
    abouts = [read_about(path) for path in paths]
    clusters = abouts[0].task_clusters(about_path(paths[0]))
    stages: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}
    for path, about in zip(paths, abouts, strict=True):
        if about.task_clusters(about_path(path)).version != clusters.version:
            raise ConfigError(f"{path}: other kinds of task than {paths[0]}; tune them apart")
        for model, variants in about.variants.items():
            for name, listed in variants.items():
                those = tuple((stage.name, stage.version) for stage in listed)
                if stages.setdefault((model, name), those) != those:
                    raise ConfigError(
                        f"{path}: {name} for {model} has other stages than in {paths[0]}"
                    )
    pairs: dict[tuple[str, str, str], _Pairs] = {}
    met: set[tuple[str, str]] = set()
    unscored = 0
    for path, about in zip(paths, abouts, strict=True):
        log = TrafficLog(paths=[path])
        for row in log:
            asked = (row.prompt, repr(row.messages))
            if asked not in met:
                met.add(asked)
                unscored += _add(row, about, pairs)
        if log.skipped:
            reason, place = next(iter(log.first_skipped.items()))
            raise LogError(f"{place}: {reason}; a probe's log has no such rows")
    return Probed(
        cases=tuple(_case(place, pairs[place]) for place in sorted(pairs)),
        clusters=clusters,
        stages=stages,
        scored=tuple(dict.fromkeys(about.scored for about in abouts)),
        rows=len(met),
        unscored=unscored,
    )


def _add(row: TrafficRow, about: ProbeAbout, pairs: dict[tuple[str, str, str], _Pairs]) -> int:
    """Add the pairs of a row; return how many lack a score."""
    unscored = 0
    by_model = {response.model: response for response in row.responses}
    for model, variants in about.variants.items():
        plain = by_model.get(model)
        for variant in variants:
            other = by_model.get(variant_model(model, variant))
            if plain is None or other is None:
                continue
            if plain.score is None or other.score is None:
                unscored += 1
                continue
            found = pairs.setdefault((model, row.task, variant), _Pairs())
            found.plain.append(plain.score)
            found.compressed.append(other.score)
            found.tokens += _tokens(plain, other)
    return unscored


def _tokens(plain: Response, other: Response) -> list[tuple[int, int]]:
    if plain.prompt_tokens is None or other.prompt_tokens is None:
        return []
    return [(plain.prompt_tokens, other.prompt_tokens)]


def _case(place: tuple[str, str, str], pairs: _Pairs) -> Case:
    model, cluster, variant = place
    before, after = (
        (sum(side) for side in zip(*pairs.tokens, strict=True)) if pairs.tokens else (0, 0)
    )
    return Case(
        variant=variant,
        model=model,
        cluster=cluster,
        plain=np.array(pairs.plain, np.float64),
        compressed=np.array(pairs.compressed, np.float64),
        saved=1.0 - after / before if before else float("nan"),
    )
