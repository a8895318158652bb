"""`cascade replay`: what a policy, or a whole frontier, would have done on a log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from cascade.errors import ConfigError

from .logged import logged_actions
from .prices import PriceList, read_prices
from .replay_told import print_replay
from .tables import Logs, PricesOption, ReadLog, load_scorer, names_of, read_log, tell

if TYPE_CHECKING:
    from cascade.policy import Policy
    from cascade.replay.cache_pass import FindNear
    from cascade.replay.summary import Point, Summary
    from scorers.artifact import Artifact

__all__ = ["replay_command"]

PAIR_DRAWS = 200
"""Bootstrap draws of the interval of APGR."""


class _Given(msgspec.Struct):
    """A policy file or a frontier file, read.

    Attributes:
        policies: In the order of the file.
        mappings: Each as the file has it; empty for a single policy.
        whole: Whether it is a frontier.
        scorer: Version of the scorer it was tuned with, or None.
        strongest: Best model on the tuning rows, or None.
        strongest_quality: Its quality there.
        tuned: Quality and cost of each policy there.
        log_digest: Of those rows, or None.
    """

    policies: list[Any]
    mappings: list[dict[str, Any]]
    whole: bool
    scorer: str | None
    strongest: str | None
    strongest_quality: float = 0.0
    tuned: list[tuple[float, float]] = []
    log_digest: str | None = None


def replay_command(
    logs: Annotated[list[Path], Logs],
    policy: Annotated[
        Path,
        typer.Option(help="Policy file (YAML), or a whole frontier (JSON) that `tune` wrote."),
    ],
    scorer: Annotated[
        Path | None, typer.Option(help="Directory of the scorer that the policy was tuned with.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Models, separated by commas. Absent: the scorer's.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Replay this split. Absent: `test` if there is one, else all rows."),
    ] = None,
    prices: Annotated[Path | None, PricesOption] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Run the log through a response cache, in its order.")
    ] = False,
    near: Annotated[
        bool, typer.Option("--near", help="With --cache: near-duplicates are hits, too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay a policy on logged traffic: quality, cost, saving, calls per rung, with intervals.

    Example: cascade replay traffic.jsonl.gz --scorer scorers/support --policy tuned.yaml --split test
    """
    from cascade.policies import RandomShare, Weighted
    from cascade.replay.search import strongest
    from cascade.replay.summary import summarise, summarise_frontier

    if near and not cache:
        raise ConfigError("--near: only together with --cache")
    given = _read_policies(policy)
    artifact = load_scorer(scorer, names_of(models))
    if artifact is not None and given.scorer not in (None, artifact.version):
        raise ConfigError(
            f"{policy} was tuned with the scorer {given.scorer}; {scorer} is {artifact.version}"
        )
    read = read_log(
        logs,
        artifact,
        models=names_of(models),
        splits=["test", None] if split is None else [split],
        prices=read_prices(prices),
        random=any(isinstance(p, Weighted | RandomShare) for p in given.policies),
    )
    _check_models(policy, given, read)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    tell(console, read)
    seen = _seen_before(policy, given, read)
    for line in seen:
        console.print(f"[yellow]{escape(line)}[/]")
    table = read.table
    top = given.strongest
    if top not in table.models:
        top = (
            _strongest_elsewhere(logs, read, read_prices(prices)) or table.models[strongest(table)]
        )
    try:
        if given.whole:
            points, told = summarise_frontier(given.policies, table, top)
        else:
            points, told = [], {}
            summary = summarise(given.policies[0], table, top)
    except ValueError as exc:
        hint = "; give --scorer DIR" if artifact is None else ""
        raise ConfigError(f"{policy}: {exc}{hint}") from exc
    if given.whole:
        summary = _closest(points, given)
    report = _as_json(summary, read, artifact, told)
    if cache:
        chosen = next((p.policy for p in points if p.summary is summary), given.policies[0])
        report |= _cached(chosen, read, near)
    report["told"] = [*read.told, *seen]
    report["estimate"] = None if given.whole else _estimate(logs, given.policies[0], read)
    if given.whole:
        where = {id(p): mapping for p, mapping in zip(given.policies, given.mappings, strict=True)}
        report["points"] = [
            {
                "policy": where[id(point.policy)],
                "quality": _number(point.summary.quality),
                "cost_usd": _number(point.summary.cost),
                "calls": _counts(point.summary),
                "n": point.summary.n,
                "unknown": point.summary.unknown,
            }
            for point in points
        ]
    if json:
        print(msgspec.json.encode(report).decode())
        return
    print_replay(summary, points, report, read)


def _read_policies(path: Path) -> _Given:
    from cascade.config import load_policy_file, policy_from_mapping

    if path.suffix != ".json":
        table = load_policy_file(path)
        return _Given(
            policies=[_made(table, path)],
            mappings=[],
            whole=False,
            scorer=getattr(table, "scorer", None),
            strongest=_strongest(table.provenance),
            log_digest=table.provenance.get("log_digest"),
        )
    try:
        data = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file") from exc
    except (OSError, msgspec.DecodeError) as exc:
        raise ConfigError(f"{path} is not JSON ({exc})") from exc
    if not isinstance(data, dict) or data.get("kind") != "cascade frontier":
        raise ConfigError(f"{path} is no frontier; `cascade tune --frontier` writes one")
    found = data.get("points") or []
    provenance = data.get("provenance") or {}
    mappings = [point["policy"] for point in found]
    if not mappings:
        raise ConfigError(f"{path} holds no policy")
    return _Given(
        policies=[
            _made(policy_from_mapping(mapping, file=str(path)), path) for mapping in mappings
        ],
        mappings=mappings,
        whole=True,
        scorer=data.get("scorer"),
        strongest=_strongest(provenance),
        log_digest=provenance.get("log_digest"),
        strongest_quality=float(provenance.get("quality_of_strongest") or 0.0),
        tuned=[(float(p.get("quality", 0.0)), float(p.get("cost_usd", 0.0))) for p in found],
    )


def _made(table: Any, path: Path) -> Policy:
    """Return the policy that a table of the configuration stands for."""
    if not hasattr(table, "to_policy"):
        raise ConfigError(f"{path}: a policy of your own cannot be replayed over columns")
    try:
        made: Policy = table.to_policy()
    except ValueError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    return made


def _strongest(provenance: Mapping[str, Any]) -> str | None:
    named = provenance.get("strongest")
    return named if isinstance(named, str) else None


def _strongest_elsewhere(logs: list[Path], read: ReadLog, prices: PriceList) -> str | None:
    """Return the model that is best on the log's tuning rows, or None when it has no others."""
    from cascade.replay.search import strongest

    if not read.split:
        return None
    try:
        rows = read_log(
            logs, None, models=read.table.models, splits=[None], prices=prices, compare=False
        )
    except ConfigError:
        return None
    return read.table.models[strongest(rows.table)]


def _check_models(path: Path, given: _Given, read: ReadLog) -> None:
    for policy in given.policies:
        named = getattr(policy, "models", None) or tuple(getattr(policy, "accept", ()))
        missing = [model for model in named if model not in read.table.models]
        if missing:
            raise ConfigError(
                f"{path} names {', '.join(missing)}; allowed: {', '.join(read.table.models)}"
            )


def _seen_before(path: Path, given: _Given, read: ReadLog) -> list[str]:
    """Return which of the rows the policy or the scorer was made with: figures on them flatter."""
    told = []
    if given.log_digest == read.digest:
        told.append(
            f"{path} was tuned on these very rows, and looks better on them than on new traffic; "
            "replay it on a split or a log that tuning has not seen"
        )
    count = int(read.trained_on.sum())
    if count:
        told.append(
            f"the scorer was trained on {count:,} of {read.table.n:,} rows: its scores of them are out "
            "of fold, but its calibration has seen them"
        )
    return told


def _closest(points: list[Point], given: _Given) -> Summary:
    """Return the cheapest point that keeps the strongest model's quality, or else the best one.

    By their figures on the tuning rows: choosing on the rows that are reported would flatter.
    """
    where = {id(p): at for p, at in zip(given.policies, given.tuned, strict=True)}
    able = [p for p in points if where[id(p.policy)][0] >= given.strongest_quality - 1e-12]
    if able:
        return min(able, key=lambda p: where[id(p.policy)][1]).summary
    return max(points, key=lambda p: where[id(p.policy)][0]).summary


def _as_json(
    summary: Summary, read: ReadLog, artifact: Artifact | None, told: Mapping[str, Any]
) -> dict[str, Any]:
    share = summary.calls.get(summary.strongest)
    return {
        "n": summary.n,
        "quality": _number(summary.quality),
        "quality_ci": [_number(x) for x in summary.quality_ci],
        "cost_usd": _number(summary.cost),
        "strongest": summary.strongest,
        "quality_of_strongest": _number(summary.strongest_quality),
        "quality_gap": _ratio(
            summary.quality - summary.strongest_quality, summary.strongest_quality
        ),
        "quality_gap_ci": None
        if summary.gap_ci is None
        else [_ratio(x, summary.strongest_quality) for x in summary.gap_ci],
        "difference_ci": None if summary.gap_ci is None else list(summary.gap_ci),
        "cost_of_strongest_usd": _number(summary.strongest_cost),
        "cost_ratio": None if summary.saving is None else 1.0 - summary.saving,
        "saving": summary.saving,
        "saving_ci": None if summary.saving_ci is None else list(summary.saving_ci),
        "calls": _counts(summary),
        "strong_share": None if share is None else _number(share),
        "lift": told.get("lift"),
        "lift_ci": told.get("lift_ci"),
        "saving_at": told.get("saving_at"),
        "saving_at_ci": told.get("saving_at_ci"),
        "cache_hits": 0,
        "unknown": summary.unknown,
        "quality_bounds": [summary.bounds.low, summary.bounds.high],
        "latency_s": None
        if summary.latency is None
        else dict(zip(("mean", "p50", "p95"), summary.latency, strict=True)),
        **_pair(read, artifact, summary),
        "aiq": summary.aiq if told.get("aiq") is None else told["aiq"],
        "aiq_ci": told.get("aiq_ci"),
        "split": read.split,
    }


def _cached(policy: Policy, read: ReadLog, near: bool) -> dict[str, Any]:
    """Return what a cache in front of the policy would have done."""
    from scipy.stats import binomtest

    from cascade.replay.cache_pass import pass_through_cache
    from cascade.replay.walks import outcome, replay_policy

    done = outcome(replay_policy(policy, read.table), read.table)
    found = pass_through_cache(read.prompts, done, _near_search(read.prompts) if near else None)
    interval = None
    if found.hits:  # Clopper and Pearson, Biometrika 26 (1934)
        interval = binomtest(found.false, found.hits).proportion_ci(0.95, method="exact")
    return {
        "cache_hits": found.hits,
        "cache": {
            "n": found.n,
            "exact": found.exact,
            "near": found.near,
            "hit_rate": found.hit_rate,
            "false_hits": found.false,
            "false_hit_rate": found.false_hit_rate,
            "false_hit_ci": None if interval is None else [float(x) for x in interval],
            "saved_usd": found.saved_usd,
            "quality": _number(found.quality),
            "cost_usd": _number(found.cost_usd),
        },
    }


def _near_search(prompts: Sequence[str]) -> FindNear:
    """Return what finds near-duplicates among the prompts it was asked about before."""
    from cascade.build_cache import near_search
    from cascade.cache.near import NearHit

    near = near_search()

    def find(row: int) -> int | None:
        match = near.find("", prompts[row])
        if isinstance(match, NearHit):
            return int(match.key)
        near.add(str(row), "", prompts[row])
        return None

    return find


def _estimate(logs: list[Path], policy: Policy, read: ReadLog) -> dict[str, Any] | None:
    """Return off-policy estimates where the log's decisions were left to chance; never mixed with the rest."""
    from cascade.replay.holes import estimate, steps_of
    from cascade.replay.walks import replay_policy

    logged = logged_actions(logs, read.table)
    if logged is None:
        return None
    found = estimate(steps_of(replay_policy(policy, read.table), read.table, logged))
    return {
        "effective": found.effective,
        "ips": found.ips,
        "snips": found.snips,
        "doubly_robust": found.doubly_robust,
        "interval": None if found.interval is None else list(found.interval),
        "refused": found.refused,
    }


def _counts(summary: Summary) -> dict[str, int]:
    return {model: round(share * summary.n) for model, share in summary.calls.items() if summary.n}


def _pair(read: ReadLog, artifact: Artifact | None, summary: Summary) -> dict[str, Any]:
    """Return PGR of the policy, and APGR and CPT of the scorer, on a pair of models.

    Best of the two answers kept, as the policies do.
    """
    import numpy as np

    from cascade.replay.metrics import deferral
    from scorers.evaluate import paired_bootstrap

    names = ("pgr", "apgr", "apgr_ci", "cpt50", "cpt80")
    table = read.table
    rows = np.flatnonzero(table.complete)
    if len(table.models) != 2 or not len(rows):
        return dict.fromkeys(names)
    score = table.score[rows].astype(np.float64)
    weak, strong = (0, 1) if score[:, 1].mean() >= score[:, 0].mean() else (1, 0)
    low, high = float(score[:, weak].mean()), float(score[:, strong].mean())
    found: dict[str, Any] = dict.fromkeys(names)
    found["pgr"] = _ratio(summary.quality - low, high - low)
    if table.q is None or artifact is None:
        return found
    q = table.q[:, rows].astype(np.float64)
    value = artifact.model.value_of_escalating(q, weak, strong)
    kept = np.where(artifact.model.keep_weak(q, weak, strong), score[:, weak], score[:, strong])

    def area(some: Any) -> float:
        return deferral(value[some], score[some, weak], score[some, strong], kept[some]).apgr

    whole = deferral(value, score[:, weak], score[:, strong], kept)
    interval = paired_bootstrap(area, len(rows), PAIR_DRAWS)
    return found | {
        "apgr": _number(whole.apgr),
        "apgr_ci": [_number(x) for x in interval],
        "cpt50": _number(whole.cpt50),
        "cpt80": _number(whole.cpt80),
    }


def _ratio(part: float, whole: float) -> float | None:
    return _number(part / whole) if whole > 0 else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
