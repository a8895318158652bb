"""What `cascade replay` prints of one policy, of a whole frontier, and of a cache in front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from cascade.explain import format_usd

from .fitting import print_table, stdout_console
from .tables import ReadLog

if TYPE_CHECKING:
    from cascade.replay.summary import Point, Summary

__all__ = ["print_replay"]


def print_replay(
    summary: Summary, points: Sequence[Point], report: Mapping[str, Any], read: ReadLog
) -> None:
    """Print a replay for people.

    Args:
        summary: Of the policy, or of the point of the frontier that is told in full.
        points: Of the frontier; empty for a single policy.
        report: What `--json` prints.
        read: The log.
    """
    from cascade.replay.words import name_of

    console = stdout_console()
    low, high = summary.quality_ci
    where = f"split {read.split}" if read.split else "all rows"
    console.print(
        f"{summary.n:,} requests answered from the log ({where}), {summary.unknown:,} unknown"
    )
    if points:
        rows = [
            (
                format_usd(one.cost),
                f"{one.quality:.4f}",
                f"{one.quality_ci[0]:.4f}–{one.quality_ci[1]:.4f}",
                "-" if one.saving is None else f"{one.saving:.1%}",
                f"{one.n:,}",
                escape(name_of(point.policy)),
            )
            for point in points
            for one in (point.summary,)
        ]
        columns = ("cost", "quality", "95 %", "saving", "n", "policy")
        print_table(console, columns, rows, words=["policy"])
        if any(point.summary.unknown for point in points):
            console.print("n: requests that the log can answer for; not the same for every policy")
        if report["lift"] is not None:
            saved = ", ".join(f"{v:.1%} at {float(k):.0%}" for k, v in report["saving_at"].items())
            console.print(
                f"lift over the random mix of single models {report['lift']:+.2f} points; "
                f"saved at the strongest model's quality: {saved}"
            )
        console.print(
            "the point that was the cheapest to keep the strongest model's quality on the tuning rows, "
            "or the best:"
        )
    console.print(f"quality   {summary.quality:.4f}  [{low:.4f}, {high:.4f}]")
    if summary.unknown:
        console.print(
            f"          between {summary.bounds.low:.4f} and {summary.bounds.high:.4f} over all "
            "requests, unknown ones counted as wrong and as right"
        )
    told = report["estimate"]
    if told is not None and told["refused"]:
        console.print(f"          no estimate from chance: {escape(told['refused'])}")
    elif told is not None:
        best = told["snips"] if told["doubly_robust"] is None else told["doubly_robust"]
        a, b = told["interval"]
        console.print(
            f"          estimated from decisions left to chance: {best:.4f}  [{a:.4f}, {b:.4f}], "
            f"effective sample size {told['effective']:.0f}"
        )
    console.print(f"cost      {_a_request(summary.cost)}")
    console.print(
        f"strongest {escape(summary.strongest)}: quality {_known(summary.strongest_quality)}, "
        f"{_a_request(summary.strongest_cost)}"
    )
    if summary.saving is not None and summary.saving_ci is not None:
        a, b = summary.saving_ci
        console.print(f"saving    {summary.saving:.1%}  [{a:.1%}, {b:.1%}]")
    if summary.gap_ci is not None:
        a, b = summary.gap_ci
        gap = summary.quality - summary.strongest_quality
        console.print(f"gap       {gap:+.4f}  [{a:+.4f}, {b:+.4f}] against the strongest, paired")
    calls = ", ".join(f"{model} {share:.1%}" for model, share in summary.calls.items())
    console.print(f"calls     {escape(calls)}")
    if report.get("cache"):
        _print_cache(console, report["cache"])
    if summary.latency is not None:
        mean, median, late = summary.latency
        console.print(f"latency   mean {mean:.2f} s, median {median:.2f} s, p95 {late:.2f} s")
    if report["apgr"] is not None:
        half, most = (
            "-" if report[name] is None else f"{report[name]:.1%}" for name in ("cpt50", "cpt80")
        )
        console.print(f"pair      APGR {report['apgr']:.3f}, CPT50 {half}, CPT80 {most}")


def _print_cache(console: Console, cache: Mapping[str, Any]) -> None:
    hits = cache["exact"] + cache["near"]
    rate = "-" if cache["hit_rate"] is None else f"{cache['hit_rate']:.1%}"
    line = (
        f"cache     {hits:,} hits ({rate}: {cache['exact']:,} exact, {cache['near']:,} near), "
        f"{format_usd(cache['saved_usd'])} saved in all"
    )
    if hits:
        low, high = cache["false_hit_ci"]
        line += (
            f"; {cache['false_hits']:,} false ({cache['false_hit_rate']:.1%}, "
            f"95 % {low:.1%} to {high:.1%})"
        )
    console.print(line)


def _known(quality: float) -> str:
    return "unknown on these requests" if math.isnan(quality) else f"{quality:.4f}"


def _a_request(cost: float) -> str:
    return "cost unknown on some" if math.isnan(cost) else f"{format_usd(cost)} a request"
