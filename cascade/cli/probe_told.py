"""What `cascade probe` says: the price beforehand, and what was bought in the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from cascade.exchange.probe_plan import Asked, Variant, variant_model
from cascade.exchange.probe_price import RungPrice
from cascade.exchange.probe_scores import Scoring
from cascade.exchange.probe_work import Progress
from cascade.explain import format_usd
from cascade.records import TrafficRow

from .fitting import print_table, stdout_console

if TYPE_CHECKING:
    from cascade.compress.clusters import TaskClusters
    from cascade.ladder import Rung

__all__ = ["tell_end", "tell_price"]


def tell_price(
    asked: Sequence[Asked],
    wanted: int,
    kinds: TaskClusters,
    prices: Sequence[RungPrice],
    scoring: Scoring,
    how: dict[str, str],
) -> None:
    """Print what there is to buy and what it is going to cost.

    Args:
        asked: The sample.
        wanted: Prompts that were asked for.
        kinds: The kinds of task.
        prices: By rung.
        scoring: How the answers will be scored.
        how: Model → how its tokens were counted.
    """
    from cascade.replay.compression import least_pairs

    by_kind = {name: sum(a.cluster == name for a in asked) for name in kinds.names}
    shared = ", ".join(f"{name} {n:,}" for name, n in by_kind.items())
    print(f"{len(asked):,} prompts that compression changes, by kind of task: {shared}")
    if len(asked) < wanted:
        print(f"  {wanted:,} were wanted; the log has no more")
    tests = len({(a.cluster, model) for a in asked for model in a.purchases if model not in how})
    least = least_pairs(tests)
    print(
        f"  to show anything (95% of the plain quality, 95% confidence, {tests} "
        f"{'test' if tests == 1 else 'tests'}) a kind needs about {least:,} pairs, if no answer is lost"
    )
    print(scoring.told)
    columns = ("model", "calls", "bought", "tokens in", "tokens out", "expected", "at most", "")
    rows = []
    for price in prices:
        assert price.rung.price is not None
        most = "no limit" if price.most_usd is None else format_usd(price.most_usd)
        rows.append(
            (
                escape(price.rung.model),
                f"{price.calls:,}",
                f"{price.bought:,}",
                f"{price.tokens_in:,}",
                f"{price.tokens_out:,}",
                format_usd(price.expected_usd),
                most,
                f"${price.rung.price.input:g} in, ${price.rung.price.output:g} out a million; counted "
                f"by {how[price.rung.model]}; output: {price.output}",
            )
        )
    print_table(stdout_console(), columns, rows, words=["model", ""])
    print(f"expected cost: about {format_usd(sum(price.expected_usd for price in prices))}")


def tell_end(
    progress: Progress,
    rows: Sequence[TrafficRow],
    rungs: dict[int, Rung],
    variants: dict[int, tuple[Variant, ...]],
    scoring: Scoring,
    output: Path,
) -> None:
    """Print what was bought, what it cost, and what to do next.

    Args:
        progress: Of the buying.
        rows: What the log holds now.
        rungs: The rungs that were asked.
        variants: By rung.
        scoring: How the answers are scored.
        output: The log.
    """
    for reason, n in progress.failures.most_common():
        print(f"{n:,} calls without an answer: {reason}", file=sys.stderr)
    if progress.stopped:
        print(f"stopped: {progress.stopped}; the same command goes on", file=sys.stderr)
    unknown = (
        f", {progress.cost_unknown:,} more at an unknown cost" if progress.cost_unknown else ""
    )
    print(
        f"{progress.bought:,} answers bought for {format_usd(progress.cost_usd)}{unknown}; "
        f"{len(rows):,} prompts in {output}"
    )
    for index, rung in rungs.items():
        for variant in variants[index]:
            line = _compared(rows, rung.model, variant_model(rung.model, variant.name))
            if line:
                print(f"  {line}")
    if scoring.way == "none":
        print(f"next: cascade log label --judge MODEL --path {output} --yes")
    print(f"next: cascade tune --compress {output} -o compress.yaml")


def _compared(rows: Sequence[TrafficRow], plain: str, other: str) -> str | None:
    """Return one variant against the plain prompts in words; None where no row has both."""
    pairs = []
    for row in rows:
        by_model = {response.model: response for response in row.responses}
        if plain in by_model and other in by_model:
            pairs.append((by_model[plain], by_model[other]))
    if not pairs:
        return None
    tokens = [sum(r.prompt_tokens or 0 for r in side) for side in zip(*pairs, strict=True)]
    saved = f", {1 - tokens[1] / tokens[0]:.0%} of the input tokens saved" if tokens[0] else ""
    scores = [(a.score, b.score) for a, b in pairs if a.score is not None and b.score is not None]
    if not scores:
        return f"{other}: {len(pairs):,} pairs{saved}; not scored yet"
    means = [sum(side) / len(scores) for side in zip(*scores, strict=True)]
    return f"{other}: {len(pairs):,} pairs{saved}; quality {means[1]:.3f}, plain {means[0]:.3f}"
